"""A node's clock, and whether it can be driven by: simulated time comes as messages, which may be few or none."""

from __future__ import annotations

import time

from builtin_interfaces.msg import Time
from rclpy.clock import JumpThreshold, ROSClock, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

from vila_core.control.clock_watch import MAX_CLOCK_STEP_S, ClockWatch
from vila_core.control.limits import MAX_FUTURE_S
from vila_core.control.stamp_watch import Clocks, StampWatch

_ANY_FORWARD = Duration(nanoseconds=1)
_ANY_BACKWARD = Duration(nanoseconds=-1)


class NodeClock:
    """Tells the time of a node, and under use_sim_time how /clock goes; `note` may be called from any thread.

    shortest_limit_s: the shortest time limit of the node's that is compared with stamps: a clock that does not step
    twice within it is refused.
    """

    def __init__(self, node: Node, shortest_limit_s: float = 2 * MAX_CLOCK_STEP_S) -> None:
        self._clock = node.get_clock()
        self._max_step_s = shortest_limit_s / 2
        self._watch = ClockWatch(time.monotonic_ns(), self._max_step_s)
        threshold = JumpThreshold(min_forward=_ANY_FORWARD, min_backward=_ANY_BACKWARD, on_clock_change=True)
        self._jumps = self._clock.create_jump_callback(threshold, post_callback=self._on_jump)

    def hold_to(self, shortest_limit_s: float) -> None:
        """Take another shortest time limit."""
        self._max_step_s = shortest_limit_s / 2
        self._watch.limit_steps(self._max_step_s)

    def close(self) -> None:
        """Watch no longer."""
        self._jumps.unregister()

    def now_ns(self) -> int:
        """Return the time; 0 while simulated time is unknown."""
        return self._clock.now().nanoseconds

    @property
    def is_simulated(self) -> bool:
        """True if the time comes from /clock."""
        return isinstance(self._clock, ROSClock) and self._clock.ros_time_is_active

    @property
    def max_future_s(self) -> float:
        """How far ahead of the clock a healthy stamp may lie."""
        return self._watch.max_future_s if self.is_simulated else MAX_FUTURE_S

    def fault(self) -> str:
        """Return why nothing may be driven by this clock, empty if it may; always of a clock that is not simulated."""
        return self._watch.fault(time.monotonic_ns()) if self.is_simulated else ""

    @property
    def is_known(self) -> bool:
        """True once it is known how the clock goes; at once of wall time."""
        return not self.is_simulated or self._watch.is_known

    @property
    def is_doubtful(self) -> bool:
        """True if the newest step of simulated time was too long, or the next one will be."""
        return self.is_simulated and self._watch.is_doubtful(time.monotonic_ns())

    @property
    def speed(self) -> float | None:
        """Simulated seconds in one of real time; None of wall time, or before that is known."""
        return self._watch.speed if self.is_simulated else None

    def describe(self) -> str:
        """Return in words which clock it is and how it goes."""
        if not self.is_simulated:
            return "wall time"
        step_s, speed = self._watch.step_s, self.speed
        rate = "" if step_s is None else f", {1 / step_s:.0f} Hz"
        return f"simulated time{rate}" + ("" if speed is None else f", {speed:.2f} of real time")

    def note(self, watch: StampWatch, stamp: Time) -> None:
        """Have the watch judge the stamp of a message that just came."""
        clocks = Clocks(
            now_ns=self.now_ns(),
            wall_ns=time.time_ns(),
            steady_ns=time.monotonic_ns(),
            is_simulated=self.is_simulated,
            max_future_s=self.max_future_s,
        )
        watch.note(stamp.sec, stamp.nanosec, clocks)

    def _on_jump(self, jump: TimeJump) -> None:
        now_ns = self.now_ns()
        if self.is_simulated and now_ns > 0:
            self._watch.note(now_ns, time.monotonic_ns())
        elif not self.is_simulated:
            self._watch = ClockWatch(time.monotonic_ns(), self._max_step_s)
