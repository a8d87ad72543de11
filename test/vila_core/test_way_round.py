"""Where the model's own ways lead nowhere, one is planned round what is in the way, to what was seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hall import COLUMNS, FRAME, NOT_SEEN, SEEN, THING, Hall, S
from hypothesis import given
from hypothesis import strategies as st
from recalling import SeeingBackend, picture

from vila_core.actions.grammar import ACTIONS, action_index, forward_cm, turn_degrees
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.errors import BackendError
from vila_core.guards.camera_view import bearing_rad, columns_at
from vila_core.guards.floor_map import FloorMap
from vila_core.guards.second_look import Sight, View
from vila_core.guards.thing_place import ThingPlace
from vila_core.guards.way_round import NOT_ROUND, WayRound
from vila_core.guards.way_search import cheapest_way, length_m
from vila_core.navigator import Navigator
from vila_core.types import Action, Choice, HoldReason, Instruction, Odometry, Pose, Stop, Turn

AHEAD = forward_cm(75)


def drive(hall: Hall, way: WayRound, decisions: int = 40) -> list[Action]:
    """Let a model drive that always goes ahead, unless it may not; until the robot is at the thing."""
    done: list[Action] = []
    while len(done) < decisions and math.dist((hall.pose.x_m, hall.pose.y_m), hall.thing) > 1.2:
        allowed = way.allowed(FRAME, hall.pose)
        motions = [one for one, may in zip(ACTIONS, allowed, strict=True) if may and not isinstance(one, Stop)]
        done.append(AHEAD if AHEAD in motions else motions[0])
        assert allowed[0]  # to stop is for the model, and its second look
        way.note(done[-1])
        hall.do(done[-1])
    return done


# --- a whole way ---------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("wall", [(1.2, -0.8, 0.8), (1.2, -0.4, 1.4), (1.5, -1.5, 0.5)])
def test_it_goes_round_what_stopped_it(wall, far) -> None:
    hall = Hall(wall, far=far)
    done = drive(hall, WayRound(hall.view))
    assert len(done) < 25 and hall.bumps <= 5
    assert math.dist((hall.pose.x_m, hall.pose.y_m), THING) <= 1.2


def test_without_it_such_a_robot_pushes_on() -> None:
    hall = Hall((1.2, -0.8, 0.8))
    for _ in range(40):
        hall.do(AHEAD)
    assert hall.pose.x_m < 1.1 and hall.bumps > 30


@given(st.lists(st.floats(0.2, 4.0), min_size=COLUMNS, max_size=COLUMNS), st.integers(1, 60))
def test_whatever_is_seen_one_motion_is_left_and_no_turn_leads_round_and_round(ranges, decisions) -> None:
    pose, way = Pose(), WayRound(lambda frame: View(Sight(*SEEN, 0.6), np.array(ranges, np.float32), 3.0))
    way.engage()
    turned_rad = 0.0
    for _ in range(decisions):
        allowed = way.allowed(FRAME, pose)
        motions = [one for one, may in zip(ACTIONS, allowed, strict=True) if may and not isinstance(one, Stop)]
        assert motions
        if len(motions) > 1 or not isinstance(motions[0], Turn):
            return
        turned_rad += motions[0].angle_rad
        assert abs(turned_rad) < math.radians(376)
        way.note(motions[0])
        pose = pose.turned(motions[0].angle_rad)


# --- when it plans -------------------------------------------------------------------------------


def test_a_way_that_leads_on_is_the_models_own_and_costs_no_look() -> None:
    way = WayRound(lambda frame: pytest.fail("looked"))
    pose = Pose()
    for _ in range(5):
        assert all(way.allowed(FRAME, pose))
        way.note(AHEAD)
        pose = pose.advanced(AHEAD.distance_m)


def test_a_drive_that_ends_too_soon_lets_it_plan() -> None:
    hall = Hall((1.0, -0.8, 0.8))
    way = WayRound(hall.view)
    assert all(way.allowed(FRAME, hall.pose))
    way.note(AHEAD)
    hall.pose = hall.pose.advanced(0.5)
    allowed = way.allowed(FRAME, hall.pose)
    assert sum(allowed) == 2 and allowed[0] and not allowed[action_index(AHEAD)]


def test_a_decision_on_the_way_does_not_say_that_the_drive_was_stopped() -> None:
    way = WayRound(lambda frame: pytest.fail("looked"), is_at_rest=False)
    way.allowed(FRAME, Pose())
    way.note(AHEAD)
    assert all(way.allowed(FRAME, Pose(0.4)))


def test_without_odometry_the_model_drives_alone() -> None:
    way = WayRound(lambda frame: pytest.fail("looked"))
    way.engage()
    assert all(way.allowed(FRAME, None))


def test_a_model_that_was_not_taught_it_plans_nothing() -> None:
    way = WayRound(lambda frame: None)
    way.engage()
    assert all(way.allowed(FRAME, Pose()))


def test_near_the_thing_the_model_drives() -> None:
    hall = Hall(thing=(1.1, 0.0))
    way = WayRound(hall.view)
    way.engage()
    assert all(way.allowed(FRAME, hall.pose))


def test_what_is_not_where_it_was_seen_is_forgotten() -> None:
    shown = [View(Sight(*SEEN, 0.0), np.full(COLUMNS, 1.8, np.float32), 2.0)]
    way = WayRound(lambda frame: shown[0])
    way.engage()
    assert not all(way.allowed(FRAME, Pose()))
    shown[0] = View(Sight(*NOT_SEEN, 0.0), np.full(COLUMNS, 3.0, np.float32), 2.0)
    for _ in range(5):
        allowed = way.allowed(FRAME, Pose())
    assert all(allowed)


def test_after_three_stops_on_the_way_the_model_drives_a_while() -> None:
    """The map is wrong: something stands where it says that the floor is free."""
    way = WayRound(lambda frame: View(Sight(*SEEN, 0.0), np.full(COLUMNS, 3.0, np.float32), 3.0))
    way.engage()
    planned = []
    for _ in range(20):
        allowed = way.allowed(FRAME, Pose())
        planned.append(not all(allowed))
        way.note(AHEAD)
    assert planned[:3] == [True] * 3 and planned[3:9] == [False] * 6


def test_a_drive_that_ended_for_another_reason_was_not_stopped() -> None:
    way = WayRound(lambda frame: pytest.fail("looked"))
    way.allowed(FRAME, Pose())
    way.note(AHEAD)
    way.interrupt()
    assert all(way.allowed(FRAME, Pose(0.1)))


def test_where_odometry_begins_anew_so_does_the_map() -> None:
    shown = [View(Sight(*SEEN, 0.0), np.full(COLUMNS, 1.8, np.float32), 2.0)]
    way = WayRound(lambda frame: shown[0])
    way.engage()
    assert not all(way.allowed(FRAME, Pose()))
    shown[0] = View(Sight(*NOT_SEEN, 0.0), np.full(COLUMNS, 1.8, np.float32), 2.0)
    assert all(way.allowed(FRAME, Pose(500.0, 9.0, 1.0)))


# --- the map, and the place ----------------------------------------------------------------------


def test_the_way_leads_through_the_gap() -> None:
    floor, here = FloorMap(Pose()), Pose()
    hall = Hall((1.5, -3.0, 0.6), (1.5, 1.6, 3.0))
    for turn in (0.0, 0.8, -0.8):
        hall.pose = here.turned(turn)
        floor.see(hall.pose, hall.view(FRAME).free_ranges_m)
    way = cheapest_way(floor.costs(), (0.0, 0.0), THING, 0.3)
    assert way and 3.0 < length_m(way) < 4.5
    assert min(abs(x - 1.5) + abs(y - 1.1) for x, y in way) < 0.3


def test_what_the_robot_was_stopped_by_counts_more_than_what_is_told() -> None:
    floor = FloorMap(Pose())
    floor.bump(Pose())
    floor.see(Pose(), np.full(COLUMNS, 3.0, np.float32))
    costs = floor.costs()
    assert not costs.is_open((0.0, 0.0), (0.75, 0.0)) and costs.is_open((0.0, 0.0), (-0.75, 0.0))


def test_off_the_map_nothing_is_planned() -> None:
    floor = FloorMap(Pose())
    floor.see(Pose(11.9, -11.9, 2.0), np.full(COLUMNS, 3.0, np.float32))
    floor.stand(Pose(40.0, 0.0, 0.0))
    floor.bump(Pose(12.0, 12.0, 0.0))
    assert cheapest_way(floor.costs(), (0.0, 0.0), (40.0, 0.0), 1.0) == []


def test_the_place_is_where_most_sightings_agree() -> None:
    place = ThingPlace()
    assert place.spot is None
    for x in (2.0, 2.3, -4.0, 1.9):
        place.note((x, 0.0), 2.0)
    assert place.spot == pytest.approx((2.05, 0.0), abs=0.1)
    for _ in range(4):
        place.doubt()
    assert place.spot is None


@given(st.floats(0.01, 0.99), st.integers(1, 32))
def test_a_column_is_where_its_bearing_says(across: float, columns: int) -> None:
    assert columns_at(np.array(bearing_rad(across)), columns) == pytest.approx(across * columns - 0.5, abs=0.51)


# --- in the navigator ----------------------------------------------------------------------------


def stopped_navigator(**config: object) -> tuple[Navigator, SeeingBackend]:
    """One whose robot has been stopped in front of something, with the thing that it goes to in view."""
    chances = np.full(len(ACTIONS), 0.05)
    chances[action_index(AHEAD)] = 0.55
    backend = SeeingBackend(Choice(action_index(AHEAD), tuple(chances)))  # type: ignore[arg-type]
    backend.told_m, backend.free_m = 3.0, 0.5
    navigator = Navigator(backend, NavigatorConfig(watch_camera=False, **config), HistoryConfig())  # type: ignore[arg-type]
    navigator.start(Instruction("go to the red ball"))
    navigator.observe(picture({"red ball": (3, 4)}, stamp_s=1), Odometry(1 * S, Pose()))
    assert navigator.decide(1 * S).action == AHEAD
    navigator.observe(picture({"red ball": (3, 4)}, stamp_s=2), Odometry(2 * S, Pose(0.2)))
    return navigator, backend


def test_the_navigator_goes_round() -> None:
    navigator, _ = stopped_navigator()
    decision = navigator.decide(2 * S)
    assert isinstance(decision.action, Turn) and decision.detail.endswith(NOT_ROUND) and sum(decision.allowed) == 2


@pytest.mark.parametrize(
    "config", [{"way_round": False}, {"second_look": False}, {"avoid_repeats": False}, {"timing": "continuous"}]
)
def test_where_it_is_switched_off_the_model_drives_on(config: dict[str, object]) -> None:
    navigator, _ = stopped_navigator(**config)
    assert navigator.decide(2 * S).detail.endswith(NOT_ROUND) is False


def test_a_head_that_fails_holds_the_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    navigator, _ = stopped_navigator()

    def fail(*_: object) -> None:
        raise BackendError("out of memory")

    monkeypatch.setattr(SeeingBackend, "free_ranges", fail)
    decision = navigator.decide(2 * S)
    assert decision.action is None and decision.hold is HoldReason.BACKEND_ERROR


def test_what_led_nowhere_lets_it_plan_too() -> None:
    """A robot that swings to and fro was not stopped by anything."""
    wanted = [action_index(turn_degrees(angle)) for angle in (45, -45)]
    backend = SeeingBackend(*(Choice(one, tuple(np.eye(len(ACTIONS))[one])) for one in wanted * 6))  # type: ignore[arg-type]
    backend.told_m, backend.free_m = 3.0, 3.0
    navigator = Navigator(backend, NavigatorConfig(watch_camera=False), HistoryConfig())
    navigator.start(Instruction("go to the red ball"))
    pose, details = Pose(), []
    for number in range(1, 12):
        navigator.observe(picture({"red ball": (3, 4)}, stamp_s=number), Odometry(number * S, pose))
        decision = navigator.decide(number * S)
        details.append(decision.detail)
        if isinstance(decision.action, Turn):
            pose = pose.turned(decision.action.angle_rad)
    assert any(detail.endswith(NOT_ROUND) for detail in details)


def test_what_is_ended_from_outside_says_nothing_of_the_floor() -> None:
    navigator, _ = stopped_navigator()
    navigator.interrupt()
    assert navigator.decide(2 * S).action == AHEAD


def test_it_can_be_switched_off_on_the_way() -> None:
    navigator, _ = stopped_navigator()
    assert navigator.decide(2 * S).detail.endswith(NOT_ROUND)
    navigator.reconfigure(NavigatorConfig(watch_camera=False, way_round=False))
    navigator.observe(picture({"red ball": (3, 4)}, stamp_s=3), Odometry(3 * S, Pose(0.2)))
    assert navigator.decide(3 * S).action == AHEAD


def test_what_the_model_wants_counts_for_how_sure_it_is() -> None:
    """The motion that is planned for it is one that it did not think of."""
    navigator, _ = stopped_navigator(min_probability=0.5)
    decision = navigator.decide(2 * S)
    assert isinstance(decision.action, Turn) and decision.probability == pytest.approx(0.05)


def test_a_robot_that_is_told_nothing_keeps_no_pictures() -> None:
    navigator, _ = stopped_navigator()
    navigator.stop()
    assert navigator._guards._way_round is None
    assert navigator.decide(2 * S).hold is HoldReason.NO_INSTRUCTION
