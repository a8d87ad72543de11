"""What messages call a number, the package's own enumerations call the same."""

from __future__ import annotations

import enum
from typing import Any

import pytest

pytest.importorskip("vila_nav")

from vila_nav.action import Describe, GoBack, LocalizeEvent, NavigateInstruction, Recall, Tag
from vila_nav.msg import GovernorState, NavAction, TemporalEvent
from vila_nav.srv import UnwatchEvent, WatchEvent

from vila_core.control.governor.governor import GovernorState as State
from vila_core.control.reasons import MotionFault, StopReason
from vila_core.types import HoldReason, LocalizationMethod
from vila_ros.navigator.mission.mission import MissionError, Outcome
from vila_ros.navigator.queries.event_messages import EventError


def constants(message: Any, prefix: str) -> dict[str, int]:
    """The constants of a generated message that begin so: they are attributes of its metaclass."""
    names = [name for name in dir(type(message)) if name.startswith(f"{prefix}_") and name.isupper()]
    return {name.removeprefix(f"{prefix}_"): getattr(message, name) for name in names}


@pytest.mark.parametrize(
    ("message", "prefix", "kind"),
    [
        (NavAction, "HOLD", HoldReason),
        (NavAction, "FAULT", MotionFault),
        (GovernorState, "REASON", StopReason),
        (GovernorState, "STATE", State),
        (TemporalEvent, "METHOD", LocalizationMethod),
        (NavigateInstruction.Result, "OUTCOME", Outcome),
        (GoBack.Result, "OUTCOME", Outcome),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_constants_are_those_of_the_enumeration(message: Any, prefix: str, kind: type[enum.IntEnum]) -> None:
    assert constants(message, prefix) == {one.name: int(one) for one in kind}


def test_errors_of_missions_are_those_of_the_enumeration() -> None:
    of_actions = [constants(action.Result, "ERROR") for action in (NavigateInstruction, GoBack)]
    known = {error.name: int(error) for error in MissionError}
    assert of_actions[0] | of_actions[1] == known and all(found.items() <= known.items() for found in of_actions)
    assert of_actions[1].keys() - of_actions[0].keys() == {MissionError.NOT_REMEMBERED.name}


@pytest.mark.parametrize(
    "message",
    [Describe.Result, LocalizeEvent.Result, Recall.Result, Tag.Result, WatchEvent.Response, UnwatchEvent.Response],
)
def test_errors_of_events_are_among_those_of_the_enumeration(message: Any) -> None:
    known = {error.name: int(error) for error in EventError}
    found = constants(message, "ERROR")
    assert found and found.items() <= known.items()
