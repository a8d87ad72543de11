"""The navigator over a stream of images: of a bag that nobody of ours recorded, or with another history policy."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import Backend
from vila_core.errors import FrameError
from vila_core.media.bags import BagImage
from vila_core.media.pictures import list_images, read_image
from vila_core.navigator import Navigator
from vila_core.types import Decision, Frame, Instruction, Odometry, Pose, wrap_angle

_SECOND_NS = 1_000_000_000
REORDER_S = 12.0  # a decision's image is recorded so long after it was taken, at most
_ODOMETRY_NS = _SECOND_NS // 2  # older odometry does not say where the camera was


@dataclass(frozen=True, slots=True)
class Moment:
    """When to decide, and for whom: of a recorded decision. stamp_ns: of the image that it answers."""

    stamp_ns: int
    instruction: str
    mission_id: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """When to decide where nothing is recorded: each time that the robot has moved so far, or each every_s."""

    every_s: float = 0.0
    min_translation_m: float = field(default_factory=lambda: HistoryConfig().min_translation_m)
    min_rotation_rad: float = field(default_factory=lambda: HistoryConfig().min_rotation_rad)


class StreamedNavigator:
    """A navigator that sees a recording instead of the world; the robot does not follow what it says.

    So no action is ruled out for having led nowhere. odometry: may be empty. wording: see NavigatorConfig.
    """

    def __init__(
        self, backend: Backend, history: HistoryConfig, odometry: Sequence[Odometry], wording: str = "auto"
    ) -> None:
        config = NavigatorConfig(avoid_repeats=False, watch_camera=bool(odometry), wording=wording)
        self._navigator = Navigator(backend, config, history)
        self._odometry = sorted(odometry, key=lambda one: one.stamp_ns)
        self._stamps = [one.stamp_ns for one in self._odometry]

    def at_moments(self, frames: Iterable[Frame], moments: Sequence[Moment]) -> Iterator[tuple[Moment, Decision]]:
        """Yield what it decides at each moment; at those behind the last image nothing."""
        waiting, mission = list(reversed(moments)), -1
        for frame in frames:
            if waiting and waiting[-1].stamp_ns <= frame.stamp_ns and waiting[-1].mission_id != mission:
                mission = waiting[-1].mission_id
                self._navigator.start(Instruction(waiting[-1].instruction))
            self._see(frame)
            while waiting and waiting[-1].stamp_ns <= frame.stamp_ns and waiting[-1].mission_id == mission:
                yield waiting.pop(), self._decide(frame)

    def along(self, frames: Iterable[Frame], instruction: str, pace: Pace) -> Iterator[tuple[Moment, Decision]]:
        """Yield what it decides on the way."""
        self._navigator.start(Instruction(instruction))
        last: tuple[int, Pose | None] | None = None
        for frame in frames:
            is_paced = bool(pace.every_s) or not self._odometry
            is_due = last is None or self._is_due(frame, last, pace)
            if self._odometry or is_due:
                self._see(frame)
            if is_due:
                odometry = None if is_paced else self._odometry_at(frame.stamp_ns)
                last = frame.stamp_ns, None if odometry is None else odometry.pose
                yield Moment(frame.stamp_ns, instruction), self._decide(frame)

    def _is_due(self, frame: Frame, last: tuple[int, Pose | None], pace: Pace) -> bool:
        stamp_ns, pose = last
        if pose is None:
            return frame.stamp_ns - stamp_ns >= (pace.every_s or 1.0) * _SECOND_NS
        odometry = self._odometry_at(frame.stamp_ns)
        if odometry is None:
            return False
        turned_rad = abs(wrap_angle(odometry.pose.yaw_rad - pose.yaw_rad))
        return odometry.pose.distance_m(pose) >= pace.min_translation_m or turned_rad >= pace.min_rotation_rad

    def _see(self, frame: Frame) -> None:
        with suppress(FrameError):  # as the node passes it over
            self._navigator.observe(frame, self._odometry_at(frame.stamp_ns))

    def _decide(self, frame: Frame) -> Decision:
        decision = self._navigator.decide(frame.stamp_ns)
        while self._navigator.idle():  # as between two decisions of a robot
            pass
        return decision

    def _odometry_at(self, stamp_ns: int) -> Odometry | None:
        """The newest odometry at that time, as the navigator takes it, if it is near enough."""
        index = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if index < 0 or stamp_ns - self._stamps[index] > _ODOMETRY_NS:
            return None
        return self._odometry[index]


def frames_of_bag(images: Iterable[BagImage], reorder_s: float = 0.0) -> Iterator[Frame]:
    """Yield a bag's images in the order in which they were taken, each stamp once; lossless ones before others.

    Without a stamp it is when the image was recorded. reorder_s: how much later than others an image may be recorded;
    so many seconds of them are in memory.
    """
    heap: list[tuple[int, bool, int, BagImage]] = []
    last_ns = -1
    for number, image in enumerate(images):
        stamp_ns = image.stamp_ns or image.time_ns
        heapq.heappush(heap, (stamp_ns, "frames" not in image.topic, number, image))
        while heap and image.time_ns - heap[0][-1].time_ns >= reorder_s * _SECOND_NS:
            last_ns, frames = _next(heap, last_ns)
            yield from frames
    while heap:
        last_ns, frames = _next(heap, last_ns)
        yield from frames


def _next(heap: list[tuple[int, bool, int, BagImage]], last_ns: int) -> tuple[int, list[Frame]]:
    """The oldest image, if it is newer than the last one."""
    stamp_ns, *_, image = heapq.heappop(heap)
    if stamp_ns <= last_ns:
        return last_ns, []
    return stamp_ns, [Frame(image.image, stamp_ns)]


def frames_of_folder(folder: Path, every_s: float) -> Iterator[Frame]:
    """Yield the pictures of a folder in order of their names, as if they were taken so long after each other."""
    for number, file in enumerate(list_images(folder)):
        yield Frame(read_image(file), round((number + 1) * every_s * _SECOND_NS))
