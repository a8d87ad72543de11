"""The backend `transformers` on tiny random checkpoints of four families: one pass is greedy under the grammar."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from hugging_face_checkpoints import FAMILIES, OWN_PROCESSOR, make_model, write_checkpoint

from vila_core.actions.grammar import SENTENCES
from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig
from vila_core.engine.backend import load_backend
from vila_core.engine.hugging_face import TransformersBackend
from vila_core.engine.hugging_face_config import HuggingFaceConfig
from vila_core.errors import BackendError, CheckpointError, ConfigError, NotFiniteError
from vila_core.localizer import Localizer
from vila_core.navigator import Navigator
from vila_core.types import Frame, Instruction, Odometry, Pose, Prompt, Visual


def frame(number: int) -> Frame:
    rows = np.linspace(0, 255, 48)[:, None, None] * np.ones((48, 64, 3))
    return Frame(((rows + 83 * number) % 256).astype(np.uint8), number)


def prompt(count: int = 2, ending: str = "next", first: int = 0) -> Prompt:
    visuals = tuple(Visual(frame(number)) for number in range(first, first + count))
    return Prompt("go " + "<image>" * count + f" {ending}", visuals)


@pytest.fixture(scope="module", params=FAMILIES)
def backend(request) -> TransformersBackend:
    model, processor = make_model(request.param)
    return TransformersBackend(model, processor, HuggingFaceConfig("tiny", num_frames=3))


def greedy(backend: TransformersBackend, asked: Prompt, replies: tuple[str, ...]) -> tuple[int, list[float]]:
    """Choose token by token, all of it computed anew each time, among the tokens that some reply goes on with."""
    encode, end = backend._tokenizer.encode, backend._tokenizer.eos_token_id
    rows = [(*encode(reply, add_special_tokens=False), end) for reply in replies]
    inputs = backend._inputs(asked)
    shares: dict[tuple[int, ...], dict[int, float]] = {}

    def logits(behind: tuple[int, ...]) -> torch.Tensor:
        ids = torch.cat([inputs["input_ids"], torch.tensor([behind], dtype=torch.long)], 1)
        more = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in inputs:
            more["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(behind)))
        with torch.inference_mode():
            return backend._model(**{**inputs, **more}, use_cache=False).logits[0, -1]

    def share(behind: tuple[int, ...]) -> dict[int, float]:
        if behind not in shares:
            allowed = sorted({row[len(behind)] for row in rows if row[: len(behind)] == behind})
            values = torch.softmax(logits(behind)[allowed].float(), 0) if len(allowed) > 1 else torch.ones(1)
            shares[behind] = dict(zip(allowed, values.tolist(), strict=True))
        return shares[behind]

    written: tuple[int, ...] = ()
    while written not in rows:
        here = share(written)
        written += (max(here, key=lambda token: here[token]),)
    probabilities = [float(np.prod([share(row[:at])[row[at]] for at in range(len(row))])) for row in rows]
    return rows.index(written), probabilities


@pytest.mark.parametrize("replies", [SENTENCES, ("yes", "no", "not at all", "n"), ("one",)], ids=["ten", "few", "one"])
def test_one_pass_is_greedy_under_the_grammar(backend, replies):
    choice = backend.choose(prompt(), replies)
    index, probabilities = greedy(backend, prompt(), replies)
    assert choice.index == index
    assert choice.probabilities == pytest.approx(probabilities, abs=1e-4)
    assert sum(choice.probabilities) == pytest.approx(1.0)


def test_what_is_kept_is_what_is_computed_anew(backend):
    backend._kept = None
    hits = backend.cache_counts().hits
    backend.choose(prompt(ending="is a door open"), SENTENCES)
    found = backend.choose(prompt(ending="is it dark, or what else is there"), SENTENCES)
    assert backend.cache_counts().hits == hits + 1
    again = backend.choose(prompt(ending="is"), SENTENCES)
    backend._kept = None
    anew = backend.choose(prompt(ending="is it dark, or what else is there"), SENTENCES)
    assert found.probabilities == pytest.approx(anew.probabilities, abs=1e-4)
    backend._kept = None
    assert again.probabilities == pytest.approx(backend.choose(prompt(ending="is"), SENTENCES).probabilities, abs=1e-4)


def test_other_pictures_are_read_anew(backend):
    first, second = (backend.choose(prompt(first=number), SENTENCES) for number in (0, 5))
    assert first.probabilities != second.probabilities
    assert backend.choose(prompt(first=0), SENTENCES).probabilities == pytest.approx(first.probabilities, abs=1e-4)


def test_what_is_written_is_greedy(backend):
    text = backend.generate(prompt(), 6)
    inputs = backend._inputs(prompt())
    with torch.inference_mode():
        whole = backend._model.generate(**inputs, do_sample=False, max_new_tokens=6)
    new = whole[0, inputs["input_ids"].shape[1] :]
    assert text == backend._tokenizer.decode(new, skip_special_tokens=True)


def test_it_navigates_and_answers_event_queries(backend):
    navigator = Navigator(backend, NavigatorConfig(reply="choice"), HistoryConfig())
    navigator.start(Instruction("go to the chair"))
    for step in range(1, 4):
        navigator.observe(frame(step), Odometry(step, Pose(0.5 * step)))
        navigator.idle()
        decision = navigator.decide(step)
        assert decision.action is not None, decision
    localizer = Localizer(backend, EventsConfig())
    frames = tuple(Frame(frame(number).image, number * 10**9) for number in range(3))
    assert all(one.start_ns <= one.end_ns for one in localizer.locate("the door opens", frames))


def test_what_it_cannot_do_is_an_error(backend, monkeypatch):
    averaged = Prompt("<image>", (Visual(frame(0), 4),))
    with pytest.raises(BackendError, match=r"history\.policy"):
        backend.choose(averaged, SENTENCES)
    with pytest.raises(BackendError, match="relevance"):
        backend.relevance("x", [])
    with pytest.raises(BackendError, match="positions"):
        backend.choose(Prompt("word " * 9000), SENTENCES)
    assert not backend.encode(frame(0))
    backend._kept = None
    with monkeypatch.context() as patched:
        head = backend._model.get_output_embeddings()
        patched.setattr(head, "forward", lambda hidden: hidden.new_full((*hidden.shape[:-1], 320), float("nan")))
        with pytest.raises(NotFiniteError):
            backend.choose(prompt(), SENTENCES)


@pytest.mark.parametrize("family", OWN_PROCESSOR)
def test_a_directory_is_loaded_and_closed(family, tmp_path):
    write_checkpoint(family, tmp_path / family)
    loaded = load_backend("transformers", tmp_path / family)
    assert loaded.info.name == family and loaded.info.visual_tokens >= 4 and loaded.info.prompt_style == "vila"
    model, processor = make_model(family)
    same = TransformersBackend(model, processor, HuggingFaceConfig("x"))
    expected = same.choose(prompt(), SENTENCES).probabilities
    assert loaded.choose(prompt(), SENTENCES).probabilities == pytest.approx(expected, abs=1e-4)
    loaded.close()
    with pytest.raises(BackendError, match="closed"):
        loaded.choose(prompt(), SENTENCES)


def test_code_of_a_checkpoint_runs_only_where_it_is_allowed(tmp_path):
    folder, mark = tmp_path / "own", tmp_path / "ran"
    folder.mkdir()
    auto = {"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model", "AutoProcessor": "code.Processor"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w').close()\nraise SystemError('it ran')\n")
    with pytest.raises(BackendError, match="trust_remote_code: true"):
        load_backend("transformers", folder)
    file = tmp_path / "own.yaml"
    file.write_text(f"checkpoint: {folder}\n")
    with pytest.raises(BackendError, match="trust_remote_code: true"):
        load_backend("transformers", file)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("other: 1", ConfigError),
        ("checkpoint: /nowhere", CheckpointError),
        ("num_frames: 0", ConfigError),
        ("- a", CheckpointError),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text, error):
    file = tmp_path / "model.yaml"
    file.write_text(text)
    with pytest.raises(error):
        load_backend("transformers", file)


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(CheckpointError) as raised:
        load_backend("transformers", tmp_path)
    assert "\n" not in str(raised.value)
