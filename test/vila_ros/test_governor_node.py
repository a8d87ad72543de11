"""The governor's node over DDS: who may command, how the operator stops it, and who is told."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from parameter_client import ParameterClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, Header
from std_srvs.srv import SetBool
from vila_nav.msg import GovernorState, Mission, NavAction

from vila_core.control.reasons import StopReason
from vila_core.errors import ConfigError
from vila_core.types import VelocityCommand
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.common.velocity import velocity_from_message
from vila_ros.governor.node import GovernorNode
from vila_ros.watchdog.node import WatchdogNode

IDLE, MISSION = 1000, 1001
BLIND = [Parameter("obstacles.sources", value=""), Parameter("obstacles.required", value=False)]


class Navigator(Node):
    """Tells a mission and an action, again and again; under another name it is a forger."""

    def __init__(self, name: str = "navigator") -> None:
        super().__init__(name)
        self.mission = Mission(id=IDLE)
        self._missions = self.create_publisher(Mission, "navigator/mission", reliable_qos())
        self.actions = self.create_publisher(NavAction, "navigator/action", reliable_qos())
        self.create_timer(0.05, lambda: self._missions.publish(self.mission))
        self.create_timer(5.0, self._go_on)

    def begin(self, mission: int = MISSION) -> None:
        self.mission = Mission(id=mission, running=True)
        self._missions.publish(self.mission)
        self.act()

    def _go_on(self) -> None:
        """Act anew before the action is used up, however slow the machine is."""
        if self.mission.running:
            self.act()

    def act(self) -> None:
        self.actions.publish(NavAction(mission_id=self.mission.id, kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.75))


class Controller(Node):
    """Commands a slow forward drive for ever."""

    def __init__(self, name: str = "controller", topic: str = "cmd_vel_nav", speed_mps: float = 0.05) -> None:
        super().__init__(name)
        message = TwistStamped()
        message.twist.linear.x = speed_mps
        self._velocity = self.create_publisher(TwistStamped, topic, reliable_qos(1))
        self.create_timer(0.05, lambda: self._velocity.publish(message))


class Base(Node):
    """Obeys; and holds what the operator has in his hands."""

    def __init__(self) -> None:
        super().__init__("base")
        self.command, self.state, self.locks = VelocityCommand(), GovernorState(), [False]
        self.create_subscription(TwistStamped, "cmd_vel", self._on_velocity, reliable_qos())
        self.create_subscription(GovernorState, "governor/state", lambda m: setattr(self, "state", m), reliable_qos())
        self.create_subscription(Bool, "governor/lock", lambda m: self.locks.append(m.data), latched_qos())
        self.teleop = self.create_publisher(TwistStamped, "teleop/cmd_vel", reliable_qos())
        self.joy = self.create_publisher(Joy, "joy", reliable_qos())
        self.button = self.create_publisher(Bool, "emergency_stop", reliable_qos())
        self.latched_button = self.create_publisher(Bool, "emergency_stop", latched_qos())
        self.service = self.create_client(SetBool, "governor/emergency_stop")

    def _on_velocity(self, message: TwistStamped) -> None:
        self.command = velocity_from_message(message)


@dataclasses.dataclass
class Stack:
    """The governor that drives, and all around it."""

    navigator: Navigator
    base: Base
    wait_until: object

    def drives(self) -> None:
        self.wait_until(
            lambda: self.base.command.linear_mps > 0.04 and self.base.state.state == GovernorState.STATE_READY
        )

    def stands(self, reason: StopReason) -> None:
        self.wait_until(lambda: self.base.command.is_zero and self.base.state.reason == reason, f"{reason.name}")

    def is_over(self, reason: StopReason) -> None:
        """It stands for that reason, and goes on to when what stopped it is gone."""
        self.stands(reason)
        assert self.base.state.state == GovernorState.STATE_REVOKED
        begun = time.monotonic()
        self.navigator.act()
        self.wait_until(lambda: time.monotonic() > begun + 0.4)
        assert self.base.command.is_zero and self.base.state.state == GovernorState.STATE_REVOKED

    def begins_anew(self) -> None:
        self.navigator.begin(self.navigator.mission.id + 1)
        self.drives()


@pytest.fixture
def stack(spinner, wait_until):
    """A robot on a mission, driving."""
    base, navigator = spinner.add(Base()), spinner.add(Navigator())
    spinner.add(Controller())
    spinner.add(GovernorNode([Parameter("joy_emergency_button", value=1), *BLIND]))
    spinner.add(WatchdogNode())
    wait_until(lambda: base.state.mission_id == IDLE and base.state.reason == StopReason.NO_MISSION, "the governor")
    wait_until(lambda: navigator.actions.get_subscription_count() > 0)
    wait_until(lambda: base.count_subscribers("cmd_vel_nav") > 0)
    assert base.command.is_zero  # there is no mission, whatever the controller says
    navigator.begin()
    stack = Stack(navigator, base, wait_until)
    stack.drives()
    return stack


def test_a_mission_drives_and_ends(stack) -> None:
    stack.navigator.mission = Mission(id=MISSION, running=False)
    stack.stands(StopReason.NO_MISSION)
    stack.begins_anew()


@pytest.mark.parametrize("stop", ["emergency", "operator", "stranger", "navigator"])
def test_the_lock_holds_others_back_until_what_stopped_the_mission_is_over(stack, spinner, stop: str) -> None:
    base = stack.base
    stack.wait_until(lambda: len(base.locks) > 5)
    assert not any(base.locks)
    if stop == "emergency":
        base.button.publish(Bool(data=True))
    elif stop == "operator":
        base.teleop.publish(TwistStamped())
    elif stop == "stranger":
        spinner.add(Controller(name="forger"))
    else:
        spinner.remove(stack.navigator)
    stack.wait_until(lambda: base.locks[-1])
    seen = len(base.locks)
    stack.wait_until(lambda: len(base.locks) > seen + 20)  # again and again: its silence would be a lock too
    assert all(base.locks[seen:])
    if stop == "navigator":
        return
    stack.navigator.mission = Mission(id=MISSION, running=False)
    if stop == "emergency":
        stack.wait_until(lambda: base.state.state == GovernorState.STATE_IDLE)
        assert base.locks[-1]  # until it is released
        base.button.publish(Bool(data=False))
    stack.wait_until(lambda: not base.locks[-1])


def test_a_governor_that_ends_leaves_the_lock_on(spinner, wait_until) -> None:
    base, governor = spinner.add(Base()), spinner.add(GovernorNode(BLIND))
    wait_until(lambda: len(base.locks) > 5)
    assert not base.locks[-1]
    spinner.remove(governor)
    wait_until(lambda: base.locks[-1])


def test_a_forged_action_ends_the_mission(stack, spinner) -> None:
    forger = spinner.add(Node("forger"))
    actions = forger.create_publisher(NavAction, "navigator/action", reliable_qos())
    stack.wait_until(lambda: actions.get_subscription_count() > 0)
    forged = NavAction(mission_id=MISSION, kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.5)
    forger.create_timer(0.05, lambda: actions.publish(forged))  # one may come before its sender's name is known
    stack.is_over(StopReason.STRANGER)
    assert "/forger" in stack.base.state.detail and stack.base.state.refused > 0


def test_a_forged_mission_moves_nothing(stack, spinner) -> None:
    stack.navigator.mission = Mission(id=MISSION, running=False)
    stack.stands(StopReason.NO_MISSION)
    forger = spinner.add(Navigator("forger"))
    forger.mission = Mission(id=MISSION + 9, running=True)
    refused = stack.base.state.refused
    stack.wait_until(lambda: stack.base.state.refused > refused + 5)
    assert stack.base.command.is_zero and stack.base.state.mission_id == MISSION


def test_a_second_controller_ends_the_mission(stack, spinner) -> None:
    spinner.add(Controller("other", speed_mps=0.3))
    stack.is_over(StopReason.STRANGER)


def test_another_publisher_of_cmd_vel_ends_the_mission(stack, spinner) -> None:
    other = spinner.add(Node("planner"))
    other.create_publisher(TwistStamped, "cmd_vel", reliable_qos())
    stack.is_over(StopReason.STRANGER)
    assert "/planner publishes /cmd_vel" in stack.base.state.detail


def test_a_forged_watchdog_does_not_count(stack, spinner) -> None:
    forger = spinner.add(Node("forger"))
    heartbeat = forger.create_publisher(Header, "watchdog/heartbeat", reliable_qos())
    stack.wait_until(lambda: heartbeat.get_subscription_count() > 0)
    forger.create_timer(0.01, lambda: heartbeat.publish(Header()))  # a later one of the watchdog may hide one
    stack.is_over(StopReason.STRANGER)


@pytest.mark.parametrize("name", ["button", "latched_button"])
def test_the_emergency_stop_by_topic(stack, name) -> None:
    button = getattr(stack.base, name)
    stack.wait_until(lambda: button.get_subscription_count() > 0)
    button.publish(Bool(data=True))
    stack.stands(StopReason.EMERGENCY_STOP)
    assert stack.base.state.emergency_stop
    button.publish(Bool(data=False))
    stack.wait_until(lambda: not stack.base.state.emergency_stop)
    stack.is_over(StopReason.EMERGENCY_STOP)
    stack.begins_anew()


def test_the_emergency_stop_by_service(stack) -> None:
    answer = call(stack, True)
    assert answer.success
    stack.is_over(StopReason.EMERGENCY_STOP)
    stack.base.button.publish(Bool(data=True))
    stack.wait_until(lambda: "is true" in call(stack, False).message)  # the button is still pressed
    assert stack.base.state.emergency_stop
    stack.base.button.publish(Bool(data=False))
    stack.wait_until(lambda: not stack.base.state.emergency_stop)
    stack.begins_anew()


def test_what_one_publisher_pressed_another_does_not_release(stack) -> None:
    base, other = stack.base, stack.base.create_publisher(Bool, "emergency_stop", reliable_qos())
    stack.wait_until(lambda: base.button.get_subscription_count() and other.get_subscription_count())
    base.button.publish(Bool(data=True))
    stack.wait_until(lambda: base.state.emergency_stop)
    refused = base.state.header.stamp
    other.publish(Bool(data=False))
    stack.wait_until(lambda: base.state.header.stamp.sec > refused.sec + 1)
    assert base.state.emergency_stop
    base.destroy_publisher(base.button)  # whoever pressed is gone
    stack.wait_until(lambda: other.publish(Bool(data=False)) or not base.state.emergency_stop)


def test_a_button_that_is_not_heard_is_told(spinner, wait_until) -> None:
    base, heard = spinner.add(Base()), []
    base.create_subscription(DiagnosticArray, "/diagnostics", lambda m: heard.extend(m.status), 10)
    spinner.add(GovernorNode([Parameter("emergency_stop_reliability", value="reliable"), *BLIND]))
    base.create_publisher(Bool, "emergency_stop", sensor_qos())
    wait_until(lambda: any("emergency_stop_reliability" in status.message for status in heard), lambda: str(heard[-1:]))


@pytest.mark.parametrize("axes", [[math.nan, 0.0], [0.0, math.inf]])
def test_a_joystick_that_tells_no_number_stops_and_harms_nobody(stack, axes) -> None:
    stack.wait_until(lambda: stack.base.joy.get_subscription_count() > 0)
    stack.base.joy.publish(Joy(axes=axes, buttons=[0, 0]))
    stack.is_over(StopReason.OPERATOR)
    stack.begins_anew()


def test_a_second_governor_moves_nothing_and_says_so(stack, spinner) -> None:
    heard = []
    stack.base.create_subscription(DiagnosticArray, "/diagnostics", lambda m: heard.extend(m.status), 10)
    second = spinner.add(GovernorNode(BLIND))
    stack.wait_until(lambda: any("another /governor" in status.message for status in heard), "the second to be told")
    assert second._output is None or second._output.command is None or second._output.command.is_zero


def test_the_joystick_takes_over_and_its_button_stops(stack) -> None:
    stack.wait_until(lambda: stack.base.joy.get_subscription_count() > 0)
    stack.base.joy.publish(Joy(axes=[0.0, 1.0], buttons=[0, 0]))  # a trigger rests at 1
    stack.drives()
    stack.base.joy.publish(Joy(axes=[0.5, 1.0], buttons=[0, 0]))
    stack.is_over(StopReason.OPERATOR)
    stack.begins_anew()
    stack.base.joy.publish(Joy(axes=[0.0, 1.0], buttons=[0, 1]))
    stack.is_over(StopReason.EMERGENCY_STOP)


def test_teleoperation_drives_at_once_and_nothing_resumes(stack) -> None:
    backward = TwistStamped()
    backward.twist.linear.x = -0.1
    stack.wait_until(lambda: stack.base.teleop.publish(backward) or stack.base.command.linear_mps < -0.09)
    stack.is_over(StopReason.OPERATOR)
    stack.begins_anew()


def call(stack, data: bool) -> SetBool.Response:
    stack.wait_until(stack.base.service.service_is_ready)
    future = stack.base.service.call_async(SetBool.Request(data=data))
    stack.wait_until(future.done)
    return future.result()


def test_an_emergency_stop_that_is_sent_as_sensors_are_is_heard_where_that_is_said(spinner, wait_until) -> None:
    base = spinner.add(Base())
    spinner.add(GovernorNode([Parameter("emergency_stop_reliability", value="best_effort"), *BLIND]))
    robot = base.create_publisher(Bool, "emergency_stop", sensor_qos())
    wait_until(lambda: robot.publish(Bool(data=True)) or base.state.emergency_stop)
    wait_until(lambda: robot.publish(Bool(data=False)) or not base.state.emergency_stop)
    wait_until(lambda: base.button.publish(Bool(data=True)) or base.state.emergency_stop, "a reliable one, as before")


def test_a_governor_that_is_started_again_remembers_the_emergency_stop(spinner, wait_until) -> None:
    base, watchdog = spinner.add(Base()), spinner.add(WatchdogNode())
    governor = spinner.add(GovernorNode(BLIND))
    wait_until(lambda: base.button.publish(Bool(data=True)) or base.state.emergency_stop)
    wait_until(lambda: watchdog.remembers_emergency)
    spinner.remove(governor)
    base.state = GovernorState()
    spinner.add(GovernorNode(BLIND))
    wait_until(lambda: base.state.emergency_stop, "the new governor to be told")


def test_a_governor_that_must_see_moves_nothing_before_it_does(spinner, wait_until) -> None:
    base = spinner.add(Base())
    spinner.add(WatchdogNode())
    spinner.add(GovernorNode())
    wait_until(lambda: base.state.reason == StopReason.NO_OBSTACLE_DATA)
    assert "scan" in base.state.detail and base.state.state == GovernorState.STATE_IDLE


def test_the_watchdog_is_silent_while_the_governor_lives_and_zeroes_when_it_does_not(spinner, wait_until) -> None:
    heard = []
    base = spinner.add(Node("governor"))
    base.create_subscription(TwistStamped, "cmd_vel", heard.append, reliable_qos())
    states = base.create_publisher(GovernorState, "governor/state", reliable_qos())
    spinner.add(WatchdogNode([Parameter("timeout_s", value=0.5)]))
    wait_until(lambda: states.get_subscription_count() > 0 and base.count_publishers("cmd_vel") > 0)
    begun = time.monotonic()
    wait_until(lambda: states.publish(GovernorState()) or time.monotonic() > begun + 1.0)
    assert not heard
    wait_until(lambda: len(heard) > 3, "zeros")
    assert all(velocity_from_message(message).is_zero for message in heard)


def test_limits_are_set_while_it_drives(stack, spinner, wait_until) -> None:
    parameters = spinner.add(ParameterClient("governor", wait_until))
    assert parameters.set({"limits.max_linear_mps": 0.01, "rate_hz": 100.0}).successful
    wait_until(lambda: 0.0 < stack.base.command.linear_mps <= 0.01, "a lower speed")
    result = parameters.set({"limits.max_linear_mps": 0.3, "obstacles.creep_mps": 0.5})
    assert result.reason == "resume_mps = 0.05: must be at least creep_mps = 0.5"
    assert not parameters.set({"limits.max_linear_mps": 30.0}).successful
    assert not parameters.set({"obstacles.required": False}).successful
    assert parameters.get("limits.max_linear_mps") == 0.01
    assert stack.base.command.linear_mps <= 0.01
    fitting = {"limits.max_linear_mps": 0.3, "obstacles.creep_mps": 0.5, "obstacles.resume_mps": 0.6}
    assert parameters.set(fitting).successful
    stack.drives()


def test_obstacles_are_judged_by_what_is_set(spinner, wait_until) -> None:
    base = spinner.add(Base())
    spinner.add(WatchdogNode())
    spinner.add(GovernorNode())
    parameters = spinner.add(ParameterClient("governor", wait_until))
    wait_until(lambda: base.state.reason == StopReason.NO_OBSTACLE_DATA)
    assert parameters.set({"obstacles.stop_zone": "0.5", "obstacles.max_height_m": 2.0}).successful
    result = parameters.set({"obstacles.stop_zone": "[[0, 0], [1, 1]]"})
    assert not result.successful and "stop_zone" in result.reason
    assert parameters.get("obstacles.stop_zone") == "0.5"


def test_the_watchdog_takes_another_patience(spinner, wait_until) -> None:
    spinner.add(WatchdogNode())
    parameters = spinner.add(ParameterClient("watchdog", wait_until))
    assert parameters.set({"timeout_s": 1.0}).successful
    result = parameters.set({"timeout_s": 0.05})
    assert not result.successful and result.reason == "timeout_s = 0.05: must be above 0.05 and at most 10"


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [
        (GovernorNode, "limits.max_linear_mps", -1.0),
        (GovernorNode, "limits.max_speed", 1.0),
        (GovernorNode, "rate_hz", 5.0),
        (GovernorNode, "velocity_type", "twist"),
        (WatchdogNode, "timeout_s", 0.01),
    ],
)
def test_an_impossible_parameter_is_refused(ros, node, name, value) -> None:
    with pytest.raises(ConfigError, match=name.split(".")[-1]):
        node([Parameter(name, value=value)])


def test_diagnostics_say_that_a_sensor_is_missing_before_anybody_drives(spinner, wait_until) -> None:
    seen: list[DiagnosticStatus] = []
    onlooker = Node("onlooker")
    onlooker.create_subscription(DiagnosticArray, "/diagnostics", lambda m: seen.extend(m.status), reliable_qos())
    spinner.add(GovernorNode())
    spinner.add(onlooker)
    wait_until(lambda: any(s.name == "/governor" and s.level == DiagnosticStatus.ERROR for s in seen))
    assert "not ready: scan: no measurement yet" in next(s.message for s in seen if s.level == DiagnosticStatus.ERROR)
