"""One policy in one episode, until its mission ends by the rules that the navigator's node has too."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vila_core.types import Action, Decision, Odometry, Pose
from vila_ros.navigator.mission.mission import Mission, MissionEnd, MissionError, MissionState, MotionReport, Outcome
from vila_ros.navigator.mission.mission_config import MissionConfig
from vila_sim.environment import STEP_NS, FlatEnv
from vila_sim.episodes.oracle import MAX_DECISIONS
from vila_sim.episodes.splits import SUCCESS_RADIUS_M, Episode
from vila_tools.evaluation.failures import failure_of
from vila_tools.evaluation.metrics import NavigationMetrics, navigation_metrics
from vila_tools.evaluation.policies import SEEING_POLICIES, OraclePolicy, Policy

MOTION = (
    "unit steps of 0.25 m and 15 degrees, exact, sliding along what is in the way; no physics, controller or governor"
)
_LIMITS = MissionConfig(max_decisions=MAX_DECISIONS, max_duration_s=1_000_000.0)
_SETTLING_STEPS = 3  # after a stop, for the robot to stand
_HELD = {MissionError.BAD_REPLIES, MissionError.BACKEND_ERROR, MissionError.IMAGE_LOST}
_OUT_OF_DECISIONS = (MissionError.NONE.name, MissionError.TOO_MANY_DECISIONS.name)


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How one policy did in one episode.

    actions: one for each decision, but for the last one of a policy that held. path: the start, then one pose for each
    unit step. decision_ms: the time of each decision. end: how the mission ended, the name of a MissionError. failure:
    one of failures.FAILURES, "" for a success. kind: of what is named last. contact_s: how long it touched something.
    motion_s: the time of all unit steps.
    """

    policy: str
    episode_id: str
    metrics: NavigationMetrics
    collisions: int
    held: bool  # it held, and the episode ended there
    decision_ms: tuple[float, ...]
    actions: tuple[Action, ...]
    path: tuple[Pose, ...]
    sign: str  # on the walls, or ""
    end: str = MissionError.NONE.name
    failure: str = ""
    kind: str = ""
    corruption: str = ""
    contact_s: float = 0.0
    motion_s: float = 0.0

    @property
    def is_given_up(self) -> bool:
        """True if the mission ended by its own rules, other than by a stop or after all decisions that it may have."""
        return not self.held and self.end not in _OUT_OF_DECISIONS


def run_episode(env: FlatEnv, policy: Policy, name: str, episode: Episode, sign: str = "") -> EpisodeResult:
    """Let a policy drive one episode until its mission ends: it stops, holds, gives up or has made 60 decisions.

    sign: hangs on the walls; by default the episode's own.
    """
    sees, knows = name in SEEING_POLICIES, isinstance(policy, OraclePolicy)
    first = env.reset(episode, track_target=knows, render=sees, sign=sign)
    policy.start(episode.instruction)
    policy.observe(*first)
    mission = SteppedMission(first[1])
    times: list[float] = []
    actions: list[Action] = []
    held = False
    while mission.end is None and not held:
        began = time.perf_counter()
        decision = policy.decide()
        times.append((time.perf_counter() - began) * 1e3)
        held = decision.action is None
        if decision.action is not None:
            actions.append(decision.action)
            seen = env.act(decision.action)
            for each in seen:
                policy.observe(*each)
            mission.follow(decision, [odometry for _, odometry in seen])
    error = MissionError.NONE if mission.end is None else mission.end.error
    outcome = Outcome.FAILED if mission.end is None else mission.end.outcome
    metrics = episode_metrics(episode, env.path, env.distances_m, outcome, error)
    return EpisodeResult(
        policy=name,
        episode_id=episode.episode_id,
        metrics=metrics,
        collisions=env.collisions,
        held=held,
        decision_ms=tuple(times),
        actions=tuple(actions),
        path=tuple(env.path),
        sign=sign or episode.sign,
        end=error.name,
        failure="" if metrics.success else failure_of(episode, env.flat, env.pose, error, held=held),
        kind=episode.named_pairs[-1][1],
        corruption=episode.corruption,
        contact_s=env.contact_s,
        motion_s=(len(env.path) - 1) * STEP_NS / 1e9,
    )


class SteppedMission:
    """The navigator's mission on a clock of its own: every unit step takes half a second, and does what it should."""

    def __init__(self, start: Odometry) -> None:
        self._now_ns, self._decisions = 0, 0
        self._mission = Mission(_LIMITS, self._now_ns)
        self._see(start)

    @property
    def end(self) -> MissionEnd | None:
        """How it ended, None before."""
        return self._mission.end

    def follow(self, decision: Decision, seen: Sequence[Odometry]) -> None:
        """Take a decision, what was measured while it was carried out, and its end."""
        self._decisions += 1
        self._mission.on_decision(decision, self._decisions, self._now_ns)
        for odometry in seen:
            self._see(odometry)
        if self._mission.state is MissionState.STOPPING:
            for _ in range(_SETTLING_STEPS):
                self._see(self._last)
        self._mission.on_report(MotionReport.DONE, self._decisions, "", stamp_ns=self._now_ns, now_ns=self._now_ns)
        self._mission.tick(self._now_ns)

    def _see(self, odometry: Odometry) -> None:
        self._now_ns += STEP_NS
        self._last = replace(odometry, stamp_ns=self._now_ns, linear_mps=0.0, angular_rps=0.0)
        self._mission.on_image(self._now_ns)
        self._mission.on_controller(self._now_ns)
        self._mission.on_odometry(self._last, self._now_ns)


def episode_metrics(
    episode: Episode, path: Sequence[Pose], distances_m: Sequence[float], outcome: Outcome, error: MissionError
) -> NavigationMetrics:
    """Measure an episode by its path and how its mission ended.

    What is absent is rightly told by NOT_FOUND; all that measures a way to a goal is nan then.
    """
    is_absent = episode.absent is not None
    metrics = navigation_metrics(
        [(pose.x_m, pose.y_m) for pose in path],
        [0.0] * len(path) if is_absent else distances_m,
        episode.reference_path,
        stop_called=outcome is Outcome.REACHED,
        radius_m=SUCCESS_RADIUS_M,
    )
    if not is_absent:
        return metrics
    nothing = dict.fromkeys(("oracle_success", "spl", "soft_spl", "ndtw", "sdtw"), math.nan)
    nothing |= dict.fromkeys(("navigation_error_m", "oracle_navigation_error_m"), math.nan)
    return replace(metrics, success=float(error is MissionError.NOT_FOUND), **nothing)


def is_hold(error: MissionError) -> bool:
    """Return True if a mission ended so because the navigator held again and again."""
    return error in _HELD
