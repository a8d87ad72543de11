import math
from itertools import pairwise

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from sensor_msgs.msg import CompressedImage, Image
from vila_nav.msg import NavAction

from vila_core.actions.grammar import ACTIONS
from vila_core.control.odometry_watch import OdometryWatch, Source
from vila_core.control.reasons import MotionFault
from vila_core.errors import FrameError
from vila_core.testing import make_frame
from vila_core.types import Decision, HoldReason, Odometry, Pose, VelocityCommand
from vila_ros.common import conversions as c

HEIGHT, WIDTH = 3, 4


def image(encoding: str, pixels: np.ndarray, padding: int = 0) -> Image:
    rows = pixels.reshape(HEIGHT, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=rows.shape[1], data=rows.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = 7, 9
    return message


def test_a_frame_is_the_picture_with_its_stamp_and_camera() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frame = c.frame_from_image(image("bgr8", pixels, padding=5), "eye")
    np.testing.assert_array_equal(frame.image, pixels[:, :, ::-1])
    assert (frame.stamp_ns, frame.camera) == (7_000_000_009, "eye")


def test_a_compressed_image_becomes_a_frame_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    message = CompressedImage(format="png", data=cv2.imencode(".png", pixels)[1].tobytes())
    message.header.stamp.sec = 3
    frame = c.frame_from_image(message, "eye")
    np.testing.assert_array_equal(frame.image, pixels[:, :, ::-1])
    assert (frame.stamp_ns, frame.camera) == (3_000_000_000, "eye")


def test_rgb_without_padding_is_not_copied() -> None:
    message = image("rgb8", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    frame = c.frame_from_image(message)
    message.data[0] = 200
    assert frame.image[0, 0, 0] == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "jpeg"}, ["'jpeg'", "rgb8", "bgra8", "bayer_rggb8"]),
        ({"encoding": ""}, ["''", "rgb8"]),
        ({"encoding": "16UC1"}, ["16UC1 is a depth image"]),
        ({"width": 0}, ["empty"]),
        ({"height": 0}, ["empty"]),
        ({"step": 5}, ["step 5", "12 bytes"]),
        ({"height": 4}, ["36 bytes", "4 rows of 12"]),
        ({"data": b""}, ["0 bytes"]),
    ],
)
def test_an_unusable_image_is_named(change: dict, words: list[str]) -> None:
    message = image("rgb8", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(FrameError) as caught:
        c.frame_from_image(message)
    assert all(word in str(caught.value) for word in words)


def test_a_frame_survives_the_way_there_and_back() -> None:
    frame = make_frame(123_456_789_012)
    back = c.frame_from_image(c.image_from_frame(frame, "optical"))
    np.testing.assert_array_equal(back.image, frame.image)
    assert back.stamp_ns == frame.stamp_ns


@pytest.mark.parametrize("yaw", [0.0, 0.3, -2.9, math.pi - 1e-6])
def test_odometry_survives_the_way_there_and_back(yaw: float) -> None:
    odometry = Odometry(5_000_000_001, Pose(1.5, -2.0, yaw), 0.3, -0.2)
    back = c.odometry_from_message(c.message_from_odometry(odometry))
    assert back.stamp_ns == odometry.stamp_ns
    assert back.pose.yaw_rad == pytest.approx(yaw)
    assert (back.pose.x_m, back.pose.y_m, back.linear_mps, back.angular_rps) == (1.5, -2.0, 0.3, -0.2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("field", ["pose.pose.position.x", "pose.pose.orientation.z", "twist.twist.angular.z"])
def test_odometry_that_is_not_finite_is_refused(field: str, bad: float) -> None:
    message = c.message_from_odometry(Odometry(1, Pose()))
    *path, last = field.split(".")
    target = message
    for name in path:
        target = getattr(target, name)
    setattr(target, last, bad)
    with pytest.raises(c.OdometryError, match="not finite"):
        c.odometry_from_message(message)


def test_an_unset_quaternion_is_no_heading() -> None:
    message = c.message_from_odometry(Odometry(1, Pose()))
    message.pose.pose.orientation.w = 0.0
    with pytest.raises(c.OdometryError):
        c.odometry_from_message(message)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_survives_the_way_there_and_back(action) -> None:
    message = c.message_from_decision(Decision(action, 42, probability=0.5, reply="words"), 3)
    assert c.action_from_message(message) == action
    assert (message.id, message.state, message.reply) == (3, NavAction.STATE_COMMANDED, "words")
    assert c.ns_from_stamp(message.header.stamp) == 42


@pytest.mark.parametrize("reason", list(HoldReason))
def test_a_hold_keeps_its_reason(reason: HoldReason) -> None:
    message = c.message_from_decision(Decision.holding(reason, 1, "why"), 1)
    assert (message.kind, message.hold_reason, message.detail) == (NavAction.KIND_HOLD, reason, "why")
    assert c.action_from_message(message) is None


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind = 9"):
        c.action_from_message(NavAction(kind=9))


@pytest.mark.parametrize(("stamp_ns", "expected"), [(0, 0), (1, 1), (10**18 + 7, 10**18 + 7), (-5, 0)])
def test_stamps(stamp_ns: int, expected: int) -> None:
    assert c.ns_from_stamp(c.stamp_from_ns(stamp_ns)) == expected


def test_a_velocity_along_the_axes_of_odometry_is_turned_into_the_body() -> None:
    message = c.message_from_odometry(Odometry(1, Pose(0.0, 0.0, math.pi / 2), 0.0, 0.4))
    message.twist.twist.linear.y = 0.3  # ahead, for a robot that looks that way
    assert c.odometry_from_message(message, "world").linear_mps == pytest.approx(0.3)
    assert c.odometry_from_message(message).linear_mps == pytest.approx(0.0)
    assert c.odometry_from_message(message, "world").angular_rps == 0.4


@pytest.mark.parametrize(("twist", "fault"), [("body", MotionFault.ODOMETRY_CONTRADICTS), ("world", None)])
def test_odometry_with_another_velocity_is_doubted_after_a_turn_unless_it_is_read_as_it_is(twist, fault) -> None:
    """Half a metre ahead, a turn to the left, half a metre ahead, with velocities along the axes of odom."""
    watch, standing = OdometryWatch(), VelocityCommand()
    poses = [Pose(0.015 * i) for i in range(34)]
    poses += [Pose(0.495, 0.0, math.radians(3.0 * i)) for i in range(1, 31)]
    poses += [Pose(0.495, 0.015 * i, math.pi / 2) for i in range(1, 34)]
    faults = set()
    for number, (before, pose) in enumerate(pairwise(poses)):
        stamp_ns = number * 50_000_000
        message = c.message_from_odometry(Odometry(stamp_ns, pose))
        linear = message.twist.twist.linear
        linear.x, linear.y = (pose.x_m - before.x_m) / 0.05, (pose.y_m - before.y_m) / 0.05
        message.twist.twist.angular.z = (pose.yaw_rad - before.yaw_rad) / 0.05
        fastest = VelocityCommand(0.3, 1.1)
        broken = watch.note(c.odometry_from_message(message, twist), Source(), standing, fastest, stamp_ns)
        faults |= {broken.fault} if broken else set()
    assert faults == ({fault} if fault else set())
