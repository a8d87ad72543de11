"""The cameras of the navigator as its parameters describe them: the one that it drives by, and any number more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from vila_core.errors import ConfigError
from vila_ros.common.parameters import declare, read, read_names
from vila_ros.common.qos import sensor_qos

RAW, COMPRESSED, AUTO = TRANSPORTS = ("raw", "compressed", "auto")
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")  # what may stand in the names of parameters and topics


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """Where a camera's images come from, and how.

    The fields are also the parameters `camera.NAME.*` of each camera beside the one that the robot drives by.
    """

    topic: str = ""  # of its raw images; empty: NAME/image_raw
    reliability: str = "best_effort"  # of our end; or reliable, where the camera is
    transport: str = "auto"  # raw; compressed: from the topic with /compressed behind; auto: the one that is published

    def __post_init__(self) -> None:
        sensor_qos(self.reliability)
        if self.transport not in TRANSPORTS:
            raise ConfigError(f"transport = {self.transport!r}: must be one of {', '.join(TRANSPORTS)}")


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera by name. parameters: what the names of its parameters begin with."""

    name: str
    config: CameraConfig
    parameters: str

    @property
    def topic(self) -> str:
        """Its topic, which the node may remap."""
        return self.config.topic or f"{self.name}/image_raw"


def declare_cameras(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Declare the parameters of the cameras that `cameras` names; returns these names, and the parameters'.

    Raises ConfigError for a name that no parameter or topic can have, or that is there twice.
    """
    names = _names(read_names(node, "cameras"), str(node.get_parameter("camera").value))
    return names, tuple(one for name in names for one in declare(node, CameraConfig, f"camera.{name}"))


def _names(text: str, main: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"cameras = {text!r}: {name!r} is no name; letters, digits and _ make one")
        if name == main:
            raise ConfigError(f"cameras = {text!r}: {name!r} is the camera to drive by; set `camera` to another")
        if names.count(name) > 1:
            raise ConfigError(f"cameras = {text!r}: {name!r} is there twice")
    return names


def read_cameras(node: Node, names: Sequence[str]) -> tuple[Camera, ...]:
    """Return these cameras as configured. Raises ConfigError, which names the camera, for an impossible value."""
    cameras = []
    for name in names:
        prefix = f"camera.{name}"
        try:
            camera = Camera(name, read(node, CameraConfig, prefix), f"{prefix}.")
        except ConfigError as err:
            raise ConfigError(f"{prefix}.{err}") from err
        try:
            node.resolve_topic_name(camera.topic)
        except rclpy_implementation.RCLError as err:
            raise ConfigError(f"{prefix}.topic = {camera.topic!r}: {' '.join(str(err).split())}") from err
        cameras.append(camera)
    return tuple(cameras)
