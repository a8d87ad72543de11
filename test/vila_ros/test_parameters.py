from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.config import ControlConfig, HistoryConfig
from vila_core.errors import ConfigError
from vila_core.fields import AT_ONCE, FROM_NEXT_MISSION, Bounds, OneOf
from vila_ros.common.parameters import (
    RunningParameters,
    counts_from,
    declare,
    meaning_of,
    read,
    refuse_unknown,
)


@dataclass(frozen=True, slots=True)
class Sample:
    name: str = "x"
    rate_hz: float = 2.5
    count: int = 3
    is_on: bool = True


@pytest.fixture
def make_node(spinner):
    nodes = []

    def make(**overrides) -> Node:
        parameters = [Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()]
        node = Node("sample", parameter_overrides=parameters)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_are_those_of_the_dataclass(make_node) -> None:
    node = make_node()
    assert declare(node, Sample) == ("name", "rate_hz", "count", "is_on")
    assert read(node, Sample) == Sample()


def test_overrides_with_a_prefix(make_node) -> None:
    node = make_node(control__max_linear_mps=0.1, history__capacity=32)
    names = declare(node, ControlConfig, "control") + declare(node, HistoryConfig, "history")
    refuse_unknown(node, names)
    assert read(node, ControlConfig, "control") == ControlConfig(max_linear_mps=0.1)
    assert read(node, HistoryConfig, "history") == HistoryConfig(capacity=32)


@pytest.mark.parametrize("value", ["fast", True, 1])
def test_the_wrong_type_is_an_error_that_names_it(make_node, value: object) -> None:
    node = make_node(rate_hz=value)
    with pytest.raises(ConfigError, match=r"rate_hz: expected float such as 2\.5.*" + str(value)):
        declare(node, Sample)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("rate_hs", ["'rate_hs'", "did you mean 'rate_hz'"]),
        ("controll__max_linear_mps", ["controll.max_linear_mps", "did you mean 'control.max_linear_mps'"]),
        ("zzz", ["'zzz'", "known:", "rate_hz"]),
    ],
)
def test_an_unknown_parameter_is_an_error_that_names_it(make_node, given: str, words: list[str]) -> None:
    node = make_node(**{given: 1.0})
    names = declare(node, Sample) + declare(node, ControlConfig, "control")
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(node, names)
    assert all(word in str(caught.value) for word in [*words, "/sample"])


def test_what_every_node_knows_is_not_unknown(make_node) -> None:
    node = make_node(use_sim_time=False)
    names = declare(node, Sample)
    refuse_unknown(node, names)
    assert node.has_parameter("use_sim_time") and "use_sim_time" not in names


@pytest.mark.parametrize("value", [-1.0, 0.0, 3.1, 1e308, math.inf, math.nan])
def test_an_impossible_value_is_an_error(make_node, value: float) -> None:
    node = make_node(control__max_linear_mps=value)
    said = rf"control\.max_linear_mps = {re.escape(repr(value))}: must be above 0 and at most 3"
    if value == 0.0:  # on the edge of the range, which ROS takes to be in it
        declare(node, ControlConfig, "control")
        with pytest.raises(ConfigError, match=said.removeprefix(r"control\.")):
            read(node, ControlConfig, "control")
        return
    with pytest.raises(ConfigError, match=said):
        declare(node, ControlConfig, "control")


def test_parameters_cannot_be_changed_behind_the_nodes_back(make_node) -> None:
    node = make_node()
    declare(node, Sample)
    result = node.set_parameters([Parameter("rate_hz", value=9.0)])
    assert not result[0].successful and read(node, Sample).rate_hz == 2.5


@dataclass(frozen=True, slots=True)
class Tuned:
    speed_mps: Annotated[float, Bounds(above=0, most=3), AT_ONCE] = 0.3  # of the whole robot
    # how many of them
    # may wait
    most: Annotated[int, Bounds(least=2, most=9, special=-1), FROM_NEXT_MISSION] = -1
    start_m: Annotated[float, Bounds(least=-5, most=5)] = math.nan  # place of its begin
    kind: Annotated[str, OneOf(("red", "blue"))] = "red"  # colour (as painted)
    low_m: Annotated[float, Bounds(least=0, most=1), AT_ONCE] = 0.1  # not above high_m
    high_m: Annotated[float, Bounds(least=0, most=1), AT_ONCE] = 0.2  # not below low_m

    def __post_init__(self) -> None:
        if self.low_m > self.high_m:
            raise ConfigError(f"low_m = {self.low_m}: must be at most high_m = {self.high_m}")


def test_a_parameter_tells_what_it_means_and_may_be(make_node) -> None:
    node = make_node()
    declare(node, Tuned, "a")
    names = ("speed_mps", "most", "start_m", "kind")
    speed, most, start, kind = told = [node.describe_parameter(f"a.{name}") for name in names]
    words = "(m/s; above 0 and at most 3; can be set at run time, counts at once)"
    assert speed.description == f"of the whole robot {words}"
    assert speed.additional_constraints == "above 0 and at most 3" and not speed.read_only
    assert [(one.from_value, one.to_value, one.step) for one in speed.floating_point_range] == [(0.0, 3.0, 0.0)]
    assert [(one.from_value, one.to_value, one.step) for one in most.integer_range] == [(-1, 9, 1)]
    assert most.additional_constraints == "-1 or from 2 to 9"
    assert not start.floating_point_range and start.additional_constraints == "NaN or from -5 to 5"
    assert kind.read_only and kind.additional_constraints == "one of red, blue"
    assert kind.description.endswith("(one of red, blue; read when the node is configured)")
    meanings = [meaning_of(one.description) for one in told]
    assert meanings == ["of the whole robot", "how many of them may wait", "place of its begin", "colour (as painted)"]
    later = [counts_from(one.description) for one in told]
    assert later == ["at once", "from the next mission on", "", ""]


@pytest.fixture
def tuned(make_node):
    """A node with two groups of parameters that are followed, and what its users got."""
    node, got = make_node(), []
    declare(node, Tuned, "a")
    declare(node, Tuned, "b")
    running = RunningParameters(node)
    end = [running.follow(Tuned, lambda config, name=name: got.append((name, config)), name) for name in ("a", "b")]
    return node, got, end


def set_together(node: Node, **values):
    return node.set_parameters_atomically([Parameter(name.replace("__", "."), value=v) for name, v in values.items()])


def test_what_is_set_comes_to_its_user_as_a_whole(tuned) -> None:
    node, got, end = tuned
    assert set_together(node, a__speed_mps=1.0).successful
    assert got == [("a", Tuned(speed_mps=1.0))]
    assert set_together(node, a__low_m=0.5, a__high_m=0.6, b__most=3).successful
    assert got[1:] == [("a", Tuned(speed_mps=1.0, low_m=0.5, high_m=0.6)), ("b", Tuned(most=3))]
    end[0]()
    assert set_together(node, a__speed_mps=2.0).successful and len(got) == 3
    assert read(node, Tuned, "a").speed_mps == 2.0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"a__speed_mps": 0.0}, r"speed_mps = 0\.0: must be above 0 and at most 3"),
        ({"a__speed_mps": 3.0000001}, r"speed_mps = 3\.0000001: must be above 0 and at most 3"),
        ({"a__speed_mps": -0.1}, r"a\.speed_mps out of range"),
        ({"a__speed_mps": 1e308}, r"a\.speed_mps out of range"),
        ({"a__speed_mps": math.nan}, r"a\.speed_mps out of range"),
        ({"a__speed_mps": math.inf}, r"a\.speed_mps out of range"),
        ({"a__speed_mps": 1}, "Wrong parameter type"),
        ({"a__speed_mps": "fast"}, "Wrong parameter type"),
        ({"a__speed_mps": None}, "cannot be undeclared"),
        ({"a__most": 1}, "most = 1: must be -1 or from 2 to 9"),
        ({"a__most": 10}, r"a\.most out of range"),
        ({"a__low_m": 0.5}, r"low_m = 0\.5: must be at most high_m = 0\.2"),
        ({"a__kind": "blue"}, "read-only"),
        ({"a__speed_mps": 1.0, "b__speed_mps": 0.0}, r"speed_mps = 0\.0: must be"),
        ({"a__speed_mps": 1.0, "b__low_m": 0.9}, "low_m"),
        ({"a__speed_mps": 1.0, "b__kind": "blue"}, "read-only"),
    ],
)
def test_what_is_refused_changes_nothing(tuned, values, said) -> None:
    node, got, _ = tuned
    result = set_together(node, **values)
    assert not result.successful and re.search(said, result.reason)
    assert got == []
    defaults = Tuned()
    for name in values:
        prefix, field = name.split("__")
        assert getattr(read(node, Tuned, prefix), field) == getattr(defaults, field)
