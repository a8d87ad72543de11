"""What the recorder of a run hears of its nodes."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import LaserScan

from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_tools.session.recording import Recorded, Recorder, write_bag


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


def test_a_bag_tells_what_each_topics_publisher_offered(ros, tmp_path) -> None:
    """So that a player offers the same, and a latched topic is latched again."""
    profiles = {"/scan": (sensor_qos(),), "/map": (latched_qos(3), reliable_qos(7))}
    write_bag(tmp_path / "a.mcap", [Recorded(topic, 1, LaserScan()) for topic in (*profiles, "/other")], profiles)
    with AnyReader([tmp_path / "a.mcap"]) as bag:
        offered = {connection.topic: connection.ext.offered_qos_profiles for connection in bag.connections}
    (scan,) = offered["/scan"]
    assert (scan.history.name, scan.depth, scan.reliability.name) == ("KEEP_LAST", 1, "BEST_EFFORT")
    assert [(one.durability.name, one.depth) for one in offered["/map"]] == [("TRANSIENT_LOCAL", 3), ("VOLATILE", 7)]
    assert scan.liveliness.name in ("SYSTEM_DEFAULT", "AUTOMATIC") and not scan.avoid_ros_namespace_conventions
    assert offered["/other"] == []
