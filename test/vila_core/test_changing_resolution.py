"""A camera whose resolution changes while a robot drives: history, checks, caches and events take it as it comes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from vila_core.config import HISTORY_POLICIES, EventsConfig, HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.history.camera_watch import CameraWatch
from vila_core.navigator import Navigator
from vila_core.types import Frame, HoldReason, Instruction, Odometry, Pose
from vila_core.watcher import EventWatcher

SIZES = ((240, 320), (480, 640), (720, 1280), (600, 480), (97, 131))  # height, width
STEP_NS = 200_000_000
STEP_M = 0.25
LENIENT = NavigatorConfig(decision_deadline_s=600.0, max_image_age_s=60.0)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A strip of wall with things on it, past which a robot drives: [600, 3000, 3]."""
    rng = np.random.default_rng(11)
    strip = np.full((600, 3000, 3), (190, 180, 160), np.uint8)
    strip[420:] = (110, 90, 70)
    for _ in range(120):
        x, y = int(rng.integers(0, 2950)), int(rng.integers(0, 560))
        width, height = (int(one) for one in rng.integers(20, 160, 2))
        cv2.rectangle(strip, (x, y), (x + width, y + height), [int(one) for one in rng.integers(0, 256, 3)], -1)
    return strip


def drive(scene: np.ndarray, steps: int, sizes=SIZES) -> list[tuple[Frame, Odometry]]:
    """What a camera shows that looks at the strip and has another size at every third image."""
    seen = []
    for number in range(steps):
        height, width = sizes[number // 3 % len(sizes)]
        view = scene[:, 60 * number : 60 * number + 800]
        image = np.asarray(cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        stamp_ns = (number + 1) * STEP_NS
        seen.append((Frame(image, stamp_ns), Odometry(stamp_ns, Pose(x_m=STEP_M * number))))
    return seen


@pytest.mark.long
@pytest.mark.parametrize("policy", HISTORY_POLICIES)
def test_a_robot_drives_on_and_decides_what_it_would_without_caches(scene, policy: str) -> None:
    history = HistoryConfig(policy=policy)
    navigator = Navigator(load_backend("torch", EMBEDDED_CHECKPOINT), LENIENT, history)
    plain = Navigator(load_backend("torch-naive", EMBEDDED_CHECKPOINT), LENIENT, history)
    for one in (navigator, plain):
        one.start(Instruction("go to the red chair"))
    for number, (frame, odometry) in enumerate(drive(scene, 30)):
        for one in (navigator, plain):
            one.observe(frame, odometry)
        if number % 2:
            while navigator.idle():
                pass
        if number % 3 == 0 or number > 24:
            decisions = [one.decide(frame.stamp_ns) for one in (navigator, plain)]
            assert [decision.hold for decision in decisions] == [HoldReason.NONE] * 2, decisions[0].detail
            assert decisions[0].probabilities == pytest.approx(decisions[1].probabilities, abs=1e-4)
    assert navigator.history_frames == 30 and navigator.camera_fault is None


def test_another_size_hides_no_picture_that_stays(scene) -> None:
    watch = CameraWatch(0.05, 0.07)
    standing = [scene[:, 600:1400]] * 12
    for number, view in enumerate(standing):
        height, width = SIZES[number % 2]
        image = np.asarray(cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        watch.add(Frame(image, (number + 1) * STEP_NS), Odometry(0, Pose(x_m=STEP_M * number)))
    assert watch.fault is not None
    assert watch.fault.reason in (HoldReason.FROZEN_IMAGE, HoldReason.REPEATED_IMAGE)
    for frame, odometry in drive(scene, 30):
        watch.add(frame, odometry)
    assert watch.fault is None


def test_events_are_found_over_images_of_many_sizes(scene) -> None:
    config = EventsConfig(period_s=0.2, window_s=4.0, history_s=20.0)
    watcher = EventWatcher(load_backend("torch", EMBEDDED_CHECKPOINT), config)
    watcher.watch("the red ball is in view")
    frames = [frame for frame, _ in drive(scene, 40)]
    for frame in frames:
        watcher.observe(frame)
        if watcher.has_work():
            watcher.evaluate()
    assert watcher.remembered_ns == (frames[0].stamp_ns, frames[-1].stamp_ns)
    kept, anew = (load_backend("torch", EMBEDDED_CHECKPOINT) for _ in range(2))
    for end in range(5, 40, 5):
        told = kept.relevance("the red ball is in view", frames[:end])
    assert told == pytest.approx(anew.relevance("the red ball is in view", frames[:end]), abs=1e-4)
    assert isinstance(watcher.localize("the red ball is in view", 0, 0), tuple)
