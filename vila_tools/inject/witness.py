"""Who watches the drill: what is commanded, how far the robot moves, how the mission ends; and gives instructions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from std_msgs.msg import String
from vila_nav.msg import GovernorState, Mission
from vila_nav.srv import CancelInstruction, SetInstruction

from vila_core.control.reasons import StopReason
from vila_core.types import Pose, VelocityCommand
from vila_ros.common.conversions import OdometryError, ns_from_stamp, odometry_from_message
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import GOVERNOR_STATE, MISSIONS
from vila_ros.common.velocity import velocity_from_message
from vila_ros.navigator.mission.mission import MissionError
from vila_tools.inject.navigator import REPLY_TOPIC
from vila_tools.inject.recorder import RECORD_DEPTH, RECORDED_COMMANDS, RECORDED_ODOMETRY

DRIVING_MPS = 0.1
_KEPT = 200  # poses of before a mark: some may be heard of late


@dataclass(frozen=True, slots=True)
class Command:
    """A velocity command that the base obeyed at a time of the steady clock."""

    at_s: float
    velocity: VelocityCommand


class Witness(Node):
    """Hears the recorder, mission and governor.

    heard_s: steady time until which the recorder's commands are known, 0 before the first.
    """

    def __init__(self) -> None:
        super().__init__("inject_witness", start_parameter_services=False)
        self.heard_s = 0.0
        self.commands: list[Command] = []
        self.mission: Mission | None = None
        self.state: GovernorState | None = None
        self.refusal = ""  # of the last instruction
        self._path: list[tuple[float, Pose]] = []  # steady times and poses
        self._driving_s: float | None = None  # since when it drives
        self.create_subscription(TwistStamped, RECORDED_COMMANDS, self._on_record, reliable_qos(RECORD_DEPTH))
        self.create_subscription(OdometryMsg, RECORDED_ODOMETRY, self._on_odometry, reliable_qos(RECORD_DEPTH))
        self.create_subscription(Mission, MISSIONS, self._on_mission, reliable_qos())
        self.create_subscription(GovernorState, GOVERNOR_STATE, self._on_state, reliable_qos())
        self.replies = self.create_publisher(String, REPLY_TOPIC, reliable_qos())
        self._set_instruction: Any = self.create_client(SetInstruction, "navigator/set_instruction")
        self._cancel: Any = self.create_client(CancelInstruction, "navigator/cancel_instruction")

    def mark(self) -> None:
        """Forget the commands and the way of before."""
        self.commands, self._path = self.commands[-1:], self._path[-_KEPT:]

    def driven_m(self, begun_s: float) -> float:
        """Return how far the robot got from where it was at a steady time after the mark."""
        before = [pose for at_s, pose in self._path if at_s <= begun_s][-1:]
        since = [pose for at_s, pose in self._path if at_s > begun_s]
        origin = (before or since)[:1]
        return max((pose.distance_m(origin[0]) for pose in since), default=0.0)

    def instruct(self, text: str) -> None:
        """Give an instruction; `refusal` will say why it was refused, if it was."""
        self.refusal = "the navigator does not answer"
        if self._set_instruction.service_is_ready():
            request = SetInstruction.Request(instruction=text, source="vila inject")
            self._set_instruction.call_async(request).add_done_callback(self._on_answer)

    def cancel(self) -> None:
        """End the mission that runs."""
        if self._cancel.service_is_ready():
            self._cancel.call_async(CancelInstruction.Request())

    @property
    def drives_s(self) -> float:
        """For how long the robot has been commanded to drive, 0 if it is not."""
        return 0.0 if self._driving_s is None else time.monotonic() - self._driving_s

    @property
    def is_on_mission(self) -> bool:
        """True while the navigator tells of a mission that runs."""
        return self.mission is not None and self.mission.running

    @property
    def is_standing(self) -> bool:
        """True if the last command was zero, or there was none."""
        return not self.commands or self.commands[-1].velocity.is_zero

    def end_of(self, mission_id: int) -> str:
        """Return the error code's name with which a mission ended, empty if it has not, as far as is known."""
        mission = self.mission
        if mission is None or mission.running or mission.id != mission_id:
            return ""
        return MissionError(mission.error_code).name

    def governor_words(self) -> str:
        """Return the governor's reason, and what it says of it."""
        return "" if self.state is None else f"{StopReason(self.state.reason).name}: {self.state.detail}"

    def _on_record(self, message: TwistStamped) -> None:
        velocity, self.heard_s = velocity_from_message(message), ns_from_stamp(message.header.stamp) / 1e9
        self.commands.append(Command(self.heard_s, velocity))
        if velocity.linear_mps <= DRIVING_MPS:
            self._driving_s = None
        elif self._driving_s is None:
            self._driving_s = self.heard_s

    def _on_odometry(self, message: OdometryMsg) -> None:
        try:
            odometry = odometry_from_message(message)
        except OdometryError:
            return
        self._path.append((odometry.stamp_ns / 1e9, odometry.pose))

    def _on_mission(self, message: Mission) -> None:
        self.mission = message

    def _on_state(self, message: GovernorState) -> None:
        self.state = message

    def _on_answer(self, future: Any) -> None:
        answer = future.result()
        self.refusal = "" if answer.success else f"{MissionError(answer.error_code).name}: {answer.error_msg}"
