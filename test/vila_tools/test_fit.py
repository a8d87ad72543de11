"""`vila fit`: what is predicted for a device, and what is said if it does not fit."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HISTORY_POLICIES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.models.costs import Storage
from vila_core.models.encoders import frame_tokens
from vila_core.models.roofline import StepCounts, decode_floor_ms, step_floor_ms
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import config_of, read_checkpoint_config
from vila_core.models.stored.layouts import open_layout
from vila_core.random_checkpoints.description import (
    language_json,
    pixels_json,
    projector_json,
    top_json,
    vision_json,
    write_json,
)
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_core.random_checkpoints.tokenizer import write_tokenizer
from vila_tools.cli import main as vila
from vila_tools.finetune.plan import Plan, apply_plan
from vila_tools.finetune.replies import Examiner
from vila_tools.finetune.samples import Sample
from vila_tools.fit import here, probe, run, training_table
from vila_tools.fit.devices import DEVICES
from vila_tools.fit.predict import PRECISIONS, predict, roofline_of
from vila_tools.fit.probe import (
    Measured,
    Pass,
    measure_decision,
    measure_parts,
    stays_in_caches,
    with_whole_decisions,
)
from vila_tools.fit.steps import missions
from vila_tools.fit.training import Batch, activation_bytes, trained_counts

LIBRARIES_MB = 300.0
NANO = DEVICES["orin-nano-8gb"]


def json_only(folder, like):
    """A checkpoint's JSON files and a small tokenizer: nothing else is read."""
    shape = SHAPES[like]
    (folder / "llm").mkdir(parents=True)
    write_json(folder / "config.json", top_json(shape, like, "classic"))
    write_json(folder / "llm" / "config.json", language_json(shape))
    write_json(folder / "vision_tower" / "config.json", vision_json(shape))
    write_json(folder / "vision_tower" / "preprocessor_config.json", pixels_json(shape))
    write_json(folder / "mm_projector" / "config.json", projector_json(shape))
    write_tokenizer(folder / "llm", tiny(shape))
    return folder


@pytest.fixture(scope="module")
def nvila(tmp_path_factory):
    return json_only(tmp_path_factory.mktemp("fit") / "nvila", "nvila-lite-2b")


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    monkeypatch.setattr(run, "libraries_mb", lambda: LIBRARIES_MB)


@pytest.fixture
def fit(capsys):
    def call(*arguments):
        status = vila(["fit", *map(str, arguments)])
        out = capsys.readouterr().out
        return status, out, json.loads(out.splitlines()[-1])

    return call


def test_every_precision_and_policy_has_a_row(fit):
    status, out, report = fit(EMBEDDED_CHECKPOINT, "--device", "orin-nano-8gb")
    assert status == 0 and report["kernels"].keys() == {"instruction_set", "origin", "reason"}
    rows = {(row["precision"], row["policy"]): row for row in report["rows"]}
    assert set(rows) == {(precision, policy) for precision in PRECISIONS for policy in HISTORY_POLICIES}
    assert all(
        row["fits"] and sum(row["memory_mb"].values()) == pytest.approx(row["total_mb"], abs=1) for row in rows.values()
    )
    assert "26 %" in out and "73 %" in out and "a prediction, not a measurement" in out


def test_what_does_not_fit_is_explained_with_what_would(nvila, fit):
    asked = ("--device", "orin-nano-8gb", "--policy", "streaming", "--other-mb", "3500")
    status, out, report = fit(nvila, *asked, "--precision", "bfloat16")
    (row,) = report["rows"]
    assert status == 1 and not row["fits"]
    assert f"{row['total_mb']:.0f} MB are needed, {report['left_mb']:.0f} MB are left" in out
    advice = next(line for line in out.splitlines() if line.startswith("What would fit: "))
    assert "w4a16+w8a8 with streaming (" in advice and "float" not in advice
    assert fit(nvila, *asked, "--precision", "w4a16+w8a8")[0] == 0
    status, out, _ = fit(nvila, "--device", "orin-nano-8gb", "--other-mb", "7900")
    assert status == 1 and "nothing; take a smaller checkpoint" in out


def test_a_history_that_the_model_does_not_read_does_not_fit(nvila, fit):
    status, _, report = fit(
        nvila, "--device", "agx-orin-64gb", "--precision", "w4a16", "--policy", "navila", "--frames", "300"
    )
    assert status == 1 and "the model reads 32768" in report["rows"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--frames", "0"), "--frames 0"), (("--other-mb", "-1"), "--other-mb -1")]
)
def test_impossible_options_are_named(arguments, words, capsys):
    assert vila(["fit", str(EMBEDDED_CHECKPOINT), "--device", "rtx-4090", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_this_machine_is_a_device(fit, monkeypatch):
    monkeypatch.setattr(here, "_cpu_speeds", lambda: QUICK)
    status, out, report = fit(EMBEDDED_CHECKPOINT, "--device", "cpu", "--precision", "float32")
    device = report["device"]
    assert status == 0 and device["kind"] == "cpu" and 0 <= device["other_mb"] < device["memory_mb"]
    assert {name: device[name] for name in dataclasses.asdict(QUICK)} == dataclasses.asdict(QUICK)
    row = report["rows"][0]
    assert row["memory_mb"]["libraries"] == LIBRARIES_MB
    assert row["step_ms"] == pytest.approx([row["expected_ms"]["step_ms"]] * 2, abs=0.051)  # rounded to other places
    assert row["expected_ms"]["decode_ms"] > 0
    assert "which were timed just now; a prediction, not a measurement" in out


def test_speeds_are_measured_in_plain_units():
    assert all(1e-5 < speed < 10_000 for speed in dataclasses.astuple(here._cpu_speeds()))


QUICK = here._Speeds(bandwidth_gbps=40.0, float32=0.1, half=0.21, int8=0.4, float16=0.001)
EMULATED = dataclasses.replace(QUICK, half=0.00125)


@pytest.mark.parametrize(
    ("speeds", "auto", "dtype_bytes", "emulated"),
    [(QUICK, "bfloat16", 2, {"float16"}), (EMULATED, "float32", 4, {"bfloat16", "float16"})],
)
def test_the_row_that_auto_takes_is_marked_and_emulated_ones_say_so(
    speeds, auto, dtype_bytes, emulated, nvila, fit, monkeypatch
):
    monkeypatch.setattr(here, "_cpu_speeds", lambda: speeds)
    monkeypatch.setattr(run, "measure_decision", lambda *_: 10.0)
    timed = []
    monkeypatch.setattr(run, "measure_parts", lambda *arguments: timed.append(arguments[1:]) or parts(arguments[3]))
    _, out, report = fit(nvila, "--device", "cpu", "--policy", "streaming")
    rows = {row["precision"]: row for row in report["rows"]}
    assert [name for name, row in rows.items() if row["auto"]] == [auto] == [report["auto"]["name"]]
    assert {name for name, row in rows.items() if row["times_slower_than_float32"]} == emulated
    assert f"{auto} (auto)" in out and "emulated: this processor has no such arithmetic" in out
    if "bfloat16" in emulated:
        assert "bfloat16 (emulated, 80x slower)" in out
        layers = [rows[name]["expected_ms"]["step_ms"] - 10.0 for name in ("bfloat16", "float32")]
        assert layers[0] == pytest.approx(80 * layers[1], rel=1e-3)
    assert not emulated & {precision for precision, *_ in timed}
    small = [(precision, storage.dtype_bytes) for precision, storage, _ in timed if storage.language_bits]
    assert small == [(auto, dtype_bytes)] * 2


def parts(decision_ms):
    return Measured(decision_ms, 100.0, (Pass(1, 10.0, 0.01), Pass(32, 40.0, 0.02), Pass(256, 240.0, 0.1)), 5.0)


def test_float32_weights_are_twice_the_file(nvila, fit, monkeypatch):
    monkeypatch.setattr(here, "_cpu_speeds", lambda: EMULATED)
    monkeypatch.setattr(run, "measure_decision", lambda *_: 10.0)
    monkeypatch.setattr(run, "measure_parts", lambda *arguments: parts(10.0))
    _, _, report = fit(nvila, "--device", "cpu", "--policy", "streaming")
    weights = {row["precision"]: row["memory_mb"]["language_model"] for row in report["rows"]}
    assert weights["float32"] == pytest.approx(2 * weights["bfloat16"], rel=1e-3)


@pytest.mark.parametrize(
    ("new", "past", "ms"), [(1, 0, 10), (1, 100, 11), (32, 100, 42), (144, 0, 140), (512, 0, 468.57)]
)
def test_a_pass_is_on_the_line_between_those_that_were_timed(new, past, ms):
    assert parts(0.0).pass_ms(new, past) == pytest.approx(ms, abs=0.01)


def test_a_step_is_its_decision_its_frames_and_its_chunks():
    measured = parts(7.0)
    chunks = measured.pass_ms(512, 30) + measured.pass_ms(88, 542)
    assert measured.step_ms(StepCounts(2.0, 600.0, 30.0)) == pytest.approx(7 + 2 * 100 + chunks)
    assert measured.slower(80).step_ms(StepCounts(2.0, 600.0, 30.0)) == pytest.approx(7 + 80 * (200 + chunks))


PARTS = [((0, 0), "float32"), pytest.param((0, 0), "bfloat16", marks=pytest.mark.long), ((4, 8), "float32")]


@pytest.mark.parametrize(("bits", "precision"), PARTS)
def test_parts_of_every_kind_are_timed(bits, precision):
    layout = open_layout(EMBEDDED_CHECKPOINT)
    storage = Storage(2 if precision == "bfloat16" else 4, *bits)
    found = measure_parts(layout, precision, storage, 3.0)
    assert [each.new for each in found.passes] == [1, 32, 256] and found.decision_ms == 3.0
    assert found.encode_ms > 0 and found.head_ms > 0 and found.pass_ms(256, 0) > 0
    assert measure_decision(layout, precision) > 0


def test_a_small_model_is_measured_whole(monkeypatch):
    layout = open_layout(EMBEDDED_CHECKPOINT)
    (mission,) = missions(layout, ["navila"])
    monkeypatch.setattr(probe, "_decide_ms", lambda *_: 25.0)
    corrected = with_whole_decisions(parts(3.0), layout, "float32", Storage(4), mission)
    assert corrected.step_ms(mission.mean) == pytest.approx(25.0)
    assert dataclasses.replace(corrected, decision_ms=3.0) == parts(3.0)


def test_only_what_stays_in_the_caches_is_small(nvila):
    small, large = (config_of(open_layout(path)) for path in (EMBEDDED_CHECKPOINT, nvila))
    assert stays_in_caches(small, Storage(4)) and not stays_in_caches(large, Storage(2, 4, 8))


def test_only_where_memory_is_shared_does_the_process_count():
    layout = open_layout(EMBEDDED_CHECKPOINT)
    (mission,) = missions(layout, ["navila"])
    of = {
        name: predict(
            config_of(layout), "float16", mission, DEVICES[name], tokenizer=10, libraries_mb=LIBRARIES_MB
        ).memory
        for name in ("orin-nano-8gb", "rtx-4090")
    }
    assert of["orin-nano-8gb"].libraries == of["rtx-4090"].libraries + LIBRARIES_MB
    assert of["orin-nano-8gb"].camera_frames > of["rtx-4090"].camera_frames == 0


def test_append_only_policies_read_less_than_navila_s(nvila):
    navila, streaming, window = missions(open_layout(nvila))
    assert [mission.policy for mission in (navila, streaming, window)] == list(HISTORY_POLICIES)
    assert streaming.mean.new_tokens < 0.5 * navila.mean.new_tokens
    assert all(mission.mean.encodes >= 1.0 for mission in (navila, streaming, window))
    assert all(
        step.new_tokens + step.reused_tokens <= mission.prompt_tokens
        for mission in (navila, streaming, window)
        for step in mission.steps
    )
    with pytest.raises(ConfigError, match="--frames 0"):
        missions(open_layout(nvila), num_frames=0)


def test_the_floors_are_those_of_the_specification(nvila):
    """NVILA-2B at 4.25 bits reads 820 MB a token, its quantized head among them."""
    config, device = read_checkpoint_config(nvila), DEVICES["agx-orin-64gb"]

    def decode_ms(storage):
        return decode_floor_ms(config, storage, 0, roofline_of(device, storage))

    milliseconds = decode_ms(PRECISIONS["w4a16"])
    assert milliseconds * 204.8 == pytest.approx(820, rel=0.01)
    assert decode_ms(PRECISIONS["float16"]) / milliseconds == pytest.approx(16 / 4.25, rel=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_step_is_quicker_than_a_shorter_one(nvila, precision):
    config, storage = read_checkpoint_config(nvila), PRECISIONS[precision]
    roofline = roofline_of(NANO, storage)
    times = [step_floor_ms(config, storage, StepCounts(*counts), roofline, chunk=512) for counts in LONGER]
    assert times == sorted(times) and times[0] > 0


LONGER = [(0, 1, 0), (0, 1, 500), (0, 200, 500), (0, 513, 500), (1, 513, 500), (2, 2000, 500)]


def test_training_is_foreseen_for_each_way(nvila, capsys, monkeypatch):
    monkeypatch.setattr(training_table, "libraries_mb", lambda: LIBRARIES_MB)
    status = vila(["fit", str(nvila), "--device", "rtx-4090", "--train", "--batch", "2"])
    out = capsys.readouterr().out
    report = json.loads(out.splitlines()[-1])
    rows = {(row["way"], row["precision"], row["saves_memory"]): row for row in report["rows"]}
    assert status == 0 and report["batch"]["samples"] == 2 and "--save-memory" in out
    lora, full = rows["lora", "bfloat16", True], rows["full", "bfloat16", True]
    assert lora["fits"] and not full["fits"] and lora["total_mb"] < 0.3 * full["total_mb"]
    assert lora["memory_mb"]["activations"] < rows["lora", "bfloat16", False]["memory_mb"]["activations"]
    assert rows["lora", "float8", True]["memory_mb"]["frozen_weights"] < lora["memory_mb"]["frozen_weights"]
    trained = full["memory_mb"]["trained_weights"]
    assert full["memory_mb"]["optimizer"] == pytest.approx(2 * trained, rel=1e-3)
    assert vila(["fit", str(nvila), "--device", "rtx-4090", "--train", "--batch", "0"]) == 2
    assert "--batch 0: must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("plan", [Plan(), Plan(tower="frozen"), Plan(decoder="full", tower="full")])
def test_what_training_keeps_is_what_autograd_keeps(plan, saves, tmp_path):
    """Counted on a model of one part each, small and wide enough that the counts of autograd say something."""
    shape = dataclasses.replace(tiny(SHAPES["nvila-lite-2b"]))
    make_random(tmp_path / "m", shape, name="m")
    model = load_checkpoint(tmp_path / "m", precision="float32")
    plan = dataclasses.replace(plan, saves_memory=saves)
    trained = apply_plan(model, plan)
    counts = {"vision_tower": "tower", "projector": "projector", "language_model": "decoder"}
    stated = trained_counts(model.config, plan)
    assert {part: stated[name] for name, part in counts.items() if stated[name]} == {
        part: sum(weight.numel() for weight in weights) for part, weights in trained.items()
    }
    examiner = Examiner(model)
    frames = [np.full((8, 8, 3), shade, np.uint8) for shade in range(0, 200, 20)]
    asked = [examiner.ask(Sample("go", SENTENCES[1], frames, "a"))] * 1
    kept: dict[int, int] = {}

    def keep(tensor):
        if not isinstance(tensor, torch.nn.Parameter) and tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        examiner.replies(asked).losses().mean()
    tokens = sum(len(run.ids) if run.visual is None else frame_tokens(model.config) for run in asked[0].segments)
    batch = Batch(1, examiner.info.num_frames, tokens + len(asked[0].reply))
    foreseen = activation_bytes(model.config, plan, "float32", batch)
    if saves:  # a layer that is run again is in it too
        whole = activation_bytes(model.config, dataclasses.replace(plan, saves_memory=False), "float32", batch)
        assert 0.6 * sum(kept.values()) < foreseen < whole
    else:
        assert 0.6 * sum(kept.values()) < foreseen < 2.0 * sum(kept.values())
