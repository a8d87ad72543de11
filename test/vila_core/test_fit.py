"""`vila fit`: what is predicted for a device, and what is said if it does not fit."""

from __future__ import annotations

import json

import pytest

from vila_core.cli import main as vila
from vila_core.commands.fit import here, run
from vila_core.commands.fit.devices import DEVICES
from vila_core.commands.fit.predict import PRECISIONS, decode_ms, predict, step_ms
from vila_core.commands.fit.steps import Step, missions
from vila_core.commands.model_shapes import SHAPES, tiny
from vila_core.commands.random_files import (
    language_json,
    pixels_json,
    projector_json,
    top_json,
    vision_json,
    write_json,
    write_tokenizer,
)
from vila_core.config import HISTORY_POLICIES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.models.config_reader import config_of, read_checkpoint_config
from vila_core.models.layouts import open_layout

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
    monkeypatch.setattr(here, "_speeds", lambda device: (40.0, 0.1, 0.4))
    status, _, report = fit(EMBEDDED_CHECKPOINT, "--device", "cpu", "--precision", "float32")
    device = report["device"]
    assert status == 0 and device["kind"] == "cpu" and 0 <= device["other_mb"] < device["memory_mb"]
    assert device["int8"] == 2 * device["half"]
    assert report["rows"][0]["memory_mb"]["libraries"] == LIBRARIES_MB


def test_speeds_are_measured_in_plain_units():
    bandwidth, float32, half = here._speeds(here.torch.device("cpu"))
    assert 0.1 < bandwidth < 10_000 and 1e-4 < float32 < 1000 and 1e-4 < half < 1000


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
    """Spec quantization.md: NVILA-2B at 4.25 bits reads 820 MB a token, its quantized head among them."""
    config = read_checkpoint_config(nvila)
    milliseconds = decode_ms(config, PRECISIONS["w4a16"], 0, DEVICES["agx-orin-64gb"])
    assert milliseconds * 204.8 == pytest.approx(820, rel=0.01)
    plain = decode_ms(config, PRECISIONS["float16"], 0, DEVICES["agx-orin-64gb"])
    assert plain / milliseconds == pytest.approx(16 / 4.25, rel=0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_step_is_quicker_than_a_shorter_one(nvila, precision):
    config, storage = read_checkpoint_config(nvila), PRECISIONS[precision]
    times = [step_ms(config, storage, Step(encodes, new, reused), NANO) for encodes, new, reused in LONGER]
    assert times == sorted(times) and times[0] > 0


LONGER = [(0, 1, 0), (0, 1, 500), (0, 200, 500), (0, 513, 500), (1, 513, 500), (2, 2000, 500)]
