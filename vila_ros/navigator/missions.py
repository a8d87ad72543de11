"""How missions begin and end: one at a time; a newer instruction ends the one before."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vila_nav.msg import NavAction, NavigatorStatus

from vila_core.control.forward_jump import MissionClocks
from vila_core.errors import InstructionError
from vila_core.navigator import Navigator
from vila_core.prompts.instruction import sanitize
from vila_core.types import Decision, HoldReason, Instruction
from vila_ros.navigator.client_watch import ClientWatch
from vila_ros.navigator.configured import Configured
from vila_ros.navigator.decisions import Decisions
from vila_ros.navigator.goals import feedback, finish_goal
from vila_ros.navigator.governor_link import GovernorLink
from vila_ros.navigator.latest import Latest
from vila_ros.navigator.mission import Mission, MissionEnd, MissionError, Outcome
from vila_ros.navigator.mission_config import MissionConfig
from vila_ros.navigator.motion_output import MotionOutput
from vila_ros.navigator.readiness import Readiness

Refusal = tuple[MissionError, str]


@dataclass(slots=True)
class ActiveMission:
    """The mission that runs, its number, and the goal that it answers, if it came as one.

    is_held: the robot was told to stand until its inputs are good again.
    """

    number: int
    mission: Mission
    instruction: Instruction
    clocks: MissionClocks
    goal: ServerGoalHandle | None = None
    client: ClientWatch | None = None
    is_held: bool = False

    def tell_client(self, message: NavAction, latency_ms: float) -> None:
        """Give the goal's client feedback on an action."""
        if self.goal is not None and self.goal.is_active:
            mission = self.mission
            self.goal.publish_feedback(feedback(message, latency_ms, mission.decisions, mission.distance_m))

    def client_fault(self) -> str:
        """Return that the goal's client is gone, in words; empty if it is not, or there is none."""
        if self.client is None or not self.client.is_gone():
            return ""
        return f"the client of the goal has left the graph for {self.mission.config.client_timeout_s:g} s"


@dataclass(slots=True)
class MissionParts:
    """What a mission's beginning and end set going: what decides, who drives, who lets it pass, and the inputs."""

    navigator: Navigator
    decisions: Decisions
    motion: MotionOutput
    governor: GovernorLink
    readiness: Readiness
    latest: Latest


class Missions:
    """Begins missions and ends them, has the robot stand, and tells everybody.

    current: the mission that runs, None if none does.
    """

    def __init__(self, node: Node, configured: Configured, parts: MissionParts) -> None:
        self._node, self._configured, self._parts = node, configured, parts
        self._count = 0
        self.current: ActiveMission | None = None

    def begin(self, text: str, source: str, config: MissionConfig, goal: ServerGoalHandle | None) -> Refusal:
        """Start a mission; a running one is preempted only if the new instruction is good."""
        now_ns = self._node.get_clock().now().nanoseconds
        try:
            instruction = Instruction(sanitize(text, self._configured.navigation.max_instruction_chars), now_ns, source)
            self._parts.navigator.told_as(text)
        except InstructionError as err:
            refusal: Refusal | None = (MissionError.BAD_INSTRUCTION, str(err))
        else:
            refusal = self._refusal()
        if refusal is not None:
            self._node.get_logger().error(f"instruction of {source} refused: {refusal[1]}")
            return refusal
        self.stop(MissionError.PREEMPTED, "a newer instruction came")
        self._start(instruction, config, goal)
        return MissionError.NONE, ""

    def _refusal(self) -> Refusal | None:
        """Return why no mission may begin now."""
        parts = self._parts
        if earlier := self._configured.only_one.earlier():
            return MissionError.NOT_ACTIVE, earlier
        if (fault := parts.readiness.fault()) is not None:
            return fault.error, f"not ready: {fault.text}"
        if emergency := parts.governor.emergency:
            return MissionError.EMERGENCY_STOP, emergency
        return parts.motion.rival

    def _start(self, instruction: Instruction, config: MissionConfig, goal: ServerGoalHandle | None) -> None:
        parts = self._parts
        parts.navigator.start(instruction)
        self._configured.events.begin_mission()
        parts.latest.camera_fault = None
        continuous, driver = parts.decisions.is_continuous, parts.motion.driver
        watched = goal is not None and config.client_timeout_s
        self._count += 1
        self.current = ActiveMission(
            self._count,
            Mission(config, time.monotonic_ns(), decides_moving=continuous, driver=driver),
            instruction,
            MissionClocks(instruction.stamp_ns),
            goal,
            ClientWatch(self._node, "~/navigate", config.client_timeout_s) if watched else None,
        )
        parts.governor.begin(instruction.text, instruction.source)
        self._configured.outputs.mission_id = parts.governor.mission_id
        self._tell(NavigatorStatus.STATE_NAVIGATING, instruction.source)
        self._node.get_logger().info(f"instruction of {instruction.source}: {instruction.text}")
        self.beat()

    def cancel(self, words: str, goal: ServerGoalHandle | None) -> bool:
        """End the present mission, if it is that goal's, or any for None; return whether there was one."""
        current = self.current
        if current is None or (goal is not None and current.goal != goal):
            return False
        self.stop(MissionError.CANCELED, words)
        return True

    def stop(self, error: MissionError, message: str) -> None:
        """End the present mission for that reason, if there is one."""
        if self.current is not None:
            self.current.mission.stop(error, message, time.monotonic_ns())
            self.settle()

    def settle(self) -> None:
        """Stand still, forget the mission and answer its goal, if it has ended."""
        current = self.current
        if current is None or current.mission.end is None:
            return
        parts, end = self._parts, self._explained(current.mission.end)
        self.current = None
        parts.decisions.drop()
        parts.navigator.stop()
        parts.governor.end(end)
        self._configured.events.end_mission()
        if end.outcome is not Outcome.REACHED:
            self.stand(HoldReason.NO_INSTRUCTION, end.message)
        words = f"{end.outcome.name}, {end.error.name}: {end.message}"
        self._node.get_logger().info(words)
        self._tell(NavigatorStatus.STATE_READY, words)
        if current.goal is not None:
            finish_goal(current.goal, end)

    def _explained(self, end: MissionEnd) -> MissionEnd:
        end = self._parts.governor.explained(end)
        if end.error is not MissionError.ODOMETRY_LOST:
            return end
        return dataclasses.replace(end, message=f"{end.message}, {topic_text(self._node, 'odom')}")

    def hold(self, reason: HoldReason, detail: str) -> None:
        """Have the robot stand until the inputs of its mission are good again."""
        current = self.current
        if current is None:
            return
        current.is_held = True
        current.mission.on_bad_image(detail)
        current.mission.pause()
        self._parts.decisions.drop()
        self.stand(reason, detail)
        self._node.get_logger().warning(f"the robot holds: {detail}")

    def stand(self, reason: HoldReason, detail: str) -> None:
        """Have the robot stand, and publish why."""
        decision = Decision.holding(reason, self._parts.latest.image_stamp_ns, detail)
        self._parts.motion.carry_out(decision, self._configured.outputs.publish_action(decision))

    def beat(self) -> None:
        """Tell who drives that we live and see, while a mission runs."""
        latest = self._parts.latest
        is_ready = self._parts.readiness.fault() is None
        if self.current is not None and latest.is_image_fresh and is_ready:
            self._configured.outputs.publish_heartbeat(latest.image_stamp_ns)

    def _tell(self, state: int, detail: str) -> None:
        instruction = "" if self.current is None else self.current.instruction.text
        mission_id = self._parts.governor.mission_id
        self._configured.status.tell(state, detail, mission_id=mission_id, instruction=instruction)


def topic_text(node: Node, topic: str) -> str:
    """Return the topic's whole name and how many publish there."""
    return f"{node.resolve_topic_name(topic)} has {node.count_publishers(topic)} publishers"
