"""What a look around has not shown is looked for where nobody has looked yet."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hall import COLUMNS, FRAME, NOT_SEEN, SEEN, Hall, S
from recalling import SeeingBackend, picture

from vila_core.actions.grammar import ACTIONS, action_index, turn_degrees
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.control.search import Search
from vila_core.guards.exploring import Explorer
from vila_core.guards.floor_map import FloorMap
from vila_core.guards.look_around import LookAround
from vila_core.guards.second_look import Sight, View
from vila_core.guards.way_round import NOT_NEW, NOT_ONCE_MORE, NOT_ROUND, WayRound
from vila_core.navigator import Navigator
from vila_core.types import Action, Choice, Decision, Instruction, Odometry, Pose, Stop, Turn

LEFT = turn_degrees(45)
ROOM = ((2.0, -3.0, 0.5), (2.0, 1.6, 3.0), (-2.0, -3.0, 3.0))  # a wall with a door, and one behind
BEHIND_THE_DOOR = (3.5, -1.5)


class Rooms(Hall):
    """Walls hide what is behind them; 2.6 m to both sides are two more."""

    def free_m(self, pose, angle_rad, most_m=5.0):
        sin = math.sin(pose.yaw_rad + angle_rad)
        side_m = (math.copysign(2.6, sin) - pose.y_m) / sin if abs(sin) > 1e-9 else most_m
        return min(super().free_m(pose, angle_rad, most_m), side_m)

    def view(self, frame):
        told = super().view(frame)
        at = Pose(*self.thing, 0.0).relative_to(self.pose)
        far_m, bearing_rad = math.hypot(at.x_m, at.y_m), math.atan2(at.y_m, at.x_m)
        is_hidden = self.free_m(self.pose, bearing_rad, far_m) < far_m - 0.3
        return View(Sight(*NOT_SEEN, bearing_rad), told.free_ranges_m, told.distance_m) if is_hidden else told


def search(rooms: Hall, way: WayRound, decisions: int = 50) -> list[Action]:
    """Let a model drive that turns left unless it may not, until the robot is at the thing; None: all may be done."""
    done: list[Action] = []
    while len(done) < decisions and math.dist((rooms.pose.x_m, rooms.pose.y_m), rooms.thing) > 1.2:
        if len(done) >= 6:
            way.explore()
        allowed = way.allowed(FRAME, rooms.pose)
        motions = [one for one, may in zip(ACTIONS, allowed, strict=True) if may and not isinstance(one, Stop)]
        done.append(LEFT if LEFT in motions else motions[0])
        assert allowed[0]
        way.note(done[-1])
        rooms.do(done[-1])
    return done


def test_it_finds_what_is_behind_a_door() -> None:
    rooms = Rooms(*ROOM, thing=BEHIND_THE_DOOR)
    done = search(rooms, WayRound(rooms.view, explores=50))
    assert len(done) < 40 and rooms.bumps <= 3, done


def test_without_it_such_a_robot_only_turns() -> None:
    rooms = Rooms(*ROOM, thing=BEHIND_THE_DOOR)
    assert search(rooms, WayRound(rooms.view)) == [LEFT] * 50


def test_where_all_is_known_it_looks_round_once_more_and_no_further() -> None:
    walls = ((1.5, -9.0, 9.0), (-1.5, -9.0, 9.0))
    rooms = Rooms(*walls, thing=(9.0, 0.0))
    rooms.free_m = lambda pose, angle_rad, most_m=5.0: min(  # a round room: every edge of it is in sight
        most_m, 1.2 - math.hypot(pose.x_m, pose.y_m)
    )
    way = WayRound(rooms.view, explores=50)
    done = search(rooms, way, 20)
    assert done[-10:] == [LEFT] * 10 and way.reason == NOT_ONCE_MORE


def test_after_so_many_decisions_it_explores_no_more() -> None:
    rooms = Rooms(*ROOM, thing=BEHIND_THE_DOOR)
    way = WayRound(rooms.view, explores=8)
    done = search(rooms, way, 20)
    assert set(done[8:]) <= {LEFT, turn_degrees(-45)} and way.reason == NOT_ONCE_MORE
    late = WayRound(rooms.view, explores=3)
    assert search(rooms, late, 12) == [LEFT] * 12 and late.reason != NOT_NEW  # it had not begun by then


def test_a_model_that_was_not_taught_the_floor_is_left_alone() -> None:
    way = WayRound(lambda frame: None, explores=50)
    way.allowed(FRAME, Pose())
    way.explore()
    assert all(way.allowed(FRAME, Pose()))


def test_what_was_not_seen_all_round_is_not_where_it_was_taken_to_be() -> None:
    shown = [View(Sight(*SEEN, 0.0), np.full(COLUMNS, 1.8, np.float32), 2.0)]
    way = WayRound(lambda frame: shown[0], explores=50)
    way.engage()
    assert not all(way.allowed(FRAME, Pose())) and way.reason != NOT_NEW
    shown[0] = View(Sight(0.2, -2.0, 0.0), np.full(COLUMNS, 1.8, np.float32), 2.0)
    for number in range(7):
        way.allowed(FRAME, Pose(yaw_rad=number * LEFT.angle_rad))
    way.explore()
    assert not all(way.allowed(FRAME, Pose())) and way.reason == NOT_NEW


def test_what_comes_into_view_is_gone_to_at_once() -> None:
    """Not first to where the way to the last edge led."""
    shown = [View(Sight(*NOT_SEEN, 0.0), np.full(COLUMNS, 3.0, np.float32), 2.0)]
    way, pose = WayRound(lambda frame: shown[0], explores=50), Pose()
    for number in range(6):
        way.allowed(FRAME, Pose(yaw_rad=number * LEFT.angle_rad))
    way.explore()
    way.allowed(FRAME, pose)
    assert way.reason == NOT_NEW and way._toward is not None
    toward = way._toward
    shown[0] = View(Sight(*SEEN, 0.0), np.full(COLUMNS, 3.0, np.float32), 2.6)
    pose = Pose(yaw_rad=math.atan2(-toward[1], -toward[0]))  # it looks the other way
    assert not all(way.allowed(FRAME, pose)) and way.reason == NOT_ROUND
    assert way._toward is not None and abs(pose.yaw_rad - math.atan2(*way._toward[::-1])) < math.radians(15)


def test_edges_are_where_the_known_floor_ends_and_nothing_stands() -> None:
    floor = FloorMap(Pose())
    floor.stand(Pose())
    for turn in range(8):
        rooms = Hall((1.5, -9.0, 9.0), thing=(-9.0, 0.0))
        rooms.pose = Pose().turned(turn * math.pi / 4)
        floor.see(rooms.pose, rooms.view(FRAME).free_ranges_m)
    edges = np.argwhere(floor.edges())
    spots = [floor.middle((int(column), int(row))) for column, row in edges]
    assert len(edges) > 20 and min(math.hypot(*spot) for spot in spots) > 1.0
    assert min(x for x, _ in spots) < -2.5 and max(x for x, _ in spots) < 1.5  # not in the wall


def test_it_stays_with_an_edge_until_it_has_been_seen_behind() -> None:
    floor, explorer = FloorMap(Pose()), Explorer()
    floor.stand(Pose())
    for turn in (0.0, 1.5, 3.0, 4.5):
        floor.see(Pose(yaw_rad=turn), np.full(COLUMNS, 3.0, np.float32))
    first = explorer.edge(floor.costs(), Pose())
    assert first is not None and explorer.edge(floor.costs(), Pose(0.1, 0.1, 2.0)) == first
    explorer.leave()
    other = explorer.edge(floor.costs(), Pose())
    assert other is None or math.dist(first, other) > 0.5
    toward = Pose(*first, math.atan2(first[1], first[0]))
    fresh = Explorer()
    assert fresh.edge(floor.costs(), Pose()) == first
    for turn in range(8):
        floor.see(toward.turned(turn * math.pi / 4), np.full(COLUMNS, 3.0, np.float32))
    assert fresh.edge(floor.costs(), toward) != first


def test_all_round_has_been_seen_after_six_turns_on_one_spot() -> None:
    look, seen = LookAround(1, 0.25), []
    for number in range(8):
        look.allowed(Pose(yaw_rad=number * LEFT.angle_rad))
        seen.append(look.has_seen_all)
    assert seen == [False] * 6 + [True] * 2
    look.allowed(Pose(0.5))
    assert not look.has_seen_all


@pytest.mark.parametrize(("explores", "goes"), [(40, True), (0, False)])
def test_the_navigator_looks_elsewhere_and_says_so(explores: int, goes: bool) -> None:
    backend = SeeingBackend(Choice(action_index(LEFT), tuple(np.eye(len(ACTIONS))[action_index(LEFT)])))
    backend.told_m, backend.free_m = 3.0, 3.5
    config = NavigatorConfig(watch_camera=False, look_again=0, explore_decisions=explores)
    navigator, pose, details = Navigator(backend, config, HistoryConfig()), Pose(), []
    navigator.start(Instruction("go to the red ball"))
    for number in range(1, 10):
        navigator.observe(picture({}, stamp_s=number), Odometry(number * S, pose))
        decision = navigator.decide(number * S)
        details.append(decision.detail)
        if isinstance(decision.action, Turn):
            pose = pose.turned(decision.action.angle_rad)
        elif decision.action is not None:
            pose = pose.advanced(decision.action.distance_m)
    assert any(detail.endswith(NOT_NEW) for detail in details) is goes, details


def test_turns_on_a_planned_way_are_not_those_of_a_search() -> None:
    looked = Search()
    for allowed in ((), (True,) * 10, (True, *(action == LEFT for action in ACTIONS[1:]))):
        looked.note_decision(Decision(LEFT, stamp_ns=1, allowed=allowed))
        looked.note_done(0)
    assert looked.turned_rad == pytest.approx(2 * LEFT.angle_rad) and looked.turns == 3
    assert looked.explains(3 * LEFT.angle_rad)
