"""`vila bench video` on a real graph: a bag through the node; only the model is scripted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("rosbags")

from vila_core.errors import VilaError
from vila_tools.bags.video import BagOptions, convert
from vila_tools.benchmark import ros_video as bench_video
from vila_tools.benchmark.ros_video import Samples, VideoOptions, measure, navigator_spec, summary

pytestmark = pytest.mark.slow
CLIP = Path(__file__).resolve().parents[3] / "data" / "vtest.avi"
NAVIGATOR = """
import dataclasses, sys
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    backend = ScriptedBackend("nothing", info=dataclasses.replace(SCRIPTED_INFO, relevance_period_s=0.25))
    backend.relevances = {"it is bright": lambda frame: float(frame.image.mean() > 60)}
    node = NavigatorNode(load=lambda *_, **__: backend)
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""


@pytest.fixture
def navigator(ros_environment, tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "video_navigator.py").write_text(NAVIGATOR)
    return "video_navigator"


def test_figures_of_what_was_noted() -> None:
    resident = [(float(second), 100.0 + second) for second in range(1, 181)]
    times = [(10.0, 3.0), (20.0, 1.0), (30.0, 2.0), (170.0, 8.0)]
    figures = summary(Samples(times, resident, evaluations=9, errors=1, method="RELEVANCE"), minutes=3.0)
    assert figures["evaluation_ms"] == {"min": 1.0, "median": 2.5, "max": 8.0}
    assert figures["evaluation_ms_by_minute"] == {"1": 2.0, "2": None, "3": 8.0}
    assert figures["resident_mb_by_minute"] == {"1": 160.0, "2": 220.0, "3": 280.0}
    assert figures["resident_mb_at_end"] == 280.0
    assert (figures["evaluations"], figures["failed_evaluations"]) == (9, 1)
    assert summary(Samples(), minutes=0.1)["resident_mb_by_minute"] == {}


def test_the_node_is_given_the_checkpoint_and_the_players_topic() -> None:
    spec = navigator_spec(VideoOptions(Path("b"), checkpoint=Path("/models/nano")))
    assert spec.parameters == {"checkpoint": "/models/nano"} and spec.remaps == {"image_raw": "camera/image_raw"}


@pytest.mark.long
def test_a_bag_through_the_node(bag, navigator, tmp_path, capsys) -> None:
    file = tmp_path / "out" / "video.json"
    arguments = ["--bag", str(bag), "--watch", "it is bright", "--minutes", "0.07", "--json", str(file)]
    assert bench_video.main([*arguments, "--navigator", navigator]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures == json.loads(file.read_text())
    assert figures["method"] == "RELEVANCE" and figures["queries"] == 1 and figures["failed_evaluations"] == 0
    assert figures["evaluations"] > 0 and figures["evaluation_ms"]["min"] > 0 and figures["resident_mb_at_end"] > 10
    assert figures["images"] > 0 and figures["events"] > 0 and figures["kernels"]


def test_a_query_that_is_refused_ends_the_bench(bag, navigator) -> None:
    with pytest.raises(VilaError, match=r"'' was refused"):
        measure(VideoOptions(bag, queries=("",), minutes=0.05, navigator=navigator))


@pytest.mark.skipif(not CLIP.is_file(), reason="data/vtest.avi is missing; `make clip` fetches it")
def test_a_real_clip_through_the_node(navigator, tmp_path) -> None:
    report = convert(BagOptions(CLIP, tmp_path / "clip.mcap", every=2))
    assert report["images"] == 398 and report["duration_s"] == pytest.approx(79.4)
    figures = measure(VideoOptions(tmp_path / "clip.mcap", ("it is bright",), minutes=0.1, navigator=navigator))
    assert figures["evaluations"] >= 5 and figures["failed_evaluations"] == 0 and figures["events"] == 1
