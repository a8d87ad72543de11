"""The demo end to end on real processes: only the model is scripted, by a plan made from the map."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

import av
from mcap.reader import make_reader
from PIL import Image
from rosbags.highlevel import AnyReader

from vila_core.actions.grammar import SENTENCES, format_action
from vila_core.errors import WorldError
from vila_core.media.bags import bag_images
from vila_core.types import MoveForward, Pose, Stop, Turn, wrap_angle
from vila_sim.episodes.scenario import Scenario, make_scenario, named_pair
from vila_tools.demo import run as demo
from vila_tools.replay.recording import read_recording
from vila_tools.session.processes import ProcessError

pytestmark = pytest.mark.slow
INSTRUCTION = "go to the green plant"
TURN_RAD, STEP_M = math.radians(15), 0.25
ROOM_M, SIDES_M = 0.15, (-0.2, 0.0, 0.2)
FRAMES = ("/navigator/frames/compressed",)
NAVIGATOR = """
import sys
from pathlib import Path
from vila_core.testing import ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    replies = Path(__file__).with_name("replies.txt").read_text().splitlines()
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend(*replies, probability=0.8))
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""


def straight_plan(scenario: Scenario) -> list[str] | None:
    """Replies that turn towards a goal cell and drive there in a straight line, if the way is free and has room.

    Past something near, a robot whose scans come late creeps or stands, as it should.
    """
    pose = scenario.start
    for turns in sorted(range(-11, 13), key=abs):
        heading = Pose(pose.x_m, pose.y_m, wrap_angle(pose.yaw_rad + turns * TURN_RAD))
        for steps in range(1, 16):
            end = heading.advanced(steps * STEP_M)
            if not is_roomy(scenario, heading, end):
                break
            if scenario.distance_m(end) < 0.4:
                return _replies(turns, steps)
    return None


def is_roomy(scenario: Scenario, start: Pose, end: Pose) -> bool:
    """Whether the line is free, and those beside it, to a point beyond its end."""
    ends = [(pose.turned(math.pi / 2).advanced(side_m)) for pose in (start, end.advanced(ROOM_M)) for side_m in SIDES_M]
    ways = zip(ends[: len(SIDES_M)], ends[len(SIDES_M) :], strict=True)
    return all(scenario.distance.grid.line_is_free(a.x_m, a.y_m, b.x_m, b.y_m) for a, b in ways)


def _replies(turns: int, steps: int) -> list[str]:
    actions = []
    while turns:
        count = max(-3, min(3, turns))
        actions.append(Turn(count * TURN_RAD))
        turns -= count
    while steps:
        count = min(3, steps)
        actions.append(MoveForward(count * STEP_M))
        steps -= count
    return [format_action(action) for action in [*actions, Stop()]]


@pytest.fixture
def run_demo(tmp_path, monkeypatch, capsys):
    """run_demo(seed, replies): exit status, the result's JSON and the folder."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "scripted_navigator.py").write_text(NAVIGATOR)

    def run(seed: int, replies: list[str], *more: str) -> tuple[int, dict, Path]:
        (tmp_path / "replies.txt").write_text("\n".join(replies))
        out = tmp_path / "out"
        arguments = ["--instruction", INSTRUCTION, "--seed", str(seed), "--out", str(out)]
        arguments += ["--checkpoint", str(tmp_path), "--navigator", "scripted_navigator", "--timeout", "40", *more]
        status = demo.main(arguments)
        lines = capsys.readouterr().out.splitlines()
        result = json.loads(lines[-1])
        assert lines[-2] == demo.verdict(demo.DemoResult(**result))
        told = [
            line.split("decision ")[1].split(":")[0]
            for line in lines
            if re.search(r"decision .*(forward|left|right)", line)
        ]
        assert len(told) == len(set(told)), "a decision is told once, however long its motion takes"
        return status, result, out

    return run


@pytest.mark.long
def test_a_robot_that_drives_to_the_goal_and_stops_has_reached_it(run_demo) -> None:
    seed, replies = next((s, plan) for s in range(50) if (plan := straight_plan(make_scenario(INSTRUCTION, s))))
    status, result, out = run_demo(seed, replies, "--record")
    assert status == 0 and result["reached"] and result["error"] == "NONE", result
    assert result["distance_to_goal_m"] < 1.0 and result["decisions"] == len(replies)
    assert result["path_m"] == pytest.approx(sum("forward" in r and int(r.split()[-2]) / 100 for r in replies), abs=0.2)
    check_film(out / "demo.mp4", result)
    check_bag(out / "run.mcap", len(replies))
    (kept,) = (out / "recording").iterdir()
    said = [one.reply for one in read_recording(kept, "", iter).decisions if one.reply]
    assert said == replies and len({image.stamp_ns for image in bag_images(kept, FRAMES)}) >= len(replies)
    assert Image.open(out / "trajectory.png").width > 500
    kept = json.loads((out / "run.json").read_text())
    assert kept["reached"] and len(kept["decisions_log"]) >= len(replies) and len(kept["trajectory"]) > 50


def check_film(path: Path, result: dict) -> None:
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(video=0))
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 10)
    assert frames / 10 == pytest.approx(result["simulated_s"] + 3, abs=3)


def check_bag(path: Path, decisions: int) -> None:
    heard: dict[str, list] = {}
    with path.open("rb") as file:
        reader = make_reader(file)
        assert reader.get_header().profile == "ros2"
        for schema, channel, _ in reader.iter_messages():
            assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
    with AnyReader([path]) as bag:
        offered = {connection.topic: connection.ext.offered_qos_profiles for connection in bag.connections}
        for connection, _, data in bag.messages():
            heard.setdefault(connection.topic, []).append(bag.deserialize(data, connection.msgtype))
    assert set(heard) == {
        "/camera/image_raw/compressed",
        "/camera/camera_info",
        "/scan",
        "/odom",
        "/cmd_vel",
        "/navigator/action",
        "/navigator/stats",
        "/navigator/mission",
        "/controller/execution",
        "/governor/state",
    }
    lossy = {topic for topic, qos in offered.items() if qos[0].reliability.name == "BEST_EFFORT"}
    assert lossy == {"/camera/image_raw/compressed", "/camera/camera_info", "/scan"}
    assert len(heard["/navigator/stats"]) >= decisions
    assert len(heard["/navigator/stats"][0].probabilities) == len(SENTENCES)
    assert bytes(heard["/camera/image_raw/compressed"][0].data[:2]) == b"\xff\xd8"
    last = heard["/cmd_vel"][-1].twist
    assert last.linear.x == last.angular.z == 0.0


@pytest.mark.long
def test_a_robot_that_stops_where_it_is_has_not_reached_anything(run_demo) -> None:
    status, result, _ = run_demo(0, [SENTENCES[0]])
    assert status == 1 and not result["reached"], result
    assert result["distance_to_goal_m"] == pytest.approx(result["start_distance_m"], abs=0.05)


@pytest.mark.long
def test_a_navigator_that_cannot_start_ends_the_demo_with_its_words(run_demo, tmp_path) -> None:
    with pytest.raises(ProcessError, match=r"(?s)node navigator ended with status 2.*/nowhere"):
        run_demo(0, [SENTENCES[0]], "--checkpoint", "/nowhere")


def test_an_instruction_that_names_nothing_is_refused_before_anything_starts() -> None:
    with pytest.raises(WorldError, match=r"'dance'.*red.*chair"):
        demo.main(["--instruction", "dance"])


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("go to the red chair", ("red", "chair")),
        ("Drive over to the Bookshelf that is BLUE", ("blue", "bookshelf")),
        ("from the door find the white lamp and stop", ("white", "lamp")),
    ],
)
def test_named_pair(text: str, pair: tuple[str, str]) -> None:
    assert named_pair(text) == pair


@pytest.mark.parametrize("seed", range(5))
def test_a_scenario_is_the_same_each_time_and_starts_near_its_target(seed: int) -> None:
    first, second = make_scenario(INSTRUCTION, seed), make_scenario(INSTRUCTION, seed)
    assert first.start == second.start and first.flat == second.flat
    assert (first.target.colour, first.target.kind) == ("green", "plant")
    assert 1.5 <= first.distance_m(first.start) <= 6.0
    room = first.flat.room_at(first.start.x_m, first.start.y_m)
    assert room is not None and room.name == first.target.room
