"""~/recall and ~/tag of a real navigator: what the camera showed is found again, across restarts, with typed errors."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from nav_msgs.msg import Odometry as OdometryMsg
from parameter_client import ParameterClient
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from recalling import SeeingBackend, picture
from sensor_msgs.msg import CompressedImage, Image
from vila_nav.action import Recall, Tag

from vila_core.errors import ConfigError, UnsupportedQueryError
from vila_core.testing import ScriptedBackend
from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry, yaw_from_quaternion
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode
from vila_ros.navigator.queries.event_messages import EventError

PERIOD_S = 0.05


class Robot(Node):
    """A robot that stands somewhere and sees something."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.pose, self.shown, self.sent = Pose(), {}, 0
        self._images = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self.recalling = ActionClient(self, Recall, "navigator/recall")
        self.tagging = ActionClient(self, Tag, "navigator/tag")
        self.create_timer(PERIOD_S, self._on_timer)

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        self._odometry.publish(message_from_odometry(Odometry(now_ns, self.pose)))
        self._images.publish(image_from_frame(Frame(picture(self.shown).image, now_ns)))
        self.sent += 1


class Scene:
    """A navigator that remembers, and a robot to show it things."""

    def __init__(self, node: NavigatorNode, robot: Robot, wait_until) -> None:
        self.node, self.robot, self.wait_until = node, robot, wait_until

    def show(self, pose: Pose, **places: tuple[int, int]) -> None:
        """Go somewhere, where the robot has not just been, and see things there until that is remembered."""
        self.robot.shown = {name.replace("_", " "): place for name, place in places.items()}
        self.robot.pose = pose
        sent = self.robot.sent
        self.wait_until(lambda: self.robot.sent >= sent + 6, what="images")

    def ask(self, client: ActionClient, goal):
        def spun(call, *arguments):
            task = self.robot.executor.create_task(call, *arguments)
            self.wait_until(task.done)
            self.wait_until(task.result().done)
            return task.result().result()

        handle = spun(client.send_goal_async, goal)
        return spun(handle.get_result_async).result

    def recall(self, text: str) -> Recall.Result:
        return self.ask(self.robot.recalling, Recall.Goal(text=text))

    def tag(self, name: str, **options) -> Tag.Result:
        return self.ask(self.robot.tagging, Tag.Goal(name=name, **options))


@pytest.fixture
def scene(spinner, wait_until, tmp_path: Path):
    """scene(backend, **parameters): an active navigator and a robot that stands."""

    def begin(backend=None, /, **parameters) -> Scene:
        values = {"checkpoint": str(tmp_path), "require_governor": False, "memory.file": str(tmp_path / "seen.sqlite")}
        values |= {"memory.camera_hfov_deg": 90.0, "navigator.watch_camera": False}
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        node = NavigatorNode(
            [Parameter(name, value=value) for name, value in values.items()],
            load=lambda *_, **__: backend or SeeingBackend(),
        )
        try:
            node.bring_up()
        except BaseException:
            node.destroy_node()
            raise
        robot = Robot()
        spinner.add(node)
        spinner.add(robot)
        wait_until(lambda: robot.recalling.server_is_ready() and robot.tagging.server_is_ready(), what="the actions")
        wait_until(lambda: node.active.latest.image and node.active.latest.odometry, what="images and odometry")
        return Scene(node, robot, wait_until)

    return begin


def test_what_is_remembered_is_of_the_width_that_the_model_is_shown(scene) -> None:
    backend = SeeingBackend()
    backend.info = dataclasses.replace(backend.info, camera_hfov_deg=90.0)
    seen = scene(backend, image_hfov_deg=126.87, memory__camera_hfov_deg=75.0)
    seen.show(Pose(1.0, 2.0, 0.5), red_ball=(4, 4))
    memory = seen.node.configured.recall._memory
    assert memory.config.camera_hfov_deg == 90.0
    assert memory._latest.image.shape == (32, 32, 3)  # of 64 pixels that see twice as much
    assert seen.node.set_parameters([Parameter("memory.min_probability", value=0.9)])[0].successful
    assert (memory.config.min_probability, memory.config.camera_hfov_deg) == (0.9, 90.0)


def test_what_was_seen_is_found_again_with_its_picture(scene) -> None:
    seen = scene()
    seen.show(Pose(1.0, 2.0, 0.5), red_ball=(4, 4))
    seen.show(Pose(5.0, 2.0, 0.5), blue_vase=(4, 4))
    told = seen.recall("where did you last see the red globe?")
    assert (told.error_code, told.found, told.asked, told.is_this_run) == (0, True, "red ball", True)
    assert (told.pose.pose.position.x, told.pose.pose.position.y) == (1.0, 2.0)
    assert yaw_from_quaternion(told.pose.pose.orientation) == pytest.approx(0.5)
    assert told.pose.header.frame_id == "odom" and told.pose.header.stamp == told.picture.header.stamp
    assert told.has_place and 0.3 < math.dist((told.place.x, told.place.y), (1.0, 2.0)) < 8
    assert told.probability > 0.9 and told.views >= 1
    shown = cv2.imdecode(np.frombuffer(told.picture.data, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown[36, 36].max() > 20
    absent = seen.recall("the red vase")
    assert (absent.error_code, absent.found) == (0, False) and absent.probability < 0.5


def test_a_name_that_was_given_is_found_again_after_a_restart(scene, spinner) -> None:
    seen = scene()
    seen.show(Pose(1.0, 0.0, 0.0), red_ball=(4, 4))
    assert seen.tag("my toy").thing == "red ball"
    spinner.remove(seen.node)
    spinner.remove(seen.robot)
    again = scene()
    told = again.recall("where is my toy")
    assert told.found and not told.is_this_run and told.asked == "my toy"
    again.show(Pose(4.0, 0.0, 0.0), red_ball=(4, 4))
    told = again.recall("where is my toy")
    assert told.is_this_run and told.pose.pose.position.x == 4.0


def test_a_picture_may_be_given_a_name(scene) -> None:
    seen = scene()
    _, data = cv2.imencode(".png", picture({"blue vase": (1, 6), "red ball": (6, 1)}).image)
    given = CompressedImage(format="png", data=data.tobytes())
    assert seen.tag("grandma", picture=given, across=0.8, down=0.2).thing == "blue vase"
    refused = seen.tag("grandma", picture=CompressedImage(format="png", data=b"no picture"))
    assert refused.error_code == EventError.BAD_QUERY and "'grandma'" in refused.error_msg


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("where is the elephant", EventError.BAD_QUERY, "knows 2 kinds"),
        ("", EventError.BAD_QUERY, "empty"),
        ("<image> red ball", EventError.BAD_QUERY, "<image>"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(scene, text: str, error: EventError, words: str) -> None:
    seen = scene()
    seen.show(Pose(1.0, 0.0, 0.0), red_ball=(4, 4))
    told = seen.recall(text)
    assert told.error_code == error and words in told.error_msg and not told.found


def test_nothing_seen_yet_and_nothing_remembered_are_told_apart(scene, spinner) -> None:
    seen = scene()
    assert seen.recall("the red ball").error_code == EventError.NO_IMAGES
    spinner.remove(seen.node)
    spinner.remove(seen.robot)
    told = scene(memory__file="").recall("the red ball")
    assert told.error_code == EventError.NOT_SUPPORTED and "memory.file" in told.error_msg


def test_a_robot_that_stands_remembers_by_time_and_not_each_image(scene, spinner, wait_until) -> None:
    seen = scene(memory__period_s=3600.0)
    seen.show(Pose(), red_ball=(4, 4))
    memory = seen.node.configured.recall._memory
    before = memory.views
    seen.show(Pose(0.1, 0, 0), red_ball=(4, 4))
    assert memory.views == before
    parameters = spinner.add(ParameterClient("navigator", wait_until))
    assert parameters.set({"memory.min_translation_m": 0.05}).successful
    seen.show(Pose(0.2, 0, 0), red_ball=(4, 4))
    wait_until(lambda: memory.views > before, what="one more view")


def test_a_file_that_cannot_be_kept_keeps_the_navigator_from_coming_up(scene, tmp_path: Path) -> None:
    (tmp_path / "songs.sqlite").write_bytes(b"no database at all, but long enough to look at" * 50)
    with pytest.raises(ConfigError, match="songs"):
        scene(memory__file=str(tmp_path / "songs.sqlite"))
    with pytest.raises(UnsupportedQueryError, match=r"memory\.file"):
        scene(ScriptedBackend("x"))
