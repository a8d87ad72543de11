"""Velocity commands as messages: stamped or plain, by the distribution of ROS."""

from __future__ import annotations

import os

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped

from vila_core.errors import ConfigError
from vila_core.types import VelocityCommand

VELOCITY_TYPES = ("auto", "stamped", "plain")
_PLAIN_DISTRIBUTIONS = ("humble", "iron")  # from Jazzy on the bases and controllers of ROS expect TwistStamped


def is_stamped(setting: str) -> bool:
    """Return True if velocities are TwistStamped; "auto" asks ROS_DISTRO, and stands for stamped where that is unset.

    Raises ConfigError for a setting that is not one of VELOCITY_TYPES.
    """
    if setting not in VELOCITY_TYPES:
        raise ConfigError(f"velocity_type = {setting!r}: must be one of {', '.join(VELOCITY_TYPES)}")
    if setting == "auto":
        return os.environ.get("ROS_DISTRO", "") not in _PLAIN_DISTRIBUTIONS
    return setting == "stamped"


def velocity_type(stamped: bool) -> type[Twist] | type[TwistStamped]:
    """Return the class of the messages."""
    return TwistStamped if stamped else Twist


def velocity_message(command: VelocityCommand, stamped: bool, stamp: Time, frame: str) -> Twist | TwistStamped:
    """Return the command as a message; stamp and frame are those of a stamped one."""
    twist = Twist()
    twist.linear.x, twist.angular.z = float(command.linear_mps), float(command.angular_rps)
    if not stamped:
        return twist
    message = TwistStamped(twist=twist)
    message.header.stamp = stamp
    message.header.frame_id = frame
    return message


def velocity_from_message(message: Twist | TwistStamped) -> VelocityCommand:
    """Return what a message commands along x and about z; what else it holds, a differential drive ignores.

    Numbers are passed on as they are, also those that are not finite.
    """
    twist = message.twist if isinstance(message, TwistStamped) else message
    return VelocityCommand(twist.linear.x, twist.angular.z)
