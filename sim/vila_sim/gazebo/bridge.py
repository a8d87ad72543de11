"""The bridge between Gazebo's topics and those of ROS, as the YAML of ros_gz_bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import yaml

from vila_sim.gazebo.versions import GazeboVersion


@dataclass(frozen=True, slots=True)
class BridgedTopic:
    """A topic on both sides; names in ROS are relative, so that namespace and remappings apply."""

    ros_topic: str
    gz_topic: str
    ros_type: str
    gz_type: str
    direction: Literal["GZ_TO_ROS", "ROS_TO_GZ"] = "GZ_TO_ROS"


TOPICS = (
    BridgedTopic("/clock", "clock", "rosgraph_msgs/msg/Clock", "Clock"),
    BridgedTopic("camera/image_raw", "camera/image_raw", "sensor_msgs/msg/Image", "Image"),
    BridgedTopic("camera/camera_info", "camera/camera_info", "sensor_msgs/msg/CameraInfo", "CameraInfo"),
    BridgedTopic("odom", "odom", "nav_msgs/msg/Odometry", "Odometry"),
    BridgedTopic("/tf", "tf", "tf2_msgs/msg/TFMessage", "Pose_V"),
    BridgedTopic("scan", "scan", "sensor_msgs/msg/LaserScan", "LaserScan"),
    BridgedTopic("points", "rings/points", "sensor_msgs/msg/PointCloud2", "PointCloudPacked"),
    BridgedTopic("cmd_vel", "cmd_vel", "geometry_msgs/msg/Twist", "Twist", "ROS_TO_GZ"),
)


def bridge_yaml(version: GazeboVersion) -> str:
    """Return the configuration of `parameter_bridge` for a version of Gazebo."""
    rows = [
        {
            "ros_topic_name": topic.ros_topic,
            "gz_topic_name": topic.gz_topic,
            "ros_type_name": topic.ros_type,
            "gz_type_name": version.message(topic.gz_type),
            "direction": topic.direction,
        }
        for topic in TOPICS
    ]
    return yaml.safe_dump(rows, sort_keys=False)
