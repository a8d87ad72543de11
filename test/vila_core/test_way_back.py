"""The way back: over driven ground alone, by short cuts where it comes near itself, to the place and its heading."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from driven import Walker
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS
from vila_core.config import ControlConfig
from vila_core.control.driven_ground import shortest_way
from vila_core.control.driven_path import DrivenPath, Place, distance_to_line_m
from vila_core.control.limits import action_refusal
from vila_core.control.way_back import WayBack
from vila_core.errors import WayError
from vila_core.types import Action, MoveForward, Odometry, Pose, Stop, Turn, wrap_angle

LEFT, RIGHT, ON = Turn(math.radians(45)), Turn(math.radians(-45)), MoveForward(0.75)
SQUARE = ([ON] * 3 + [LEFT] * 2) * 4
GROUND_M = 0.3  # how far from what was driven a way may lead
DRIVE_M = 0.45  # and how far a robot that drives badly may get


def path_of(walker: Walker) -> DrivenPath:
    path = DrivenPath()
    for one in walker.odometry:
        path.add(one)
    return path


def driven(*actions: Action) -> tuple[Walker, DrivenPath]:
    walker = Walker()
    walker.does(actions)
    return walker, path_of(walker)


def follow(way: WayBack, walker: Walker, *, scale: float = 1.0, off_rad: float = 0.0) -> list[Action]:
    """Do what the way says until it says stop; return the actions before."""
    actions: list[Action] = []
    while not isinstance(action := way.next_action(walker.pose), Stop):
        actions.append(action)
        assert action_refusal(action, ControlConfig()) is None
        assert len(actions) < 30 + 8 * way.length_m, f"no end: {actions[-8:]} at {walker.pose}, to {way.place.pose}"
        walker.does([action], scale=scale, off_rad=off_rad)
    return actions


def is_there(pose: Pose, place: Pose) -> bool:
    return pose.distance_m(place) <= 0.3 and abs(wrap_angle(place.yaw_rad - pose.yaw_rad)) <= math.radians(15) + 1e-9


def off_m(pose: Pose, odometry: list[Odometry]) -> float:
    """How far a pose is from what was driven."""
    return min(pose.distance_m(one.pose) for one in odometry)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(ACTIONS[1:]), max_size=40),
    st.floats(0.0, 1.0),
    st.sampled_from([1.0, 0.9, 1.1]),
    st.sampled_from([0.0, math.radians(3), math.radians(-3)]),
)
def test_it_arrives_over_driven_ground_even_with_a_robot_that_drives_badly(actions, when, scale, off_rad) -> None:
    walker, path = driven(*actions)
    was = walker.odometry[round(when * (len(walker.odometry) - 1))]
    before = list(walker.odometry)
    way = WayBack(path, walker.pose, path.at(was.stamp_ns))
    for begin, end in pairwise(way.way):
        for share in range(11):
            x_m = begin.x_m + share / 10 * (end.x_m - begin.x_m)
            assert off_m(Pose(x_m, begin.y_m + share / 10 * (end.y_m - begin.y_m)), before) < GROUND_M
    follow(way, walker, scale=scale, off_rad=off_rad)
    assert is_there(walker.pose, way.place.pose)
    assert walker.pose.distance_m(was.pose) < 0.1 + 0.2 + 1e-9 or scale != 1.0 or off_rad
    assert all(off_m(one.pose, before) < DRIVE_M for one in walker.odometry[len(before) :])


@pytest.mark.parametrize(
    ("actions", "most_m"),
    [
        pytest.param([ON] * 4, 3.1, id="straight back"),
        pytest.param(SQUARE, 0.4, id="round a square, and nothing to do"),
        pytest.param(SQUARE + [ON] * 2, 1.6, id="round a square and on: not round it again"),
        pytest.param([*[ON] * 4, *[LEFT] * 4, *[ON] * 4], 0.4, id="there and back"),
        pytest.param([*[ON] * 4, *[LEFT] * 2, *[ON] * 4], 6.2, id="round a corner, not across"),
    ],
)
def test_it_takes_short_cuts_where_the_path_comes_near_itself_and_only_there(actions, most_m: float) -> None:
    walker, path = driven(*actions)
    way = WayBack(path, walker.pose, path.places[0])
    assert most_m - 0.4 <= way.length_m <= most_m


def test_remaining_falls_to_nothing() -> None:
    walker, path = driven(*[ON] * 4, LEFT, LEFT, *[ON] * 2)
    way = WayBack(path, walker.pose, path.places[0])
    left = [way.remaining_m(walker.pose)]
    while not isinstance(action := way.next_action(walker.pose), Stop):
        walker.does([action])
        left.append(way.remaining_m(walker.pose))
    assert left[0] == pytest.approx(way.length_m) and left[-1] <= 0.1
    assert all(after <= before + 0.02 for before, after in pairwise(left))


def test_long_drives_are_one_action_and_turns_are_equal_parts() -> None:
    walker, path = driven(*[ON] * 4)
    actions = follow(WayBack(path, walker.pose, path.places[0]), walker)
    turns = [action for action in actions if isinstance(action, Turn)]
    drives = [action for action in actions if isinstance(action, MoveForward)]
    assert len(turns) == 8 and len(drives) <= 5  # half a turn before, and half a turn behind
    assert {round(abs(math.degrees(turn.angle_rad))) for turn in turns} == {45}


def test_smaller_limits_hold() -> None:
    walker, path = driven(*[ON] * 2)
    limits = ControlConfig(max_distance_m=0.2, max_turn_rad=0.3)
    way = WayBack(path, walker.pose, path.places[0], limits)
    for _ in range(40):
        action = way.next_action(walker.pose)
        assert action_refusal(action, limits) is None
        walker.does([action])
    assert action == Stop()


def test_where_it_is_already_it_only_turns() -> None:
    walker, path = driven(LEFT, LEFT)
    actions = follow(WayBack(path, walker.pose, path.places[0]), walker)
    assert [round(math.degrees(action.angle_rad)) for action in actions] == [-45, -45]


def test_a_robot_that_turns_badly_still_gets_on_and_ends() -> None:
    walker, path = driven(*[ON] * 4, LEFT, LEFT, *[ON] * 2)
    actions = follow(WayBack(path, walker.pose, path.places[0]), walker, scale=0.8)
    assert len(actions) < 40


def test_a_robot_that_was_pushed_off_its_way_a_little_comes_back_to_it() -> None:
    walker, path = driven(*[ON] * 4)
    way = WayBack(path, walker.pose, path.places[0])
    walker.does([way.next_action(walker.pose)])
    walker.pose = Pose(walker.pose.x_m, walker.pose.y_m + 0.6, walker.pose.yaw_rad)
    follow(way, walker)
    assert is_there(walker.pose, path.places[0].pose)


def test_a_robot_that_left_its_way_is_told_in_words() -> None:
    walker, path = driven(*[ON] * 4)
    way = WayBack(path, walker.pose, path.places[0])
    with pytest.raises(WayError, match=r"1\.2 m off its way"):
        way.next_action(Pose(1.5, 1.2))


@pytest.mark.parametrize(("aside_m", "is_near"), [(0.2, True), (0.9, True), (1.1, False)])
def test_from_farther_than_a_metre_off_the_path_there_is_no_way(aside_m: float, is_near: bool) -> None:
    _, path = driven(*[ON] * 4)
    start = Pose(1.5, aside_m)
    if is_near:
        assert WayBack(path, start, path.places[0]).length_m < 1.6 + aside_m
        return
    with pytest.raises(LookupError, match=r"1\.1 m away from all that it has driven"):
        WayBack(path, start, path.places[0])


def test_ground_that_odometry_did_not_see_is_no_way() -> None:
    walker, path = driven(ON)
    for later in range(3):
        path.add(Odometry(walker.now_ns + (9 + later) * 10**9, walker.pose.advanced(3.0 + 0.2 * later)))
    with pytest.raises(WayError, match="no driven way"):
        WayBack(path, walker.pose.advanced(3.4), path.places[0])


def test_a_room_that_was_driven_all_over_for_hours_is_soon_crossed() -> None:
    """The graph is bounded by the ground, not by the places: 4096 of them in 2 x 2 m."""
    places = [
        Place(Pose(2.0 * math.sin(3.7 * index), 2.0 * math.cos(2.3 * index)), index, index) for index in range(4096)
    ]
    way = shortest_way(places, places[-1].pose, places[0])
    assert all(before.distance_m(after) <= 0.3 + 1e-9 for before, after in pairwise(way[1:-1]))
    straight_m = places[0].pose.distance_m(places[-1].pose)
    assert sum(before.distance_m(after) for before, after in pairwise(way)) < 1.3 * straight_m + 0.5


def test_a_point_beside_a_line_and_beyond_its_end() -> None:
    line = (Pose(), Pose(2.0, 0.0))
    assert distance_to_line_m(Pose(1.0, 0.5), *line) == 0.5
    assert distance_to_line_m(Pose(5.0, 4.0), *line) == 5.0
    assert distance_to_line_m(Pose(3.0, 4.0), Pose(), Pose()) == 5.0
