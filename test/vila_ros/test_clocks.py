"""Missions by clocks of every kind: /clock slow, fast, late, standing or reset, and stamps of another clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vila_nav.msg import NavAction
from vila_nav.srv import SetInstruction

from vila_core.actions.grammar import SENTENCES
from vila_core.testing import ScriptedBackend, Unicycle, make_frame
from vila_core.types import Decision, MoveForward, Pose, VelocityCommand
from vila_ros.common.conversions import (
    image_from_frame,
    message_from_decision,
    message_from_odometry,
    stamp_from_ns,
)
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.velocity import velocity_from_message
from vila_ros.controller.node import ControllerNode
from vila_ros.navigator.mission.mission import MissionEnd, MissionError, Outcome
from vila_ros.navigator.node import NavigatorNode

STOP, FORWARD, LEFT = SENTENCES[0], SENTENCES[1], SENTENCES[4]
PERIOD_S = 0.02
QUICK = {"control.max_linear_mps": 0.5, "control.max_linear_accel_mps2": 2.0,
         "control.max_angular_rps": 1.4, "control.max_angular_accel_rps2": 6.0,
         "control.position_tolerance_m": 0.04, "control.angle_tolerance_rad": 0.05}  # fmt: skip

SLOW = QUICK | {"control.max_linear_mps": 0.1}  # some seconds for an action
S = 1_000_000_000

Dated = Callable[["World"], Time]


def in_time(world: World) -> Time:
    return stamp_from_ns(world.time_ns())


class World(Node):
    """A robot in a simulation that stamps exactly, and a /clock as good as it is told to be."""

    def __init__(
        self,
        clock_hz: float = 50,
        *,
        speed: float = 1.0,
        clock_on: bool = True,
        image: Dated = in_time,
        odometry: Dated = in_time,
    ) -> None:
        super().__init__("world")
        self.speed, self.offset_ns, self.clock_on = speed, 100_000_000_000, clock_on
        self.image, self.odometry = image, odometry
        self.told_ns = 0  # the newest time on /clock
        self.body = Unicycle(Pose())
        self.command = VelocityCommand()
        self.moved_at: float | None = None
        self.zeros = 0  # in a row
        self.diagnostics: list[DiagnosticStatus] = []
        self._begun_s = time.monotonic()
        self._rng = np.random.default_rng(0)
        self._clock_topic = self.create_publisher(ClockMsg, "/clock", sensor_qos())
        self._images = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometries = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self.create_subscription(TwistStamped, "cmd_vel_nav", self._on_velocity, reliable_qos())
        self.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: self.diagnostics.extend(m.status), reliable_qos()
        )
        self.set_instruction = self.create_client(SetInstruction, "navigator/set_instruction")
        self._clock_timer = self.create_timer(1.0 / clock_hz / speed, self._on_clock)
        self.create_timer(PERIOD_S, self._on_odometry_due)
        self.create_timer(0.05, self._on_image_due)

    def time_ns(self) -> int:
        return self.offset_ns + round((time.monotonic() - self._begun_s) * self.speed * 1e9)

    def errors(self, name: str) -> set[str]:
        return {s.message for s in list(self.diagnostics) if s.level == DiagnosticStatus.ERROR and s.name == name}

    def every(self, period_s: float) -> None:
        """Tell the time so seldom from now on."""
        self._clock_timer.timer_period_ns = round(period_s * S)

    def _on_velocity(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)
        self.zeros = self.zeros + 1 if self.command.is_zero else 0
        if self.moved_at is None and not self.command.is_zero:
            self.moved_at = time.monotonic()

    def _on_clock(self) -> None:
        if self.clock_on:
            self.told_ns = self.time_ns()
            self._clock_topic.publish(ClockMsg(clock=stamp_from_ns(self.told_ns)))

    def _on_odometry_due(self) -> None:
        message = message_from_odometry(self.body.drive(self.command, PERIOD_S * self.speed))
        message.header.stamp = self.odometry(self)
        self._odometries.publish(message)

    def _on_image_due(self) -> None:
        message = image_from_frame(make_frame(seed=int(self._rng.integers(2**31))))
        message.header.stamp = self.image(self)
        self._images.publish(message)


@dataclasses.dataclass
class Drive:
    """A navigator, a controller and their world."""

    world: World
    navigator: NavigatorNode
    controller: ControllerNode
    wait: Callable[..., float]
    ends: list[MissionEnd] = dataclasses.field(default_factory=list)

    def begin(self) -> str:
        """Give the instruction; returns why it was refused, empty if it was not."""
        future = self.world.executor.create_task(
            self.world.set_instruction.call_async, SetInstruction.Request(instruction="go to the red chair")
        )
        self.wait(future.done)
        self.wait(future.result().done, what="an answer to the instruction")
        return future.result().result().error_msg

    def end(self) -> MissionEnd:
        self.wait(lambda: self.ends, what="the mission to end")
        return self.ends[-1]


@pytest.fixture
def drive(spinner, wait_until, tmp_path, monkeypatch):
    """drive(world, *script, sim): nodes that know each other; sim: which have use_sim_time."""

    def begin(world: World, *script: str, sim=("navigator", "controller"), control=QUICK) -> Drive:
        backend = ScriptedBackend(*(script or (FORWARD, LEFT, STOP)))
        navigator = NavigatorNode(
            _values({"checkpoint": str(tmp_path), "require_governor": False}, "navigator" in sim),
            load=lambda *_, **__: backend,
        )
        controller = ControllerNode(_values(control, "controller" in sim))
        navigator.bring_up()
        drive = Drive(world, navigator, controller, wait_until)
        monkeypatch.setattr(
            "vila_ros.navigator.mission.mission.MissionEnd",
            lambda *given: drive.ends.append(MissionEnd(*given)) or drive.ends[-1],
        )
        for node in (navigator, controller, world):
            spinner.add(node)
        wait_until(world.set_instruction.service_is_ready, what="the navigator to be there")
        return drive

    return begin


def _values(values, is_sim: bool) -> list[Parameter]:
    return [Parameter(name, value=value) for name, value in {**values, "use_sim_time": is_sim}.items()]


@pytest.mark.parametrize("clock_hz", [8, *(pytest.param(hz, marks=pytest.mark.long) for hz in (10, 20)), 50])
def test_a_mission_by_a_clock_that_is_good_enough(drive, wait_until, clock_hz: int) -> None:
    here = drive(World(clock_hz))
    wait_until(lambda: here.navigator.active.motion.is_ready)
    assert here.begin() == ""
    end = here.end()
    assert (end.outcome, end.error, end.decisions) == (Outcome.REACHED, MissionError.NONE, 3), end.message
    assert here.world.body.pose.x_m == pytest.approx(0.25, abs=0.05)


def wall(world: World) -> Time:
    return stamp_from_ns(time.time_ns())


def frozen_at(world: World) -> Time:
    return stamp_from_ns(world.told_ns)


def zero(world: World) -> Time:
    return Time()


@pytest.mark.parametrize(
    ("world", "sim", "error", "words"),
    [
        ({"clock_hz": 5}, "both", MissionError.CLOCK_JUMP, ["/clock is at 5 Hz, too slow for control; 50 is usual"]),
        ({"speed": 10.0}, "both", MissionError.CLOCK_JUMP, ["/clock runs 10", "real-time factor"]),
        ({"clock_on": False}, "both", MissionError.CLOCK_JUMP, ["no /clock yet", "use_sim_time"]),
        ({"image": zero}, "both", MissionError.IMAGE_LOST, ["/image_raw: all stamps are zero"]),
        ({"odometry": zero}, "both", MissionError.ODOMETRY_LOST, ["/odom: all stamps are zero"]),
        ({"image": zero, "odometry": zero}, "none", MissionError.IMAGE_LOST, ["/image_raw: all st", "/odom: all st"]),
        ({"image": wall}, "both", MissionError.IMAGE_LOST, ["/image_raw: the stamps are wall time", "use_sim_time"]),
        ({}, "none", MissionError.IMAGE_LOST, ["/image_raw: the stamps are sim", "/odom: the stamps are sim"]),
    ],
)  # fmt: skip
def test_a_clock_that_is_not_good_enough_is_a_readiness_fault(drive, wait_until, world, sim, error, words) -> None:
    here = drive(World(**world), sim=() if sim == "none" else ("navigator", "controller"))
    name, fault = "/navigator", here.navigator.active.readiness.fault
    wait_until(lambda: (found := fault()) and all(word in found.text for word in words), what="the fault")
    assert fault().error is error
    refusal = here.begin()
    assert all(word in refusal for word in ("not ready", *words))
    wait_until(lambda: any(all(word in message for word in words) for message in here.world.errors(name)))
    assert here.world.moved_at is None


def slow_down(world: World) -> None:
    world.every(0.25)


def stand_still(world: World) -> None:
    world.clock_on, world.image, world.odometry = False, frozen_at, frozen_at


def go_back(world: World) -> None:
    world.offset_ns -= 50 * S


def go_forward(world: World) -> None:
    world.offset_ns += 50 * S


def unstamp(world: World) -> None:
    world.odometry = zero


@pytest.mark.parametrize(
    ("break_it", "errors", "words"),
    [
        (slow_down, {MissionError.CLOCK_JUMP}, "/clock is at 4 Hz, too slow"),
        (stand_still, {MissionError.CLOCK_JUMP}, "/clock has stood still"),
        (go_back, {MissionError.CLOCK_JUMP}, "went back"),
        (go_forward, {MissionError.CLOCK_JUMP}, "s ahead of the steady clock"),
        (unstamp, {MissionError.ODOMETRY_LOST}, "/odom: all stamps are zero"),
    ],
)
def test_a_clock_that_goes_wrong_ends_the_mission_at_rest(drive, wait_until, break_it, errors, words: str) -> None:
    here = drive(World(), FORWARD, control=SLOW)
    wait_until(lambda: here.navigator.active.motion.is_ready)
    assert here.begin() == ""
    wait_until(lambda: here.world.moved_at, what="the robot to move")
    break_it(here.world)
    end = here.end()
    assert end.error in errors and words in end.message, end
    wait_until(lambda: here.world.zeros >= 10)


def test_after_a_reset_of_the_clock_a_new_mission_drives(drive, wait_until) -> None:
    here = drive(World(), FORWARD, STOP)
    wait_until(lambda: here.navigator.active.motion.is_ready)
    go_back(here.world)
    wait_until(lambda: here.navigator.active._now_ns() < 90 * S)
    wait_until(lambda: here.navigator.active.latest.image.stamp_ns < 90 * S)
    assert here.begin() == ""
    assert here.end().outcome is Outcome.REACHED
    assert here.world.body.pose.x_m == pytest.approx(0.25, abs=0.05)


def test_a_controller_alone_stands_still_when_its_clock_does(spinner, wait_until) -> None:
    world = spinner.add(World(image=frozen_at, odometry=frozen_at))
    heartbeats = world.create_publisher(Header, "navigator/heartbeat", reliable_qos())
    actions = world.create_publisher(NavAction, "navigator/action", reliable_qos())
    ends: list[str] = []
    world.create_subscription(NavAction, "controller/execution", lambda m: ends.append(m.detail), reliable_qos())
    spinner.add(ControllerNode(_values({"navigator": "world"}, True)))
    world.create_timer(0.05, lambda: heartbeats.publish(Header(stamp=stamp_from_ns(world.told_ns))))
    wait_until(lambda: actions.get_subscription_count() and world.count_publishers("controller/execution"))

    def moves() -> bool:
        if world.moved_at is None:
            actions.publish(message_from_decision(Decision(MoveForward(0.75), world.told_ns), 1))
            time.sleep(0.1)
        return world.moved_at is not None

    wait_until(moves)
    world.clock_on = False
    wait_until(lambda: any("/clock has stood still" in detail for detail in ends))
    wait_until(lambda: world.zeros >= 10)
    assert world.body.pose.x_m < 0.6


def test_a_clock_that_starts_late_is_waited_for(drive, wait_until) -> None:
    here = drive(World(clock_on=False), STOP)
    wait_until(lambda: here.world.errors("/controller"))
    here.world.clock_on = True
    wait_until(lambda: here.navigator.active.motion.is_ready and here.navigator.active.readiness.fault() is None)
    assert here.begin() == "" and here.end().outcome is Outcome.REACHED


def test_a_controller_by_another_clock_is_named(drive, wait_until) -> None:
    here = drive(World(), sim=("navigator",))
    wait_until(lambda: here.navigator.active.motion.fault)
    assert here.begin() == ""
    end = here.end()
    assert end.error is MissionError.CONTROLLER_LOST and "use_sim_time" in end.message and "/odom" in end.message


def test_two_clocks_are_named(drive, wait_until) -> None:
    here = drive(World())
    other = here.world.create_publisher(ClockMsg, "/clock", sensor_qos())
    here.world.create_timer(0.05, lambda: other.publish(ClockMsg(clock=stamp_from_ns(here.world.time_ns() - 9 * S))))
    wait_until(lambda: any("/clock jumps back" in message for message in here.world.errors("/controller")))
    assert "one publisher" in here.begin()
