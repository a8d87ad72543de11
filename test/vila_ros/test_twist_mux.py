"""The lock for twist_mux by message: the settings of docs/nav2.md, in a stand-in that muxes as twist_mux does."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_system_default
from std_msgs.msg import Bool

from vila_ros.common.qos import reliable_qos
from vila_ros.governor import node

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "nav2.md"
BLIND = {"obstacles.sources": "", "obstacles.required": False, "needs_watchdog": False}


def settings() -> dict:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)]
    return next(block["twist_mux"]["ros__parameters"] for block in blocks if "twist_mux" in block)


class TwistMux(Node):
    """Passes the input of the highest priority that is neither old nor below a lock; a silent lock locks."""

    def __init__(self) -> None:
        super().__init__("twist_mux")
        self.passed: list[float] = []
        self._heard_s: dict[str, float] = {}
        self._locks: dict[str, bool] = {}
        self._rows = settings()
        for name, row in self._rows["topics"].items():
            self._listen(TwistStamped, row["topic"], lambda message, name=name: self._on_velocity(name, message))
        for name, row in self._rows["locks"].items():
            self._listen(Bool, row["topic"], lambda message, name=name: self._on_lock(name, message))

    def _listen(self, kind, topic, callback) -> None:
        self.create_subscription(kind, topic, callback, qos_profile_system_default)

    def _on_lock(self, name: str, message: Bool) -> None:
        self._heard_s[f"lock {name}"], self._locks[name] = time.monotonic(), message.data

    def _on_velocity(self, name: str, message: TwistStamped) -> None:
        self._heard_s[name] = time.monotonic()
        masked = max((row["priority"] for one, row in self._rows["locks"].items() if self.is_locked(one)), default=0)
        heard = {one: row["priority"] for one, row in self._rows["topics"].items() if not self._is_old(one, row)}
        best = max((priority, one) for one, priority in heard.items())
        if best[1] == name and best[0] >= masked:
            self.passed.append(message.twist.linear.x)

    def is_locked(self, name: str) -> bool:
        return self._is_old(f"lock {name}", self._rows["locks"][name]) or self._locks[name]

    def _is_old(self, name: str, row: dict) -> bool:
        return time.monotonic() - self._heard_s.get(name, 0.0) > row["timeout"]


class Nav2(Node):
    """Drives for ever."""

    def __init__(self) -> None:
        super().__init__("collision_monitor")
        self._velocity = self.create_publisher(TwistStamped, "cmd_vel_nav2", reliable_qos(1))
        self.button = self.create_publisher(Bool, "emergency_stop", reliable_qos())
        self.teleop = self.create_publisher(TwistStamped, "teleop/cmd_vel", reliable_qos())
        self.create_timer(0.05, self._drive)

    def _drive(self) -> None:
        message = TwistStamped()
        message.twist.linear.x = 0.2
        self._velocity.publish(message)


@pytest.fixture
def mux(spinner, wait_until, monkeypatch):
    """Nav2 drives through the mux; the governor's cmd_vel has the name that the launch file gives it."""
    monkeypatch.setattr(node, "CMD_VEL", "cmd_vel_governor")
    governor = node.GovernorNode([Parameter(name, value=value) for name, value in BLIND.items()])
    mux = spinner.add(TwistMux())
    mux.governor, mux.nav2 = spinner.add(governor), spinner.add(Nav2())
    wait_until(lambda: mux.nav2.button.get_subscription_count() and mux.nav2.teleop.get_subscription_count())
    wait_until(lambda: mux.passed and mux.passed[-1] == 0.2, "Nav2 to drive")
    return mux


def after(mux: TwistMux, wait_until, count: int = 20) -> list[float]:
    """What passes next."""
    seen = len(mux.passed)
    wait_until(lambda: len(mux.passed) > seen + count)
    return mux.passed[seen:]


def test_the_emergency_stop_passes_zeros_and_nothing_of_nav2_until_it_is_released(mux, wait_until) -> None:
    mux.nav2.button.publish(Bool(data=True))
    wait_until(lambda: mux.is_locked("governor"))
    assert set(after(mux, wait_until)) == {0.0}
    mux.nav2.button.publish(Bool(data=False))
    wait_until(lambda: mux.passed[-1] == 0.2)


def test_a_governor_that_died_locks_nav2(mux, spinner, wait_until) -> None:
    spinner.remove(mux.governor)
    wait_until(lambda: mux.is_locked("governor"))
    seen, begun_s = len(mux.passed), time.monotonic()
    wait_until(lambda: time.monotonic() > begun_s + 0.5)
    assert len(mux.passed) == seen


def test_the_operator_drives_past_nav2(mux, wait_until) -> None:
    message = TwistStamped()
    message.twist.linear.x = 0.1
    mux.nav2.create_timer(0.05, lambda: mux.nav2.teleop.publish(message))
    wait_until(lambda: mux.is_locked("governor") and 0.0 < mux.passed[-1] <= 0.1)
    assert max(after(mux, wait_until)) <= 0.1 + 1e-6
