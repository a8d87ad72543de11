"""Who watches the drill: what is commanded, how far the robot moves, how the mission ends; and gives instructions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from std_msgs.msg import String
from vila_nav.msg import GovernorState, Mission
from vila_nav.srv import CancelInstruction, SetInstruction

from vila_core.control.reasons import StopReason
from vila_core.types import Pose, VelocityCommand
from vila_ros.common.conversions import OdometryError, odometry_from_message
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.topics import CMD_VEL, GOVERNOR_STATE, MISSIONS
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_type
from vila_ros.navigator.mission import MissionError
from vila_tools.inject.navigator import REPLY_TOPIC

DRIVING_MPS = 0.1


@dataclass(frozen=True, slots=True)
class Command:
    """A velocity command as the base heard it; at_s: steady clock."""

    at_s: float
    velocity: VelocityCommand


class Witness(Node):
    """Hears commands, odometry, mission and governor. odometry: the sensor's own topic, which nobody edits."""

    def __init__(self, odometry: str) -> None:
        super().__init__("inject_witness")
        self.commands: list[Command] = []
        self.mission: Mission | None = None
        self.state: GovernorState | None = None
        self.refusal = ""  # of the last instruction
        self.furthest_m = 0.0  # from where the robot was at the mark
        self._mark: Pose | None = None
        self._pose: Pose | None = None
        self._driving_s: float | None = None  # since when it drives
        kind = velocity_type(is_stamped("auto"))
        self.create_subscription(kind, CMD_VEL, self._on_velocity, reliable_qos(50))
        self.create_subscription(OdometryMsg, odometry, self._on_odometry, sensor_qos(depth=50))
        self.create_subscription(Mission, MISSIONS, self._on_mission, reliable_qos())
        self.create_subscription(GovernorState, GOVERNOR_STATE, self._on_state, reliable_qos())
        self.replies = self.create_publisher(String, REPLY_TOPIC, reliable_qos())
        self._set_instruction: Any = self.create_client(SetInstruction, "navigator/set_instruction")
        self._cancel: Any = self.create_client(CancelInstruction, "navigator/cancel_instruction")

    def mark(self) -> None:
        """Forget the commands of before, and measure from where the robot is now."""
        self.commands = self.commands[-1:]
        self._mark, self.furthest_m = self._pose, 0.0

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

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        velocity, now_s = velocity_from_message(message), time.monotonic()
        self.commands.append(Command(now_s, velocity))
        if velocity.linear_mps <= DRIVING_MPS:
            self._driving_s = None
        elif self._driving_s is None:
            self._driving_s = now_s

    def _on_odometry(self, message: OdometryMsg) -> None:
        try:
            self._pose = odometry_from_message(message).pose
        except OdometryError:
            return
        if self._mark is not None:
            self.furthest_m = max(self.furthest_m, self._pose.distance_m(self._mark))

    def _on_mission(self, message: Mission) -> None:
        self.mission = message

    def _on_state(self, message: GovernorState) -> None:
        self.state = message

    def _on_answer(self, future: Any) -> None:
        answer = future.result()
        self.refusal = "" if answer.success else f"{MissionError(answer.error_code).name}: {answer.error_msg}"
