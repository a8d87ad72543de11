"""The simulator beside the interfaces that no wheel brings: simulation_interfaces serves it, tf tells its frames."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from conftest import HANG_S
from interface_packages import environment_with
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock

from vila_core.control.governor.transforms import BODY_FROM_OPTICAL, StaticTransforms, from_mount, from_quaternion
from vila_core.types import Odometry
from vila_ros.common.conversions import ns_from_stamp, odometry_from_message
from vila_ros.common.qos import sensor_qos
from vila_ros.simulator.standard_services import SERVICES
from vila_sim.episodes.splits import split_flat
from vila_tools.session.processes import NodeSpec

pytestmark = pytest.mark.long  # what no wheel brings is generated first
PITCH_DEG, HEIGHT_M, SCAN_M = 20.0, 0.8, 0.3
OK = {"result": 1, "error_message": ""}
STOPPED, PLAYING, PAUSED = 0, 1, 2
CLIENT = '''
"""Calls the services, and tells the transforms, that a line on standard input names; answers by a line of JSON."""

import importlib
import json
import sys

import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def fill(message, values):
    for name, value in values.items():
        if isinstance(value, dict):
            fill(getattr(message, name), value)
        else:
            setattr(message, name, value)
    return message


def plain(value):
    if hasattr(value, "get_fields_and_field_types"):
        return {name: plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, (bool, int, float, str)):
        return value
    return [plain(each) for each in value]


rclpy.init()
node = rclpy.create_node("standard_client")
heard = {}
try:
    kind = importlib.import_module("tf2_msgs.msg").TFMessage
except ImportError:
    subscriptions = []
else:
    subscriptions = [
        node.create_subscription(kind, topic, lambda m, topic=topic: heard.__setitem__(topic, plain(m)), qos)
        for topic, qos in (("/tf", QoSProfile(depth=10)), ("/tf_static", LATCHED))
    ]
for line in sys.stdin:
    name, values = json.loads(line)
    if name == "transforms":
        while len(heard) < 2:
            rclpy.spin_once(node, timeout_sec=0.1)
        answer = heard
    else:
        kind = getattr(importlib.import_module("simulation_interfaces.srv"), "".join(map(str.title, name.split("_"))))
        client = node.create_client(kind, name)
        client.wait_for_service()
        future = client.call_async(fill(kind.Request(), values))
        rclpy.spin_until_future_complete(node, future)
        answer = plain(future.result())
        node.destroy_client(client)
    print(json.dumps(answer), flush=True)
'''


RECORD = '''
"""Records until all of these were heard: recorder.py BAG TOPIC..."""

import sys
from pathlib import Path

import rclpy

from vila_tools.session.recording import Recorder, write_bag

bag, *topics = sys.argv[1:]
rclpy.init()
node = Recorder()
while not set(topics) <= set(node.newest):
    rclpy.spin_once(node, timeout_sec=0.1)
write_bag(Path(bag), node.records, node.qos)
'''


class Listener(Node):
    """Hears where the robot is, and the clock."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.odometry: list[Odometry] = []
        self.clock_ns: list[int] = []
        self.create_subscription(
            OdometryMsg, "odom", lambda m: self.odometry.append(odometry_from_message(m)), sensor_qos(depth=5)
        )
        self.create_subscription(Clock, "/clock", lambda m: self.clock_ns.append(ns_from_stamp(m.clock)), sensor_qos())


@pytest.fixture(scope="module")
def environment(ros_environment) -> dict[str, str]:
    return environment_with("simulation_interfaces", environment_with("tf2_msgs", ros_environment))


@pytest.fixture(scope="module")
def simulator(environment) -> Iterator[subprocess.Popen]:
    camera = {"camera.width_px": 64, "camera.height_px": 64, "camera.pitch_deg": PITCH_DEG, "camera.height_m": HEIGHT_M}
    parameters = {"world": "flat/1000001", "robot.scan_height_m": SCAN_M, **camera}
    process = subprocess.Popen(
        NodeSpec("simulator", "vila_ros.simulator.node", parameters=parameters).command(), env=environment
    )
    yield process
    process.terminate()
    assert process.wait(HANG_S) == 0, "the simulator did not end in good order"


@pytest.fixture(scope="module")
def ask(simulator, environment) -> Iterator[Any]:
    """ask("get_entity_state", entity="robot"): the answer as a dict."""
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(name: str, **values: Any) -> dict[str, Any]:
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(json.dumps([name, values]) + "\n")
        client.stdin.flush()
        return json.loads(client.stdout.readline())

    yield ask
    assert client.stdin is not None
    client.stdin.close()
    client.wait(HANG_S)


@pytest.fixture
def listener(ask, spinner, wait_until) -> Listener:
    """Somebody who hears the simulator, which plays."""
    listener = spinner.add(Listener())
    ask("set_simulation_state", state={"state": PLAYING})
    wait_until(lambda: listener.odometry and listener.clock_ns, "the simulator")
    return listener


def pose_of(x: float, y: float, yaw: float) -> dict[str, Any]:
    return {
        "position": {"x": x, "y": y},
        "orientation": {"z": math.sin(yaw / 2), "w": math.cos(yaw / 2)},
    }


def test_services_bear_the_names_of_their_types() -> None:
    for kind, name in SERVICES.items():
        assert "".join(map(str.title, name.split("_"))) == kind


def test_it_tells_what_it_can(ask) -> None:
    features = ask("get_simulator_features")["features"]
    assert {10, 11, 20, 21, 22, 23, 24, 25, 26, 31, 32, 40, 44} == set(features["features"])
    assert "flat/12" in features["custom_info"]


def test_the_robot_is_put_and_told_where_it_is(ask, listener, wait_until) -> None:
    assert (
        ask("set_entity_state", entity="robot", set_pose=True, state={"pose": pose_of(1.5, 2.0, 0.5)})["result"] == OK
    )
    wait_until(lambda: abs(listener.odometry[-1].pose.yaw_rad - 0.5) < 1e-3, "odometry of the new pose")
    told = ask("get_entity_state", entity="robot")
    assert told["result"] == OK
    assert told["state"]["pose"]["position"] == pytest.approx({"x": 1.5, "y": 2.0, "z": 0.0}, abs=1e-3)
    assert told["state"]["header"]["stamp"]["sec"] + 1 >= listener.odometry[0].stamp_ns // 10**9


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"entity": "chair"}, 2, "get_entities"),
        (
            {"entity": "robot", "set_pose": True, "state": {"pose": pose_of(-1.0, 1.0, 0.0)}},
            101,
            "must lie in the flat",
        ),
        ({"entity": "robot", "set_pose": True, "state": {"pose": {"orientation": {"w": 0.0}}}}, 101, "quaternion"),
        ({"entity": "robot", "set_twist": True, "state": {"twist": {"linear": {"x": 1.0}}}}, 0, "cmd_vel"),
        ({"entity": "robot", "set_pose": True, "state": {"header": {"frame_id": "laser"}}}, 4, "'laser'"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_code(ask, values, code: int, words: str) -> None:
    result = ask("set_entity_state", **values)["result"]
    assert result["result"] == code and words in result["error_message"]


def test_things_of_the_flat_are_told_and_stay_where_they_are(ask, listener) -> None:
    ask("load_world", world_resource={"uri": "flat/1000001"})
    flat = split_flat(1000001)
    assert ask("get_entities")["entities"] == ["robot", *(thing.name for thing in flat.objects)]
    lamps = ask("get_entities", filters={"filter": "^(robot|.*_lamp_[0-9]+)$"})["entities"]
    assert lamps == ["robot", *(thing.name for thing in flat.objects if thing.kind == "lamp")]
    assert ask("get_entities", filters={"filter": "("})["result"]["result"] == 4
    assert ask("get_entities", filters={"tags": {"tags": ["heavy"]}})["result"]["result"] == 0
    thing = flat.objects[0]
    position = ask("get_entity_state", entity=thing.name)["state"]["pose"]["position"]
    assert (position["x"], position["y"]) == pytest.approx((thing.x_m, thing.y_m))
    moved = ask("set_entity_state", entity=thing.name, set_pose=True, state={"pose": pose_of(1.0, 1.0, 0.0)})["result"]
    assert moved["result"] == 4 and "'robot'" in moved["error_message"]
    assert ask("get_entity_state", entity="dog")["result"]["result"] == 2


def test_time_stands_and_goes_on_by_steps_as_it_is_told(ask, listener, wait_until) -> None:
    assert ask("step_simulation", steps=1)["result"]["result"] == 4  # not paused
    assert ask("set_simulation_state", state={"state": PAUSED})["result"] == OK
    assert ask("set_simulation_state", state={"state": PAUSED})["result"]["result"] == 101
    assert ask("get_simulation_state")["state"]["state"] == PAUSED
    seen = len(listener.clock_ns)
    wait_until(lambda: len(listener.clock_ns) > seen + 20, "the clock to be told while it stands")
    stands_ns = listener.clock_ns[-1]
    assert len(set(listener.clock_ns[-10:])) == 1
    assert ask("step_simulation", steps=25)["result"] == OK
    wait_until(lambda: listener.clock_ns[-1] != stands_ns)
    assert listener.clock_ns[-1] - stands_ns <= 25 * 20_000_000
    wait_until(lambda: listener.clock_ns[-1] == stands_ns + 25 * 20_000_000, "half a second in all")
    assert ask("step_simulation", steps=0)["result"]["result"] == 4
    assert ask("set_simulation_state", state={"state": 3})["result"]["result"] == 0
    assert ask("set_simulation_state", state={"state": PLAYING})["result"] == OK


def test_a_reset_takes_what_it_is_told_to(ask, listener, wait_until) -> None:
    assert ask("reset_simulation", scope=2)["result"] == OK
    start = ask("get_entity_state", entity="robot")["state"]["pose"]["position"]
    ask("set_entity_state", entity="robot", set_pose=True, state={"pose": pose_of(start["x"] + 0.2, start["y"], 0.0)})
    before_ns = listener.clock_ns[-1]
    assert ask("reset_simulation", scope=1)["result"] == OK
    wait_until(lambda: listener.clock_ns[-1] < before_ns, "the clock to go back")
    assert ask("get_entity_state", entity="robot")["state"]["pose"]["position"]["x"] == pytest.approx(
        start["x"] + 0.2, abs=1e-3
    )
    assert ask("reset_simulation")["result"] == OK
    assert ask("get_entity_state", entity="robot")["state"]["pose"]["position"] == pytest.approx(start, abs=1e-3)
    wait_until(lambda: listener.odometry[-1].stamp_ns < before_ns, "odometry of the new time")


def test_another_flat_is_loaded_by_its_name_and_stands_until_it_is_played(ask, listener) -> None:
    assert ask("get_current_world")["world"]["name"] == "flat/1000001"
    loaded = ask("load_world", world_resource={"uri": "flat/1000007?red:chair"})
    assert loaded["result"] == OK and loaded["world"]["world_resource"]["uri"] == "flat/1000007?red:chair"
    assert ask("get_current_world")["world"]["name"] == "flat/1000007?red:chair"
    assert ask("get_simulation_state")["state"]["state"] == STOPPED
    corridor = split_flat(1000007, (("red", "chair"),)).rooms[0]
    position = ask("get_entity_state", entity="robot")["state"]["pose"]["position"]
    assert position["x"] == pytest.approx((corridor.x_min_m + corridor.x_max_m) / 2)
    for resource, code in (({"uri": "warehouse.sdf"}, 103), ({"resource_string": "<sdf/>"}, 101), ({}, 102)):
        assert ask("load_world", world_resource=resource)["result"]["result"] == code
    assert ask("load_world", world_resource={"uri": "flat/1000001"})["result"] == OK


def test_tf_tells_where_robot_camera_and_laser_are(ask, listener) -> None:
    heard = ask("transforms")
    (moving,) = heard["/tf"]["transforms"]
    assert (moving["header"]["frame_id"], moving["child_frame_id"]) == ("odom", "base_link")
    tree = StaticTransforms()
    for each in heard["/tf_static"]["transforms"]:
        t, q = each["transform"]["translation"], each["transform"]["rotation"]
        told = from_quaternion((t["x"], t["y"], t["z"]), (q["x"], q["y"], q["z"], q["w"]))
        tree.note(each["header"]["frame_id"], each["child_frame_id"], told)
    optical, laser = tree.find("base_link", "camera_optical"), tree.find("base_link", "laser")
    expected = from_mount((0, 0, HEIGHT_M, 0, math.radians(PITCH_DEG))).after(BODY_FROM_OPTICAL)
    assert np.allclose(optical.rotation, expected.rotation, atol=1e-5)
    assert np.allclose(optical.translation, [0, 0, HEIGHT_M]) and np.allclose(laser.translation, [0, 0, SCAN_M])
    ahead = optical.apply(np.array([[0, 0, 1.0]], np.float32))[0]  # what the middle of the picture shows
    assert ahead[0] > 0.9 and ahead[2] == pytest.approx(HEIGHT_M - math.sin(math.radians(PITCH_DEG)), abs=1e-5)


def test_a_bag_of_the_run_holds_tf_and_the_sensors_as_they_were_offered(ask, listener, environment, tmp_path) -> None:
    best_effort = {"/scan", "/camera/camera_info", "/camera/image_raw/compressed"}
    topics = {"/tf", "/tf_static", "/odom", *best_effort}
    command = [sys.executable, "-c", RECORD, str(tmp_path / "a.mcap"), *topics]
    subprocess.run(command, env=environment, check=True, timeout=HANG_S)
    with AnyReader([tmp_path / "a.mcap"]) as bag:
        offered = {one.topic: one.ext.offered_qos_profiles[0] for one in bag.connections if one.topic in topics}
        frames = {
            (transform.header.frame_id, transform.child_frame_id)
            for one, _, data in bag.messages([each for each in bag.connections if each.topic.startswith("/tf")])
            for transform in bag.deserialize(data, one.msgtype).transforms
        }
    assert {topic for topic, qos in offered.items() if qos.reliability.name == "BEST_EFFORT"} == best_effort
    assert {topic for topic, qos in offered.items() if qos.durability.name == "TRANSIENT_LOCAL"} == {"/tf_static"}
    assert set(offered) == topics
    assert frames == {
        ("odom", "base_link"),
        ("base_link", "camera_link"),
        ("camera_link", "camera_optical"),
        ("base_link", "laser"),
    }
