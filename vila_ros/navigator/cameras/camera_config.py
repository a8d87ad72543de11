"""The cameras of the navigator as its parameters describe them: the one that it drives by, and any number more."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node

from vila_core.config import check_fields
from vila_core.engine.backend import ModelInfo
from vila_core.errors import ConfigError
from vila_core.fields import Bounds, OneOf
from vila_core.media.field_of_view import as_trained_with
from vila_core.types import Frame
from vila_ros.common.parameters import declare, read
from vila_ros.common.qos import RELIABILITIES
from vila_ros.common.topics import TRANSPORTS

CAMERAS = "cameras"
_ABOUT = "more cameras, for events alone: names, comma separated or a list (read when the node is configured)"
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")  # what may stand in the names of parameters and topics


@dataclass(frozen=True, slots=True)
class CameraConfig:
    """Where a camera's images come from, and how.

    The fields are also the parameters `camera.NAME.*` of each camera beside the one that the robot drives by.
    """

    topic: str = ""  # of its raw images; empty: NAME/image_raw
    # of our end of the images; reliable where the camera is
    reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"
    # of the images: raw; compressed: from the topic with /compressed behind; auto: what is published
    transport: Annotated[str, OneOf(TRANSPORTS)] = "auto"
    # what it sees from left to right, lens distortion removed; pictures are cut, or filled up, to what the model was
    # trained with, if its checkpoint says that; NaN: not known, they are shown as they are
    hfov_deg: Annotated[float, Bounds(least=10, most=170)] = math.nan

    def __post_init__(self) -> None:
        check_fields(self)


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

    def shown_hfov_deg(self, model: ModelInfo) -> float:
        """What the pictures that the model is shown see from left to right; NaN if that is not known."""
        own, wanted = self.config.hfov_deg, model.camera_hfov_deg
        return own if math.isnan(own) or wanted is None else wanted

    def as_shown(self, frame: Frame, model: ModelInfo) -> Frame:
        """Return a frame of the camera as the model is shown it."""
        return as_trained_with(frame, self.config.hfov_deg, model.camera_hfov_deg)


def declare_cameras(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Declare `cameras` and the parameters of the cameras that it names; returns these names, and the parameters'.

    rclpy knows no empty list as a default, so a word with commas will do too. Raises ConfigError for a name that no
    parameter or topic can have, or that is there twice.
    """
    described = ParameterDescriptor(name=CAMERAS, description=_ABOUT, read_only=True, dynamic_typing=True)
    node.declare_parameter(CAMERAS, "", described)
    names = _names(node.get_parameter(CAMERAS).value, str(node.get_parameter("camera").value))
    return names, (CAMERAS, *(one for name in names for one in declare(node, CameraConfig, f"camera.{name}")))


def _names(value: Any, main: str) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value or []  # an empty list of a parameter file is None
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ConfigError(f"cameras = {value!r}: must be names, such as 'left, right' or ['left', 'right']")
    names = tuple(name.strip() for name in given if name.strip())
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(f"cameras = {value!r}: {name!r} is no name; letters, digits and _ make one")
        if name == main:
            raise ConfigError(f"cameras = {value!r}: {name!r} is the camera to drive by; set `camera` to another")
        if names.count(name) > 1:
            raise ConfigError(f"cameras = {value!r}: {name!r} is there twice")
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
