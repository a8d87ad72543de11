"""The watchdog's node: zero when the governor's life is missed, whatever hindered the watchdog itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import Header
from vila_nav.msg import GovernorState

from vila_ros.common.qos import reliable_qos
from vila_ros.watchdog.node import WatchdogNode

HELD_UP_NS = 5_000_000_000


class Robot(Node):
    """Says what the governor says, until it is silent; hears zeros and the watchdog's life."""

    def __init__(self, name: str = "governor") -> None:
        super().__init__(name)
        self.zeros, self.lives, self.is_alive = 0, 0, True
        self._states = self.create_publisher(GovernorState, "/governor/state", reliable_qos(1))
        self.create_subscription(TwistStamped, "cmd_vel", self._on_velocity, reliable_qos())
        self.create_subscription(Header, "watchdog/heartbeat", self._on_life, reliable_qos())
        self.create_timer(0.02, self.tell)

    def tell(self) -> None:
        if self.is_alive:
            self._states.publish(GovernorState())

    def _on_velocity(self, message: TwistStamped) -> None:
        assert message.twist.linear.x == message.twist.angular.z == 0.0
        self.zeros += 1

    def _on_life(self, message: Header) -> None:
        self.lives += 1


def hold_up(node: WatchdogNode) -> None:
    """As if the process had not been run for some seconds."""
    node._ticked_ns -= HELD_UP_NS
    node._heard_ns = (node._heard_ns or time.monotonic_ns()) - HELD_UP_NS


def test_one_that_was_held_up_itself_zeroes_nevertheless(spinner, wait_until: Callable) -> None:
    robot, node = spinner.add(Robot()), spinner.add(WatchdogNode())
    wait_until(lambda: node._heard_ns and robot.lives and node.count_subscribers("cmd_vel"))
    robot.is_alive = False
    hold_up(node)
    wait_until(lambda: robot.zeros > 5, "zeros")


def test_one_that_was_held_up_beside_a_governor_that_lives_is_silent(spinner, wait_until: Callable) -> None:
    robot, node = spinner.add(Robot()), spinner.add(WatchdogNode())
    wait_until(lambda: node._heard_ns and robot.lives and node.count_subscribers("cmd_vel"))
    node.destroy_subscription(next(iter(node.subscriptions)))  # by hand, in the order of a process that goes on
    hold_up(node)
    node._on_timer()
    node._on_state(GovernorState(), {})
    node._on_timer()
    assert node._gone_ns is None


def test_zeros_end_after_a_while_and_come_again_the_next_time(spinner, wait_until: Callable) -> None:
    robot, node = spinner.add(Robot()), spinner.add(WatchdogNode())
    wait_until(lambda: node._heard_ns and robot.lives and node.count_subscribers("cmd_vel"))
    for _ in range(2):
        robot.is_alive, robot.zeros = False, 0
        wait_until(lambda: robot.zeros > 5 and not node._is_gone(time.monotonic_ns()), "the end of zeros")
        robot.is_alive = True
        wait_until(lambda: node._gone_ns is None, "the governor to be back")


def test_somebody_else_is_no_sign_of_the_governor_s_life(spinner, wait_until: Callable) -> None:
    robot, node = spinner.add(Robot()), spinner.add(WatchdogNode())
    wait_until(lambda: node._heard_ns and robot.lives and node.count_subscribers("cmd_vel"))
    spinner.add(Robot("stranger"))
    wait_until(lambda: node.count_publishers("governor/state") == 2)
    robot.is_alive = False
    wait_until(lambda: robot.zeros > 5, "zeros")
