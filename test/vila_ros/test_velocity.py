"""Velocities as messages: which type, by setting and distribution, and that nothing is lost."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped

from vila_core.errors import ConfigError
from vila_core.types import VelocityCommand
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_message, velocity_type


@pytest.mark.parametrize(
    ("setting", "distribution", "stamped"),
    [
        ("stamped", "humble", True),
        ("plain", "kilted", False),
        ("auto", None, True),
        ("auto", "", True),
        ("auto", "humble", False),
        ("auto", "iron", False),
        ("auto", "jazzy", True),
        ("auto", "kilted", True),
        ("auto", "rolling", True),
        ("auto", "one that is yet to come", True),
    ],
)
def test_the_type_follows_the_setting_and_then_the_distribution(
    monkeypatch: pytest.MonkeyPatch, setting: str, distribution: str | None, stamped: bool
) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    if distribution is not None:
        monkeypatch.setenv("ROS_DISTRO", distribution)
    assert is_stamped(setting) is stamped


@pytest.mark.parametrize("setting", ["", "true", "Stamped", "Twist"])
def test_another_setting_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="auto, stamped, plain"):
        is_stamped(setting)


@pytest.mark.parametrize(("stamped", "kind"), [(False, Twist), (True, TwistStamped)])
def test_a_command_survives_the_message(stamped: bool, kind: type) -> None:
    message = velocity_message(VelocityCommand(0.25, -0.5), stamped, Time(sec=7), "base_link")
    assert type(message) is kind is velocity_type(stamped)
    assert velocity_from_message(message) == VelocityCommand(0.25, -0.5)
    if isinstance(message, TwistStamped):
        assert message.header.stamp.sec == 7 and message.header.frame_id == "base_link"
