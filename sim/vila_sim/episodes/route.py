"""The way of a camera through time: a start and legs of constant speed, as a robot can be commanded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.types import Pose, VelocityCommand, wrap_angle

_AHEAD_GAIN, _TURN_GAIN, _ASIDE_GAIN = 1.5, 2.5, 2.0  # 1/s, 1/s, rad/s for each metre


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of time at constant speed: straight ahead, a turn on the spot, or standing still."""

    duration_s: float
    linear_mps: float = 0.0
    angular_rps: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """Where the robot is at each time. At its end it stands still."""

    start: Pose
    legs: tuple[Leg, ...] = ()

    @property
    def duration_s(self) -> float:
        """The time that all legs take."""
        return sum(leg.duration_s for leg in self.legs)

    def pose_at(self, t_s: float) -> Pose:
        """The pose at a time from the start."""
        pose = self.start
        for leg in self.legs:
            spent = min(max(t_s, 0.0), leg.duration_s)
            pose = pose.turned(leg.angular_rps * spent).advanced(leg.linear_mps * spent)
            t_s -= leg.duration_s
            if t_s <= 0:
                break
        return pose

    def later(self, t_s: float) -> Route:
        """The rest of the route, from a time on."""
        legs: list[Leg] = []
        spent = t_s
        for leg in self.legs:
            left = leg.duration_s - max(spent, 0.0)
            spent -= leg.duration_s
            if left > 0:
                legs.append(Leg(left, leg.linear_mps, leg.angular_rps))
        return Route(self.pose_at(t_s), tuple(legs))

    def command_at(self, t_s: float) -> VelocityCommand:
        """The velocity at a time from the start; zero before it and after the end."""
        for leg in self.legs:
            if 0 <= t_s < leg.duration_s:
                return VelocityCommand(leg.linear_mps, leg.angular_rps)
            t_s -= leg.duration_s
        return VelocityCommand(0.0, 0.0)


def follow(route: Route, t_s: float, pose: Pose) -> VelocityCommand:
    """The velocity that keeps a robot on the route, or brings it back, when it is at a pose at that time."""
    planned, wanted = route.pose_at(t_s), route.command_at(t_s)
    left = planned.relative_to(pose)
    steer = _ASIDE_GAIN * left.y_m if wanted.linear_mps > 0 else 0.0
    angular_rps = wanted.angular_rps + _TURN_GAIN * left.yaw_rad + steer
    return VelocityCommand(wanted.linear_mps + _AHEAD_GAIN * left.x_m, angular_rps)


def turn_to(pose: Pose, yaw_rad: float, rate_rps: float) -> Leg:
    """The shorter turn on the spot to a heading."""
    angle = wrap_angle(yaw_rad - pose.yaw_rad)
    return Leg(abs(angle) / rate_rps, 0.0, math.copysign(rate_rps, angle))


def drive_to(pose: Pose, x_m: float, y_m: float, speed_mps: float) -> Leg:
    """The straight way to a point that lies ahead."""
    return Leg(math.dist((pose.x_m, pose.y_m), (x_m, y_m)) / speed_mps, speed_mps)


def after(pose: Pose, legs: Sequence[Leg]) -> Pose:
    """Where the legs lead from a pose."""
    route = Route(pose, tuple(legs))
    return route.pose_at(route.duration_s)
