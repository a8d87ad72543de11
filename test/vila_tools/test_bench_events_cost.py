"""Ten standing queries beside one, at a small shape, and random checkpoints that tell time."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.torch_backend import TorchBackend, load_model
from vila_core.errors import ConfigError
from vila_tools.benchmark import events_cost
from vila_tools.checkpoint import make_random


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("random") / "tiny"
    torch.set_num_threads(1)
    assert make_random.main(["--like", "nvila-lite-2b", "--tiny", "--time-tokens", "10", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, "cpu", "float32")


def test_a_random_checkpoint_has_the_time_tokens_that_were_asked_for(model):
    info = TorchBackend(model, "float32").info
    assert info.time_tokens == tuple(f"<t{number}>" for number in range(10))
    (token,) = model.tokenizer.encode("<t9>")
    assert model.config.time_tokens.count == 10 and token < model.config.language.vocab_size


@pytest.mark.parametrize(("like", "count"), [("nvila-lite-2b", "1"), ("navila-8b", "100")])
def test_time_tokens_that_cannot_be_are_refused(like, count, tmp_path):
    with pytest.raises(ConfigError, match="time tokens"):
        make_random.main(["--like", like, "--time-tokens", count, "--out", str(tmp_path / "none")])


@pytest.mark.parametrize("all_seen", [False, True])
def test_each_side_reads_one_new_frame_an_evaluation(model, all_seen, monkeypatch):
    passes = []
    original = TorchBackend.choose_each
    monkeypatch.setattr(TorchBackend, "choose_each", lambda self, p, r: passes.append(len(p)) or original(self, p, r))
    result = events_cost.events_cost(model, "float32", 7, 2, all_seen=all_seen)
    assert result["method"] == "TIME_TOKENS" and result["one_ms"] > 0 and result["ten_ms"] > 0 and result["ratio"] > 0
    evaluations = 2 * (1 + 2)  # two sides, what fills the window and two rounds
    assert len(passes) == (2 * evaluations if all_seen else evaluations)
    assert set(passes) == {1, 10}


def test_the_window_of_a_relevance_head_moves_by_two_frames(monkeypatch):
    asked = []
    original = TorchBackend.relevance
    monkeypatch.setattr(TorchBackend, "relevance", lambda self, q, f: asked.append((q, f)) or original(self, q, f))
    result = events_cost.events_cost(load_model(EMBEDDED_CHECKPOINT, "cpu", "float32"), "float32", 6, 2)
    assert result["method"] == "RELEVANCE"
    windows = [frames for question, frames in asked if question == events_cost.QUERIES[-1]]  # the tenth
    assert [len(window) for window in windows] == [6, 6, 6]
    assert [after[:-2] == before[2:] for before, after in itertools.pairwise(windows)] == [True, True]


def test_rounds_for_which_there_is_no_room(model):
    for frames, rounds in ((4, 0), (4, 9)):
        with pytest.raises(ConfigError, match="rounds"):
            events_cost.events_cost(model, "float32", frames, rounds)


def test_the_program_prints_one_object_last(checkpoint, capsys, tmp_path):
    file = tmp_path / "cost.json"
    arguments = ["--checkpoint", str(checkpoint), "--frames", "3", "--rounds", "1", "--threads", "1"]
    assert events_cost.main([*arguments, "--json", str(file)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert {"one_ms", "ten_ms", "ratio", "frames", "threads", "precision"} <= set(result)
