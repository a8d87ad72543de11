"""Cameras beside the one that the robot drives by: events are looked for in their images, and nothing else.

What is wrong with one of them is told in /diagnostics and in the log, and holds neither the robot nor other cameras.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

from vila_core.control.stamp_watch import StampWatch
from vila_core.engine.backend import ModelInfo
from vila_core.errors import ConfigError, FrameError
from vila_core.types import Frame
from vila_ros.common.diagnostics import status_of
from vila_ros.navigator.cameras.camera import CameraReader
from vila_ros.navigator.cameras.camera_config import Camera
from vila_ros.navigator.queries.events import EventServer
from vila_ros.navigator.readiness import Readiness

_SILENT_S = 2.0  # after which a camera is told to be
_MAX_STAMP_AGE_S = 2.0  # images that are always older bear the stamps of another clock


class ExtraCameras:
    """Takes the images of all of them from `start` to `stop`, each in a thread of its own.

    model: who is shown them. events: gets the frames that it awaits; others are not even decoded. Raises ConfigError as
    CameraReader does.
    """

    def __init__(
        self, owner: Node, cameras: Sequence[Camera], model: ModelInfo, readiness: Readiness, events: EventServer
    ) -> None:
        self._cameras: list[_ExtraCamera] = []
        try:
            for camera in cameras:
                self._cameras.append(_ExtraCamera(owner, camera, model, readiness, events))
        except ConfigError:
            self.stop()
            raise

    def start(self) -> None:
        """Begin to take images."""
        for camera in self._cameras:
            camera.reader.start()

    def stop(self) -> None:
        """End all threads and subscriptions."""
        for camera in self._cameras:
            camera.reader.stop()

    def statuses(self) -> list[DiagnosticStatus]:
        """Return how each camera fares; logs it where that has changed."""
        return [camera.status() for camera in self._cameras]


class _ExtraCamera:
    def __init__(
        self, owner: Node, camera: Camera, model: ModelInfo, readiness: Readiness, events: EventServer
    ) -> None:
        self._owner, self._name, self._readiness, self._events = owner, camera.name, readiness, events
        self._stamps = StampWatch(owner.resolve_topic_name(camera.topic), _MAX_STAMP_AGE_S)
        self._begun_ns = time.monotonic_ns()
        self._heard_ns: int | None = None  # steady time of the newest message, and of the newest good image
        self._taken_ns: int | None = None
        self._messages = self._taken = self._refused = 0
        self._refusal = self._told = ""
        self.reader = CameraReader(
            owner,
            camera,
            f"{owner.get_name()}_camera_{camera.name}",
            model=model,
            on_frame=self._on_frame,
            on_error=self._on_bad_frame,
            on_stamp=self._on_stamp,
            is_wanted=partial(events.awaits, camera.name),
        )

    def status(self) -> DiagnosticStatus:
        """Return how it fares: an error if images are missing, refused or of another clock."""
        age_s = float("inf") if self._heard_ns is None else _seconds_since(self._heard_ns)
        fault = self._stamps.fault
        if _seconds_since(self._heard_ns or self._begun_ns) > _SILENT_S:
            fault = self.reader.silence(age_s)
        elif self._refusal and _seconds_since(self._taken_ns or self._begun_ns) > _SILENT_S:
            fault = self._refusal
        self._tell(fault)
        values = {
            "topic": self.reader.topic,
            "transport": self.reader.transport,
            "publishers": self.reader.publisher_count(),
            "image_age_s": age_s,
            "images": self._messages,
            "taken_images": self._taken,
            "refused_images": self._refused,
        }
        message = "waiting for the first image" if self._taken_ns is None else "images come"
        return status_of(f"{self._owner.get_fully_qualified_name()}: camera {self._name}", fault, message, values)

    def _tell(self, fault: str) -> None:
        """Log once when a fault begins and once when it is over."""
        if fault and not self._told:
            self._owner.get_logger().warning(f"camera {self._name}: {fault}")
        elif self._told and not fault:
            self._owner.get_logger().info(f"camera {self._name}: images come")
        self._told = fault

    # --- the camera's thread ---------------------------------------------------------------------

    def _on_stamp(self, stamp: Time) -> None:
        self._messages += 1
        self._heard_ns = time.monotonic_ns()
        self._readiness.note_stamp(self._stamps, stamp)

    def _on_frame(self, frame: Frame) -> None:
        self._events.observe(frame)
        self._taken += 1
        self._taken_ns, self._refusal = time.monotonic_ns(), ""

    def _on_bad_frame(self, err: FrameError) -> None:
        self._refused += 1
        self._refusal = f"image refused: {err}"


def _seconds_since(steady_ns: int) -> float:
    return (time.monotonic_ns() - steady_ns) / 1e9
