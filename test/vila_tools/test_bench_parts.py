"""The parts of a quantized model beside the peers: what each target computes, and a whole small run."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from vila_core.errors import BackendError
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.benchmark import parts as program
from vila_tools.benchmark.part_targets import HALVES, PARTS, Conversion, Part, rows_needed, typical_ms
from vila_tools.benchmark.parts import (
    CONVERT_OURS,
    OURS,
    Measured,
    measure_parts,
    own_job,
    parts_result,
    parts_table,
    peer_job,
)
from vila_tools.benchmark.peers.table import PEERS, Form, peers_for
from vila_tools.benchmark.target import StepJob
from vila_tools.cli import main as vila

pytestmark = pytest.mark.slow
PROMPT, NEW = 40, 8


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    make_random(folder / "checkpoint", tiny(SHAPES["nvila-lite-2b"]), name="nvila-lite-2b")
    return StepJob(str(folder / "checkpoint"), 3, 5, 1, "bfloat16", prompt_tokens=PROMPT, folder=str(folder))


def targets(half):
    """Ours, and the peers as far as they are installed: (name, target, converter)."""
    yield pytest.param("ours", OURS[half], CONVERT_OURS, id="ours")
    for name in peers_for(*HALVES):
        form = PEERS[name][half]
        if isinstance(form, Form):
            absent = [library for library in form.libraries if importlib.util.find_spec(library) is None]
            skip = pytest.mark.skipif(bool(absent), reason=f"not installed: {absent}")
            yield pytest.param(name, form.target, form.converter, id=name, marks=skip)


def named(target):
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def load(name, half, target, converter, job):
    told = own_job(job) if name == "ours" else peer_job(job, name, half)
    if converter and not Path(told.folder).exists():
        named(converter)(told)
    return named(target)(told)


def difference(left, right):
    return np.abs(left - right).max() / np.abs(right).max()


@pytest.mark.parametrize(("name", "target", "converter"), list(targets("decoder")))
def test_a_decoder_reads_behind_its_prompt_what_it_would_read_in_one_pass(name, target, converter, job):
    decoder = load(name, "decoder", target, converter, job)
    behind = []
    for method in ("pass8", "decode"):  # whatever was read behind the prompt before is forgotten
        decoder.prepare(method)
        behind.append(np.array(decoder.read(NEW)))
        assert decoder.step(method)["ms"] > 0
    assert behind[0].shape == (decoder.config.language.vocab_size,)
    assert difference(*behind) < 1e-4
    whole = np.array(decoder.prefill(PROMPT + NEW))
    assert difference(behind[0], whole) < 0.05
    other = np.array(decoder.prefill(PROMPT + NEW - 1))
    assert difference(other, whole) > 0.05


@pytest.mark.parametrize(("name", "target", "converter"), list(targets("decoder")))
def test_what_a_decoder_reads_depends_on_the_prompt(name, target, converter, job):
    decoder = load(name, "decoder", target, converter, job)
    whole = np.array(decoder.prefill(PROMPT + NEW))
    decoder.ids[: PROMPT // 2] = decoder.ids[: PROMPT // 2][::-1].copy()
    assert difference(np.array(decoder.prefill(PROMPT + NEW)), whole) > 0.001


@pytest.mark.parametrize(("name", "target", "converter"), list(targets("tower")))
def test_a_tower_encodes_one_picture(name, target, converter, job):
    tower = load(name, "tower", target, converter, job)
    tower.prepare("image")
    assert tower.step("image")["ms"] > 0
    tokens = np.array(tower.encode())
    assert tokens.shape[1] == tower.config.language.hidden_size
    assert np.isfinite(tokens).all()
    assert tokens.std() > 0


def test_the_untimed_runs_of_a_turn_do_not_count(monkeypatch):
    clock = iter([0.0, 9.0, 9.0, 10.0, 10.0, 14.0, 14.0, 16.0])
    monkeypatch.setattr("vila_tools.benchmark.part_targets.time.perf_counter", lambda: next(clock))
    assert typical_ms(Part(1, True, untimed=1, repeats=3, about=""), lambda: None) == pytest.approx(2000.0)


def test_a_cache_has_room_for_the_longest_turn_and_for_the_longest_part(job):
    assert rows_needed(job) == PARTS["prefill256"].tokens
    turn = max(part.tokens * (part.untimed + part.repeats) for part in PARTS.values() if part.behind_prompt)
    assert rows_needed(StepJob("x", 1, 1, 1, "float32", prompt_tokens=1300)) == 1300 + turn


def test_a_conversion_that_fails_leaves_nothing(job, tmp_path):
    elsewhere = StepJob(job.checkpoint, 1, 1, 1, "float32", folder=str(tmp_path / "peer"))

    def fail(_config, folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    def succeed(_config, folder):
        (folder / "whole").write_text("x")

    with pytest.raises(OSError, match="disk full"):
        Conversion(elsewhere, fail)
    assert not Path(elsewhere.folder).exists()
    Conversion(elsewhere, succeed)
    assert [file.name for file in Path(elsewhere.folder).iterdir()] == ["whole"]


def measured():
    rounds = [{"ours": 10.0, "a": 30.0, "b": 20.0}, {"ours": 20.0, "a": 30.0, "b": 50.0}, {"ours": 10.0, "b": 10.0}]
    said = {"precision": "int4", "versions": {"lib": "1"}}
    facts = {name: {"decoder": said} for name in ("ours", "a", "b")}
    resident = {name: {"decoder": 12.0} for name in facts}
    return Measured({"decode": rounds}, {"c.tower": "not installed: c"}, resident, facts)


def test_a_part_compares_ours_with_the_quickest_of_each_round(job):
    result = parts_result(measured(), job, read_checkpoint_config(job.checkpoint))
    decode = result["decode"]
    assert decode["ours_ms"] == 10.0
    assert decode["peers"] == {"b": 20.0, "a": 30.0}
    assert decode["best_peer"] == "b"
    assert decode["best_peer_over_ours"] == 1.5  # of 2, 1.5 and 1
    assert decode["min_ms"] == {"ours": 10.0, "a": 30.0, "b": 10.0}
    assert result["versions"]["a"] == {"lib": "1"}
    lines = list(parts_table(result))
    assert any(line.startswith("ours") and "10.0 (10.0)" in line for line in lines)
    assert lines[-1] == "c.tower: missing: not installed: c"


@pytest.mark.long
def test_a_peer_that_fails_is_missing_and_the_run_goes_on(job, monkeypatch):
    broken = Form("vila_tools.benchmark.target:NoSuchClass", (), 0.0, "")
    unconverted = Form("x:y", (), 0.0, "", "vila_tools.benchmark.target:NoSuchFunction")
    peers = {
        "broken": {"decoder": broken, "tower": "has none"},
        "unconverted": {"decoder": unconverted, "tower": Form("x:y", ("no_such_library",), 0.0, "")},
    }
    monkeypatch.setattr(program, "PEERS", peers)
    found = measure_parts(job, list(peers), rounds=2, warm_up=False)
    assert "NoSuchClass" in found.missing["broken.decoder"]
    assert found.missing["broken.tower"] == "has none"
    assert "NoSuchFunction" in found.missing["unconverted.decoder"]
    assert "not installed" in found.missing["unconverted.tower"]
    assert {part: len(rounds) for part, rounds in found.rounds.items()} == dict.fromkeys(PARTS, 2)
    assert all(set(row) == {"ours"} for rounds in found.rounds.values() for row in rounds)
    assert set(found.resident_mb["ours"]) == set(HALVES)


def test_a_half_of_which_no_part_is_wanted_is_not_loaded(job, monkeypatch):
    monkeypatch.setattr(program, "OURS", OURS | {"tower": "vila_tools.benchmark.target:NoSuchClass"})
    found = measure_parts(job, ["torch_plain"], rounds=1, wanted=("pass8", "decode"), warm_up=False)
    assert set(found.rounds) == {"decode", "pass8"} and set(found.resident_mb["ours"]) == {"decoder"}
    assert set(found.missing) == {"torch_plain.decoder"}
    assert any(
        line.startswith("ours")
        for line in parts_table(parts_result(found, job, read_checkpoint_config(job.checkpoint)))
    )


def test_what_was_converted_is_not_converted_again(job, monkeypatch, tmp_path):
    elsewhere = own_job(dataclasses.replace(job, folder=str(tmp_path)))
    Path(elsewhere.folder).mkdir()
    started = []
    monkeypatch.setattr(program, "WorkerProcess", lambda target, _job: started.append(target) or pytest.fail("started"))
    program._convert_one(elsewhere, CONVERT_OURS)
    assert started == []


def test_ours_must_not_fail(job, monkeypatch):
    monkeypatch.setattr(program, "OURS", dict.fromkeys(HALVES, "vila_tools.benchmark.target:NoSuchClass"))
    with pytest.raises(BackendError, match="NoSuchClass"):
        measure_parts(job, [], rounds=1)


@pytest.mark.long
def test_the_quick_run_prints_one_object_last_and_keeps_what_it_converted(tmp_path, capsys):
    arguments = ["--parts", "--quick", "--rounds", "1", "--peers", "none", "--threads", "1", "--no-warm-up"]
    arguments += ["--keep", str(tmp_path)]
    assert vila(["bench", "step", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(PARTS) < set(result)
    assert all(result[part]["ours_ms"] > 0 and result[part]["best_peer"] is None for part in PARTS)
    assert result["shape"]["name"] == "nvila-lite-small"
    kept = tmp_path / "nvila-lite-small"
    assert {folder.name for folder in kept.iterdir()} == {"checkpoint", "ours"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--parts", "--peers", "transformers"], "unknown peer 'transformers'; known: all, none, llama_cpp"),
        (["--parts", "decode,tower"], "unknown part 'tower'; known: all, decode, pass8"),
        (["--parts", ","], "--parts names none"),
        (["--keep", "x"], "--keep is for --parts"),
    ],
)
def test_impossible_arguments_are_input_errors(arguments, words, capsys):
    assert vila(["bench", "step", "--quick", *arguments]) == 2
    assert words in capsys.readouterr().err
