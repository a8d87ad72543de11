"""What RViz and Foxglove show of the navigator: made for who subscribes, of the very pixels and the very action."""

from __future__ import annotations

import json
import math
from pathlib import Path as File

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from nav_msgs.msg import Path
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from vila_core.actions.grammar import SENTENCES
from vila_core.media.messages import decode_compressed
from vila_core.navigator import decision_prompt
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend, make_frame
from vila_core.types import Decision, HoldReason, Instruction, MoveForward, Odometry, Pose, Turn
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator import debug_outputs
from vila_ros.navigator.debug_outputs import DebugOutputs
from vila_ros.navigator.debug_picture import debug_jpeg, debug_picture
from vila_ros.navigator.node import NavigatorNode

visualization = pytest.importorskip("visualization_msgs.msg")
CONFIG = File(__file__).resolve().parents[2] / "config"
FORWARD = SENTENCES[1]
TITLE_PX = 28  # above the picture, so that no pixel is hidden


def decision(**values) -> Decision:
    frames = [make_frame(stamp) for stamp in (10**9, 2 * 10**9, 3 * 10**9)]
    told = {
        "action": MoveForward(0.5),
        "stamp_ns": 3 * 10**9,
        "probability": 0.9,
        "probabilities": (0.02, 0.9, *[0.01] * 8),
        "reply": FORWARD,
        "prompt": decision_prompt(SCRIPTED_INFO, Instruction("go"), frames),
    }
    return Decision(**{**told, **values})


def test_the_picture_holds_the_very_pixels_that_the_model_saw():
    told = decision()
    newest = told.prompt.visuals[-1].frame.image
    picture = debug_picture(told)
    height, width, _ = newest.shape
    assert picture.shape[1] == 640
    scale = 640 // width
    assert scale * width == 640, "the frame of the test is enlarged by a whole number"
    shown = picture[TITLE_PX : TITLE_PX + height * scale]
    assert np.array_equal(shown[scale // 2 :: scale, scale // 2 :: scale], newest)


def test_a_decision_that_no_model_made_has_no_picture():
    assert debug_jpeg(Decision.holding(HoldReason.NO_IMAGE)) == b""


class Viewer(Node):
    def __init__(self) -> None:
        super().__init__("viewer")
        self.images, self.markers, self.paths = [], [], []

    def listen(self, prefix: str) -> None:
        qos = reliable_qos(1)
        self.create_subscription(CompressedImage, f"{prefix}/debug_image/compressed", self.images.append, qos)
        self.create_subscription(visualization.MarkerArray, f"{prefix}/markers", self.markers.append, qos)
        self.create_subscription(Path, f"{prefix}/path", self.paths.append, qos)


def test_nothing_is_made_while_nobody_listens(ros, monkeypatch):
    node = Node("navigator")
    outputs = DebugOutputs(node, "odom")
    monkeypatch.setattr(debug_outputs, "debug_jpeg", lambda _: pytest.fail("a picture was made"))
    monkeypatch.setattr(outputs, "_marker_array", lambda *_: pytest.fail("markers were made"))
    monkeypatch.setattr(outputs, "_path_message", lambda *_: pytest.fail("a path was made"))
    outputs.note_odometry(Odometry(1, Pose()), 1)
    outputs.publish_markers(decision(), Pose())
    assert not outputs.wants_pictures
    outputs.destroy()
    node.destroy_node()


def test_picture_markers_and_path_come_to_who_listens(ros, spinner, wait_until):
    node, viewer = spinner.add(Node("navigator")), spinner.add(Viewer())
    outputs = DebugOutputs(node, "odom")
    viewer.listen("navigator")

    def tell() -> bool:
        for step in range(5):
            outputs.note_odometry(Odometry(step, Pose(0.1 * step)), 1)
        outputs.publish_markers(decision(), Pose(1.0, 2.0, math.pi / 2))
        if outputs.wants_pictures:
            outputs.publish_picture(decision())
        return bool(viewer.images and viewer.markers and any(len(path.poses) >= 5 for path in viewer.paths))

    wait_until(tell)
    assert viewer.images[-1].header.stamp.sec == 3
    assert decode_compressed(viewer.images[-1]).shape[1] == 640
    path = viewer.paths[-1]
    assert path.header.frame_id == "odom" and len(path.poses) >= 5
    by_name = {marker.ns: marker for marker in viewer.markers[-1].markers}
    assert set(by_name) == {"", "path", "anchor", "words", "action"}
    assert by_name[""].action == visualization.Marker.DELETEALL
    begin, end = by_name["action"].points
    assert (begin.x, begin.y) == pytest.approx((1.0, 2.0)) and (end.x, end.y) == pytest.approx((1.0, 2.5))
    assert FORWARD in by_name["words"].text
    assert all(marker.header.frame_id == "odom" for marker in by_name.values())
    outputs.destroy()


def test_a_turn_is_an_arc_and_a_new_mission_a_new_path(ros):
    node = Node("navigator")
    outputs = DebugOutputs(node, "odom")
    for step in range(5):
        outputs.note_odometry(Odometry(step, Pose(0.1 * step)), 1)
    array = outputs._marker_array(decision(action=Turn(math.pi / 2)), Pose())
    arc = next(marker for marker in array.markers if marker.ns == "action").points
    assert (arc[0].x, arc[0].y) == pytest.approx((0.4, 0.0)) and (arc[-1].x, arc[-1].y) == pytest.approx((0.0, 0.4))
    outputs.note_odometry(Odometry(9, Pose(5.0)), 2)
    assert len(outputs._path_message(9).poses) == 1
    for step in range(10_000):
        outputs.note_odometry(Odometry(step, Pose(0.1 * step)), 3)
    assert 300 <= len(outputs._path_message(9).poses) <= 600
    outputs.destroy()
    node.destroy_node()


def test_without_visualization_msgs_the_markers_are_left_out_and_that_is_told(ros, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(debug_outputs, "import_module", absent)
    node, said = Node("navigator"), []
    monkeypatch.setattr(type(node.get_logger()), "info", lambda _, text, **__: said.append(text))
    outputs = DebugOutputs(node, "odom")
    assert said == ["no ~/markers: visualization_msgs is not installed"]
    outputs.publish_markers(decision(), Pose())
    outputs.destroy()
    node.destroy_node()


@pytest.fixture(scope="module")
def graph(ros):
    """Topics with their types of a navigator that runs."""
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend("nobody asks"))
    node.bring_up()
    yield {name: set(kinds) for name, kinds in node.get_topic_names_and_types()}
    node.destroy_node()


ELSEWHERE = {  # topics that other nodes publish
    "/camera/image_raw": "sensor_msgs/msg/Image",
    "/scan": "sensor_msgs/msg/LaserScan",
    "/navigator/frames/compressed": "sensor_msgs/msg/CompressedImage",  # the recorder's, in its bags
    "/controller/execution": "vila_nav/msg/NavAction",
    "/cmd_vel": "geometry_msgs/msg/TwistStamped",
}
RVIZ_TYPES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Path": "nav_msgs/msg/Path",
    "rviz_default_plugins/Odometry": "nav_msgs/msg/Odometry",
    "rviz_default_plugins/LaserScan": "sensor_msgs/msg/LaserScan",
}


def test_rviz_shows_topics_that_there_are_with_their_types(graph):
    told = yaml.safe_load((CONFIG / "vila_nav.rviz").read_text(encoding="utf-8"))
    manager = told["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "odom"
    displays = {display["Name"]: display for display in manager["Displays"]}
    assert len(displays) == len(manager["Displays"])
    for display in displays.values():
        if display["Class"] in ("rviz_default_plugins/Grid", "rviz_default_plugins/TF"):
            continue
        topic, kind = display["Topic"]["Value"], RVIZ_TYPES[display["Class"]]
        if topic.endswith("/compressed"):
            kind = "sensor_msgs/msg/CompressedImage"  # RViz takes the transport from the topic's name
        assert {kind} == (graph.get(topic) or {ELSEWHERE.get(topic)}), display["Name"]


def test_foxglove_shows_topics_that_there_are(graph):
    told = json.loads((CONFIG / "foxglove_layout.json").read_text(encoding="utf-8"))
    assert set(told) >= {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    assert set(panels(told["layout"], told["configById"])) == set(told["configById"])
    topics = set(topics_of(told["configById"]))
    assert {"/navigator/debug_image/compressed", "/navigator/markers", "/navigator/path"} <= topics
    assert not {topic for topic in topics if topic not in graph and topic not in ELSEWHERE}


def panels(layout, configurations):
    """The panels' names in a layout, which is a tree; tabs are panels that hold such trees."""
    if isinstance(layout, str):
        tabs = configurations[layout].get("tabs", ())
        return [layout, *(name for tab in tabs for name in panels(tab["layout"], configurations))]
    return [name for side in ("first", "second") for name in panels(layout[side], configurations)]


def topics_of(content):
    """All topics that a configuration names: keys and values that begin with a slash, paths up to their field."""
    found = []
    if isinstance(content, dict):
        found += [key for key in content if key.startswith("/")]
        for value in content.values():
            found += topics_of(value)
    elif isinstance(content, list):
        for value in content:
            found += topics_of(value)
    elif isinstance(content, str) and content.startswith("/"):
        found.append(content.split(".")[0])
    return found
