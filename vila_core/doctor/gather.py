"""Gathers what the doctor goes by from messages, live ones or those of a bag: both have the same fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.control.governor.transforms import BODY_FROM_OPTICAL, StaticTransforms, from_quaternion
from vila_core.doctor.observations import (
    Endpoint,
    HeardCommand,
    HeardDecision,
    HeardOdometry,
    HostClocks,
    Limits,
    MachineFacts,
    Mounting,
    Observations,
    Optics,
    ProbedFrame,
    RobotFacts,
    SeenFrame,
)
from vila_core.errors import FrameError
from vila_core.media.messages import decode_compressed, decode_image
from vila_core.types import Odometry, Pose, VelocityCommand

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, ODOMETRY = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry"
TWIST, TWIST_STAMPED = "geometry_msgs/msg/Twist", "geometry_msgs/msg/TwistStamped"
TF, STATS, MISSION = "tf2_msgs/msg/TFMessage", "vila_nav/msg/DecisionStats", "vila_nav/msg/Mission"
KINDS = (IMAGE, COMPRESSED, INFO, ODOMETRY, TWIST, TWIST_STAMPED, TF, STATS, MISSION)

KEPT_PX = 320  # width in which pictures are kept
_MOST_FRAMES = 1500  # 350 MB
_FLOORS = ("base_footprint", "base_link", "base")  # frames that may stand on the floor, the surest first


class Gatherer:
    """Takes messages, by their kinds, and makes Observations of them.

    Images of one topic alone are to be given. instruction: of the last mission that was told.
    """

    def __init__(self) -> None:
        self._frames: list[SeenFrame] = []
        self._faults: list[str] = []
        self._odometry: list[HeardOdometry] = []
        self._commands: list[HeardCommand] = []
        self._decisions: list[HeardDecision] = []
        self._optics: Optics | None = None
        self._camera_frame = ""
        self._transforms = StaticTransforms()
        self._known: set[str] = set()  # frames of tf
        self.instruction = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many were taken, by what they are."""
        return {"images": len(self._frames), "odometry": len(self._odometry), "decisions": len(self._decisions)}

    @property
    def frames(self) -> tuple[SeenFrame, ...]:
        """The images so far."""
        return tuple(self._frames)

    @property
    def newest_odometry(self) -> HeardOdometry | None:
        """The last odometry, None before the first."""
        return self._odometry[-1] if self._odometry else None

    @property
    def is_silent(self) -> bool:
        """True if nothing came that a robot would publish."""
        return not (self._frames or self._faults or self._odometry or self._decisions)

    def take(self, kind: str, topic: str, message: Any, arrival_ns: int) -> None:
        """Take a message; what no check needs is passed over."""
        if kind in (IMAGE, COMPRESSED):
            self._take_image(kind, topic, message, arrival_ns)
        elif kind == ODOMETRY:
            self._take_odometry(message, arrival_ns)
        elif kind == INFO:
            self._optics = Optics(int(message.width), int(message.height), float(_matrix(message)[0]))
        elif kind in (TWIST, TWIST_STAMPED):
            self._take_twist(message if kind == TWIST else message.twist, arrival_ns)
        elif kind == TF:
            self._take_transforms(message)
        elif kind == STATS:
            self._take_stats(message, arrival_ns)
        elif kind == MISSION:
            self.instruction = str(message.instruction) or self.instruction

    def observations(
        self,
        source: str,
        *,
        is_live: bool,
        endpoints: Sequence[Endpoint] = (),
        probes: Sequence[ProbedFrame] = (),
        machine: MachineFacts | None = None,
        robot: RobotFacts | None = None,
        mounting: Mounting | None = None,
        clocks: HostClocks | None = None,
        limits: Limits | None = None,
    ) -> Observations:
        """Return what was taken so far; mounting: of the camera, where tf does not tell."""
        return Observations(
            source=source,
            is_live=is_live,
            frames=tuple(self._frames),
            image_faults=tuple(self._faults),
            odometry=tuple(self._odometry),
            commands=tuple(self._commands),
            optics=self._optics,
            mounting=self._mounting() or mounting,
            decisions=tuple(self._decisions),
            endpoints=tuple(endpoints),
            probes=tuple(probes),
            machine=machine,
            robot=robot,
            clocks=clocks or HostClocks(),
            limits=limits or Limits(),
        )

    def _take_image(self, kind: str, topic: str, message: Any, arrival_ns: int) -> None:
        self._camera_frame = str(message.header.frame_id).lstrip("/") or self._camera_frame
        if len(self._frames) >= _MOST_FRAMES:
            return
        try:
            pixels = decode_image(message, topic) if kind == IMAGE else decode_compressed(message)
        except FrameError as err:
            self._faults.append(str(err))
            return
        encoding = str(message.encoding if kind == IMAGE else message.format)
        self._frames.append(SeenFrame(shrunk(pixels), _ns(message.header.stamp), arrival_ns, encoding))

    def _take_odometry(self, message: Any, arrival_ns: int) -> None:
        place, turn = message.pose.pose.position, message.pose.pose.orientation
        twist = message.twist.twist
        yaw_rad = math.atan2(2 * (turn.w * turn.z + turn.x * turn.y), turn.w**2 + turn.x**2 - turn.y**2 - turn.z**2)
        pose = Pose(float(place.x), float(place.y), yaw_rad)
        numbers = (pose.x_m, pose.y_m, yaw_rad, twist.linear.x, twist.angular.z)
        if not all(map(math.isfinite, numbers)) or not any((turn.x, turn.y, turn.z, turn.w)):
            return
        odometry = Odometry(_ns(message.header.stamp), pose, float(twist.linear.x), float(twist.angular.z))
        frames = str(message.header.frame_id), str(message.child_frame_id)
        self._odometry.append(HeardOdometry(odometry, arrival_ns, *frames))

    def _take_twist(self, twist: Any, arrival_ns: int) -> None:
        command = VelocityCommand(float(twist.linear.x), float(twist.angular.z))
        if math.isfinite(command.linear_mps) and math.isfinite(command.angular_rps):
            self._commands.append(HeardCommand(command, arrival_ns))

    def _take_transforms(self, message: Any) -> None:
        for stamped in message.transforms:
            t, q = stamped.transform.translation, stamped.transform.rotation
            transform = from_quaternion((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
            if transform is not None:
                parent, child = (str(name).lstrip("/") for name in (stamped.header.frame_id, stamped.child_frame_id))
                self._transforms.note(parent, child, transform)
                self._known |= {parent, child}

    def _take_stats(self, message: Any, arrival_ns: int) -> None:
        told = HeardDecision(
            _ns(message.header.stamp),
            arrival_ns,
            float(message.latency_ms),
            tuple(float(p) for p in message.probabilities),
            int(message.history_frames),
            tuple(_ns(stamp) for stamp in message.frames),
        )
        self._decisions.append(told)

    def _mounting(self) -> Mounting | None:
        """Where tf has the camera, None if it does not tell."""
        for base in (base for base in _FLOORS if base in self._known and base != self._camera_frame):
            found = self._transforms.find(base, self._camera_frame)
            if found is not None:
                body = found.rotation @ BODY_FROM_OPTICAL.rotation.T  # of the camera, x ahead
                pitch_rad = -math.asin(max(-1.0, min(1.0, float(body[2, 0]))))
                return Mounting(float(found.translation[2]), pitch_rad, math.atan2(body[1, 0], body[0, 0]))
        return None


def shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture KEPT_PX wide at most; one that is narrower is copied as it is."""
    height, width, _ = image.shape
    if width <= KEPT_PX:
        return image.copy()
    size = (KEPT_PX, max(8, round(height * KEPT_PX / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _matrix(info: Any) -> Any:
    return info.k if hasattr(info, "k") else info.K  # ROS 1 spells it so


def _ns(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
