"""The governor: nothing moves but on a mission, for an action, by a fresh command, within limits."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.governor import Governor, GovernorState
from vila_core.control.governor.obstacles import ObstacleVerdict
from vila_core.control.governor.speed_limiter import SpeedLimiter
from vila_core.control.reasons import StopReason
from vila_core.errors import ConfigError
from vila_core.types import MoveForward, Stop, Turn, VelocityCommand

IDLE, MISSION = 100, 101
TICK_NS = 20_000_000
FORWARD = VelocityCommand(0.3, 0.0)
LONGEST = MoveForward(0.75)
WALL = ObstacleVerdict(FORWARD, 0.0, StopReason.OBSTACLE, "a wall")
EVENTS = ("hold", "act", "forge", "operator", "stop", "release", "silence", "speak", "hang")


class World:
    """A governor, and all who speak to it, in steps of 20 ms; each of them can be silenced."""

    def __init__(self, action=LONGEST, **config) -> None:
        self.limited: ObstacleVerdict | None = None
        self.governor = Governor(GovernorConfig(**config), lambda wanted, _: self.limited or ObstacleVerdict(wanted))
        self.now_ns = 10**9
        self.wanted: VelocityCommand | None = FORWARD
        self.navigator = self.watchdog = True
        self.mission, self.running = IDLE, False
        self.path_m = self.turned_rad = 0.0
        self.silent_ticks = self.jump_ns = 0
        self.output = None
        self.run(0.1)
        self.begin(MISSION, action)

    def begin(self, mission: int, action) -> None:
        self.mission, self.running = mission, True
        self.governor.on_mission(mission, running=True, steady_ns=self.now_ns)
        self.act(action)

    def act(self, action) -> None:
        self.governor.on_action(self.mission, action)

    def run(self, seconds: float):
        for _ in range(round(seconds * 1e9 / TICK_NS)):
            self.now_ns += TICK_NS
            if self.navigator:
                self.governor.on_mission(self.mission, running=self.running, steady_ns=self.now_ns)
            if self.watchdog:
                self.governor.on_watchdog(self.now_ns)
            if self.wanted is not None:
                self.governor.on_command(self.wanted, self.now_ns)
            self.tick()
        return self.output

    def tick(self):
        self.output = self.governor.tick(self.now_ns, self.now_ns + self.jump_ns)
        command = self.output.command
        if command is not None:
            self.path_m += abs(command.linear_mps) * TICK_NS / 1e9
            self.turned_rad += abs(command.angular_rps) * TICK_NS / 1e9
        return self.output

    @property
    def stands(self) -> bool:
        return self.output.command is None or self.output.command.is_zero


def test_a_fresh_command_for_an_action_of_the_mission_passes() -> None:
    output = World().run(1.0)
    assert output.command == FORWARD
    assert (output.state, output.reason) == (GovernorState.READY, StopReason.NONE)


@pytest.mark.parametrize(
    ("change", "reason", "within_s"),
    [
        (lambda w: setattr(w, "wanted", None), StopReason.NO_COMMAND, 0.32),
        (lambda w: setattr(w, "watchdog", False), StopReason.WATCHDOG_LOST, 0.32),
        (lambda w: w.governor.press_emergency_stop("service", "pressed"), StopReason.EMERGENCY_STOP, 0.02),
        (lambda w: w.governor.on_operator(None, w.now_ns, "joystick"), StopReason.OPERATOR, 0.02),
        (lambda w: w.governor.on_stranger("/stranger"), StopReason.STRANGER, 0.02),
        (lambda w: w.governor.on_machine(0.0, "too hot"), StopReason.MACHINE, 0.02),
        (lambda w: w.act(None), StopReason.NO_COMMAND, 0.02),
        (lambda w: w.act(Stop()), StopReason.NO_COMMAND, 0.02),
        (lambda w: w.act(MoveForward(0.76)), StopReason.NO_COMMAND, 0.02),
        (lambda w: w.act(MoveForward(math.nan)), StopReason.NO_COMMAND, 0.02),
        (lambda w: w.act(Turn(math.radians(46))), StopReason.NO_COMMAND, 0.02),
        (lambda w: w.governor.on_action(99, MoveForward(0.5)), StopReason.NO_COMMAND, 0.02),
        (lambda w: setattr(w, "running", False), StopReason.NO_MISSION, 0.02),
        (lambda w: setattr(w, "wanted", VelocityCommand(math.nan, 0.0)), StopReason.BAD_COMMAND, 0.02),
        (lambda w: setattr(w, "wanted", VelocityCommand(0.0, math.inf)), StopReason.BAD_COMMAND, 0.02),
        (lambda w: setattr(w, "wanted", VelocityCommand(-0.2, 0.0)), StopReason.BAD_COMMAND, 0.02),
        (lambda w: setattr(w, "limited", WALL), StopReason.OBSTACLE, 0.02),
    ],
)  # fmt: skip
def test_every_doubt_means_zero(change, reason, within_s) -> None:
    world = World()
    world.run(0.5)
    change(world)
    world.run(within_s)
    assert world.stands
    assert world.output.reason is reason


@pytest.mark.parametrize(
    ("change", "is_locked"),
    [
        (lambda w: None, False),
        (lambda w: w.act(None), False),  # nothing is commanded, as where Nav2 drives
        (lambda w: w.governor.on_machine(0.5, "warm"), False),
        (lambda w: w.governor.on_machine(0.0, "too hot"), True),
        (lambda w: setattr(w, "limited", WALL), True),
        (lambda w: w.governor.press_emergency_stop("service", "pressed"), True),
        (lambda w: w.governor.on_operator(None, w.now_ns, "joystick"), True),
        (lambda w: w.governor.on_operator(FORWARD, w.now_ns, "teleop"), True),
        (lambda w: w.governor.on_stranger("/stranger"), True),
        (lambda w: setattr(w, "navigator", False), True),
        (lambda w: setattr(w, "watchdog", False), True),
        (lambda w: setattr(w, "running", False), False),
        (lambda w: (w.governor.on_machine(0.0, "too hot"), setattr(w, "running", False)), False),
        (lambda w: (w.governor.press_emergency_stop("topic", "it"), setattr(w, "running", False)), True),
    ],
)  # fmt: skip
def test_the_lock_is_on_while_nobody_may_drive(change, is_locked: bool) -> None:
    world = World()
    world.run(0.5)
    change(world)
    world.run(1.5)
    assert world.output.is_locked is is_locked


def test_a_navigator_that_falls_silent_ends_the_mission() -> None:
    world = World()
    world.navigator = False
    world.run(0.9)
    assert world.stands
    assert (world.output.state, world.output.reason) == (GovernorState.REVOKED, StopReason.NAVIGATOR_LOST)


@pytest.mark.parametrize("lost", ["wanted", "watchdog", "navigator"])
def test_what_was_lost_resumes_nothing_until_another_mission(lost) -> None:
    world = World()
    world.run(0.2)
    setattr(world, lost, None)
    world.run(1.0)
    setattr(world, lost, FORWARD if lost == "wanted" else True)
    assert world.run(1.0).state is GovernorState.REVOKED and world.stands
    world.begin(MISSION + 1, MoveForward(0.5))
    assert world.run(0.5).state is GovernorState.READY and not world.stands


def test_a_hiccup_of_the_controller_resumes() -> None:
    world = World()
    world.run(0.2)
    world.wanted = None
    assert world.run(0.4).state is GovernorState.STOPPED
    world.wanted = FORWARD
    assert world.run(0.1).state is GovernorState.READY


def test_the_emergency_stop_is_latched_and_clearing_it_resumes_nothing() -> None:
    world = World()
    world.run(0.2)
    world.governor.press_emergency_stop("topic", "the button")
    world.governor.press_emergency_stop("service", "the page")
    world.run(3.0)
    assert world.output.command == VelocityCommand()  # zeros for as long as it lasts
    world.governor.release_emergency_stop("service")
    assert world.run(0.1).reason is StopReason.EMERGENCY_STOP
    world.begin(MISSION + 1, MoveForward(0.5))
    assert world.run(0.1).reason is StopReason.EMERGENCY_STOP
    world.governor.release_emergency_stop("topic")
    assert world.run(1.0).reason is StopReason.EMERGENCY_STOP and world.stands  # that mission began under it
    world.begin(MISSION + 2, MoveForward(0.5))
    assert world.run(0.2).state is GovernorState.READY


def test_the_operator_drives_at_once_and_nothing_resumes_behind_him() -> None:
    world = World()
    world.run(0.2)
    for _ in range(20):
        world.governor.on_operator(VelocityCommand(-0.1, 0.2), world.now_ns, "teleop")
        world.run(0.02)
    assert world.output.command == VelocityCommand(-0.1, 0.2)
    assert (world.output.state, world.output.reason) == (GovernorState.REVOKED, StopReason.OPERATOR)
    world.run(0.6)
    assert world.stands
    assert world.run(2.0).state is GovernorState.REVOKED


def test_the_operator_drives_without_a_mission_but_not_under_the_emergency_stop() -> None:
    world = World()
    world.running = False
    world.run(0.1)
    world.governor.on_operator(VelocityCommand(0.1, 0.0), world.now_ns, "teleop")
    assert world.run(0.2).command == VelocityCommand(0.1, 0.0)
    world.governor.press_emergency_stop("topic", "the button")
    world.governor.on_operator(VelocityCommand(0.1, 0.0), world.now_ns, "teleop")
    assert world.run(0.02).command == VelocityCommand()


def test_a_mission_that_had_begun_before_the_governor_moves_nothing() -> None:
    governor = Governor(GovernorConfig(), lambda wanted, _: ObstacleVerdict(wanted), needs_watchdog=False)
    for tick in range(1, 20):
        governor.on_mission(MISSION, running=True, steady_ns=tick * TICK_NS)
        governor.on_action(MISSION, MoveForward(0.5))
        governor.on_command(FORWARD, tick * TICK_NS)
        output = governor.tick(tick * TICK_NS, tick * TICK_NS)
        assert output.command == VelocityCommand()  # for one that died before
        assert (output.state, output.reason) == (GovernorState.REVOKED, StopReason.NO_MISSION)


def test_a_mission_that_ended_does_not_begin_again() -> None:
    world = World()
    world.running = False
    world.run(0.1)
    world.running = True
    world.run(0.1)
    world.act(MoveForward(0.5))
    assert world.run(0.5).reason is StopReason.NO_MISSION and world.stands


def test_a_governor_that_was_held_up_obeys_nothing_that_waited() -> None:
    world = World()
    world.run(0.2)
    world.now_ns += 400_000_000
    world.governor.on_command(FORWARD, world.now_ns)  # taken from the queue before the timer runs
    assert world.tick().command == VelocityCommand()
    world.run(0.2)
    assert world.output.state is GovernorState.READY
    world.now_ns += 2_000_000_000
    world.governor.on_command(FORWARD, world.now_ns)
    world.tick()
    world.run(1.0)
    assert (world.output.state, world.output.reason) == (GovernorState.REVOKED, StopReason.HELD_UP)


@pytest.mark.parametrize(
    ("action", "wanted"),
    [
        (MoveForward(0.25), FORWARD),
        (MoveForward(0.75), FORWARD),
        (MoveForward(0.75), VelocityCommand(0.02, 0.0)),
        (MoveForward(0.75), VelocityCommand(0.05, 0.5)),
        (Turn(math.radians(45)), VelocityCommand(0.0, 0.5)),
        (Turn(-math.radians(15)), VelocityCommand(0.0, -0.02)),
        (Turn(math.radians(30)), VelocityCommand(0.3, 0.3)),
    ],
)
def test_an_action_bounds_path_turn_and_time(action, wanted) -> None:
    world = World(action)
    world.wanted = wanted
    world.run(40.0)
    length_m = action.distance_m if isinstance(action, MoveForward) else 0.0
    angle_rad = abs(action.angle_rad) if isinstance(action, Turn) else math.radians(90) / 1.2
    assert world.path_m <= max(1.2 * length_m, length_m + 0.1) + 0.01
    assert world.turned_rad <= max(1.2 * angle_rad, angle_rad + math.radians(10)) + 0.02
    assert world.output.reason in (StopReason.TOO_FAR, StopReason.TOO_LONG)
    assert world.output.state is GovernorState.REVOKED


@pytest.mark.parametrize("jump_s", [60.0, -60.0])
def test_a_clock_that_jumps_takes_no_time_of_an_action(jump_s: float) -> None:
    world = World()
    world.run(0.5)
    world.jump_ns = round(jump_s * 1e9)
    assert world.run(0.5).reason is StopReason.NONE  # who knows the stamps tells of the jump, and by its name
    world.wanted = VelocityCommand(0.01, 0.0)
    assert world.run(25.0).reason is StopReason.TOO_LONG


def test_after_a_stop_zeros_are_published_for_a_second_then_nothing() -> None:
    world = World()
    world.run(0.5)
    world.act(None)
    assert world.run(0.9).command == VelocityCommand()
    assert world.run(0.2).command is None


def test_heat_lowers_the_top_speed() -> None:
    world = World()
    world.governor.on_machine(0.5, "warm")
    output = world.run(1.0)
    assert output.command == VelocityCommand(0.15, 0.0)
    assert (output.state, output.detail, output.scale) == (GovernorState.LIMITED, "warm", 0.5)


finite = st.floats(-3.0, 3.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(finite, finite, st.floats(0.0, 0.3)), min_size=1, max_size=40))
def test_speed_and_acceleration_stay_within_limits(steps) -> None:
    config = GovernorConfig()
    limiter = SpeedLimiter(config)
    before = VelocityCommand()
    for linear, angular, dt_s in steps:
        now = limiter.follow(VelocityCommand(linear, angular), dt_s)
        dt = min(dt_s, 0.1)
        for speed, last, top, accel in (
            (now.linear_mps, before.linear_mps, config.max_linear_mps, config.max_linear_accel_mps2),
            (now.angular_rps, before.angular_rps, config.max_angular_rps, config.max_angular_accel_rps2),
        ):
            assert abs(speed) <= top
            grown = abs(speed) - (abs(last) if speed * last > 0 else 0.0)
            assert grown <= accel * dt + 1e-9
        before = now


@given(finite.filter(bool), finite.filter(bool), st.floats(0.05, 1.0))
def test_above_a_top_speed_the_arc_stays_the_one_that_was_looked_along(linear, angular, scale) -> None:
    limiter = SpeedLimiter(GovernorConfig())
    for _ in range(200):
        passed = limiter.follow(VelocityCommand(linear, angular), 0.1, scale)
    assert passed.angular_rps * linear == pytest.approx(passed.linear_mps * angular, rel=1e-6, abs=1e-12)
    assert abs(passed.linear_mps) <= GovernorConfig().max_linear_mps * scale * (1 + 1e-9)


def test_acceleration_grows_within_the_jerk_and_a_stop_does_not_wait() -> None:
    config = GovernorConfig(max_linear_jerk_mps3=10.0, max_linear_accel_mps2=1.0)
    limiter = SpeedLimiter(config)
    speeds = [0.0] + [limiter.follow(FORWARD, 0.02).linear_mps for _ in range(30)]
    accels = [0.0] + [(b - a) / 0.02 for a, b in zip(speeds, speeds[1:], strict=False)]
    assert max(b - a for a, b in zip(accels, accels[1:], strict=False)) <= 10.0 * 0.02 + 1e-9
    assert speeds[-1] == 0.3 and max(accels) == pytest.approx(1.0)
    assert limiter.follow(VelocityCommand(), 0.02) == VelocityCommand()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_nothing_moves_the_robot_of_a_revoked_mission(events) -> None:
    world = World()
    revoked = False
    for event in events:
        if event == "act":
            world.act(MoveForward(0.5))
        elif event == "hold":
            world.act(None)
        elif event == "forge":
            world.governor.on_stranger("/stranger")
        elif event == "operator":
            world.governor.on_operator(None, world.now_ns, "joystick")
        elif event == "stop":
            world.governor.press_emergency_stop("service", "pressed")
        elif event == "release":
            world.governor.release_emergency_stop("service")
        elif event in ("silence", "speak"):
            world.navigator = event == "speak"
        else:
            world.now_ns += 700_000_000
        world.run(0.06)
        revoked = revoked or world.output.state is GovernorState.REVOKED
        assert not revoked or world.stands
        assert not revoked or world.output.state is GovernorState.REVOKED


def test_what_would_stop_any_mission_is_told_before_one_begins() -> None:
    governor = Governor(GovernorConfig(), lambda wanted, _: ObstacleVerdict(wanted))
    governor.on_mission(IDLE, running=False, steady_ns=TICK_NS)
    output = governor.tick(TICK_NS, TICK_NS)
    assert (output.state, output.reason) == (GovernorState.IDLE, StopReason.WATCHDOG_LOST)
    governor.on_watchdog(2 * TICK_NS)
    assert governor.tick(2 * TICK_NS, 2 * TICK_NS).reason is StopReason.NO_MISSION


def test_impossible_limits_are_refused() -> None:
    for name, value in (("max_linear_mps", 0.0), ("extra_share", 0.0), ("command_life_s", -1.0), ("lost_s", math.nan)):
        with pytest.raises(ConfigError, match=name):
            replace(GovernorConfig(), **{name: value})


TURN_LEFT, TURN_RIGHT = Turn(math.radians(15)), Turn(math.radians(-15))


@pytest.mark.parametrize(
    ("what", "action", "wanted", "seconds", "passes"),
    [
        ("another way", MoveForward(0.75), FORWARD, 0.5, True),
        ("a turn, while it brakes", TURN_RIGHT, VelocityCommand(0.1, -0.4), 0.5, True),
        ("a turn, and it drives on", TURN_RIGHT, FORWARD, 2.0, False),
        ("a stop", Stop(), FORWARD, 0.02, False),
        ("a hold", None, FORWARD, 0.02, False),
    ],
)
def test_an_action_replaces_a_running_one_of_its_mission_without_a_stop(what, action, wanted, seconds, passes) -> None:
    world = World()
    world.run(0.5)
    world.act(action)
    world.wanted = None
    world.run(0.02)
    assert world.output.command.is_zero is not (action is not None and action != Stop()), what
    world.wanted = wanted
    world.run(seconds)
    assert (world.output.state is GovernorState.READY) is passes, (what, world.output)


@pytest.mark.parametrize(("told", "passes"), [(True, True), (False, False)])
def test_a_turn_may_undo_what_was_turned_since_its_image(told: bool, passes: bool) -> None:
    world = World(Turn(math.radians(45)))
    world.wanted = VelocityCommand(0.0, 0.5)
    world.run(0.1)
    image_ns = world.now_ns
    world.run(0.8)
    world.governor.on_action(MISSION, TURN_RIGHT, image_ns if told else None)
    world.wanted = VelocityCommand(0.0, -0.5)
    world.run(1.6)
    assert (world.output.state is GovernorState.READY) is passes, world.output
    world.run(2.0)
    assert world.output.reason is StopReason.TOO_FAR  # bounded all the same
