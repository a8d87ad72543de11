"""What RViz and Foxglove show of the navigator: the picture of a decision, markers, the path. Made for who listens."""

from __future__ import annotations

import array
import math
import time
from importlib import import_module
from typing import Any

from geometry_msgs.msg import Point, PoseStamped
from nav_msgs.msg import Path as PathMsg
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import ColorRGBA

from vila_core.types import Decision, MoveForward, Odometry, Pose, Stop, Turn
from vila_ros.common.conversions import pose_message, stamp_from_ns
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.debug_picture import debug_jpeg

_STEP_M, _STEP_RAD = 0.05, math.radians(10.0)  # between two points of the path
_MOST_POINTS = 600  # then every second one is left out: all of them are published in a few milliseconds
_PATH_S = 0.5  # between two times that it is published
_LIFE_S = 10  # of markers: a decision that is older is over
_ARC_M, _ARC_POINTS = 0.4, 9
_GREEN, _BLUE, _RED, _WHITE = (0.2, 0.8, 0.3), (0.2, 0.5, 1.0), (0.9, 0.2, 0.2), (1.0, 1.0, 1.0)


class DebugOutputs:
    """Publishers of ~/debug_image/compressed, ~/markers and ~/path; what nobody subscribes to is not made.

    frame: of odometry. Markers need visualization_msgs; without, their topic is left out, and that is logged.
    """

    def __init__(self, node: Node, frame: str) -> None:
        self._node, self._frame = node, frame
        self._image = node.create_publisher(CompressedImage, "~/debug_image/compressed", reliable_qos(1))
        self._path = node.create_publisher(PathMsg, "~/path", reliable_qos(1))
        self._messages = _visualization_messages()
        self._markers = None
        if self._messages is None:
            node.get_logger().info("no ~/markers: visualization_msgs is not installed")
        else:
            self._markers = node.create_publisher(self._messages.MarkerArray, "~/markers", reliable_qos(1))
        self._mission_id = 0
        self._last: Pose | None = None  # of the path
        self._way: list[PoseStamped] = []  # the path, as messages: to make one takes longer than to publish it
        self._told_s = 0.0  # when the path was published last, steady

    def destroy(self) -> None:
        """Take the publishers off the graph."""
        for publisher in (self._image, self._path, self._markers):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def note_odometry(self, odometry: Odometry, mission_id: int) -> None:
        """Take where the robot is; the path begins anew with each mission."""
        if mission_id != self._mission_id:
            self._mission_id, self._last, self._way = mission_id, None, []
        if self._last is None or _is_step(self._last, odometry.pose):
            self._last = odometry.pose
            self._way.append(pose_message(odometry.pose, self._frame, odometry.stamp_ns))
        if len(self._way) > _MOST_POINTS:
            del self._way[1::2]
        if time.monotonic() - self._told_s >= _PATH_S and self._path.get_subscription_count():
            self._told_s = time.monotonic()
            self._path.publish(self._path_message(odometry.stamp_ns))

    @property
    def wants_pictures(self) -> bool:
        """True if anybody subscribes to pictures."""
        return bool(self._image.get_subscription_count())

    def publish_picture(self, decision: Decision) -> None:
        """Publish the picture of a decision that the model was asked for; takes ten milliseconds, in any thread."""
        if data := debug_jpeg(decision):
            message = CompressedImage(format="jpeg", data=array.array("B", data))
            message.header.stamp = stamp_from_ns(decision.stamp_ns)
            self._image.publish(message)

    def publish_markers(self, decision: Decision, anchor: Pose | None) -> None:
        """Show a decision; anchor: where the robot was when its image was taken, None if that is not known."""
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(self._marker_array(decision, anchor))

    def _path_message(self, stamp_ns: int) -> PathMsg:
        message = PathMsg(poses=self._way)
        message.header.frame_id, message.header.stamp = self._frame, stamp_from_ns(stamp_ns)
        return message

    def _marker_array(self, decision: Decision, anchor: Pose | None) -> Any:
        kind = self._messages.Marker
        clear = kind(action=kind.DELETEALL)  # the decision before may have had more of them
        clear.header.frame_id = self._frame
        markers = [clear]
        if len(self._way) > 1:
            markers.append(self._line("path", [stamped.pose.position for stamped in self._way], _BLUE, decision))
        if anchor is not None:
            arrow = self._marker(kind.ARROW, "anchor", decision)
            arrow.pose = pose_message(anchor, self._frame, decision.stamp_ns).pose
            arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.3, 0.05, 0.05
            arrow.color = _colour(_WHITE)
            markers += [arrow, self._words(decision, anchor)]
            if isinstance(decision.action, MoveForward | Turn):
                points = [Point(x=pose.x_m, y=pose.y_m, z=0.02) for pose in _way(decision.action, anchor)]
                markers.append(self._line("action", points, _GREEN, decision))
        return self._messages.MarkerArray(markers=markers)

    def _words(self, decision: Decision, anchor: Pose) -> Any:
        marker = self._marker(self._messages.Marker.TEXT_VIEW_FACING, "words", decision)
        marker.pose = pose_message(anchor, self._frame, decision.stamp_ns).pose
        marker.pose.position.z = 1.2
        marker.scale.z = 0.15
        told = decision.reply or f"hold: {decision.hold.name}"
        marker.text = f"{told} ({decision.probability:.2f})" if decision.probability else told
        marker.color = _colour(_RED if decision.action is None or isinstance(decision.action, Stop) else _WHITE)
        return marker

    def _line(self, name: str, points: list[Point], colour: tuple[float, float, float], decision: Decision) -> Any:
        marker = self._marker(self._messages.Marker.LINE_STRIP, name, decision)
        marker.scale.x = 0.04
        marker.color = _colour(colour)
        marker.points = points
        return marker

    def _marker(self, kind: int, name: str, decision: Decision) -> Any:
        marker = self._messages.Marker(type=kind, ns=name)
        marker.header.frame_id = self._frame
        marker.header.stamp = stamp_from_ns(decision.stamp_ns)
        marker.pose.orientation.w = 1.0
        marker.lifetime.sec = _LIFE_S
        return marker


def _visualization_messages() -> Any:
    try:
        return import_module("visualization_msgs.msg")
    except ImportError:
        return None


def _is_step(before: Pose, after: Pose) -> bool:
    turned_rad = abs(math.remainder(after.yaw_rad - before.yaw_rad, 2 * math.pi))
    return before.distance_m(after) >= _STEP_M or turned_rad >= _STEP_RAD


def _way(action: MoveForward | Turn, anchor: Pose) -> list[Pose]:
    """The points of an action: the line that is driven, or the arc that the nose draws."""
    if isinstance(action, MoveForward):
        return [anchor, anchor.advanced(action.distance_m)]
    shares = (place / (_ARC_POINTS - 1) for place in range(_ARC_POINTS))
    return [anchor.turned(share * action.angle_rad).advanced(_ARC_M) for share in shares]


def _colour(rgb: tuple[float, float, float]) -> ColorRGBA:
    return ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=1.0)
