"""The output `velocity`: our controller hears ~/action itself, drives within what the governor lets pass, and reports.

The controller hears odometry, the governor and our silence too: nothing else is to be done for it here.
"""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from vila_nav.msg import NavAction

from vila_ros.common.authority import Authority, full_name
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import EXECUTION
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.motion.motion_output import MotionOutput, OnReport, Rival


class VelocityOutput(MotionOutput):
    """Passes the controller's reports on, and what it says of itself in /diagnostics.

    controller: name of the node whose reports count.
    """

    driver = "the controller"
    is_governed = True

    def __init__(self, node: Node, on_report: OnReport, controller: str) -> None:
        self._node = node
        self._topic = node.resolve_topic_name(EXECUTION)
        self._controller = full_name(node, controller)
        self._fault = ""
        self._authority = Authority(node, {EXECUTION: controller})
        only_its = self._authority.only(EXECUTION, on_report)
        self._subscriptions = (
            node.create_subscription(NavAction, EXECUTION, only_its, reliable_qos()),
            node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos()),
        )

    @property
    def is_ready(self) -> bool:
        """True if a controller is ready: it announces its reports only then."""
        return self._node.count_publishers(EXECUTION) > 0

    @property
    def fault(self) -> str:
        """Why the controller is not ready, empty if it has not said so and is there."""
        return self._fault or ("" if self.is_ready else f"{self._topic} has 0 publishers")

    @property
    def rival(self) -> Rival | None:
        """Somebody who reports for the controller."""
        who = self._authority.stranger
        return (MissionError.NOT_AUTHORIZED, who) if who else None

    def close(self) -> None:
        """Leave the graph; the controller stops by our silence."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._controller:
                is_fault = status.level == DiagnosticStatus.ERROR
                self._fault = f"it is {status.message}" if is_fault else ""
