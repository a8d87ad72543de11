"""tf of the simulated robot, where tf2's messages are installed: REP-103 axes, REP-105 frames.

odometry frame -> base frame, on the floor -> camera_link, ahead of which the camera looks -> the optical frame; and
base frame -> laser.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

from geometry_msgs.msg import Quaternion, TransformStamped
from rclpy.node import Node

from vila_core.types import Odometry
from vila_ros.common.conversions import quaternion_from_yaw, stamp_from_ns
from vila_ros.common.qos import latched_qos, reliable_qos
from vila_ros.simulator.world import SimulatorNodeConfig
from vila_sim.mujoco.simulator import CameraConfig, RobotConfig

OPTICAL = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)  # z ahead, x right, y down, of a body's x ahead, y left, z up


class Transforms:
    """Publishes /tf with each odometry, and /tf_static once."""

    def __init__(self, node: Node, kind: Any, config: SimulatorNodeConfig, fixed: list[TransformStamped]) -> None:
        self._kind, self._config = kind, config
        self._moving = node.create_publisher(kind, "/tf", reliable_qos(100))
        self._fixed = node.create_publisher(kind, "/tf_static", latched_qos())
        self._fixed.publish(kind(transforms=fixed))

    def publish(self, odometry: Odometry) -> None:
        """Publish where the robot is."""
        pose = odometry.pose
        told = _transform(self._config.odometry_frame, self._config.base_frame, (pose.x_m, pose.y_m, 0.0))
        told.header.stamp = stamp_from_ns(odometry.stamp_ns)
        told.transform.rotation = quaternion_from_yaw(pose.yaw_rad)
        self._moving.publish(self._kind(transforms=[told]))


def make_transforms(
    node: Node, config: SimulatorNodeConfig, camera: CameraConfig, robot: RobotConfig
) -> Transforms | None:
    """Return what publishes tf; None if it is not wanted, or tf2's messages are not installed."""
    if not config.publish_tf:
        return None
    try:
        messages: Any = import_module("tf2_msgs.msg")
    except ImportError:
        return None
    return Transforms(node, messages.TFMessage, config, fixed_transforms(config, camera, robot))


def fixed_transforms(config: SimulatorNodeConfig, camera: CameraConfig, robot: RobotConfig) -> list[TransformStamped]:
    """Return where the camera and the laser are on the robot."""
    half_pitch = math.radians(camera.pitch_deg) / 2  # about y, which points left: downward
    body = _transform(config.base_frame, config.camera_link, (0.0, 0.0, camera.height_m))
    body.transform.rotation = Quaternion(y=math.sin(half_pitch), w=math.cos(half_pitch))
    optical = _transform(config.camera_link, config.camera_frame, (0.0, 0.0, 0.0))
    optical.transform.rotation = OPTICAL
    laser = _transform(config.base_frame, config.scan_frame, (0.0, 0.0, robot.scan_height_m))
    return [body, optical, laser]


def _transform(parent: str, child: str, xyz: tuple[float, float, float]) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    translation = message.transform.translation
    translation.x, translation.y, translation.z = xyz
    return message
