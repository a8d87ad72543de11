"""The ten sentences."""

import json
import math

import pytest
from conftest import golden_dir

from vila_core.actions.grammar import ACTIONS, SENTENCES, action_index, format_action, unit_steps
from vila_core.actions.parser import parse_action
from vila_core.types import MoveForward, Stop, Turn


def test_sentences_are_those_that_navila_was_trained_on():
    golden = json.loads((golden_dir("vln") / "action_parsers.json").read_text())
    assert list(SENTENCES) == list(golden["training_set_target_strings_R2R_counts"])[:10]
    tokens = json.loads((golden_dir("vln") / "navila_tokens.json").read_text())
    assert list(SENTENCES) == [row["text"] for row in tokens["action_strings"]]


def test_order_and_signs():
    assert ACTIONS[0] == Stop()
    assert [a.distance_m for a in ACTIONS[1:4]] == [0.25, 0.5, 0.75]
    assert [math.degrees(a.angle_rad) for a in ACTIONS[4:7]] == pytest.approx([15, 30, 45])
    assert [math.degrees(a.angle_rad) for a in ACTIONS[7:]] == pytest.approx([-15, -30, -45])


@pytest.mark.parametrize("index", range(10))
def test_round_trip(index):
    action = ACTIONS[index]
    assert action_index(action) == index
    assert format_action(action) == SENTENCES[index]
    assert parse_action(format_action(action)) == action


def test_rounding_does_not_matter():
    assert action_index(MoveForward(0.1 + 0.2 + 0.2)) == 2
    assert action_index(Turn(3 * math.radians(15))) == 6


@pytest.mark.parametrize(
    "action", [MoveForward(1.0), MoveForward(0.0), MoveForward(-0.25), MoveForward(math.nan), Turn(0.0), Turn(1.0)]
)
def test_an_action_outside_of_the_set_has_no_sentence(action):
    with pytest.raises(ValueError, match="not one of the 10"):
        format_action(action)


def test_unit_steps():
    assert unit_steps(Stop()) == (Stop(),)
    assert unit_steps(MoveForward(0.75)) == (MoveForward(0.25),) * 3
    assert unit_steps(ACTIONS[9]) == (ACTIONS[7],) * 3
    for action in ACTIONS[1:]:
        steps = unit_steps(action)
        total = sum(s.distance_m if isinstance(s, MoveForward) else s.angle_rad for s in steps)
        assert total == pytest.approx(action.distance_m if isinstance(action, MoveForward) else action.angle_rad)
