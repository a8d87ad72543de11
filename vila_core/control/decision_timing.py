"""When the next decision is asked for: as the robot stands, or while it still moves, just in time.

While it moves, a decision is due when what is left of the motion takes no longer than a decision does, and when half of
the action is behind the robot: an image from before would show the model what it has answered already.
"""

from __future__ import annotations

from collections import deque

from vila_core.config import CONTINUOUS
from vila_core.control.motion.goal import MotionGoal
from vila_core.types import Action, Odometry, Stop

HALF = 0.5  # of an action: two motions in a row then last as long as two decisions, at a steady speed
_MARGIN_S = 0.15  # a camera's period and the way of the messages
_REMEMBERED = 20
_QUANTILE = 0.9


class LatencyEstimate:
    """How long a decision takes from its image on: a high quantile of the last ones, and a margin."""

    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque(maxlen=_REMEMBERED)

    def note(self, latency_s: float) -> None:
        """Take the age that an image had when its decision was there; a negative one counts as 0."""
        self._latencies_s.append(max(0.0, latency_s))

    @property
    def seconds(self) -> float | None:
        """The time to allow for the next decision, None before the first is known."""
        ordered = sorted(self._latencies_s)
        return ordered[round(_QUANTILE * (len(ordered) - 1))] + _MARGIN_S if ordered else None


class DecisionTiming:
    """Follows the running motion by odometry; says when the decision after it is due.

    timing: one of config.TIMINGS; for stop_and_think no decision is due before the motion's end.
    """

    def __init__(self, timing: str) -> None:
        self.is_continuous = timing == CONTINUOUS
        self._latency = LatencyEstimate()
        self._goal: MotionGoal | None = None
        self._begun: Odometry | None = None

    def note_decision(self, image_ns: int, now_ns: int) -> None:
        """Take a decision that is there now: the stamp of its image, and the time, on one clock."""
        self._latency.note((now_ns - image_ns) / 1e9)

    def begin(self, action: Action | None, anchor: Odometry | None, now: Odometry | None) -> None:
        """Follow the motion of an action; without one, or for Stop, or without odometry, none.

        anchor: odometry of its image. now: the newest.
        """
        self._goal, self._begun = None, now
        if anchor is not None and action is not None and not isinstance(action, Stop):
            self._goal = MotionGoal(action, anchor.pose)

    def is_due(self, odometry: Odometry | None) -> bool:
        """Return True if a decision should be asked for though the robot still moves."""
        allowed_s = self._latency.seconds
        if not self.is_continuous or self._goal is None or self._begun is None or odometry is None or allowed_s is None:
            return False
        done = self._goal.share_done(self._goal.error(odometry.pose))
        return done >= HALF and self._left_s(self._goal, odometry, done) <= allowed_s

    def _left_s(self, goal: MotionGoal, odometry: Odometry, done: float) -> float:
        """Return the time that the rest takes at the speed of now, or the motion's mean if that is higher."""
        assert self._begun is not None
        size = goal.distance_m if goal.is_line else abs(goal.angle_rad)
        took_s = (odometry.stamp_ns - self._begun.stamp_ns) / 1e9
        mean = size * (done - goal.share_done(goal.error(self._begun.pose))) / took_s if took_s > 0 else 0.0
        speed = max(mean, abs(odometry.linear_mps if goal.is_line else odometry.angular_rps))
        left = size * max(0.0, 1.0 - done)
        return left / speed if speed > 0 else float("inf")
