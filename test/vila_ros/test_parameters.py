from dataclasses import dataclass

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.config import ControlConfig, HistoryConfig
from vila_core.errors import ConfigError
from vila_ros.common.parameters import declare, read, refuse_unknown


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


def test_an_impossible_value_is_an_error(make_node) -> None:
    node = make_node(control__max_linear_mps=-1.0)
    declare(node, ControlConfig, "control")
    with pytest.raises(ConfigError, match=r"max_linear_mps = -1\.0"):
        read(node, ControlConfig, "control")


def test_parameters_cannot_be_changed_behind_the_nodes_back(make_node) -> None:
    node = make_node()
    declare(node, Sample)
    result = node.set_parameters([Parameter("rate_hz", value=9.0)])
    assert not result[0].successful and read(node, Sample).rate_hz == 2.5
