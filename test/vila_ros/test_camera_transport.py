"""Raw and compressed images: whichever topic is published is taken, and what to set is told where it may not be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from vila_core.errors import ConfigError, FrameError
from vila_core.testing import SCRIPTED_INFO
from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.cameras.camera import CameraReader
from vila_ros.navigator.cameras.camera_config import Camera, CameraConfig
from vila_ros.navigator.cameras.transport import TransportChoice

RAW, COMPRESSED = "/image_raw", "/image_raw/compressed"
NEVER = float("inf")


@pytest.mark.parametrize(
    ("wanted", "seen", "chosen"),
    [
        ("auto", [], "raw"),
        ("auto", [(0, 1)], "raw"),  # the raw topic of the same driver may be found a little later
        ("auto", [(0, 1), (0, 1)], "compressed"),
        ("auto", [(0, 1), (1, 1), (0, 1)], "raw"),
        ("auto", [(1, 1)] * 5, "raw"),
        ("auto", [(0, 1), (0, 1), (1, 1), (1, 1), (1, 1)], "compressed"),  # what comes is not left
        ("auto", [(0, 1), (0, 1), (0, 1), (0, 1)], "raw"),  # it ended, and the raw one came
        ("auto", [(0, 0)] * 5, "raw"),
        ("raw", [(0, 1)] * 5, "raw"),
        ("compressed", [(0, 1)] * 5, "compressed"),
    ],
)
def test_the_topic_that_is_published_is_chosen(wanted: str, seen: list, chosen: str) -> None:
    choice = TransportChoice(wanted)
    for publishers, others in seen:
        choice.note(publishers, others)
    assert choice.chosen == chosen


def test_a_topic_that_cannot_be_had_is_not_tried_again() -> None:
    choice = TransportChoice("auto")
    choice.note(0, 1)
    assert choice.note(0, 1)
    choice.take_back()
    assert not any(choice.note(0, 1) for _ in range(5)) and choice.chosen == "raw"


def test_a_word_that_is_no_transport_is_told() -> None:
    with pytest.raises(ConfigError, match=r"transport = 'theora': must be one of raw, compressed, auto"):
        CameraConfig(transport="theora")


class Driver:
    """Publishes one grey, raw or compressed, as often as it is told."""

    def __init__(self, node: Node, kind: type, topic: str) -> None:
        self._node, self._kind, self._seconds = node, kind, 0
        self._publisher = node.create_publisher(kind, topic, reliable_qos())

    def publish(self, level: int) -> None:
        self._seconds += 1
        pixels = np.full((24, 32, 3), level, np.uint8)
        message = image_from_frame(Frame(pixels, self._seconds * 10**9))
        if self._kind is CompressedImage:
            data = cv2.imencode(".png", pixels)[1].tobytes()
            message = CompressedImage(header=message.header, format="png", data=data)
        self._publisher.publish(message)

    def reaches_somebody(self) -> bool:
        return self._publisher.get_subscription_count() > 0

    def end(self) -> None:
        self._node.destroy_publisher(self._publisher)


class Taken:
    """A CameraReader, and the frames that came through it."""

    def __init__(self, node: Node, topic: str, transport: str) -> None:
        self.frames: list[Frame] = []
        self.errors: list[FrameError] = []
        camera = Camera("front", CameraConfig(topic, "reliable", transport), "image_")
        self.reader = CameraReader(
            node, camera, "helper", model=SCRIPTED_INFO, on_frame=self.frames.append, on_error=self.errors.append
        )
        self.reader.start()


@pytest.fixture
def take(spinner):
    """take(transport, topic): a reader beside a spinning node."""
    readers: list[CameraReader] = []
    node = spinner.add(Node("camera_owner"))

    def begin(transport: str, topic: str = "image_raw") -> Taken:
        taken = Taken(node, topic, transport)
        readers.append(taken.reader)
        return taken

    yield begin
    for reader in readers:
        reader.stop()


@pytest.fixture
def drive(spinner):
    """drive(kind, topic): a driver's publisher."""
    node = spinner.add(Node("camera_driver"))
    return lambda kind, topic: Driver(node, kind, topic)


def level_of(frame: Frame) -> int:
    return int(frame.image[0, 0, 0])


@pytest.mark.parametrize(
    ("transport", "named", "kind", "topic"),
    [
        ("raw", "image_raw", Image, RAW),
        ("compressed", "image_raw", CompressedImage, COMPRESSED),
        ("auto", "image_raw", Image, RAW),
        ("auto", "image_raw", CompressedImage, COMPRESSED),
        ("raw", "image_raw/compressed", CompressedImage, COMPRESSED),  # named as it is
    ],
)
def test_images_come_from_the_topic_that_is_meant(take, drive, wait_until, transport, named, kind, topic) -> None:
    driver, taken = drive(kind, topic), take(transport, named)
    wait_until(driver.reaches_somebody)
    driver.publish(70)
    wait_until(lambda: taken.frames)
    assert level_of(taken.frames[0]) == 70 and taken.reader.topic == topic
    assert taken.frames[0].camera == "front" and taken.frames[0].stamp_ns == 10**9


def test_the_raw_topic_is_preferred_and_the_other_taken_when_it_ends(take, drive, wait_until) -> None:
    raw, compressed, taken = drive(Image, RAW), drive(CompressedImage, COMPRESSED), take("auto")
    wait_until(raw.reaches_somebody)
    raw.publish(10)
    compressed.publish(20)
    wait_until(lambda: taken.frames)
    raw.end()
    wait_until(compressed.reaches_somebody)
    compressed.publish(30)
    wait_until(lambda: len(taken.frames) == 2)
    assert taken.reader.transport == "compressed"
    late = drive(Image, RAW)
    compressed.end()
    wait_until(late.reaches_somebody)
    late.publish(40)
    wait_until(lambda: len(taken.frames) == 3)
    assert [level_of(frame) for frame in taken.frames] == [10, 30, 40]
    assert taken.reader.transport == "raw"


def test_the_compressed_topic_is_named_where_only_that_is_published(take, drive, wait_until) -> None:
    drive(CompressedImage, COMPRESSED)
    reader = take("raw").reader
    wait_until(lambda: "compressed" in reader.silence(NEVER))
    assert reader.silence(NEVER) == (
        "no image yet on /image_raw (0 publishers); /image_raw/compressed has 1: "
        "set the parameter image_transport to compressed or auto"
    )


def test_the_raw_topic_is_named_where_only_that_is_published(take, drive, wait_until) -> None:
    drive(Image, RAW)
    reader = take("compressed").reader
    wait_until(lambda: "; " in reader.silence(1.25))
    assert reader.silence(1.25, ", slow") == (
        "no image for 1.2 s on /image_raw/compressed (0 publishers, slow); /image_raw has 1: "
        "set the parameter image_transport to raw or auto"
    )


@pytest.fixture
def stranger(ros_environment, ros):
    """A node of another process, as far as the middleware knows."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(ros_environment["ROS_DOMAIN_ID"]))
    node = Node("stranger", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_another_transport_is_no_remedy_for_a_topic_that_is_named_compressed(take, drive, wait_until) -> None:
    drive(Image, RAW)
    reader = take("auto", "image_raw/compressed").reader
    wait_until(lambda: "; " in reader.silence(NEVER))
    assert reader.silence(NEVER).endswith("(0 publishers); /image_raw has 1: name that topic")


def test_the_odd_name_of_a_topic_is_taken_as_it_is(take, drive, wait_until) -> None:
    driver, taken = drive(Image, "/compressed"), take("auto", "/compressed")
    wait_until(driver.reaches_somebody)
    driver.publish(5)
    wait_until(lambda: taken.frames)


def test_a_topic_that_cannot_be_taken_leaves_the_reader_as_it_was(take, drive, spinner, wait_until) -> None:
    talker = spinner.add(Node("talker"))  # this process holds its type; a topic of its own, as tests before let go late
    talker.create_publisher(String, "lone/compressed", reliable_qos())
    taken = take("auto", "lone")
    wait_until(lambda: not taken.reader._choice.is_free)
    driver = drive(Image, "lone")
    wait_until(driver.reaches_somebody)
    driver.publish(5)
    wait_until(lambda: taken.frames)


def test_a_topic_of_something_else_is_told(take, stranger, wait_until) -> None:
    stranger.create_publisher(String, RAW, reliable_qos())
    reader = take("raw").reader
    wait_until(lambda: "carries" in reader.silence(NEVER))
    assert reader.silence(NEVER).endswith(
        "(1 publishers); it carries std_msgs/msg/String, not sensor_msgs/msg/Image: choose a camera's topic"
    )


def test_a_topic_that_this_node_uses_otherwise_is_refused(take, spinner) -> None:
    spinner.add(Node("talker")).create_publisher(String, "words", reliable_qos())
    with pytest.raises(ConfigError, match=r"/words cannot be a camera's topic: .*incompatible type"):
        take("raw", "words")


def test_depth_is_refused_and_nothing_ends(take, drive, spinner, wait_until) -> None:
    node, taken = spinner.add(Node("depth_camera")), take("raw")
    images = node.create_publisher(Image, RAW, reliable_qos())
    wait_until(lambda: images.get_subscription_count())
    images.publish(Image(height=2, width=2, encoding="16UC1", step=4, data=bytes(8)))
    wait_until(lambda: taken.errors)
    assert "16UC1 is a depth image" in str(taken.errors[0])
    images.publish(Image(height=2, width=2, encoding="nv24", step=2, data=bytes(12)))
    wait_until(lambda: taken.frames)
