"""The patrol end to end on real processes: only the model is replaced, by one that is told the truth."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

import av
import numpy as np
from mcap.reader import make_reader
from PIL import Image

from vila_core.errors import ConfigError
from vila_ros.simulator.world import SimulatorNodeConfig
from vila_sim.events.event_queries import ClipQuery
from vila_tools.demo import events as demo_events
from vila_tools.demo.canvas import SIZE
from vila_tools.demo.event_film import Lane, Report, Watched, write_event_film
from vila_tools.demo.events import EventDemoOptions, make_lanes, node_specs
from vila_tools.session.recording import Recorded, jpeg_from_image

SEED, DURATION_S = 0, 12.0
NAVIGATOR = """
import dataclasses, json, sys, threading
from pathlib import Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node
from vila_ros.common.qos import reliable_qos

QUERIES = json.loads(Path(__file__).with_name("queries.json").read_text())
INFO = dataclasses.replace(SCRIPTED_INFO, relevance_period_s=0.25)


class Oracle(ScriptedBackend):
    '''Knows of each image what goes on in it, because the simulator says so.'''

    def __init__(self):
        super().__init__("stop", info=INFO)
        self.truth = {}
        node = Node("oracle")
        node.create_subscription(String, "simulator/scripted_events", self.hear, reliable_qos(100))
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        threading.Thread(target=executor.spin, daemon=True).start()

    def hear(self, message):
        truth = json.loads(message.data)
        self.truth[truth["stamp_ns"]] = truth["goes_on"]

    def relevance(self, question, frames):
        return tuple(float(QUERIES[question] in self.truth.get(frame.stamp_ns, [])) for frame in frames)


def make():
    node = NavigatorNode(load=lambda *_, **__: Oracle())
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""


@pytest.mark.long
def test_who_is_told_the_truth_publishes_it(tmp_path, monkeypatch, capsys) -> None:
    scenario = demo_events.make_patrol(SEED, DURATION_S)
    questions = {query.text: [query.verb, query.colour, query.kind] for query in scenario.queries}
    (tmp_path / "queries.json").write_text(json.dumps(questions))
    (tmp_path / "oracle_navigator.py").write_text(NAVIGATOR)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    out = tmp_path / "out"
    arguments = ["--seed", str(SEED), "--duration", str(DURATION_S), "--out", str(out)]
    arguments += ["--checkpoint", str(tmp_path), "--navigator", "oracle_navigator"]
    assert demo_events.main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["events_true"] >= 4 and result["miou"] > 0.8 and result["p_at_05"] > 0.8, result
    assert result["false_alarms"] <= 1 and len(result["queries"]) == len(scenario.queries)
    check_film(out / "events.mp4", result["simulated_s"])
    check_bag(out / "events.mcap")
    kept = json.loads((out / "events.json").read_text())
    assert kept["miou"] == result["miou"] and len(kept["lanes"]) == len(scenario.queries)


def check_film(path: Path, seconds: float) -> None:
    with av.open(str(path)) as film:
        frames = sum(1 for _ in film.decode(video=0))
        assert film.streams.video[0].codec_context.name == "h264"
    assert frames / 10 == pytest.approx(seconds + 2, abs=3)


def check_bag(path: Path) -> None:
    with path.open("rb") as file:
        topics = {channel.topic for _, channel, _ in make_reader(file).iter_messages()}
    assert {"/camera/image_raw/compressed", "/odom", "/simulator/scripted_events", "/navigator/events"} <= topics


def test_the_simulator_is_told_what_to_play() -> None:
    simulator, navigator = node_specs(EventDemoOptions(seed=7, duration_s=20))
    assert simulator.parameters == {
        "seed": 7,
        "instruction": "",
        "scripted_events": "patrol",
        "scripted_events_s": 20.0,
    }
    assert navigator.remaps == {"image_raw": "camera/image_raw"}


class Heard:
    """A recorder that has heard so much truth."""

    def __init__(self, goes_on: list[list[list[str]]], step_s: float = 0.1) -> None:
        texts = [
            json.dumps({"stamp_ns": i, "script_s": round(i * step_s, 3), "goes_on": here, "glimpsed": here})
            for i, here in enumerate(goes_on)
        ]
        before = {"stamp_ns": 0, "script_s": None, "goes_on": [["moves", "red", "ball"]], "glimpsed": []}
        texts.insert(0, json.dumps(before))
        message = type("Text", (), {})
        self.records = []
        for i, text in enumerate(texts):
            said = message()
            said.data = text
            self.records.append(Recorded("/simulator/scripted_events", i, said))


@pytest.mark.parametrize(
    ("true_images", "expected"),
    [
        (range(0), []),
        (range(10, 41), [(1.2, 3.9)]),  # of images 0.3 s apart
        ([*range(10, 41), *range(45, 60)], [(1.2, 5.7)]),  # so near that they are one
        ([*range(10, 13), *range(40, 60)], [(4.2, 5.7)]),  # a glimpse is none
    ],
)
def test_truth_becomes_events(true_images, expected) -> None:
    ball = ["moves", "red", "ball"]
    recorder = Heard([[ball] if i in true_images else [] for i in range(60)])
    query = ClipQuery("the red ball moves", "moves", "red", "ball", (), (), False)
    (lane,) = make_lanes([query], recorder, 0)
    assert list(lane.true_s) == expected


def test_a_report_counts_from_when_it_is_heard_until_a_later_one() -> None:
    opened, closed = Report(3.0, 1, 1.0, 2.5, True, 0.9), Report(6.0, 1, 1.0, 4.0, False, 0.8)
    other = Report(4.0, 2, 3.0, 3.5, False, 0.7)
    lane = Lane("the door opens", ((1.0, 4.0),), (), (opened, other, closed))
    assert lane.known_at(2.9) == [] and lane.known_at(3.0) == [opened]
    assert lane.known_at(5.0) == [opened, other] and lane.known_at(6.0) == [closed, other]
    assert lane.published_s == ((1.0, 4.0), (3.0, 3.5))


def test_the_film_draws_lanes(tmp_path) -> None:
    report = Report(1.5, 1, 0.5, 1.4, False, 0.9)
    lanes = [Lane("the door opens", ((0.5, 1.5),), (), (report,)), Lane("the red ball moves", (), (), ())]
    jpeg = jpeg_from_image(np.full((224, 224, 3), 90, np.uint8))
    watched = Watched("Patrol", lanes, [(t / 10, jpeg) for t in range(20)], 2.0, "well done")
    write_event_film(tmp_path / "film.mp4", watched)
    with av.open(str(tmp_path / "film.mp4")) as film:
        pictures = [frame.to_image() for frame in film.decode(video=0)]
    assert len(pictures) == 40 and pictures[0].size == SIZE
    first, last = (np.asarray(picture.convert("RGB"), int) for picture in (pictures[0], pictures[-1]))
    assert isinstance(pictures[0], Image.Image) and np.abs(first - last).max() > 100


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"scripted_events": "parade"}, "scripted_events = 'parade': must be 'patrol' or empty"),
        (
            {"scripted_events": "patrol", "instruction": "go to the red chair"},
            "must be empty where events are scripted",
        ),
        ({"scripted_events_s": 0.0}, r"scripted_events_s = 0\.0: must be above 0"),
    ],
)
def test_impossible_scripted_events_are_refused(values, complaint) -> None:
    with pytest.raises(ConfigError, match=complaint):
        SimulatorNodeConfig(**values)
