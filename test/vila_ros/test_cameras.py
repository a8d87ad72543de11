"""A navigator with several cameras: each has its topic, its history and its queries, and none stops another."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMsg
from rcl_interfaces.msg import Log
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from vila_nav.action import Describe, LocalizeEvent
from vila_nav.msg import NavAction, TemporalEvent
from vila_nav.srv import SetInstruction, UnwatchEvent, WatchEvent

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode
from vila_ros.navigator.queries.event_messages import EventError

PERIOD_S = 0.05
SEEING = dataclasses.replace(SCRIPTED_INFO, relevance_period_s=PERIOD_S)
QUICK = {
    "events.period_s": PERIOD_S,
    "events.window_s": 2.0,
    "events.rate_hz": 20.0,
    "events.min_duration_s": 0.1,
    "events.merge_gap_s": 0.2,
}
LAMP = "the lamp is on"
TWO = {"cameras": ["left", "right"]}


class Lamp(ScriptedBackend):
    """Sees by an image's brightness whether the lamp is on."""

    def __init__(self) -> None:
        super().__init__(SENTENCES[4], info=SEEING)
        self.relevances = {LAMP: lambda frame: float(frame.image.mean() > 128), "broken": lambda frame: 1 / 0}


class Rig(Node):
    """Cameras that show one brightness each, on topics that are switched on one by one, and who asks the navigator."""

    def __init__(self) -> None:
        super().__init__("controller")  # whose reports count
        self.levels: dict[str, int] = {}  # topic -> what is shown there
        self.size = 24, 32  # height, width
        self.events: list[TemporalEvent] = []
        self.actions: list[NavAction] = []
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.logged: list[str] = []
        self._cameras: dict[str, tuple] = {}
        self._odometry = None
        self.create_subscription(TemporalEvent, "navigator/events", self.events.append, reliable_qos(100))
        self.create_subscription(NavAction, "navigator/action", self.actions.append, reliable_qos())
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos())
        self.create_subscription(Log, "/rosout", lambda message: self.logged.append(message.msg), reliable_qos(100))
        self.watching = self.create_client(WatchEvent, "navigator/watch")
        self.unwatching = self.create_client(UnwatchEvent, "navigator/unwatch")
        self.instructing = self.create_client(SetInstruction, "navigator/set_instruction")
        self.localizing = ActionClient(self, LocalizeEvent, "navigator/localize")
        self.describing = ActionClient(self, Describe, "navigator/describe")
        self.create_timer(PERIOD_S / 2, self._on_timer)

    def offer(self, topic: str, level: int = 0, kind: type = Image) -> None:
        self._cameras[topic] = (kind, self.create_publisher(kind, topic, sensor_qos()))
        self.levels[topic] = level

    def become_robot(self) -> None:
        self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.statuses |= {status.name: status for status in message.status}

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        if self._odometry is not None:
            self._odometry.publish(message_from_odometry(Odometry(now_ns, Pose())))
        for topic, level in list(self.levels.items()):
            kind, publisher = self._cameras[topic]
            pixels = np.full((*self.size, 3), level, np.uint8)
            message = image_from_frame(Frame(pixels, now_ns))
            if kind is CompressedImage:
                data = cv2.imencode(".png", pixels)[1].tobytes()
                message = CompressedImage(header=message.header, format="png", data=data)
            publisher.publish(message)


class Scene:
    def __init__(self, rig: Rig, navigator: NavigatorNode, wait_until) -> None:
        self.rig, self.navigator, self.wait_until = rig, navigator, wait_until

    def call(self, client, request):
        self.wait_until(client.service_is_ready)
        future = client.call_async(request)
        self.wait_until(future.done, what="the service's answer")
        return future.result()

    def watch(self, **request: str) -> WatchEvent.Response:
        return self.call(self.rig.watching, WatchEvent.Request(text=LAMP, **request))

    def ask(self, client: ActionClient, kind: type, camera: str):
        self.wait_until(client.server_is_ready)
        goal = kind.Goal(text=LAMP, camera=camera)
        sent = self._spun(client.send_goal_async, goal)
        self.wait_until(sent.done, what="the goal to be accepted")
        result = self._spun(sent.result().get_result_async)
        self.wait_until(result.done, what="the goal's result")
        return result.result().result

    def localize(self, camera: str = "") -> LocalizeEvent.Result:
        return self.ask(self.rig.localizing, LocalizeEvent, camera)

    def _spun(self, call, *arguments):
        """Call in the thread that spins: from another, an answer may come before rclpy noted that it is waited for."""
        task = self.rig.executor.create_task(call, *arguments)
        self.wait_until(task.done)
        return task.result()

    def status(self, camera: str = "") -> DiagnosticStatus | None:
        name = "/navigator" + (f": camera {camera}" if camera else "")
        return self.rig.statuses.get(name)

    def await_status(self, camera: str, level: bytes, words: str) -> DiagnosticStatus:
        def told() -> bool:
            status = self.status(camera)
            return status is not None and status.level == level and words in status.message

        self.wait_until(told, what=lambda: f"{words!r} of {camera!r}, got {self.rig.statuses}")
        status = self.status(camera)
        assert status is not None
        return status


@pytest.fixture
def scene(spinner, wait_until, tmp_path):
    """scene(**parameters): an active navigator, and a rig without a camera yet."""

    def begin(**parameters) -> Scene:
        values = {"checkpoint": str(tmp_path), "require_governor": False} | QUICK
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        given = [Parameter(name, value=value) for name, value in values.items()]
        navigator = NavigatorNode(given, load=lambda *_, **__: Lamp())
        navigator.bring_up()
        rig = Rig()
        spinner.add(navigator)
        spinner.add(rig)
        wait_until(lambda: navigator.count_subscribers("navigator/events"), what="the listener to be known")
        return Scene(rig, navigator, wait_until)

    return begin


def test_each_query_is_of_the_camera_that_it_names(scene) -> None:
    lamp = scene(**TWO)
    for topic in ("image_raw", "left/image_raw", "right/image_raw"):
        lamp.rig.offer(topic)
    for camera in ("", "left", "right"):
        assert lamp.watch(camera=camera, query_id=f"of_{camera}").success
    lamp.rig.levels["left/image_raw"] = 255
    lamp.wait_until(lambda: lamp.rig.events, what="an event")
    lamp.rig.levels["image_raw"] = 255
    lamp.wait_until(lambda: len(lamp.rig.events) >= 2, what="another event")
    first, second = lamp.rig.events[:2]
    assert (first.camera, first.query_id, first.header.frame_id) == ("left", "of_left", "left")
    assert (second.camera, second.query_id) == ("camera", "of_")
    assert first.event_id != second.event_id
    assert all(event.camera != "right" for event in lamp.rig.events)


def test_what_fails_for_one_camera_stays_told_beside_one_that_goes_well(scene) -> None:
    lamp = scene(**TWO)
    for topic in ("image_raw", "left/image_raw"):
        lamp.rig.offer(topic)
    assert lamp.call(lamp.rig.watching, WatchEvent.Request(text="broken", camera="left")).success
    assert lamp.watch().success
    lamp.await_status("", DiagnosticStatus.WARN, "a query fails: ")
    lamp.rig.levels["image_raw"] = 255
    lamp.wait_until(lambda: lamp.rig.events, what="an event")
    for _ in range(5):
        done = lamp.navigator.configured.events.health.evaluations
        lamp.wait_until(lambda done=done: lamp.navigator.configured.events.health.evaluations > done)
        assert lamp.navigator.configured.events.health.evaluation_error


def test_questions_are_about_one_camera(scene) -> None:
    lamp = scene(**TWO)
    for topic, level in (("image_raw", 0), ("left/image_raw", 255)):
        lamp.rig.offer(topic, level)
    lamp.wait_until(lambda: lamp.localize("left").found)
    assert not lamp.localize().found and not lamp.localize("camera").found
    assert lamp.localize("right").error_code == EventError.NO_IMAGES


def test_an_unknown_camera_is_told_with_those_that_are_known(scene) -> None:
    lamp = scene(**TWO, camera="front")
    lamp.rig.offer("image_raw")
    words = "no camera is named 'rear'; known: front, left, right"
    for answer in (lamp.watch(camera="rear"), lamp.localize("rear"), lamp.ask(lamp.rig.describing, Describe, "rear")):
        assert (answer.error_code, answer.error_msg) == (EventError.UNKNOWN_CAMERA, words)


def test_ids_and_limits_are_of_all_cameras_together(scene) -> None:
    lamp = scene(**TWO, events__max_queries=3)
    assert [lamp.watch(camera=camera).query_id for camera in ("left", "", "right")] == ["q1", "q2", "q3"]
    assert lamp.watch().error_code == EventError.TOO_MANY_QUERIES
    assert lamp.call(lamp.rig.unwatching, UnwatchEvent.Request(query_id="q1")).success
    assert lamp.watch(query_id="q3").error_code == EventError.BAD_QUERY
    unknown = lamp.call(lamp.rig.unwatching, UnwatchEvent.Request(query_id="q1"))
    assert (unknown.error_code, unknown.error_msg) == (
        EventError.UNKNOWN_QUERY,
        "no query has the id 'q1'; standing: q2, q3",
    )
    assert lamp.call(lamp.rig.unwatching, UnwatchEvent.Request()).success
    assert lamp.navigator.configured.events.health.queries == 0


def test_a_dead_camera_is_told_and_stops_nothing(scene) -> None:
    lamp = scene(cameras="left, right", camera__left__topic="cameras/left", camera__right__transport="raw")
    lamp.rig.become_robot()
    lamp.rig.offer("image_raw")
    lamp.rig.offer("right/image_raw/compressed", kind=CompressedImage)
    assert lamp.watch(camera="right").success and lamp.watch(camera="left").success
    right = lamp.await_status("right", DiagnosticStatus.ERROR, "no image yet on /right/image_raw")
    assert right.message.endswith(
        "; /right/image_raw/compressed has 1: set the parameter camera.right.transport to compressed or auto"
    )
    lamp.await_status("left", DiagnosticStatus.ERROR, "no image yet on /cameras/left (0 publishers)")
    lamp.wait_until(lambda: lamp.navigator.active.latest.image, what="an image of the camera to drive by")
    assert lamp.call(lamp.rig.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: any(action.kind == NavAction.KIND_TURN for action in lamp.rig.actions), what="a decision")
    lamp.await_status("", DiagnosticStatus.OK, "following an instruction")


def test_images_that_nobody_remembers_are_not_decoded(scene) -> None:
    lamp = scene(cameras=["left"], events__period_s=1.0)
    lamp.rig.offer("left/image_raw/compressed", kind=CompressedImage)

    def counts() -> tuple[int, int]:
        status = lamp.status("left")
        values = {pair.key: pair.value for pair in status.values} if status else {}
        return int(values.get("images", 0)), int(values.get("taken_images", 0))

    lamp.wait_until(lambda: counts()[1] >= 3, what=lambda: f"three images to be taken, {counts()}")
    images, taken = counts()
    assert images > 4 * taken
    lamp.await_status("left", DiagnosticStatus.OK, "images come")


def test_a_publisher_that_does_not_fit_is_named_with_the_cameras_own_parameter(scene) -> None:
    lamp = scene(cameras=["left"], camera__left__reliability="reliable", image_reliability="reliable")
    for topic in ("image_raw", "left/image_raw"):
        lamp.rig.offer(topic)
    offers = "/controller offers best_effort"
    for camera, parameter in (("left", "camera.left.reliability"), ("", "image_reliability")):
        level = DiagnosticStatus.ERROR if camera else DiagnosticStatus.OK  # nobody needs the main camera's images
        lamp.await_status(camera, level, f"(1 publishers); {offers}: set the parameter {parameter} to best_effort")
        end = f"the publisher {offers}, we ask for reliable; set the parameter {parameter} to best_effort"
        lamp.wait_until(lambda end=end: any(line.endswith(end) for line in lamp.rig.logged), what=end)


def test_a_camera_that_comes_to_life_is_told(scene) -> None:
    lamp = scene(cameras=["left"])
    lamp.await_status("left", DiagnosticStatus.ERROR, "no image yet on /left/image_raw (0 publishers)")
    lamp.rig.offer("left/image_raw/compressed", kind=CompressedImage)
    status = lamp.await_status("left", DiagnosticStatus.OK, "images come")
    values = {pair.key: pair.value for pair in status.values}
    assert (values["topic"], values["transport"]) == ("/left/image_raw/compressed", "compressed")
    assert int(values["images"]) > 0 and values["refused_images"] == "0"
    lamp.rig.levels.clear()
    lamp.await_status("left", DiagnosticStatus.ERROR, "no image for")


def test_the_reason_for_which_images_are_refused_is_told(scene, spinner, wait_until) -> None:
    lamp = scene(cameras=["left"])
    images = spinner.add(Node("depth")).create_publisher(Image, "left/image_raw", sensor_qos())
    wait_until(lambda: images.get_subscription_count())
    image = Image(height=2, width=2, encoding="32FC1", step=8, data=bytes(16))
    image.header.stamp = lamp.rig.get_clock().now().to_msg()

    def told() -> bool:
        images.publish(image)
        status = lamp.status("left")
        return status is not None and status.message.startswith("image refused: image in 32FC1 is a depth image")

    wait_until(told)


def test_a_clock_reset_of_one_camera_forgets_its_images_alone(scene, spinner, wait_until) -> None:
    lamp = scene(cameras=["left"])
    lamp.rig.offer("image_raw", 255)
    watching = lamp.navigator.configured.events._watchers
    wait_until(lambda: watching.of("").remembered_ns)
    kept_since = watching.of("").remembered_ns[0]
    images = spinner.add(Node("odd")).create_publisher(Image, "left/image_raw", sensor_qos())
    wait_until(lambda: images.get_subscription_count())

    def shown(stamp_s: int) -> bool:
        images.publish(image_from_frame(Frame(np.zeros((24, 32, 3), np.uint8), stamp_s * 10**9)))
        return watching.of("left").newest_stamp_ns == stamp_s * 10**9

    for stamp_s in (50, 20):
        wait_until(lambda stamp_s=stamp_s: shown(stamp_s))
    assert watching.of("left").remembered_ns == (20 * 10**9, 20 * 10**9)
    assert watching.of("").remembered_ns[0] == kept_since
    wait_until(lambda: lamp.localize().found)


def test_the_main_cameras_silence_names_the_compressed_topic(scene) -> None:
    lamp = scene(image_transport="raw")
    lamp.rig.become_robot()
    lamp.rig.offer("image_raw/compressed", kind=CompressedImage)
    words = "/image_raw/compressed has 1: set the parameter image_transport to compressed or auto"
    lamp.await_status("", DiagnosticStatus.OK, f"idle; no image yet on /image_raw (0 publishers); {words}")
    assert lamp.watch().success
    lamp.await_status("", DiagnosticStatus.ERROR, f"no fresh image: no image yet on /image_raw (0 publishers); {words}")
    assert lamp.call(lamp.rig.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: lamp.rig.actions, what="the robot to hold")
    assert words in lamp.rig.actions[0].detail and lamp.rig.actions[0].kind == NavAction.KIND_HOLD


def test_a_robot_drives_by_compressed_images(scene) -> None:
    lamp = scene()
    lamp.rig.become_robot()
    lamp.rig.offer("image_raw/compressed", kind=CompressedImage)
    lamp.wait_until(lambda: lamp.navigator.active.latest.image, what="an image")
    assert lamp.call(lamp.rig.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: any(action.kind == NavAction.KIND_TURN for action in lamp.rig.actions), what="a decision")


def test_a_robot_drives_on_when_the_resolution_changes(scene) -> None:
    lamp = scene()
    lamp.rig.become_robot()
    lamp.rig.offer("image_raw")
    lamp.wait_until(lambda: lamp.navigator.active.latest.image, what="an image")
    watcher = lamp.navigator.configured.events._watchers.of("")
    assert lamp.watch().success

    def is_remembered(size: tuple[int, int]) -> bool:
        return any(kept.frame.image.shape[:2] == size for kept in watcher._memory.snapshot())

    for size in ((48, 64), (25, 33), (120, 160)):
        lamp.rig.size = size
        lamp.wait_until(lambda size=size: is_remembered(size), what=f"an image of {size}")
    lamp.rig.levels["image_raw"] = 255
    lamp.wait_until(lambda: lamp.rig.events, what="an event")
    assert lamp.call(lamp.rig.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: any(action.kind == NavAction.KIND_TURN for action in lamp.rig.actions), what="a decision")
    assert lamp.navigator.active.latest.image_fault == ""


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ()),
        ({"cameras": ""}, ()),
        ({"cameras": []}, ()),
        ({"cameras": None}, ()),  # an empty list in a parameter file
        ({"cameras": "left"}, ("left",)),
        ({"cameras": "left, right"}, ("left", "right")),
        ({"cameras": ["left", "right"]}, ("left", "right")),
    ],
)
def test_cameras_are_a_word_or_a_list(ros, tmp_path, given: dict, names: tuple[str, ...]) -> None:
    node = NavigatorNode([Parameter(name, value=value) for name, value in given.items()])
    try:
        assert [name for name in node._parameters if name.startswith("camera.")] == [
            f"camera.{name}.{field}" for name in names for field in ("topic", "reliability", "transport", "hfov_deg")
        ]
    finally:
        node.destroy_node()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cameras": "left cam"}, "'left cam' is no name"),
        ({"cameras": ["left", "left"]}, "'left' is there twice"),
        ({"cameras": ["camera"]}, "'camera' is the camera to drive by"),
        ({"cameras": 3}, "cameras = 3: must be names, such as 'left, right'"),
        ({"cameras": [1, 2]}, "cameras = [1, 2]: must be names"),
        ({"cameras": ["left"], "camera.lft.topic": "x"}, "did you mean 'camera.left.topic'"),
        ({"camera.left.topic": "x"}, "unknown parameter 'camera.left.topic'"),
        ({"cameras": ["left"], "camera.left.transport": "theora"}, "camera.left.transport = 'theora'"),
        ({"cameras": ["left"], "camera.left.reliability": "often"}, "camera.left.reliability = 'often'"),
        ({"cameras": ["left"], "camera.left.topic": "no topic"}, "camera.left.topic = 'no topic'"),
        ({"image_transport": "h264"}, "image_transport = 'h264': must be one of raw, compressed, auto"),
        ({"image_reliability": "often"}, "image_reliability = 'often'"),
    ],
)
def test_wrong_parameters_of_cameras_are_named(ros, tmp_path, given: dict, words: str) -> None:
    values = {"checkpoint": str(tmp_path)} | given
    node = None
    try:
        with pytest.raises(ConfigError) as caught:
            node = NavigatorNode([Parameter(n, value=v) for n, v in values.items()], load=lambda *_, **__: Lamp())
            node.bring_up()
        assert words in str(caught.value)
    finally:
        if node is not None:
            node.destroy_node()
