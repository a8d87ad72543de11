"""A second look rules out to stop where the thing is not in view, and to turn away from it where it is."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recalling import CELLS, SeeingBackend, picture

from vila_core.actions.grammar import ACTIONS, SENTENCES, action_index, forward_cm, turn_degrees
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import BackendError
from vila_core.guards.guards import LEADS_NOWHERE, Guards, Ruling
from vila_core.guards.second_look import SecondLook, Sight
from vila_core.navigator import Navigator
from vila_core.types import Choice, Frame, HoldReason, Instruction, MoveForward, Odometry, Pose, Stop, Thing, Turn

S = 1_000_000_000
RED_BALL = Thing("red", "ball")
STOP, AHEAD, LEFT, RIGHT = Stop(), forward_cm(50), turn_degrees(45), turn_degrees(-45)


def second_look() -> SecondLook:
    backend = SeeingBackend()
    assert backend.info.vocabulary is not None
    return SecondLook(backend, backend.info.vocabulary)


def guards(chances: int = 0) -> Guards:
    return Guards(avoid_repeats=True, chances=chances, least=0.25)


# --- what is seen --------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "side"), [(0, 1), (CELLS - 1, -1)])
def test_it_sees_the_thing_and_on_which_side(column: int, side: int) -> None:
    sight = second_look().at(picture({"red ball": (3, column), "blue vase": (6, 3)}), RED_BALL)
    assert sight.is_surely_there and sight.may_be_there
    assert sight.bearing_rad * side == pytest.approx(math.atan(1 - 1 / CELLS))  # of a picture as wide as a right angle


@pytest.mark.parametrize("shown", [{}, {"blue ball": (3, 3)}, {"red vase": (3, 3), "blue vase": (6, 1)}])
def test_another_thing_is_not_it(shown: dict[str, tuple[int, int]]) -> None:
    sight = second_look().at(picture(shown), RED_BALL)
    assert not sight.is_surely_there and not sight.may_be_there


def test_a_thing_without_a_colour_is_seen_in_any() -> None:
    look = second_look()
    assert look.at(picture({"blue ball": (3, 3)}, stamp_s=1), Thing("", "ball")).is_surely_there
    assert not look.at(picture({"blue vase": (3, 3)}, stamp_s=2), Thing("", "ball")).may_be_there


def test_one_frame_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Frame] = []
    see = SeeingBackend.cells
    monkeypatch.setattr(SeeingBackend, "cells", lambda self, frame: looked.append(frame) or see(self, frame))
    look, frame = second_look(), picture({"red ball": (3, 3)})
    assert look.at(frame, RED_BALL).is_surely_there and not look.at(frame, Thing("blue", "vase")).may_be_there
    assert len(looked) == 1


# --- what is ruled out ---------------------------------------------------------------------------


def test_it_does_not_stop_without_the_thing_in_view() -> None:
    reasons = Ruling().beside(Sight(-4.0, -2.0, 0.1)).reasons
    assert {action for action, why in zip(ACTIONS, reasons, strict=True) if why} == {STOP}


@pytest.mark.parametrize("degrees", [-35, -10, 0, 10, 35])
def test_it_turns_away_from_the_thing_as_far_as_a_way_round_needs(degrees: int) -> None:
    allowed = Ruling().beside(Sight(2.0, 1.0, math.radians(degrees))).allowed
    for action, may in zip(ACTIONS, allowed, strict=True):
        if isinstance(action, Turn):
            aside = abs(degrees - math.degrees(action.angle_rad))
            assert may == (aside <= max(abs(degrees), 30) + 1e-3), (degrees, action)
        else:
            assert may


LOGITS, DONE = st.floats(-20, 20), st.lists(st.sampled_from(ACTIONS[1:]), max_size=12)


@given(LOGITS, LOGITS, st.floats(-0.7, 0.7), DONE)
def test_a_motion_is_left_whatever_is_seen_and_was_done(logit, lead, bearing, done) -> None:
    guard, pose, sight = guards(chances=2), Pose(), Sight(logit, lead, bearing)
    for action in done:
        guard.rule(pose).beside(sight)
        guard.note(action, [0.1] * len(ACTIONS))
        pose = pose.turned(action.angle_rad) if isinstance(action, Turn) else pose
    ruling = guard.rule(pose).beside(sight)
    assert any(may for action, may in zip(ACTIONS, ruling.allowed, strict=True) if not isinstance(action, Stop))
    assert ruling.allowed[0] == sight.may_be_there


def test_what_leads_nowhere_counts_more() -> None:
    """After it swung to and fro twice it may turn one way alone, though the thing lies on the other."""
    guard, sight = guards(), Sight(3.0, 3.0, math.radians(-35))
    for action in (LEFT, RIGHT, LEFT):
        guard.rule(Pose()).beside(sight)
        guard.note(action, ())
    guard.note(AHEAD, ())
    reasons = guard.rule(Pose()).beside(sight).reasons
    assert reasons[action_index(RIGHT)] == reasons[action_index(AHEAD)] == LEADS_NOWHERE
    assert not reasons[action_index(LEFT)]


@given(LOGITS, LOGITS, st.floats(-0.7, 0.7))
def test_to_drive_is_never_ruled_out_so_no_look_is_taken_for_it(logit, lead, bearing) -> None:
    allowed = Ruling().beside(Sight(logit, lead, bearing)).allowed
    assert all(may for action, may in zip(ACTIONS, allowed, strict=True) if isinstance(action, MoveForward))


# --- in the navigator ----------------------------------------------------------------------------


def scores(**likelier: float) -> Choice:
    """The model's answer: STOP, AHEAD, LEFT or RIGHT with so much, and a little of everything."""
    named = {"stop": STOP, "ahead": AHEAD, "left": LEFT, "right": RIGHT}
    values = [0.01] * len(SENTENCES)
    for name, probability in likelier.items():
        values[action_index(named[name])] = probability
    return Choice(values.index(max(values)), tuple(values))


def navigator_of(answer: Choice, instruction: str = "go to the red ball", **config: object) -> Navigator:
    backend = SeeingBackend(answer)  # type: ignore[arg-type]
    navigator = Navigator(backend, NavigatorConfig(**config), HistoryConfig())  # type: ignore[arg-type]
    navigator.start(Instruction(instruction))
    return navigator


def decided(navigator: Navigator, shown: dict[str, tuple[int, int]], seconds: int = 1):
    navigator.observe(picture(shown, stamp_s=seconds), Odometry(seconds * S, Pose()))
    return navigator.decide(seconds * S)


def test_a_stop_at_another_thing_becomes_the_likeliest_motion() -> None:
    decision = decided(navigator_of(scores(stop=0.6, ahead=0.2)), {"blue ball": (4, 4)})
    assert decision.action == AHEAD and decision.allowed[0] is False
    assert decision.detail == f"instead of {SENTENCES[0]!r}, without it in view"


def test_a_search_ends_where_the_thing_is_seen() -> None:
    decision = decided(navigator_of(scores(left=0.6, ahead=0.2)), {"red ball": (4, 4)})
    assert decision.action == AHEAD and decision.detail.endswith("away from it")


def test_it_stops_at_the_thing_itself() -> None:
    decision = decided(navigator_of(scores(stop=0.6, ahead=0.2)), {"red ball": (4, 4)})
    assert isinstance(decision.action, Stop) and not decision.detail


def test_each_step_looks_for_its_own_thing() -> None:
    navigator = navigator_of(scores(stop=0.6, ahead=0.2), "go to the red ball, then to the blue vase")
    decision = decided(navigator, {"red ball": (4, 4)})
    assert decision.finished and decision.action == AHEAD and decision.step == 1
    navigator.observe(picture({"blue vase": (4, 4)}, stamp_s=2), Odometry(2 * S, Pose()))
    assert isinstance(navigator.decide(2 * S).action, Stop)


def test_who_drives_takes_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look costs as much as the decision."""
    monkeypatch.setattr(SeeingBackend, "cells", lambda *_: pytest.fail("looked"))
    assert decided(navigator_of(scores(ahead=0.6, left=0.2)), {"red ball": (4, 4)}).action == AHEAD


@pytest.mark.parametrize("config", [{"second_look": False}, {"wording": "verbatim"}])
def test_without_it_the_model_decides_alone(config: dict[str, object]) -> None:
    decision = decided(navigator_of(scores(stop=0.6, ahead=0.2), **config), {"blue ball": (4, 4)})
    assert isinstance(decision.action, Stop)


def test_a_look_that_fails_holds_the_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    navigator = navigator_of(scores(left=0.6))

    def fail(*_: object) -> None:
        raise BackendError("out of memory")

    monkeypatch.setattr(SeeingBackend, "cells", fail)
    decision = decided(navigator, {"red ball": (4, 4)})
    assert decision.action is None and decision.hold is HoldReason.BACKEND_ERROR and "out of memory" in decision.detail


def test_of_a_model_without_names_nothing_is_asked() -> None:
    backend = SeeingBackend(scores(stop=0.6))  # type: ignore[arg-type]
    backend.info = dataclasses.replace(backend.info, vocabulary=None)
    navigator = Navigator(backend, NavigatorConfig(), HistoryConfig())
    navigator.start(Instruction("go to the red ball"))
    assert isinstance(decided(navigator, {}).action, Stop)


def test_the_embedded_model_takes_a_second_look() -> None:
    backend = load_backend("torch", EMBEDDED_CHECKPOINT, precision="float32")
    navigator = Navigator(backend, NavigatorConfig(), HistoryConfig())
    navigator.start(Instruction("go to the red chair"))
    navigator.observe(Frame(picture({}).image.repeat(4, 0).repeat(4, 1), S), Odometry(S, Pose()))
    assert navigator.decide(S).allowed[0] is False  # to stop, in the dark
