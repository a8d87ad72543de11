"""A configuration that is set while something runs: it counts when it is declared to, and nothing else is lost."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.actions.grammar import SENTENCES
from vila_core.config import ControlConfig, EventsConfig, HistoryConfig, NavigatorConfig
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.governor import Governor, GovernorState
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard, ObstacleVerdict
from vila_core.control.governor.speed_limiter import SpeedLimiter
from vila_core.control.motion.controller import MotionController
from vila_core.control.motion.step import MotionState
from vila_core.control.reasons import StopReason
from vila_core.control.watchdog import GovernorWatch
from vila_core.events.tracker import EvaluationWindow, EventTracker
from vila_core.history.camera_watch import CameraWatch
from vila_core.navigator import Navigator
from vila_core.testing import ScriptedBackend, Unicycle, make_frame
from vila_core.types import (
    Action,
    EventQuery,
    Frame,
    HoldReason,
    Instruction,
    Interval,
    MoveForward,
    Odometry,
    Pose,
    Turn,
    VelocityCommand,
)

S = 1_000_000_000
DT_S = 0.05
CONTROL, LIMITS, OBSTACLES = ControlConfig(), GovernorConfig(), ObstacleConfig()
FORWARD, FAR = VelocityCommand(0.3, 0.0), MoveForward(0.75)


class Drive:
    """A motion that runs, in steps of 50 ms."""

    def __init__(self, action: Action = FAR, config: ControlConfig = CONTROL) -> None:
        self.robot = Unicycle()
        self.controller = MotionController(config)
        self.begin(action)

    def begin(self, action: Action) -> None:
        self.controller.start(action, self.robot.pose, self.robot.now_ns)
        self.odometry = self.robot.odometry()

    def step(self) -> VelocityCommand:
        command = self.controller.step(self.odometry, self.robot.now_ns).command
        self.odometry = self.robot.drive(command, DT_S)
        return command

    def run(self, seconds: float) -> VelocityCommand:
        for _ in range(round(seconds / DT_S)):
            command = self.step()
        return command

    def finish(self):
        while self.controller.state is MotionState.RUNNING:
            self.step()
        return self.controller.last


def test_a_lower_top_speed_is_kept_at_the_next_step_and_a_higher_one_is_accelerated_to() -> None:
    drive = Drive()
    assert drive.run(0.6).linear_mps == pytest.approx(0.3)
    drive.controller.reconfigure(replace(CONTROL, max_linear_mps=0.1))
    assert drive.step().linear_mps == 0.1
    drive.controller.reconfigure(replace(CONTROL, max_linear_mps=0.5))
    assert drive.step().linear_mps == pytest.approx(0.1 + 1.0 * DT_S)
    assert drive.finish().state is MotionState.DONE


def test_braking_goes_on_as_it_was_planned_and_the_next_motion_is_planned_anew() -> None:
    """A robot whose deceleration is taken away amid a motion would drive on beyond its goal."""
    drive = Drive()
    drive.run(1.5)
    drive.controller.reconfigure(replace(CONTROL, max_linear_accel_mps2=0.02, max_linear_mps=0.25))
    last = drive.finish()
    assert last.state is MotionState.DONE and last.executed_m == pytest.approx(0.75, abs=0.03)
    drive.begin(MoveForward(0.25))
    assert drive.run(1.0).linear_mps == pytest.approx(0.02 * 1.0, abs=0.005)


def test_a_motion_that_has_not_begun_takes_all_of_it() -> None:
    controller = MotionController(CONTROL)
    controller.reconfigure(replace(CONTROL, max_distance_m=0.5))
    with pytest.raises(ValueError, match=r"at most 0\.5 m"):
        controller.start(MoveForward(0.75), Pose(), 0)


def test_a_shorter_silence_counts_at_once() -> None:
    drive = Drive()
    drive.run(0.5)
    drive.controller.reconfigure(replace(CONTROL, odometry_timeout_s=0.05))
    step = drive.controller.step(replace(drive.odometry, stamp_ns=drive.robot.now_ns - S // 10), drive.robot.now_ns)
    assert step.state is MotionState.ABORTED and "limit 0.05 s" in step.detail


VALUES = {
    "max_linear_mps": st.floats(0.01, 3.0),
    "max_angular_rps": st.floats(0.01, 6.0),
    "max_linear_accel_mps2": st.floats(0.01, 10.0),
    "max_angular_accel_rps2": st.floats(0.01, 50.0),
    "linear_gain": st.floats(0.1, 100.0),
    "angular_gain": st.floats(0.1, 100.0),
    "position_tolerance_m": st.floats(0.001, 0.5),
    "stall_timeout_s": st.floats(0.1, 60.0),
}


@settings(max_examples=60, deadline=None)
@given(
    action=st.sampled_from([MoveForward(0.75), MoveForward(0.25), Turn(math.radians(45)), Turn(math.radians(-15))]),
    changes=st.lists(st.fixed_dictionaries({}, optional=VALUES), max_size=6),
)
def test_whatever_is_set_amid_a_motion_the_speed_in_force_holds_and_it_goes_no_farther(action, changes) -> None:
    drive = Drive(action)
    config = CONTROL
    for change in changes:
        drive.run(0.2)
        config = replace(config, **change)
        drive.controller.reconfigure(config)
        command = drive.step()
        assert abs(command.linear_mps) <= config.max_linear_mps and abs(command.angular_rps) <= config.max_angular_rps
    for _ in range(2000):
        if drive.controller.state is not MotionState.RUNNING:
            break
        command = drive.step()
        assert abs(command.linear_mps) <= config.max_linear_mps and abs(command.angular_rps) <= config.max_angular_rps
    assert drive.controller.state is not MotionState.RUNNING
    assert drive.step().is_zero
    most_m = 1.3 * action.distance_m if isinstance(action, MoveForward) else 0.05
    assert drive.robot.pose.distance_m(Pose()) <= most_m


def test_the_governor_cuts_what_passes_to_a_lower_limit_at_its_next_tick() -> None:
    limiter = SpeedLimiter(LIMITS)
    for _ in range(100):
        limiter.follow(FORWARD, 0.02)
    limiter.reconfigure(replace(LIMITS, max_linear_mps=0.1))
    assert limiter.follow(FORWARD, 0.02).linear_mps == 0.1
    limiter.reconfigure(LIMITS)
    speeds = [0.1] + [limiter.follow(FORWARD, 0.02).linear_mps for _ in range(50)]
    assert speeds[-1] == 0.3
    assert max(b - a for a, b in itertools.pairwise(speeds)) <= LIMITS.max_linear_accel_mps2 * 0.02 + 1e-9


def test_the_governor_keeps_the_mission_and_the_action_over_new_limits() -> None:
    governor = Governor(LIMITS, lambda wanted, _: ObstacleVerdict(wanted), needs_watchdog=False)
    governor.on_mission(1, running=False, steady_ns=0)
    governor.on_mission(2, running=True, steady_ns=0)
    governor.on_action(2, MoveForward(0.75))
    passed = []
    for tick in range(1, 60):
        now_ns = tick * S // 50
        governor.on_mission(2, running=True, steady_ns=now_ns)
        governor.on_command(FORWARD, now_ns)
        if tick == 40:
            governor.reconfigure(replace(LIMITS, max_linear_mps=0.05, max_distance_m=0.1))
        output = governor.tick(now_ns, now_ns)
        assert output.state is GovernorState.READY
        passed.append(output.command.linear_mps)
    assert passed[38] == 0.3 and set(passed[39:]) == {0.05}
    governor.on_action(2, MoveForward(0.75))  # too large by now
    assert governor.tick(60 * S // 50, 60 * S // 50).reason is StopReason.NO_COMMAND


def test_a_shorter_life_of_commands_counts_at_once() -> None:
    governor = Governor(LIMITS, lambda wanted, _: ObstacleVerdict(wanted), needs_watchdog=False)
    governor.on_mission(1, running=False, steady_ns=0)
    governor.on_mission(2, running=True, steady_ns=0)
    governor.on_action(2, MoveForward(0.75))
    governor.on_command(FORWARD, S // 10)
    governor.tick(2 * S // 10, 2 * S // 10)
    governor.reconfigure(replace(LIMITS, command_life_s=0.15))
    assert governor.tick(3 * S // 10, 3 * S // 10).reason is StopReason.NO_COMMAND


WALL = np.stack([np.full(200, 0.7), np.linspace(-1, 1, 200)], axis=1).astype(np.float32)


def test_obstacles_that_were_seen_are_judged_by_what_is_set() -> None:
    guard = ObstacleGuard(OBSTACLES)
    guard.note("scan", WALL, 0)
    before = guard.limit(FORWARD, 0)
    assert before.reason is StopReason.NONE
    guard.reconfigure(replace(OBSTACLES, stop_zone="1.0"))
    assert guard.limit(FORWARD, 0).reason is StopReason.OBSTACLE
    guard.reconfigure(replace(OBSTACLES, stop_margin_m=0.45, slow_distance_m=0.0))
    assert guard.limit(FORWARD, 0).scale < before.scale
    guard.reconfigure(replace(OBSTACLES, source_timeout_s=0.1))
    assert guard.limit(FORWARD, S // 5).reason is StopReason.NO_OBSTACLE_DATA
    guard.reconfigure(OBSTACLES)
    assert guard.limit(FORWARD, 0) == before


def test_the_radius_of_the_robots_own_parts_counts_from_the_next_measurement_on() -> None:
    guard = ObstacleGuard(OBSTACLES)
    inside = np.full((20, 2), 0.05, np.float32)
    guard.note("scan", inside, 0)
    assert guard.limit(FORWARD, 0).reason is StopReason.OBSTACLE
    guard.reconfigure(replace(OBSTACLES, ignore_radius_m=0.1, memory_s=0.0))
    assert guard.limit(FORWARD, 0).reason is StopReason.OBSTACLE
    guard.note("scan", inside, S // 10)
    assert guard.limit(FORWARD, S // 10).reason is StopReason.NONE


def test_another_patience_with_the_governor() -> None:
    watch = GovernorWatch(0.5)
    watch.note(1, 0, 1.0, 0)
    assert watch.doubt(S // 5) is None
    watch.timeout_s = 0.1
    assert "limit 0.1 s" in watch.doubt(S // 5).detail


def test_an_event_that_is_being_confirmed_is_told_by_the_new_rule() -> None:
    config = EventsConfig()
    tracker = EventTracker(EventQuery("q1", "the door opens", "door"), config, itertools.count(1))

    def see(newest: int):
        found = [Interval(2 * S, newest * S, 0.9, S // 4)]
        return tracker.update(found, EvaluationWindow(0, newest * S))

    assert see(3) == ()
    tracker.reconfigure(replace(config, confirm_evaluations=3))
    assert see(4) == ()
    (event,) = see(5)
    assert event.is_open and event.start_ns == 2 * S
    tracker.reconfigure(replace(config, close_evaluations=1))
    (closed,) = tracker.update([], EvaluationWindow(0, 6 * S))
    assert closed.number == event.number and not closed.is_open


def test_the_navigator_decides_by_what_is_set() -> None:
    backend = ScriptedBackend(SENTENCES[2], probability=0.6)
    navigator = Navigator(backend, NavigatorConfig(), HistoryConfig())
    navigator.start(Instruction("go to the red chair"))
    navigator.observe(make_frame(S), Odometry(S, Pose()))
    assert navigator.decide(S).hold is HoldReason.NONE
    navigator.reconfigure(NavigatorConfig(min_probability=0.7))
    assert navigator.decide(S).hold is HoldReason.LOW_PROBABILITY
    navigator.reconfigure(NavigatorConfig(max_image_age_s=0.05))
    assert navigator.decide(S + S // 10).hold is HoldReason.STALE_IMAGE
    assert navigator.history_frames == 1 and navigator.instruction.text == "go to the red chair"


def test_a_camera_is_doubted_by_what_is_set() -> None:
    image = np.kron(np.random.default_rng(0).integers(20, 220, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    watch = CameraWatch(0.5, 0.5)

    def show(x_m: float) -> None:
        stamp_ns = round((1 + x_m) * S)
        watch.add(Frame(image, stamp_ns), Odometry(stamp_ns, Pose(x_m=x_m)))

    show(0.0)
    show(0.1)
    assert watch.fault is None
    watch.reconfigure(0.05, 0.5)
    show(0.12)
    assert watch.fault.reason is HoldReason.FROZEN_IMAGE
