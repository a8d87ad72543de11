"""`vila bench nav`: the loop, the baselines, the blinded twins and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig
from vila_core.errors import BackendError, ConfigError
from vila_core.testing import ScriptedBackend
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.instructions import NEUTRAL_INSTRUCTION
from vila_sim.episodes.oracle import MAX_DECISIONS
from vila_sim.episodes.splits import Episode, generate_episodes
from vila_sim.mujoco.simulator import CameraConfig
from vila_tools.evaluation import episode_workers
from vila_tools.evaluation.episode_run import EpisodeResult, run_episode
from vila_tools.evaluation.navigation import main
from vila_tools.evaluation.navigation_report import make_report, make_table
from vila_tools.evaluation.policies import DEFAULT_POLICIES, make_policy

STOP, FORWARD, LEFT = SENTENCES[0], SENTENCES[3], SENTENCES[6]


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    return generate_episodes("val_unseen_layout", 3)


@pytest.fixture(scope="module")
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(CameraConfig(width_px=64, height_px=64))
    yield env
    env.close()


def run(env: FlatEnv, name: str, episode: Episode, backend: ScriptedBackend | None = None) -> EpisodeResult:
    return run_episode(env, make_policy(name, env, backend), name, episode)


def test_the_oracle_arrives_and_stop_does_not(env: FlatEnv, episodes: list[Episode]) -> None:
    assert [run(env, "oracle", episode).metrics.success for episode in episodes] == [1.0] * 3
    still = run(env, "stop", episodes[0]).metrics
    assert (still.success, still.steps, still.path_length_m) == (0.0, 1.0, 0.0)
    assert still.navigation_error_m == pytest.approx(episodes[0].geodesic_m, abs=1e-3)


def test_forward_stops_at_the_first_obstacle(env: FlatEnv, episodes: list[Episode]) -> None:
    result = run(env, "forward", episodes[0])
    assert result.collisions == 1 and env.stop_called


def test_our_policy_sees_every_unit_step(env: FlatEnv, episodes: list[Episode]) -> None:
    backend = ScriptedBackend(LEFT, LEFT, STOP)
    result = run(env, "ours", episodes[0], backend)
    assert len(result.decision_ms) == 3 and result.metrics.steps == 7 and not result.held
    last = [visual.frame.stamp_ns for visual in backend.prompts[-1].visuals]
    assert len({stamp for stamp in last if stamp}) == 7  # the start and six unit turns
    assert all(episodes[0].instruction in prompt.text.lower() for prompt in backend.prompts)


def test_policies_forget_the_last_episode(env: FlatEnv, episodes: list[Episode]) -> None:
    backend = ScriptedBackend(LEFT, STOP, STOP)
    policy = make_policy("ours", env, backend)
    for episode in episodes[:2]:
        run_episode(env, policy, "ours", episode)
    assert len([v for v in backend.prompts[-1].visuals if v.frame.camera != "blank"]) == 1
    assert episodes[1].instruction in backend.prompts[-1].text.lower()


def test_blinded_policies_lose_one_sense_each(env: FlatEnv, episodes: list[Episode]) -> None:
    dark, deaf = ScriptedBackend(LEFT), ScriptedBackend(LEFT)
    result = run(env, "image_blind", episodes[0], dark)
    assert result.end == "NOT_FOUND" and len(result.decision_ms) == 9 and not result.held  # once round
    assert not any(visual.frame.image.any() for prompt in dark.prompts for visual in prompt.visuals)
    assert episodes[0].instruction in dark.prompts[0].text.lower()
    run(env, "instruction_blind", episodes[0], deaf)
    assert any(visual.frame.image.any() for visual in deaf.prompts[0].visuals)
    assert NEUTRAL_INSTRUCTION in deaf.prompts[0].text.lower()
    assert episodes[0].instruction not in deaf.prompts[0].text.lower()


@pytest.mark.parametrize(
    ("name", "history", "shown"),
    [("ours", "navila", 8), ("ours", "streaming", 5), ("streaming", "navila", 5), ("window", "streaming", 8)],
)
def test_history_policies_are_rows_and_an_option(env: FlatEnv, episodes: list[Episode], name, history, shown) -> None:
    backend = ScriptedBackend(LEFT, LEFT, STOP)
    policy = make_policy(name, env, backend, history=HistoryConfig(policy=history))
    run_episode(env, policy, name, episodes[0])
    first, second, _ = backend.prompts
    assert len(first.visuals) == shown  # seven, four or seven remembered, black as yet, and the current one
    is_appended = [v.key for v in second.visuals[: len(first.visuals)]] == [v.key for v in first.visuals]
    assert is_appended is (name != "ours" or history != "navila")


def test_a_robot_that_never_stops_ends_after_all_decisions(env: FlatEnv, episodes: list[Episode]) -> None:
    result = run(env, "image_blind", episodes[0], ScriptedBackend(*(FORWARD, LEFT) * MAX_DECISIONS))
    assert len(result.decision_ms) == MAX_DECISIONS and result.end == "TOO_MANY_DECISIONS" and not result.is_given_up


def test_an_error_of_the_model_ends_the_episode_as_a_failure(env: FlatEnv, episodes: list[Episode]) -> None:
    result = run(env, "ours", episodes[0], ScriptedBackend(BackendError("out of memory")))
    assert result.held and result.metrics.success == 0.0 and result.metrics.path_length_m == 0.0


def test_unknown_policies_and_missing_models_are_refused(env: FlatEnv) -> None:
    with pytest.raises(ConfigError, match="instruction_blind"):
        make_policy("psychic", env, None)
    with pytest.raises(ConfigError, match="checkpoint"):
        make_policy("ours", env, None)
    with pytest.raises(ConfigError, match="psychic"):
        main(["--policies", "psychic"])
    with pytest.raises(ConfigError, match="at least 1"):
        main(["--policies", "stop", "--episodes", "0"])


def test_program_reports_every_policy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    episodes: Sequence[Episode],
) -> None:
    monkeypatch.setattr(episode_workers, "_load_model", lambda settings: ScriptedBackend(FORWARD, STOP))
    write_episodes(tmp_path / "two.json.gz", episodes[:2])
    out = tmp_path / "reports" / "nav.json"
    arguments = ["--episode-file", str(tmp_path / "two.json.gz"), "--json", str(out), "--workers", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(printed[-1])
    assert report == json.loads(out.read_text())
    assert report["policy"] == "ours" and report["history"] == "navila"
    assert set(report["baselines"]) == set(DEFAULT_POLICIES[1:])
    assert set(report["baselines"]) == {"image_blind", "instruction_blind", "oracle", "forward", "random", "stop"}
    for row in (report, *report["baselines"].values()):
        assert row["episodes"] == 2 and row["sr_low"] <= row["sr"] <= row["sr_high"]
        assert {"os", "spl", "ne_m", "ndtw", "collisions", "decisions_per_s", "decision_ms"} <= set(row)
    assert report["baselines"]["oracle"]["sr"] == 1.0
    assert all(any(line.startswith(name) for line in printed) for name in DEFAULT_POLICIES)


def test_report_counts_what_was_measured(env: FlatEnv, episodes: list[Episode]) -> None:
    results = [run(env, name, episode) for episode in episodes for name in ("stop", "oracle")]
    report = make_report(("stop", "oracle"), "val_unseen_layout", results)
    assert report["sr"] == 0.0 and report["baselines"]["oracle"]["spl"] > 0.7
    assert report["ne_m"] == pytest.approx(np.mean([e.geodesic_m for e in episodes]), abs=1e-3)
    assert "oracle" in make_table(report)
