"""A look around that showed no way is not the end: the robot drives on where a way was the most probable."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS, action_index, forward_cm, turn_degrees
from vila_core.guards.look_around import LookAround
from vila_core.types import Action, MoveForward, Pose, Stop, Turn

LEFT, AHEAD = turn_degrees(45), forward_cm(50)


def probabilities(forward: float) -> list[float]:
    """Of a model that would turn left unless driving is more probable."""
    values = [0.0] * len(ACTIONS)
    values[action_index(AHEAD)], values[action_index(LEFT)] = forward, 1 - forward
    return values


class Robot:
    """Turns and drives as it is told, by a model that sees a way in some headings; degrees."""

    def __init__(self, ways: dict[int, float], chances: int = 1, least: float = 0.25) -> None:
        self.ways, self.look, self.pose = ways, LookAround(chances, least), Pose(1.0, 2.0, 0.3)
        self.start_rad = self.pose.yaw_rad

    @property
    def heading(self) -> int:
        return round(math.degrees(self.pose.yaw_rad - self.start_rad)) % 360

    def step(self, way: float | None = None) -> Action:
        allowed = self.look.allowed(self.pose)
        told = probabilities(self.ways.get(self.heading, 0.0) if way is None else way)
        best = max((i for i in range(len(ACTIONS)) if allowed[i]), key=lambda i: (told[i], ACTIONS[i] != Stop()))
        action = ACTIONS[best]
        self.look.note(action, told)
        if isinstance(action, Turn):
            self.pose = self.pose.turned(action.angle_rad)
        elif isinstance(action, MoveForward):
            self.pose = self.pose.advanced(action.distance_m)
        return action

    def until_it_drives(self, most: int = 40) -> list[int]:
        """The headings on the way, the last one that in which it drove; none if it never did."""
        headings = []
        for _ in range(most):
            headings.append(self.heading)
            if isinstance(self.step(), MoveForward):
                return headings
        return []


@pytest.mark.parametrize("way", [0, 45, 90, 180, 225, 315])
def test_it_turns_to_where_a_way_was_most_probable_and_drives(way: int) -> None:
    robot = Robot({way: 0.4, (way + 90) % 360: 0.3})
    headings = robot.until_it_drives()
    assert headings[-1] == way and set(headings) == set(range(0, 360, 45))


def test_it_does_not_lead_round_once_more() -> None:
    robot = Robot({180: 0.4})
    turned = [step.angle_rad for step in (robot.step() for _ in range(11)) if isinstance(step, Turn)]
    assert max(sum(turned[:count]) for count in range(len(turned) + 1)) <= math.radians(375.0)


@pytest.mark.parametrize(("ways", "chances"), [({90: 0.2}, 1), ({}, 3), ({90: 0.4}, 0)])
def test_without_a_way_or_a_chance_nothing_is_ruled_out(ways: dict[int, float], chances: int) -> None:
    assert Robot(ways, chances).until_it_drives() == []


def test_each_look_around_takes_a_chance() -> None:
    robot = Robot({90: 0.4}, chances=2)
    assert robot.until_it_drives()[-1] == 90
    assert robot.until_it_drives()[-1] == 90
    assert robot.until_it_drives() == []


def test_what_is_in_the_way_is_not_pushed_again() -> None:
    robot = Robot({90: 0.4}, chances=2)
    robot.until_it_drives()
    robot.pose = Pose(1.0, 2.0, robot.pose.yaw_rad)  # it did not get on
    assert all(robot.look.allowed(robot.pose))


def test_what_the_model_itself_drives_to_needs_no_chance() -> None:
    robot = Robot({135: 0.6})
    assert robot.until_it_drives() == [0, 45, 90, 135]


def test_a_model_without_probabilities_and_a_robot_without_odometry_are_left_alone() -> None:
    look = LookAround(1, 0.25)
    for number in range(20):
        assert all(look.allowed(Pose(0.0, 0.0, math.radians(45.0 * number))))
        look.note(LEFT, [])
    assert all(look.allowed(None))


@given(st.lists(st.tuples(st.floats(-math.pi, math.pi), st.floats(0, 1)), max_size=40))
def test_a_stop_and_a_motion_are_always_open(steps) -> None:
    look, pose = LookAround(2, 0.25), Pose(0.0, 0.0, 0.0)
    for turn_rad, way in steps:
        allowed = look.allowed(pose)
        opened = [action for action, is_open in zip(ACTIONS, allowed, strict=True) if is_open]
        assert Stop() in opened and len(opened) > 1
        look.note(LEFT, probabilities(way))
        pose = pose.turned(turn_rad)
