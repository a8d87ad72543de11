"""The long run: windows of steps, a short run of vila-nano, and a video in one prompt."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import HistoryConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, ModelInfo
from vila_core.engine.torch_backend import load_torch_backend
from vila_core.errors import BackendError, ConfigError
from vila_core.testing import SCRIPTED_INFO, make_frame
from vila_tools.benchmark import flat
from vila_tools.benchmark.flat import Run, merged_visuals, run, video_prompt

NANO = dataclasses.replace(SCRIPTED_INFO, num_frames=4, history_tokens=4, visual_tokens=16)


@pytest.fixture(scope="module")
def nano():
    torch.set_num_threads(1)
    backend = load_torch_backend(EMBEDDED_CHECKPOINT, device="cpu", precision="float32")
    yield backend
    backend.close()


def test_a_window_stands_around_its_step():
    long = Run(tuple(float(number) for number in range(1, 101)), {})
    assert long.around(50) == long.mean_around(50) == 50.0
    assert long.around(1) == 6.0  # of 1 to 11
    assert Run((1.0,) * 20 + (22.0,), {}).mean_around(11) == 2.0
    with pytest.raises(ValueError, match="none around 500"):
        long.around(500)


def test_every_step_decides_and_no_frame_is_encoded_twice(nano):
    misses = nano.visual_cache.misses
    steps = run(nano, HistoryConfig(), 12, marks=(3, 12))
    assert len(steps.steps_ms) == 12
    assert set(steps.resident_mb) == {3, 12}
    assert nano.visual_cache.misses - misses <= 12 + 1  # and the black one before the first


def test_a_step_that_holds_ends_the_run(nano, monkeypatch):
    monkeypatch.setattr(nano, "choose", lambda prompt, replies: (_ for _ in ()).throw(BackendError("no memory")))
    with pytest.raises(BackendError, match="no memory"):
        run(nano, HistoryConfig(), 2)


@given(st.integers(1, 300), st.integers(64, 2000))
def test_every_frame_of_a_video_is_in_one_visual_and_all_fit(count, room):
    frames = [make_frame(number, height=1, width=1) for number in range(count)]
    visuals = merged_visuals(frames, NANO, room)
    seen = [frame for visual in visuals for frame in (*visual.merged, visual.frame)]
    assert all(one is other for one, other in zip(seen, frames, strict=True))
    assert len(visuals) * 5 <= room


def test_a_video_is_averaged_as_the_checkpoint_has_it():
    info: ModelInfo = dataclasses.replace(NANO, pool=(8, 2, 2))
    visuals = merged_visuals([make_frame(number, height=1, width=1) for number in range(64)], info, 10_000)
    assert [len(visual.merged) + 1 for visual in visuals] == [8] * 8
    assert {visual.tokens for visual in visuals} == {4}
    with pytest.raises(ConfigError, match="do not fit 5 positions"):
        merged_visuals([make_frame(number, height=1, width=1) for number in range(200)], info, 5)


def test_a_video_stands_in_one_prompt(nano):
    result = video_prompt(nano, 160)
    assert result["frames"] == 160
    assert result["visuals"] * result["merged"] >= 160
    assert result["bound_mb"] > 0


def test_the_program_prints_one_object_last(nano, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(flat, "from_mapping", lambda kind, values: kind())
    monkeypatch.setattr(flat, "load_torch_backend", lambda *args, **options: nano)
    file = tmp_path / "flat.json"
    assert flat.main(["--frames", "40", "--video", "0", "--threads", "1", "--json", str(file)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert {"early_ms", "late_ms", "late_over_early", "resident_mb"} <= set(result)
    assert set(result["resident_mb"]) == {"20", "30", "40"}
    with pytest.raises(ConfigError, match="at least 30"):
        flat.main(["--frames", "10"])
