"""One episode after the other: put the robot to its start, tell the navigator, follow odometry to the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.parameter import Parameter
from vila_nav.action import NavigateInstruction

from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.errors import VilaError
from vila_core.types import Action, Odometry
from vila_ros.common.conversions import action_from_message, odometry_from_message
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.navigator.mission.goals import is_of_decision
from vila_ros.navigator.mission.mission import MissionError, Outcome
from vila_sim.episodes.episode_files import world_name
from vila_sim.episodes.goals import GoalProgress
from vila_sim.episodes.oracle import MAX_DECISIONS
from vila_sim.episodes.splits import Episode
from vila_sim.flats.grid import OccupancyGrid
from vila_tools.evaluation.episode_run import EpisodeResult, episode_metrics, is_hold
from vila_tools.evaluation.failures import failure_of
from vila_tools.ros_navigation.path import DrivenPath
from vila_tools.ros_navigation.simulators import ControlOptions, make_control
from vila_tools.session.session import READY_TIMEOUT_S, Session

SETTLE_S = 0.5  # simulated, after the robot was put: images and odometry of the old place have come by then
_ANSWER_S, _SLOWEST = 30.0, 20.0  # wall seconds for an answer; a simulation may be so much slower than real time
NOT_OF_THE_EPISODE = {  # what says of a mission without a decision that the robot is not ready, not that it failed
    *(MissionError.NOT_ACTIVE, MissionError.IMAGE_LOST, MissionError.ODOMETRY_LOST, MissionError.CONTROLLER_LOST),
    *(MissionError.CLOCK_JUMP, MissionError.EMERGENCY_STOP, MissionError.OPERATOR, MissionError.NOT_AUTHORIZED),
    *(MissionError.GOVERNOR_LOST, MissionError.OVERHEATED),
}
Result = NavigateInstruction.Result


@dataclass(frozen=True, slots=True)
class Driven:
    """An episode's result, and how its mission ended: NONE, or the name of its error."""

    result: EpisodeResult
    end: str


class Client(Node):
    """Hears odometry and diagnostics of a robot; sends its navigator goals. path: takes each pose while it is set."""

    def __init__(self, namespace: str, odom: str, truth: str) -> None:
        simulated = Parameter("use_sim_time", value=True)
        super().__init__("bench_nav", namespace=namespace or None, parameter_overrides=[simulated])
        self.odometry: Odometry | None = None
        self.path: DrivenPath | None = None
        self.facts: dict[str, str] = {}  # what the navigator says of itself
        self.navigator: Any = ActionClient(self, NavigateInstruction, "navigator/navigate")
        self._name = self.resolve_topic_name("navigator")
        self.create_subscription(OdometryMsg, truth or odom, self._on_odometry, sensor_qos(depth=20))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos())

    def _on_odometry(self, message: OdometryMsg) -> None:
        self.odometry = odometry_from_message(message)
        if self.path is not None:
            self.path.add(self.odometry.pose, self.odometry.stamp_ns)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._name:
                self.facts = {value.key: value.value for value in status.values}


class Driver:
    """Drives episodes on the graph of a session."""

    def __init__(
        self, session: Session, control: ControlOptions, namespace: str, odom: str, truth: str, timeout_s: float
    ) -> None:
        self._session, self._timeout_s, self._is_true = session, timeout_s, bool(truth)
        self._client = session.add(Client(namespace, odom, truth))
        topic = self._client.resolve_topic_name(truth or odom)
        session.require(lambda: self._client.odometry, READY_TIMEOUT_S, f"no odometry on {topic}")
        session.require(self._client.navigator.server_is_ready, READY_TIMEOUT_S, "no navigator took goals")
        self._control = make_control(self._client, control, self._call, session.spin_until)

    @property
    def control_name(self) -> str:
        """How the simulator is told."""
        return self._control.name

    @property
    def navigator_facts(self) -> dict[str, str]:
        """The navigator's checkpoint and precision, as its diagnostics tell them."""
        return {key: self._client.facts.get(key, "") for key in ("checkpoint", "precision")}

    def drive(self, episode: Episode, grid: OccupancyGrid) -> Driven:
        """Drive one episode. Raises VilaError if simulator or navigator do not answer."""
        self._control.place(world_name(episode.flat_seed, episode.include, episode.family), episode.start)
        self._settle()
        path = DrivenPath(grid, None if self._is_true else episode.start)
        path.add(self._odometry.pose)
        self._client.path = path
        mission = self._follow(episode.instruction)
        self._client.path = None
        path.finish()
        return _driven(episode, grid, path, mission)

    def _settle(self) -> None:
        """Wait until what is heard was measured at the new place, standing."""
        until_ns = self._odometry.stamp_ns + SETTLE_S * 1e9

        def stands() -> bool:
            odometry = self._odometry
            is_still = abs(odometry.linear_mps) < STILL_MPS and abs(odometry.angular_rps) < STILL_RPS
            return odometry.stamp_ns > until_ns and is_still

        self._session.require(stands, _ANSWER_S, "the robot did not stand still after it was put to the start")

    def _follow(self, instruction: str) -> _Mission:
        """Have the navigator do it; where it is not ready, ask again for as long as nodes may take to be."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            mission = _Mission()
            goal = NavigateInstruction.Goal(
                instruction=instruction,
                source="vila bench nav",
                max_decisions=MAX_DECISIONS,
                max_duration_s=self._timeout_s,
            )
            self._session.spin_until(self._client.navigator.server_is_ready, _ANSWER_S)
            mission.send(self._client.navigator, goal)
            limit_s = _ANSWER_S + self._timeout_s * _SLOWEST
            self._session.require(lambda m=mission: m.answer is not None, limit_s, "the navigator gave no result")  # type: ignore[misc]
            if mission.answer.decisions or mission.error not in NOT_OF_THE_EPISODE:
                return mission
            if time.monotonic() > deadline_s:
                raise VilaError(f"the robot is not ready, {mission.error.name}: {mission.answer.error_msg}")
            self._settle()

    def _call(self, client: Any, request: Any) -> Any:
        """Call a service and wait for its answer."""
        self._session.require(client.service_is_ready, _ANSWER_S, f"no service {client.srv_name}")
        future = client.call_async(request)
        self._session.require(future.done, _ANSWER_S, f"no answer from {client.srv_name}")
        return future.result()

    @property
    def _odometry(self) -> Odometry:
        assert self._client.odometry is not None
        return self._client.odometry


class _Mission:
    """A goal on its way: what was decided, and its result."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.decision_ms: list[float] = []
        self.answer: Any = None

    def send(self, client: Any, goal: Any) -> None:
        client.send_goal_async(goal, self._on_feedback).add_done_callback(self._on_accepted)

    @property
    def error(self) -> MissionError:
        return MissionError(self.answer.error_code)

    def _on_accepted(self, future: Any) -> None:
        future.result().get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Any) -> None:
        self.answer = future.result().result

    def _on_feedback(self, message: Any) -> None:
        if not is_of_decision(message.feedback):
            return
        action = action_from_message(message.feedback.decision)
        if action is not None:
            self.actions.append(action)
        self.decision_ms.append(message.feedback.latency_ms)


def _driven(episode: Episode, grid: OccupancyGrid, path: DrivenPath, mission: _Mission) -> Driven:
    progress, answer = GoalProgress(grid, episode), mission.answer
    distances = [progress.note(pose.x_m, pose.y_m) for pose in path.poses]
    held = is_hold(mission.error)
    metrics = episode_metrics(episode, path.poses, distances, Outcome(answer.outcome), mission.error)
    waited_s = sum(mission.decision_ms) / 1e3
    result = EpisodeResult(
        policy="ros",
        episode_id=episode.episode_id,
        metrics=metrics,
        collisions=path.collisions,
        held=held,
        decision_ms=tuple(mission.decision_ms) or (0.0,),
        actions=tuple(mission.actions),
        path=tuple(path.poses),
        sign=episode.sign,
        end=mission.error.name,
        failure="" if metrics.success else failure_of(episode, grid.flat, path.poses[-1], mission.error, held=held),
        kind=episode.named_pairs[-1][1],
        corruption=episode.corruption,
        contact_s=path.contact_s,
        motion_s=max(answer.duration_s - waited_s, 0.0),
    )
    return Driven(result, mission.error.name)
