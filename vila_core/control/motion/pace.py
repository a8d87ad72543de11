"""How slow the second half of a motion may be, so that the robot still moves when the next decision comes.

Only where decisions are made while the robot moves, which the controller sees by their images. The first half is driven
at full speed, as the image of the next decision is taken after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.control.decision_timing import HALF, LatencyEstimate
from vila_core.types import VelocityCommand


@dataclass(slots=True)
class MotionPace:
    """Lets the rest of a motion take so many seconds, from its middle on; 0 means no slower than it can be."""

    rest_s: float = 0.0
    _until_ns: int | None = None

    def limited(
        self, wanted: VelocityCommand, *, done: float, left: float, least: VelocityCommand, now_ns: int
    ) -> VelocityCommand:
        """Return the velocity, slower by one factor if there is time: its path stays the same.

        done: which share of the action. left: metres along the line, or radians. least: no slower than that.
        """
        if done < HALF or not self.rest_s:
            return wanted
        if self._until_ns is None:
            self._until_ns = now_ns + round(self.rest_s * 1e9)
        time_s = (self._until_ns - now_ns) / 1e9
        is_drive = wanted.linear_mps > 0.0
        speed, floor = (wanted.linear_mps, least.linear_mps) if is_drive else (wanted.angular_rps, least.angular_rps)
        if time_s <= 0 or speed == 0.0:
            return wanted
        factor = min(1.0, max(floor, abs(left) / time_s) / abs(speed))
        return VelocityCommand(wanted.linear_mps * factor, wanted.angular_rps * factor)


class MotionPacing:
    """Gives each motion its pace: by when its image was taken, and how late its decision came.

    An image that was taken before the motion before had ended tells that decisions are made while the robot moves. The
    first motion of a mission tells nothing: it is paced as the last one was.
    """

    def __init__(self) -> None:
        self._latency = LatencyEstimate()
        self._ended_ns: float = -math.inf  # the end of the motion before; one that runs has none
        self._mission_id: int | None = None
        self._decides_moving = False

    def begin(self, mission_id: int, image_ns: int, now_ns: int) -> MotionPace:
        """A motion begins, for an image of that stamp; both times are the robot's."""
        self._latency.note((now_ns - image_ns) / 1e9)
        if mission_id == self._mission_id:
            self._decides_moving = image_ns < self._ended_ns
        self._mission_id, self._ended_ns = mission_id, math.inf
        return MotionPace((self._latency.seconds or 0.0) if self._decides_moving else 0.0)

    def end(self, now_ns: int) -> None:
        """The motion has ended."""
        self._ended_ns = now_ns
