"""Several cameras and one model: queries, ids, events and turns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from vila_core.camera_watchers import CameraWatchers
from vila_core.config import EventsConfig
from vila_core.errors import FrameError, QueryError, QueryLimitError, UnknownCameraError, UnknownQueryError
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_core.types import Frame

PERIOD_NS = 250_000_000
SEEING = dataclasses.replace(SCRIPTED_INFO, relevance_period_s=PERIOD_NS / 1e9)
NAMES = ("front", "left", "right")
CONFIG = EventsConfig(max_queries=3, min_duration_s=0.0, confirm_evaluations=1)


@pytest.fixture
def watchers() -> CameraWatchers:
    backend = ScriptedBackend("x", info=SEEING)
    backend.relevances = {"light": lambda frame: float(frame.image.mean() > 100)}
    return CameraWatchers(backend, CONFIG, NAMES)


def show(watchers: CameraWatchers, camera: str, number: int, level: int = 0) -> None:
    watchers.observe(Frame(np.full((8, 8, 3), level, np.uint8), (number + 1) * PERIOD_NS, camera))


def evaluate_all(watchers: CameraWatchers) -> list:
    return [event for camera in watchers.with_work() for event in watchers.evaluate(camera)]


def test_the_first_camera_is_meant_where_none_is_named(watchers) -> None:
    assert watchers.of("") is watchers.of("front") and watchers.name_of("") == "front"
    with pytest.raises(UnknownCameraError, match="no camera is named 'rear'; known: front, left, right"):
        watchers.of("rear")
    with pytest.raises(UnknownCameraError):
        show(watchers, "rear", 0)


def test_ids_are_taken_for_all_cameras(watchers) -> None:
    assert watchers.of("left").watch("light").id == "q1"
    with pytest.raises(QueryError, match="'q1' is taken"):
        watchers.of("right").watch("light", query_id="q1")
    assert watchers.of("right").watch("light", query_id="q3").id == "q3"
    assert watchers.of("front").watch("light").id == "q2"
    with pytest.raises(QueryLimitError, match="3 queries stand already; at most 3"):
        watchers.of("left").watch("light")
    assert watchers.unwatch("q1") == ()
    assert watchers.of("left").watch("light").id == "q4"
    with pytest.raises(UnknownQueryError, match="'q1'; standing: q2, q4, q3"):
        watchers.unwatch("q1")


def test_events_of_all_cameras_are_numbered_together(watchers) -> None:
    for camera in NAMES:
        watchers.of(camera).watch("light")
    for number in range(8):
        for camera, level in zip(NAMES, (0, 200, 200), strict=True):
            show(watchers, camera, number, level)
    events = evaluate_all(watchers)
    assert {(event.number, event.camera) for event in events} == {(1, "left"), (2, "right")}


def test_the_camera_that_waits_longest_is_first(watchers) -> None:
    for camera in NAMES:
        watchers.of(camera).watch("light")
    for camera in ("left", "right"):
        show(watchers, camera, 0)
    assert watchers.with_work() == ("left", "right")
    watchers.evaluate("left")
    show(watchers, "left", 1)
    show(watchers, "front", 1)
    assert watchers.with_work() == ("front", "right", "left")


def test_a_clock_reset_is_of_one_camera(watchers) -> None:
    for camera in ("front", "left"):
        for number in range(10, 14):
            show(watchers, camera, number)
    watchers.observe(Frame(np.zeros((8, 8, 3), np.uint8), PERIOD_NS, "left", clock_epoch=1))
    assert watchers.of("left").remembered_ns == (PERIOD_NS, PERIOD_NS)
    assert watchers.of("front").remembered_ns == (11 * PERIOD_NS, 14 * PERIOD_NS)
    with pytest.raises(FrameError):
        show(watchers, "front", 13)


def test_each_camera_has_prompts_of_its_own(watchers) -> None:
    slots = {(one._localizer._standing, one._localizer._once) for one in map(watchers.of, NAMES)}
    assert slots == {("events", "question"), ("events left", "question left"), ("events right", "question right")}
