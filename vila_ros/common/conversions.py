"""Convert between ROS messages and the values of vila_core."""

from __future__ import annotations

import array
import math

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, Quaternion
from nav_msgs.msg import Odometry as OdometryMsg
from sensor_msgs.msg import CompressedImage, Image
from vila_nav.msg import NavAction

from vila_core.errors import VilaError
from vila_core.media.messages import decode_compressed, decode_image
from vila_core.types import Action, Decision, Frame, MoveForward, Odometry, Pose, Stop, Turn

BODY_TWIST, WORLD_TWIST = ODOMETRY_TWISTS = ("body", "world")


class OdometryError(VilaError):
    """An odometry message that holds numbers that are not finite."""


def stamp_from_ns(stamp_ns: int) -> Time:
    """Return the ROS time of a stamp in nanoseconds; a negative one becomes zero."""
    seconds, nanoseconds = divmod(max(int(stamp_ns), 0), 1_000_000_000)
    return Time(sec=seconds, nanosec=nanoseconds)


def ns_from_stamp(stamp: Time) -> int:
    """Return a ROS time in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def frame_from_image(message: Image | CompressedImage, camera: str = "camera", topic: str = "") -> Frame:
    """Return the message's pixels as a frame.

    topic: where it came from. Raises FrameError as vila_core.media.messages.decode_image and decode_compressed do.
    """
    is_compressed = isinstance(message, CompressedImage)
    pixels = decode_compressed(message) if is_compressed else decode_image(message, topic)
    return Frame(pixels, ns_from_stamp(message.header.stamp), camera)


def image_from_frame(frame: Frame, frame_id: str = "") -> Image:
    """Return the frame as an rgb8 image message; the pixels are copied once, by memoryview."""
    height, width, _ = frame.image.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=3 * width)
    message.header.stamp = stamp_from_ns(frame.stamp_ns)
    message.header.frame_id = frame_id
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(frame.image).data.cast("B"))
    message.data = data
    return message


def odometry_from_message(message: OdometryMsg, twist: str = BODY_TWIST) -> Odometry:
    """Return the planar pose and body velocity. Raises OdometryError if a number is not finite.

    twist: a row of ODOMETRY_TWISTS: whether the message's velocity is along the body's axes, as ROS has it, or along
    those of the frame that the pose is in.
    """
    position, velocity = message.pose.pose.position, message.twist.twist
    yaw_rad, forward_mps = yaw_from_quaternion(message.pose.pose.orientation), velocity.linear.x
    if twist == WORLD_TWIST:
        forward_mps = math.cos(yaw_rad) * velocity.linear.x + math.sin(yaw_rad) * velocity.linear.y
    odometry = Odometry(
        ns_from_stamp(message.header.stamp), Pose(position.x, position.y, yaw_rad), forward_mps, velocity.angular.z
    )
    pose = odometry.pose
    numbers = (pose.x_m, pose.y_m, pose.yaw_rad, odometry.linear_mps, odometry.angular_rps)
    if not all(map(math.isfinite, numbers)):
        raise OdometryError(f"odometry (x, y, yaw, v, w) = {numbers} is not finite; check the robot's odometry source")
    return odometry


def message_from_odometry(odometry: Odometry, frame_id: str = "odom", child_frame_id: str = "base_link") -> OdometryMsg:
    """Return the odometry as a message, in the frames of REP-105."""
    message = OdometryMsg(child_frame_id=child_frame_id)
    message.header.stamp = stamp_from_ns(odometry.stamp_ns)
    message.header.frame_id = frame_id
    message.pose.pose.position.x = odometry.pose.x_m
    message.pose.pose.position.y = odometry.pose.y_m
    message.pose.pose.orientation = quaternion_from_yaw(odometry.pose.yaw_rad)
    message.twist.twist.linear.x = odometry.linear_mps
    message.twist.twist.angular.z = odometry.angular_rps
    return message


def yaw_from_quaternion(q: Quaternion) -> float:
    """Return the heading in radians; NaN if the quaternion has no length (an unset message) or is not finite."""
    length = math.sqrt(q.x * q.x + q.y * q.y + q.z * q.z + q.w * q.w)
    if length == 0.0 or not math.isfinite(length):
        return math.nan
    return math.atan2(2.0 * (q.w * q.z + q.x * q.y), q.w * q.w + q.x * q.x - q.y * q.y - q.z * q.z)


def quaternion_from_yaw(yaw_rad: float) -> Quaternion:
    """Return the rotation about z."""
    return Quaternion(z=math.sin(yaw_rad / 2.0), w=math.cos(yaw_rad / 2.0))


def pose_message(pose: Pose, frame_id: str, stamp_ns: int) -> PoseStamped:
    """Return a planar pose of a frame at a time."""
    message = PoseStamped()
    message.header.frame_id, message.header.stamp = frame_id, stamp_from_ns(stamp_ns)
    message.pose.position.x, message.pose.position.y = float(pose.x_m), float(pose.y_m)
    message.pose.orientation = quaternion_from_yaw(pose.yaw_rad)
    return message


def message_from_decision(decision: Decision, decision_id: int, frame_id: str = "odom") -> NavAction:
    """Return the decision as a command; one without an action becomes HOLD."""
    message = NavAction(
        id=decision_id,
        state=NavAction.STATE_COMMANDED,
        probability=float(decision.probability),
        hold_reason=int(decision.hold),
        reply=decision.reply,
        detail=decision.detail,
    )
    message.header.stamp = stamp_from_ns(decision.stamp_ns)
    message.header.frame_id = frame_id
    match decision.action:
        case MoveForward(distance_m):
            message.kind, message.distance_m = NavAction.KIND_MOVE_FORWARD, float(distance_m)
        case Turn(angle_rad):
            message.kind, message.angle_rad = NavAction.KIND_TURN, float(angle_rad)
        case Stop():
            message.kind = NavAction.KIND_STOP
        case None:
            message.kind = NavAction.KIND_HOLD
    return message


def report_on(action: NavAction, state: int, fault: int = 0, detail: str = "") -> NavAction:
    """Return a report on a commanded action, without what was measured: the action again, and what became of it."""
    return NavAction(
        header=action.header,
        id=action.id,
        mission_id=action.mission_id,
        kind=action.kind,
        distance_m=action.distance_m,
        angle_rad=action.angle_rad,
        probability=action.probability,
        hold_reason=action.hold_reason,
        reply=action.reply,
        state=state,
        fault=fault,
        detail=detail,
    )


def action_from_message(message: NavAction) -> Action | None:
    """Return the commanded action, None for HOLD. Raises ValueError for an unknown kind.

    Values are passed on as they are; whoever executes them checks their size.
    """
    match message.kind:
        case NavAction.KIND_MOVE_FORWARD:
            return MoveForward(message.distance_m)
        case NavAction.KIND_TURN:
            return Turn(message.angle_rad)
        case NavAction.KIND_STOP:
            return Stop()
        case NavAction.KIND_HOLD:
            return None
    raise ValueError(f"NavAction.kind = {message.kind}: not STOP (0), MOVE_FORWARD (1), TURN (2) or HOLD (3)")
