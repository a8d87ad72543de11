"""The navigator's backend `openai` against `vila serve`: the same decisions as with the model here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from PIL import Image
from serving import Served, picture, serving

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.engine.remote.backend import OpenAIBackend
from vila_core.engine.remote.config import RemoteConfig
from vila_core.errors import RemoteModelError, RemoteRefusedError
from vila_core.navigator import Navigator
from vila_core.types import Decision, Frame, Instruction, Odometry, Pose, Prompt, Visual
from vila_tools.cli import main

TOKEN = "a-secret-of-many-letters"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


def remote(served: Served, **values) -> OpenAIBackend:
    return OpenAIBackend(RemoteConfig(base_url=served.url, timeout_s=30.0, **values))


def drive(backend, history: HistoryConfig, steps: int = 6) -> list[Decision]:
    """Decisions on a way along which the picture changes; a model elsewhere takes no second look."""
    navigator, decisions = Navigator(backend, NavigatorConfig(avoid_repeats=False, second_look=False), history), []
    navigator.start(Instruction("go to the chair"))
    for step in range(1, steps + 1):
        now_ns = step * 10**9
        frame = Frame(picture(step, 320, 240), now_ns)
        navigator.observe(frame, Odometry(now_ns, Pose(0.5 * step)))
        decisions.append(navigator.decide(now_ns))
    return decisions


@pytest.mark.parametrize("policy", ["navila", "window"])
def test_decisions_are_those_of_the_model_here(served, policy):
    history = HistoryConfig(policy=policy)
    here = load_backend("torch", EMBEDDED_CHECKPOINT, check_memory=False)
    elsewhere = remote(served)
    try:
        expected, found = drive(here, history), drive(elsewhere, history)
    finally:
        here.close()
        elsewhere.close()
    assert all(decision.action is not None for decision in found), found
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert one.action == other.action


def test_only_new_pictures_are_sent_and_all_again_if_the_server_forgot(served):
    backend = remote(served)
    drive(backend, HistoryConfig(), 5)
    counts = backend.cache_counts()
    assert counts.misses <= 6 and counts.hits >= 8  # five pictures, and the black one before them
    with serving(kept_pictures_mb=0) as forgetful:
        other = remote(forgetful)
        assert all(decision.action is not None for decision in drive(other, HistoryConfig(), 3))
        other.close()
    backend.close()


def test_replies_are_written_and_the_card_tells_what_the_navigator_must_know(served):
    backend = remote(served)
    text = f"Task: go to the chair\nSeen:{'<image>' * 3}\nNow:<image>"
    frames = [Frame(picture(number), number) for number in range(4)]
    reply = backend.generate(Prompt(text, tuple(Visual(frame) for frame in frames)), 32)
    assert reply in SENTENCES
    info = served.backend.info
    for name in (
        "name",
        "num_frames",
        "history_tokens",
        "prompt_style",
        "visual_tokens",
        "max_tokens",
        "describes",
        "vocabulary",
    ):
        assert getattr(backend.info, name) == getattr(info, name), name
    backend.close()


def test_another_model_behind_the_same_name_holds(served, monkeypatch):
    backend = remote(served)
    monkeypatch.setattr(type(served.server.model), "fingerprint", "fp_other", raising=False)
    with pytest.raises(RemoteModelError, match="fp_other"):
        backend.generate(Prompt("x"), 2)
    backend.close()


def test_the_right_token_is_needed(tmp_path):
    file = tmp_path / "token"
    with serving({"robot": TOKEN}) as guarded:
        file.write_text("another-secret-of-letters")
        with pytest.raises(RemoteRefusedError, match="token"):
            remote(guarded, token_file=str(file))
        file.write_text(TOKEN)
        remote(guarded, token_file=str(file)).close()


def test_vila_decide_asks_it(served, tmp_path, capsys):
    file, pictures = tmp_path / "remote.yaml", tmp_path / "pictures"
    file.write_text(f"base_url: {served.url}\ntimeout_s: 30\n")
    pictures.mkdir()
    for number in range(3):
        Image.fromarray(picture(number)).save(pictures / f"{number}.png")
    reports = []
    for checkpoint, backend in ((file, "openai"), (EMBEDDED_CHECKPOINT, "torch")):
        words = ["decide", str(checkpoint), "go to the chair", "--images", str(pictures), "--backend", backend]
        assert main(words) == 0
        reports.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert reports[0]["action"] == reports[1]["action"]
    found, expected = (list(report["probabilities"].values()) for report in reports)
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_vila_bench_nav_drives_by_it_as_by_the_model_here(served, tmp_path, capsys):
    pytest.importorskip("mujoco")
    file, reports = tmp_path / "remote.yaml", []
    file.write_text(f"base_url: {served.url}\ntimeout_s: 30\n")
    for checkpoint, backend in ((file, "openai"), (EMBEDDED_CHECKPOINT, "torch")):
        words = ["bench", "nav", "--policies", "ours", "--episodes", "1", "--workers", "1"]
        assert main([*words, "--backend", backend, "--checkpoint", str(checkpoint)]) == 0
        reports.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert reports[0]["sr"] == reports[1]["sr"] and reports[0]["spl"] == reports[1]["spl"]
