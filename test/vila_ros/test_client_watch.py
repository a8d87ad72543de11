"""Whether a goal's client is still there, by what the graph shows of it."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from rclpy.action import ActionClient
from rclpy.node import Node
from vila_nav.action import NavigateInstruction

from vila_ros.navigator.mission.client_watch import ClientWatch


def test_a_client_is_missed_when_it_has_left_and_no_other_is_taken_for_it(spinner, wait_until) -> None:
    navigator, robot, page = (spinner.add(Node(name)) for name in ("navigator", "robot", "page"))
    sends, looks_on = (ActionClient(node, NavigateInstruction, "navigator/navigate") for node in (robot, page))
    looks_on.destroy()
    topic = "navigator/navigate/_action/feedback"
    wait_until(lambda: navigator.count_subscribers(topic) == 1)
    watch = ClientWatch(navigator, "~/navigate", timeout_s=0.2)
    assert not watch.is_gone()
    watch._begun_s -= 10.0  # later
    looks_on = ActionClient(page, NavigateInstruction, "navigator/navigate")
    wait_until(lambda: navigator.count_subscribers(topic) == 2)
    assert not watch.is_gone()
    sends.destroy()
    wait_until(lambda: navigator.count_subscribers(topic) == 1)
    wait_until(watch.is_gone)


def test_a_goal_of_the_bare_service_is_never_missed(spinner, wait_until) -> None:
    watch = ClientWatch(spinner.add(Node("navigator")), "~/other", timeout_s=0.0)
    watch._begun_s -= 10.0
    assert not watch.is_gone()
