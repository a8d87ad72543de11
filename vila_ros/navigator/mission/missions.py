"""How missions begin and end: one at a time; a newer instruction ends the one before."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from vila_nav.msg import NavAction, NavigatorStatus

from vila_core.control.driven_path import DrivenPath
from vila_core.control.forward_jump import MissionClocks
from vila_core.control.way_back import WayBack
from vila_core.errors import InstructionError, WayError
from vila_core.navigator import Navigator
from vila_core.prompts.instruction import sanitize
from vila_core.types import Decision, HoldReason, Instruction, Pose
from vila_ros.navigator.configured import Configured
from vila_ros.navigator.decisions import Decisions
from vila_ros.navigator.governor_link import GovernorLink
from vila_ros.navigator.latest import Latest
from vila_ros.navigator.mission.goal_clients import GoalClient, GoBackClient
from vila_ros.navigator.mission.guide import Guide
from vila_ros.navigator.mission.mission import Mission, MissionEnd, MissionError, Outcome
from vila_ros.navigator.mission.mission_config import MissionConfig
from vila_ros.navigator.motion.motion_output import MotionOutput
from vila_ros.navigator.readiness import Readiness

Refusal = tuple[MissionError, str]
_LEAST_DECISIONS, _DECISIONS_PER_M = 30, 8  # of a way back: more is no way but a fault


@dataclass(frozen=True, slots=True)
class Task:
    """What a mission is about: what it is called, its limits, and the client of the goal, if it came as one.

    guide: who decides; None for the model, which is told the instruction.
    """

    instruction: Instruction
    config: MissionConfig
    client: GoalClient | None = None
    guide: Guide | None = None


@dataclass(slots=True)
class ActiveMission:
    """The mission that runs, and its number.

    is_held: the robot was told to stand until its inputs are good again.
    """

    number: int
    mission: Mission
    task: Task
    clocks: MissionClocks
    is_held: bool = False

    @property
    def instruction(self) -> Instruction:
        """What it is called."""
        return self.task.instruction

    def tell_client(self, message: NavAction, latency_ms: float) -> None:
        """Give the goal's client feedback on an action."""
        if self.task.client is not None:
            self.task.client.tell(message, latency_ms, self.mission)

    def client_fault(self) -> str:
        """Return that the goal's client is gone, in words; empty if it is not, or there is none."""
        return "" if self.task.client is None else self.task.client.fault


@dataclass(slots=True)
class MissionParts:
    """What a mission's beginning and end set going: what decides, who drives, who lets it pass, and the inputs.

    driven: where the robot has been.
    """

    navigator: Navigator
    decisions: Decisions
    motion: MotionOutput
    governor: GovernorLink
    readiness: Readiness
    latest: Latest
    driven: DrivenPath


class Missions:
    """Begins missions and ends them, has the robot stand, and tells everybody.

    current: the mission that runs, None if none does.
    """

    def __init__(self, node: Node, configured: Configured, parts: MissionParts) -> None:
        self._node, self._configured, self._parts = node, configured, parts
        self._count = 0
        self.current: ActiveMission | None = None

    def begin(self, text: str, source: str, config: MissionConfig, client: GoalClient | None) -> Refusal:
        """Start a mission that the model leads; a running one is preempted only if the new instruction is good."""
        try:
            instruction = self._instruction(text, source)
            self._parts.navigator.told_as(instruction.text)
        except InstructionError as err:
            return self._refuse(source, MissionError.BAD_INSTRUCTION, str(err))
        return self._begin(Task(instruction, config, client))

    def go_back(self, stamp_ns: int, text: str, source: str, config: MissionConfig, client: GoBackClient) -> Refusal:
        """Start a mission that leads to where the robot was at a time; text: what it is called.

        A running one is preempted only if there is a way.
        """
        parts = self._parts
        try:
            instruction = self._instruction(text, source)
            way = WayBack(parts.driven, self._pose(), parts.driven.at(stamp_ns))
        except InstructionError as err:
            return self._refuse(source, MissionError.BAD_INSTRUCTION, str(err))
        except WayError as err:
            return self._refuse(source, MissionError.NOT_REMEMBERED, str(err))
        if 0 < config.max_distance_m < way.length_m:
            message = f"the way back is {way.length_m:.1f} m, more than max_distance_m = {config.max_distance_m:g} m"
            return self._refuse(source, MissionError.TOO_FAR, message)
        guide = Guide(way, parts.decisions, parts.latest)
        client.place_ns, client.remaining_m = way.place.since_ns, guide.remaining_m
        decisions = max(config.max_decisions, _LEAST_DECISIONS + math.ceil(way.length_m * _DECISIONS_PER_M))
        return self._begin(Task(instruction, dataclasses.replace(config, max_decisions=decisions), client, guide))

    def _instruction(self, text: str, source: str) -> Instruction:
        now_ns = self._node.get_clock().now().nanoseconds
        return Instruction(sanitize(text, self._configured.navigation.max_instruction_chars), now_ns, source)

    def _pose(self) -> Pose:
        odometry = self._parts.latest.odometry
        if odometry is None:
            raise WayError("no place is remembered yet: there was no odometry")
        return odometry.pose

    def _begin(self, task: Task) -> Refusal:
        if (refusal := self._refusal()) is not None:
            return self._refuse(task.instruction.source, *refusal)
        self.stop(MissionError.PREEMPTED, "a newer instruction came")
        self._start(task)
        return MissionError.NONE, ""

    def _refuse(self, source: str, error: MissionError, message: str) -> Refusal:
        self._node.get_logger().error(f"instruction of {source} refused: {message}")
        return error, message

    def _refusal(self) -> Refusal | None:
        """Return why no mission may begin now."""
        parts = self._parts
        if earlier := self._configured.only_one.earlier():
            return MissionError.NOT_ACTIVE, earlier
        if (fault := parts.readiness.fault()) is not None:
            return fault.error, f"not ready: {fault.text}"
        if emergency := parts.governor.emergency:
            return MissionError.EMERGENCY_STOP, emergency
        return parts.governor.stranger or parts.motion.rival

    def _start(self, task: Task) -> None:
        parts, instruction = self._parts, task.instruction
        if task.guide is None:
            parts.navigator.start(instruction)
        else:
            parts.navigator.trust_camera()
        self._configured.events.begin_mission()
        parts.latest.camera_fault = None
        if task.client is not None:
            task.client.watch(task.config.client_timeout_s)
        self._count += 1
        mission = Mission(
            task.config,
            time.monotonic_ns(),
            decides_moving=parts.decisions.is_continuous,
            driver=parts.motion.driver,
            is_search=task.guide is None,
        )
        self.current = ActiveMission(self._count, mission, task, MissionClocks(instruction.stamp_ns))
        parts.governor.begin(instruction.text, instruction.source)
        self._configured.outputs.mission_id = parts.governor.mission_id
        self._tell(NavigatorStatus.STATE_NAVIGATING, instruction.source)
        self._node.get_logger().info(f"instruction of {instruction.source}: {instruction.text}")
        self.beat()

    def cancel(self, words: str, goal: ServerGoalHandle | None) -> bool:
        """End the present mission, if it is that goal's, or any for None; return whether there was one."""
        current = self.current
        client = None if current is None else current.task.client
        if current is None or (goal is not None and (client is None or client.handle != goal)):
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
        if current.task.client is not None:
            current.task.client.finish(end)

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
