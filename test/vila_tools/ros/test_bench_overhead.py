"""`vila bench ros` on a real graph: only the model behind the navigator is scripted."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from vila_core.errors import ConfigError
from vila_tools.benchmark import ros_overhead as bench_overhead
from vila_tools.benchmark.ros_overhead import BenchOptions, measure_graph, navigator_spec, summary
from vila_tools.benchmark.ros_robot import RoundTrip
from vila_tools.session.processes import ProcessError

pytestmark = pytest.mark.slow
NAVIGATOR = """
import sys
from vila_core.actions.grammar import SENTENCES
from vila_core.testing import ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    script = [SENTENCES[number % len(SENTENCES)] for number in range(200)]
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend(*script))
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""
SMALL = {"decisions": 10, "width": 64, "height": 48}


@pytest.fixture
def navigator(ros_environment, tmp_path, monkeypatch):
    """navigator(source): the name of a module that runs it as a node."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def write(source: str) -> str:
        (tmp_path / "bench_navigator.py").write_text(source)
        return "bench_navigator"

    return write


def test_decisions_over_the_graph_are_matched_with_their_images(navigator) -> None:
    """The script holds every action, stops among them, after which the robot has to give its instruction again."""
    figures = measure_graph(BenchOptions(navigator=navigator(NAVIGATOR), **SMALL))
    assert figures.graph_decisions == 10 and figures.images >= 10
    assert 0 < figures.graph_overhead_min_ms <= figures.graph_overhead_ms <= figures.graph_overhead_p90_ms
    assert figures.publish_ms > 0 and figures.image_serialise_ms >= 0 and figures.decide_ms > 0
    assert 0 < figures.graph_decisions_per_s < math.inf


def test_the_overhead_is_what_the_decision_does_not_take() -> None:
    trips = [
        RoundTrip(total_ms=20.0 + n, latency_ms=15.0, publish_ms=0.5, image_age_ms=19.0 + n, arrived_ns=n * 10**8)
        for n in range(11)
    ]
    figures = summary(trips, images=22, serialisation=(0.1, 0.2))
    assert (figures.graph_overhead_min_ms, figures.graph_overhead_ms, figures.graph_overhead_p90_ms) == (
        5.0,
        10.0,
        14.0,
    )
    assert (figures.decide_ms, figures.publish_ms, figures.navigator_ms) == (15.0, 0.5, 8.5)
    assert (figures.graph_decisions, figures.graph_decisions_per_s, figures.images) == (11, 10.0, 22)
    assert (figures.image_serialise_ms, figures.image_deserialise_ms) == (0.1, 0.2)


@pytest.mark.long
def test_the_program_leaves_its_figures_as_json(navigator, tmp_path, capsys) -> None:
    file = tmp_path / "out" / "ros.json"
    arguments = ["--decisions", "10", "--width", "64", "--height", "48", "--json", str(file)]
    assert bench_overhead.main([*arguments, "--navigator", navigator(NAVIGATOR)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads(file.read_text()) == figures
    rates = figures["in_process_decisions_per_s_by_threads"]
    assert set(rates) == {"1", "2"} and figures["in_process_decisions_per_s"] == max(rates.values()) > 0
    assert {"graph_overhead_ms", "graph_overhead_p90_ms", "decide_ms", "kernels"} <= set(figures)


def test_a_navigator_that_ends_is_told_with_its_last_words(navigator) -> None:
    with pytest.raises(ProcessError, match="alas"):
        measure_graph(BenchOptions(navigator=navigator("raise SystemExit('alas')"), **SMALL))


def test_the_navigator_runs_as_on_a_robot() -> None:
    spec = navigator_spec(BenchOptions(checkpoint=Path("model")))
    assert spec.module == "vila_ros.navigator.node" and spec.params_file is not None
    assert spec.params_file.name == "generic.yaml" and spec.parameters["checkpoint"] == str(Path("model").resolve())


@pytest.mark.parametrize("wrong", [{"decisions": 1}, {"width": 0}, {"height": -1}, {"rate_hz": 0.0}])
def test_what_cannot_be_measured_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        BenchOptions(**wrong)
