"""Whether the navigator can drive by its clock and by the stamps that it gets, and in words why not."""

from __future__ import annotations

import time
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from rclpy.node import Node

from vila_core.config import ControlConfig
from vila_core.control.clock_watch import MAX_SPEED
from vila_core.control.stamp_watch import StampWatch
from vila_core.types import HoldReason
from vila_ros.common.node_clock import NodeClock
from vila_ros.navigator.mission.mission import MissionError

_PATIENCE_S = 1.5  # a fault that lasts so long ends a mission, before a watchdog ends it with less to say
_SLOW = 0.5  # of real time


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and how a hold and the end of a mission are typed for it."""

    text: str
    hold: HoldReason
    error: MissionError


class Readiness:
    """Watches the clock and the stamps of images and odometry; `note_image` may run in another thread."""

    def __init__(self, node: Node, image_topic: str, odometry_topic: str, max_image_age_s: float) -> None:
        self._clock = NodeClock(node, max_image_age_s)
        self._image = StampWatch(node.resolve_topic_name(image_topic), 2 * max_image_age_s)
        odometry_timeout_s = ControlConfig().odometry_timeout_s  # the controller's own may differ
        self._odometry = StampWatch(node.resolve_topic_name(odometry_topic), odometry_timeout_s)
        self._since_ns: int | None = None  # steady time of the fault's begin

    def hold_to(self, max_image_age_s: float) -> None:
        """Take another age that images may have."""
        self._clock.hold_to(max_image_age_s)
        self._image.max_age_s = 2 * max_image_age_s

    def close(self) -> None:
        """Watch no longer."""
        self._clock.close()

    @property
    def max_future_s(self) -> float:
        """How far ahead of the clock a healthy stamp may lie."""
        return self._clock.max_future_s

    @property
    def max_speed(self) -> float:
        """How fast the clock may run, in seconds a second."""
        return MAX_SPEED if self._clock.is_simulated else 1.0

    @property
    def clock_text(self) -> str:
        """Which clock it is, and how it goes."""
        return self._clock.describe()

    @property
    def slow_text(self) -> str:
        """A word on a simulation so slow that messages are rare, empty if it is not."""
        speed = self._clock.speed
        return "" if speed is None or speed > _SLOW else f"; simulated time runs at {speed:.2f} of real time"

    def note_image(self, stamp: Time) -> None:
        """Take the stamp of an image that just came."""
        self._clock.note(self._image, stamp)

    def note_stamp(self, watch: StampWatch, stamp: Time) -> None:
        """Have a watch of somebody else's judge a stamp by this node's clock."""
        self._clock.note(watch, stamp)

    def note_odometry(self, stamp: Time) -> None:
        """Take the stamp of an odometry message that just came."""
        self._clock.note(self._odometry, stamp)

    def fault(self) -> Fault | None:
        """Return what is wrong now, the clock's fault before the stamps'; None if nothing is."""
        fault = self._fault()
        if fault is None:
            self._since_ns = None
        elif self._since_ns is None:
            self._since_ns = time.monotonic_ns()
        return fault

    @property
    def is_doubtful(self) -> bool:
        """True if the controller may refuse an action now, for the stamp of its odometry or for the clock."""
        return self._odometry.is_doubtful or self._clock.is_doubtful

    def is_lasting(self) -> bool:
        """Return True if `fault` has returned one for so long that a mission is to end."""
        return self._since_ns is not None and time.monotonic_ns() - self._since_ns > _PATIENCE_S * 1e9

    def _fault(self) -> Fault | None:
        if text := self._clock.fault():
            return Fault(text, HoldReason.CLOCK_JUMP, MissionError.CLOCK_JUMP)
        if image := self._image.fault:
            text = "; ".join(filter(None, (image, self._odometry.fault)))
            return Fault(text, HoldReason.BAD_IMAGE, MissionError.IMAGE_LOST)
        if text := self._odometry.fault:
            return Fault(text, HoldReason.NO_ODOMETRY, MissionError.ODOMETRY_LOST)
        return None
