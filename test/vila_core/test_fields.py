"""What a field may be is declared at it: checked there, in words that name the value and the bounds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated

import pytest

from vila_core.config import (
    ControlConfig,
    EventsConfig,
    HistoryConfig,
    NavigatorConfig,
    StrainConfig,
    check_fields,
    from_mapping,
)
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.errors import ConfigError
from vila_core.fields import AT_ONCE, FROM_NEXT_ACTION, Bounds, OneOf, field_rules, now_in_force, unit
from vila_sim.mujoco.mjcf import CameraConfig, RobotConfig

KINDS = (
    HistoryConfig, NavigatorConfig, EventsConfig, StrainConfig, ControlConfig, GovernorConfig, ObstacleConfig,
    CameraConfig, RobotConfig,
)  # fmt: skip
NUMBERS = [
    (kind, name) for kind in KINDS for name, rule in field_rules(kind).items() if rule.type in (int, float)
]  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "good", "bad", "words"),
    [
        (Bounds(least=1, most=3), (1, 2, 3), (0, 4, math.nan, math.inf, -math.inf), "from 1 to 3"),
        (Bounds(above=0, most=3), (1e-9, 3), (0, 3.1, 1e308), "above 0 and at most 3"),
        (Bounds(least=0, below=1), (0, 0.999), (-1e-9, 1.0), "at least 0 and below 1"),
        (Bounds(above=0, below=1), (0.5,), (0.0, 1.0), "above 0 and below 1"),
        (Bounds(least=2, most=9, special=-1), (-1, 2, 9), (-2, 0, 1, 10), "-1 or from 2 to 9"),
        (Bounds(least=1, most=1_000_000), (1_000_000,), (1_000_001,), "from 1 to 1000000"),
    ],
)
def test_bounds_allow_what_their_words_say(bounds, good, bad, words) -> None:
    assert all(map(bounds.allows, good)) and not any(map(bounds.allows, bad))
    assert bounds.words == words
    assert all(bounds.lowest <= value <= bounds.highest for value in good)


@pytest.mark.parametrize("sides", [{}, {"least": 0}, {"most": 1}, {"least": 0, "above": 0, "most": 1}])
def test_bounds_have_two_sides(sides) -> None:
    with pytest.raises(ValueError, match="needs one of"):
        Bounds(**sides)


def test_choices_in_words() -> None:
    assert OneOf(("red", "blue")).words == "one of red, blue"
    assert OneOf(("", "patrol")).words == "'patrol' or empty"
    assert OneOf(("", "patrol")).allows("") and not OneOf(("red", "blue")).allows("green")


@dataclass(frozen=True, slots=True)
class Sample:
    speed_mps: Annotated[float, Bounds(above=0, most=3), AT_ONCE] = 0.3
    accel_mps2: Annotated[float, Bounds(least=0.01, most=10), FROM_NEXT_ACTION] = 1.0
    start_m: Annotated[float, Bounds(least=-5, most=5)] = math.nan
    kind: Annotated[str, OneOf(("red", "blue"))] = "red"
    note: str = ""

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"speed_mps": 0.0}, r"speed_mps = 0\.0: must be above 0 and at most 3"),
        ({"speed_mps": 1e308}, r"speed_mps = 1e\+308: must be above 0 and at most 3"),
        ({"speed_mps": math.inf}, "speed_mps = inf: must be finite"),
        ({"speed_mps": math.nan}, "speed_mps = nan: must be finite"),
        ({"start_m": 6.0}, r"start_m = 6\.0: must be from -5 to 5"),
        ({"start_m": math.inf}, "start_m = inf: must be finite"),
        ({"kind": "green"}, "kind = 'green': must be one of red, blue"),
    ],
)
@pytest.mark.parametrize("make", [lambda values: Sample(**values), lambda values: from_mapping(Sample, values)])
def test_a_value_outside_is_refused_with_its_bounds(make, values, said) -> None:
    with pytest.raises(ConfigError, match=said):
        make(values)


def test_nan_stands_where_it_is_the_default() -> None:
    assert math.isnan(from_mapping(Sample, {"start_m": math.nan}).start_m)


def test_only_what_counts_at_once_is_in_force() -> None:
    present, wanted = Sample(), Sample(speed_mps=0.1, accel_mps2=5.0, note="later")
    assert now_in_force(present, wanted) == dataclasses.replace(present, speed_mps=0.1)


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda one: getattr(one, "__name__", one))
def test_every_number_has_bounds_of_its_type_and_obeys_them(kind, name) -> None:
    rule, default = field_rules(kind)[name], getattr(kind(), name)
    assert isinstance(rule.allowed, Bounds), f"declare the bounds of {kind.__name__}.{name}"
    assert rule.allowed.allows(default)
    if rule.type is int:
        assert rule.allowed.above is None and rule.allowed.below is None  # least and most tell it better
    for value in (rule.allowed.lowest - 1, rule.allowed.highest + 1):
        with pytest.raises(ConfigError, match=name):
            kind(**{name: rule.type(value)})


@pytest.mark.parametrize(
    ("name", "told"),
    [("control.max_linear_mps", "m/s"), ("events.rate_hz", "Hz"), ("seed", ""), ("scan_rays", "")],
)
def test_a_unit_is_that_of_the_name(name, told) -> None:
    assert unit(name) == told
