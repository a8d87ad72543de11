"""What a fault makes of a message: each edit gets one, and what was heard before, and returns what is passed on."""

from __future__ import annotations

import array
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_ros.common.conversions import (
    frame_from_image,
    image_from_frame,
    ns_from_stamp,
    quaternion_from_yaw,
    stamp_from_ns,
    yaw_from_quaternion,
)

LOOP_S = 2.0
_DELAY_S = 1.0
_AHEAD_RAD = math.radians(25.0)  # half of what an obstacle takes of the view
_BLURRED_PX = (3, 2)  # of the whole picture: nothing smaller is left


@dataclass(frozen=True, slots=True)
class Heard:
    """A message of the stream, and when it came (steady clock, seconds)."""

    at_s: float
    message: Any


@dataclass(frozen=True, slots=True)
class Moment:
    """When an edit is asked. before, since: what came in the last seconds before the fault began, and since then.

    number: of the message, 0 for the first one since the fault began. driven_m: since then, by honest odometry.
    """

    before: Sequence[Heard]
    since: Sequence[Heard]
    number: int
    driven_m: float = 0.0

    @property
    def last(self) -> Any:
        """The last message before the fault, None if there was none."""
        return self.before[-1].message if self.before else None


Edit = Callable[[Any, Moment], Sequence[Any]]


# --- any stream ------------------------------------------------------------------------------------


def drop(message: Any, moment: Moment) -> Sequence[Any]:
    """Pass nothing on."""
    return ()


def delay(message: Any, moment: Moment) -> Sequence[Any]:
    """Pass on what came a second ago; nothing in the first second."""
    late = [heard.message for heard in moment.since if heard.at_s <= moment.since[-1].at_s - _DELAY_S]
    return late[-1:]


def skew(seconds: float) -> Edit:
    """Return the edit that stamps messages so much later, or earlier if it is negative."""

    def edit(message: Any, moment: Moment) -> Sequence[Any]:
        holder, name = (message, "clock") if hasattr(message, "clock") else (message.header, "stamp")
        setattr(holder, name, stamp_from_ns(ns_from_stamp(getattr(holder, name)) + round(seconds * 1e9)))
        return (message,)

    return edit


def same_stamp(message: Any, moment: Moment) -> Sequence[Any]:
    """Stamp every message as the last one before the fault."""
    message.header.stamp = moment.last.header.stamp
    return (message,)


# --- images ----------------------------------------------------------------------------------------


def freeze(message: Any, moment: Moment) -> Sequence[Any]:
    """Show the same pixels with new stamps."""
    message.data = moment.last.data
    return (message,)


def loop(message: Any, moment: Moment) -> Sequence[Any]:
    """Show the last two seconds again and again, with new stamps."""
    shown = [heard for heard in moment.before if heard.at_s >= moment.before[-1].at_s - LOOP_S]
    message.data = shown[moment.number % len(shown)].message.data
    return (message,)


def black(message: Any, moment: Moment) -> Sequence[Any]:
    """Show black."""
    return _shown(message, lambda image: np.zeros_like(image))


def covered(message: Any, moment: Moment) -> Sequence[Any]:
    """Show what a camera behind a hand sees: one colour, and its own noise."""
    rng = np.random.default_rng(moment.number)
    return _shown(message, lambda image: rng.integers(84, 97, image.shape, np.uint8))


def blur(message: Any, moment: Moment) -> Sequence[Any]:
    """Show the true picture blurred to nothing; by its size, as a true blur would make the relay late."""

    def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small = cv2.resize(image, _BLURRED_PX, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    return _shown(message, blurred)


def bad_encoding(message: Any, moment: Moment) -> Sequence[Any]:
    """Name an encoding that does not exist."""
    message.encoding = "rgb7"
    return (message,)


def short_data(message: Any, moment: Moment) -> Sequence[Any]:
    """Send a hundred bytes of the picture."""
    message.data = message.data[:100]
    return (message,)


def _shown(message: Any, show: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Sequence[Any]:
    frame = frame_from_image(message)
    made = image_from_frame(type(frame)(show(frame.image), frame.stamp_ns), message.header.frame_id)
    made.header.stamp = message.header.stamp
    return (made,)


# --- odometry --------------------------------------------------------------------------------------


def not_finite(message: Any, moment: Moment) -> Sequence[Any]:
    """Tell no numbers."""
    message.pose.pose.position.x = message.twist.twist.linear.x = math.nan
    return (message,)


def jump(metres: float = 0.0, radians: float = 0.0) -> Edit:
    """Return the edit that moves the pose ahead, or back, by so much, and turns it, once and for good."""

    def edit(message: Any, moment: Moment) -> Sequence[Any]:
        heading_rad, yaw_rad = _pose(moment.last)[2], _pose(message)[2]
        message.pose.pose.position.x += metres * math.cos(heading_rad)
        message.pose.pose.position.y += metres * math.sin(heading_rad)
        message.pose.pose.orientation = quaternion_from_yaw(yaw_rad + radians)
        return (message,)

    return edit


def scale(factor: float) -> Edit:
    """Return the edit that tells so much of each metre, and of each metre a second, since the fault began."""

    def edit(message: Any, moment: Moment) -> Sequence[Any]:
        x_m, y_m, _ = _pose(moment.last)
        position, twist = message.pose.pose.position, message.twist.twist
        position.x, position.y = x_m + factor * (position.x - x_m), y_m + factor * (position.y - y_m)
        twist.linear.x, twist.angular.z = factor * twist.linear.x, factor * twist.angular.z
        return (message,)

    return edit


def other_frame(message: Any, moment: Moment) -> Sequence[Any]:
    """Name another frame."""
    message.header.frame_id = "map"
    return (message,)


def _pose(message: Any) -> tuple[float, float, float]:
    pose = message.pose.pose
    return pose.position.x, pose.position.y, yaw_from_quaternion(pose.orientation)


# --- scans -----------------------------------------------------------------------------------------


def obstacle(distance_m: float) -> Edit:
    """Return the edit that puts something ahead of the robot, so far from the sensor, which it then comes nearer."""

    def edit(message: Any, moment: Moment) -> Sequence[Any]:
        left_m = max(message.range_min, distance_m - moment.driven_m)
        angles = message.angle_min + message.angle_increment * np.arange(len(message.ranges))
        ranges = np.array(message.ranges, np.float32)
        ahead = np.abs((angles + math.pi) % (2 * math.pi) - math.pi) < _AHEAD_RAD
        ranges[ahead] = np.fmin(ranges[ahead], left_m / np.cos(angles[ahead]))
        message.ranges = array.array("f", ranges)
        return (message,)

    return edit


# --- by name ---------------------------------------------------------------------------------------

_EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        drop, delay, same_stamp, freeze, loop, black, covered, blur, bad_encoding, short_data, not_finite, other_frame
    )
}  # fmt: skip
_MAKERS: dict[str, Callable[..., Edit]] = {maker.__name__: maker for maker in (skew, jump, scale, obstacle)}


@dataclass(frozen=True, slots=True)
class Lie:
    """An edit by the name of its function here, with the numbers it takes: so it can be told to the relay."""

    name: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def edit(self) -> Edit:
        """Return the edit. Raises KeyError for a name, TypeError for numbers, of none."""
        return _MAKERS[self.name](**self.numbers) if self.numbers else _EDITS[self.name]


def lie(name: str, **numbers: float) -> Lie:
    """Return the lie of that name."""
    return Lie(name, numbers)
