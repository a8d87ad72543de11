"""What the recorder of a run hears of its nodes."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from vila_ros.common.qos import reliable_qos
from vila_tools.session.recording import Recorder


def test_a_node_is_ready_when_it_says_so(spinner, wait_until) -> None:
    """A goal that came before would be refused: on a slow machine the clock is heard seconds after all else."""
    recorder, node = spinner.add(Recorder()), spinner.add(Node("navigator"))
    publisher = node.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
    assert not recorder.is_ready("/navigator")
    for level, is_ready in (
        (DiagnosticStatus.WARN, True),
        (DiagnosticStatus.ERROR, False),
        (DiagnosticStatus.OK, True),
    ):
        message = DiagnosticArray(status=[DiagnosticStatus(name="/navigator", level=level)])

        def says() -> bool:
            publisher.publish(message)  # noqa: B023 - called in this turn
            return recorder.is_ready("/navigator") is is_ready  # noqa: B023

        wait_until(says, f"{level!r}")
    assert not recorder.is_ready("/controller")
