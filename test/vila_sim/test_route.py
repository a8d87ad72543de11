"""Routes: where they lead, and that a robot that follows one gets there."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.types import Pose, VelocityCommand
from vila_sim.episodes.route import Leg, Route, after, drive_to, follow, turn_to

LEGS = (Leg(2.0, 0.5), Leg(2.0, 0.0, math.pi / 4), Leg(1.0), Leg(2.0, 0.5))
ROUTE = Route(Pose(0.0, 0.0, 0.0), LEGS)


@pytest.mark.parametrize(
    ("t_s", "pose", "command"),
    [
        (-1.0, (0.0, 0.0, 0.0), (0.0, 0.0)),
        (1.0, (0.5, 0.0, 0.0), (0.5, 0.0)),
        (3.0, (1.0, 0.0, math.pi / 4), (0.0, math.pi / 4)),
        (4.5, (1.0, 0.0, math.pi / 2), (0.0, 0.0)),
        (7.0, (1.0, 1.0, math.pi / 2), (0.0, 0.0)),
        (99.0, (1.0, 1.0, math.pi / 2), (0.0, 0.0)),
    ],
)
def test_where_a_route_is(t_s: float, pose: tuple[float, float, float], command: tuple[float, float]) -> None:
    at = ROUTE.pose_at(t_s)
    assert (at.x_m, at.y_m, at.yaw_rad) == pytest.approx(pose, abs=1e-9)
    assert ROUTE.command_at(t_s) == VelocityCommand(*command)


@given(st.floats(0, 9), st.floats(0, 9))
def test_the_rest_of_a_route_is_the_same_way(skipped_s: float, t_s: float) -> None:
    rest, whole = ROUTE.later(skipped_s).pose_at(t_s), ROUTE.pose_at(skipped_s + t_s)
    assert rest.distance_m(whole) < 1e-6 and math.cos(rest.yaw_rad - whole.yaw_rad) > 1 - 1e-9


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 0.9))
def test_turning_and_driving_lead_to_the_point(x: float, y: float, yaw: float, speed: float) -> None:
    start = Pose(0.3, -0.2, yaw)
    way = [turn_to(start, math.atan2(y + 0.2, x - 0.3), 0.7), drive_to(start, x, y, speed)]
    end = after(start, way)
    assert (end.x_m, end.y_m) == pytest.approx((x, y), abs=1e-6)


@pytest.mark.parametrize("error", [Pose(0.1, 0.1, 0.3), Pose(-0.1, -0.1, -0.3), Pose(0.0, 0.0, 0.0)])
def test_who_follows_comes_back_to_the_route(error: Pose) -> None:
    pose, step_s = error, 0.05
    for i in range(round(ROUTE.duration_s / step_s)):
        command = follow(ROUTE, i * step_s, pose)
        pose = pose.turned(command.angular_rps * step_s).advanced(command.linear_mps * step_s)
    assert pose.distance_m(ROUTE.pose_at(ROUTE.duration_s)) < 0.12
