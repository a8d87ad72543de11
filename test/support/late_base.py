"""A base as real ones are: late, a little off, with noisy odometry that comes at its own rate and late as well."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vila_core.config import ControlConfig
from vila_core.control.motion.controller import MotionController
from vila_core.control.motion.step import MotionState, MotionStep
from vila_core.control.odometry_watch import OdometryWatch, Source
from vila_core.types import Action, MoveForward, Odometry, Pose, VelocityCommand, wrap_angle

TICK_S = 0.05
ONE = Source(publisher=b"driver")
Edit = Callable[[Odometry, float], "list[tuple[Odometry, Source]]"]


@dataclass
class LateBase:
    """Obeys a command dead_s later, through a first-order lag; its odometry is heard delay_s after its stamp.

    told: what odometry says of each metre, speed_told: of each metre a second, 0 for a driver that never fills it in.
    """

    lag_s: float = 0.05
    dead_s: float = 0.0
    rate_hz: float = 50.0
    delay_s: float = 0.01
    noise_m: float = 0.0
    noise_rad: float = 0.0
    scale: float = 1.0
    told: float = 1.0
    speed_told: float = 1.0
    blocked_at_m: float = math.inf
    seed: int = 0
    seconds: float = 0.0
    pose: Pose = field(default_factory=Pose)
    path_m: float = 0.0
    turned_rad: float = 0.0

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._speed = VelocityCommand()
        self._commands = deque([(-math.inf, VelocityCommand())])
        self._messages: deque[tuple[float, Odometry]] = deque()
        self._next_s = 0.0

    def obey(self, command: VelocityCommand) -> None:
        self._commands.append((self.seconds + self.dead_s, command))

    def run(self, until_s: float) -> list[Odometry]:
        """Let time pass; return the odometry that is heard meanwhile."""
        while self.seconds < until_s - 1e-9:
            self._move(min(0.005, until_s - self.seconds))
            if self.seconds >= self._next_s:
                self._next_s += self._rng.uniform(0.9, 1.1) / self.rate_hz
                if self._rng.random() > 0.01:  # a message is lost now and then
                    heard_s = self.seconds + self.delay_s * self._rng.uniform(0.8, 1.0)
                    self._messages.append((heard_s, self._odometry()))
        heard = []
        while self._messages and self._messages[0][0] <= self.seconds:
            heard.append(self._messages.popleft()[1])
        return heard

    def _move(self, dt_s: float) -> None:
        self.seconds += dt_s
        while len(self._commands) > 1 and self._commands[1][0] <= self.seconds:
            self._commands.popleft()
        command = self._commands[0][1]
        share = 1.0 - math.exp(-dt_s / self.lag_s) if self.lag_s else 1.0
        if self.path_m >= self.blocked_at_m:
            self._speed, share = VelocityCommand(), 0.0
        linear_mps = self._speed.linear_mps + share * (self.scale * command.linear_mps - self._speed.linear_mps)
        angular_rps = self._speed.angular_rps + share * (self.scale * command.angular_rps - self._speed.angular_rps)
        self._speed = VelocityCommand(linear_mps, angular_rps)
        self.pose = self.pose.turned(angular_rps * dt_s).advanced(linear_mps * dt_s)
        self.path_m += abs(linear_mps) * dt_s
        self.turned_rad += abs(angular_rps) * dt_s

    def _odometry(self) -> Odometry:
        noise = self._rng.gauss
        pose = Pose(
            self.told * self.pose.x_m + noise(0, self.noise_m),
            self.told * self.pose.y_m + noise(0, self.noise_m),
            wrap_angle(self.told * self.pose.yaw_rad + noise(0, self.noise_rad)),
        )
        told, noise_mps = self.speed_told, self.noise_m and 0.01
        linear_mps = told * (self._speed.linear_mps + noise(0, noise_mps))
        angular_rps = told * (self._speed.angular_rps + noise(0, 2 * noise_mps))
        return Odometry(round(self.seconds * 1e9), pose, linear_mps, angular_rps)


@dataclass
class Drive:
    """How a motion went: the robot's own path since the begin, and the largest lead of the commands over odometry."""

    step: MotionStep
    seconds: float = 0.0
    path_m: float = 0.0
    turned_rad: float = 0.0
    apart_m: float = 0.0
    apart_rad: float = 0.0
    commands: list[VelocityCommand] = field(default_factory=list)


def as_it_is(odometry: Odometry, _since_s: float) -> list[tuple[Odometry, Source]]:
    return [(odometry, ONE)]


def drive(
    base: LateBase,
    action: Action,
    edit: Edit = as_it_is,
    config: ControlConfig | None = None,
    jitter_s: float = 0.0,
) -> Drive:
    """Run the action as the controller's node does; edit: what becomes of an odometry, so long after the begin."""
    controller, watch = MotionController(config or ControlConfig()), OdometryWatch()
    rng, newest, begun_s = random.Random(base.seed), None, math.inf
    result = Drive(MotionStep(VelocityCommand(), MotionState.IDLE))
    start_m = start_rad = 0.0
    while base.seconds < 60.0:
        heard = base.run(base.seconds + TICK_S + (rng.uniform(0, jitter_s) if rng.random() < 0.3 else 0.0))
        now_ns = round(base.seconds * 1e9)
        for odometry, source in [pair for got in heard for pair in edit(got, got.stamp_ns / 1e9 - begun_s)]:
            broken = watch.note(odometry, source, *controller.path.speeds(), now_ns)
            if broken is not None and controller.state is MotionState.RUNNING:
                result.step = controller.abort(broken.detail, broken.fault)
            controller.path.measure(odometry)
            newest = odometry
        if newest is not None and begun_s == math.inf and base.seconds > 0.6:
            begun_s, start_m, start_rad = base.seconds, base.path_m, base.turned_rad
            controller.start(action, newest.pose, now_ns)
        if newest is not None and result.step.state in (MotionState.IDLE, MotionState.RUNNING):
            result.step = controller.step(newest, now_ns)
            result.commands.append(result.step.command)
            base.obey(result.step.command)
        if begun_s < math.inf:
            lead = controller.path.lead
            result.apart_m = max(result.apart_m, abs(lead.forward_m))
            result.apart_rad = max(result.apart_rad, abs(lead.turned_rad))
        result.seconds = base.seconds - begun_s
        if result.step.state in (MotionState.DONE, MotionState.ABORTED):
            break
    result.path_m, result.turned_rad = base.path_m - start_m, base.turned_rad - start_rad
    return result


def moved(odometry: Odometry, x_m: float = 0.0, y_m: float = 0.0, yaw_rad: float = 0.0) -> Odometry:
    """Return the odometry with its pose displaced."""
    pose = odometry.pose
    return dataclasses.replace(odometry, pose=Pose(pose.x_m + x_m, pose.y_m + y_m, wrap_angle(pose.yaw_rad + yaw_rad)))


def size(action: Action) -> float:
    return action.distance_m if isinstance(action, MoveForward) else abs(action.angle_rad)


def commanded(step: MotionStep, action: Action) -> float:
    return step.commanded_m if isinstance(action, MoveForward) else step.commanded_rad
