"""When the next tick of the simulation is due: by the wall clock, or by the /clock of another simulator."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from rclpy.node import Node
from rosgraph_msgs.msg import Clock as ClockMsg

from vila_ros.common.conversions import ns_from_stamp, stamp_from_ns
from vila_ros.common.qos import sensor_qos
from vila_sim.mujoco.simulator import Simulator

TICK_NS = 20_000_000
CLOCK_TOPIC = "/clock"
MAX_LAG_S = 0.25  # further behind, time is given up instead of caught up
_WAIT_S = 0.1  # how long an order of a callback may wait while no tick is due
_WARN_EVERY_S = 5.0


class Pace(Protocol):
    """Tells the simulation thread when to step. is_own: the time is this simulator's own."""

    is_own: bool

    def wait(self, simulator: Simulator) -> bool:
        """Wait until the next tick is due; False if it is not yet, and the caller is to ask again."""
        ...

    def tell(self, simulator: Simulator) -> None:
        """Tell the simulator's time to whom it concerns."""
        ...

    def complaint(self) -> str:
        """Return why no tick comes, "" if they come."""
        ...


class WallPace:
    """Keeps to the wall clock, and publishes the simulated time."""

    is_own = True

    def __init__(self, node: Node, realtime_factor: float) -> None:
        self._period_s = TICK_NS / 1e9 / realtime_factor
        self._due_s = time.monotonic()
        self._clock = node.create_publisher(ClockMsg, CLOCK_TOPIC, sensor_qos())

    def wait(self, simulator: Simulator) -> bool:
        """Sleep until the tick is due."""
        left_s = self._due_s - time.monotonic()
        time.sleep(min(max(left_s, 0.0), _WAIT_S))
        if left_s > _WAIT_S:  # a slow simulation
            return False
        self._due_s = max(self._due_s + self._period_s, time.monotonic() - MAX_LAG_S)
        return True

    def tell(self, simulator: Simulator) -> None:
        """Publish the time."""
        self._clock.publish(ClockMsg(clock=stamp_from_ns(simulator.time_ns)))

    def complaint(self) -> str:
        """Return "": the wall clock always goes on."""
        return ""


class FollowedPace:
    """Keeps up with the /clock of another simulator, so that many have one time.

    What goes back there goes back here; what is further ahead than can be caught up is given up.
    """

    is_own = False

    def __init__(self, node: Node) -> None:
        self._changed = threading.Condition()
        self._time_ns: int | None = None
        self._heard_s = time.monotonic()
        self._subscription = node.create_subscription(ClockMsg, CLOCK_TOPIC, self._on_clock, sensor_qos(depth=5))

    def _on_clock(self, message: ClockMsg) -> None:
        with self._changed:
            self._time_ns = ns_from_stamp(message.clock)
            self._heard_s = time.monotonic()
            self._changed.notify()

    def wait(self, simulator: Simulator) -> bool:
        """Wait until the clock is a tick ahead of the simulator."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_due(simulator), _WAIT_S)
            if not self._is_due(simulator):
                return False
            assert self._time_ns is not None
            clock_ns = self._time_ns
        if not 0 <= clock_ns - simulator.time_ns <= MAX_LAG_S * 1e9:
            simulator.set_time(max(clock_ns - TICK_NS, 0))
        return True

    def _is_due(self, simulator: Simulator) -> bool:
        if self._time_ns is None:
            return False
        ahead_ns = self._time_ns - simulator.time_ns
        return ahead_ns >= TICK_NS or ahead_ns <= -TICK_NS

    def tell(self, simulator: Simulator) -> None:
        """Tell nobody: they all hear the clock that is followed."""

    def complaint(self) -> str:
        """Say that there is no clock to follow, or that it stands still."""
        silence_s = time.monotonic() - self._heard_s
        if silence_s < _WARN_EVERY_S:
            return ""
        topic = self._subscription.topic_name
        return f"no {topic} to follow for {silence_s:.0f} s: is the simulator that publishes it running?"
