"""`vila bench drive`: the whole chain with physics and without ROS: navigator, mission, controller, governor, lasers.

Episodes are driven in simulated time, scan and cloud are 0.1 s old. Told are SR, contacts, the share of a mission that
the robot stood and waited for decisions, and how missions ended. By default they are driven twice, with the obstacle
guard and without, and an answer of the model takes 0.1 s. With --latencies they are driven guarded, for each time that
an answer may take, with each timing of decisions.
--measured adds what each answer really took here: with --backend openai, --latencies are then round trips to it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from vila_core.config import STOP_AND_THINK, TIMINGS, ControlConfig, HistoryConfig, NavigatorConfig, from_mapping
from vila_core.control.decision_timing import DecisionTiming
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.governor import Governor, GovernorState
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard
from vila_core.control.governor.point_sources import obstacle_points
from vila_core.control.governor.transforms import from_mount
from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.control.motion.controller import MotionController
from vila_core.control.motion.pace import MotionPacing
from vila_core.control.motion.step import MotionState
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.control.reasons import StopReason
from vila_core.control.watchdog import GovernorWatch
from vila_core.engine.backend import BACKENDS, EMBEDDED_CHECKPOINT, Backend, load_backend
from vila_core.errors import ConfigError
from vila_core.navigator import Navigator
from vila_core.types import Decision, Frame, Instruction, Odometry, VelocityCommand
from vila_ros.common.resources import share_file
from vila_ros.navigator.mission.mission import Mission, MissionEnd, MissionState, MotionReport, Outcome
from vila_ros.navigator.mission.mission_config import MissionConfig
from vila_sim.episodes.goals import find_object
from vila_sim.episodes.splits import SUCCESS_RADIUS_M, Episode, flat_of
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.mujoco.simulator import RobotConfig, Simulator
from vila_tools.evaluation.chosen_episodes import chosen_episodes
from vila_tools.evaluation.oracle_navigator import OracleNavigator
from vila_tools.report import tell

_TICK_NS = 20_000_000
_CONTROL_TICKS, _SENSOR_TICKS = 2, 5
_APART_NS = 3600 * 10**9
_RAYS, _RANGE_M = 180, 8.0


@dataclass(frozen=True, slots=True)
class Drive:
    """How one episode went. contacts: touches, each counted once while it lasts."""

    episode_id: str
    end: MissionEnd
    distance_m: float  # to the goal, by ground truth
    contacts: int
    seconds: float
    stopped_s: float  # by the guard
    slowed_s: float
    waited_s: float  # the robot stood and a decision was waited for
    holds: int = 0  # answers of the model that were none
    answers_ms: tuple[float, ...] = ()  # what each of them took here

    @property
    def is_success(self) -> bool:
        """True if the robot said that it had arrived, and had."""
        return self.end.outcome is Outcome.REACHED and self.distance_m < SUCCESS_RADIUS_M


@dataclass(frozen=True, slots=True)
class Setup:
    """What drives, from the parameter file that the simulator's nodes use.

    guarded: obstacles stop the robot. timing: of decisions. latency_s: how long an answer of the model takes; with
    is_measured beside what it takes here. pace: what the controller keeps from mission to mission.
    """

    control: ControlConfig
    governor: GovernorConfig
    obstacles: ObstacleConfig
    guarded: bool
    timing: str = STOP_AND_THINK
    latency_s: float = 0.1
    is_measured: bool = False
    pace: MotionPacing = field(default_factory=MotionPacing)


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the episodes; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    episodes = chosen_episodes(args)
    if any(latency_s < 0 for latency_s in args.latencies):
        raise ConfigError(f"--latencies {' '.join(map(str, args.latencies))}: none may be below 0")
    backend = None if args.oracle else load_backend(args.backend, args.checkpoint, device="cpu", precision="auto")
    report: dict[str, Any] = {"episodes": len(episodes), "seed": args.seed, "speed_mps": args.speed}
    lines, begun_ns = [], 0
    try:
        for name, setup in _setups(args):
            drives = []
            for episode in tqdm(episodes, unit="episode", desc=name):
                begun_ns += _APART_NS
                drives.append(drive(episode, backend, setup, begun_ns))
            report[name] = summary(drives)
            lines.append(f"{name:<20} {report[name]}")
    finally:
        if backend is not None:
            backend.close()
    tell(report, lines, args.json)
    return 0


def _setups(args: argparse.Namespace) -> list[tuple[str, Setup]]:
    """Return what is compared, with names."""
    if not args.latencies:
        return [
            (name, replace(make_setup(args.speed, guarded=name == "guarded"), is_measured=args.measured))
            for name in ("guarded", "unguarded")
        ]
    setup = replace(make_setup(args.speed, guarded=True), is_measured=args.measured)
    return [
        (f"{timing} {latency_s:g} s", replace(setup, timing=timing, latency_s=latency_s))
        for latency_s in args.latencies
        for timing in TIMINGS
    ]


def make_setup(speed_mps: float, *, guarded: bool) -> Setup:
    """Return the settings of config/simulation.yaml, with another top speed."""
    nodes = yaml.safe_load(share_file("config/simulation.yaml").read_text())["/**"]
    control = from_mapping(ControlConfig, _under(nodes["controller"]["ros__parameters"], "control."))
    limits = from_mapping(GovernorConfig, _under(nodes["governor"]["ros__parameters"], "limits."))
    obstacles = from_mapping(ObstacleConfig, _under(nodes["governor"]["ros__parameters"], "obstacles."))
    return Setup(
        replace(control, max_linear_mps=speed_mps), replace(limits, max_linear_mps=speed_mps), obstacles, guarded
    )


def drive(episode: Episode, backend: Backend | None, setup: Setup, begun_ns: int) -> Drive:
    """Drive one episode to the end of its mission; without a backend the oracle decides.

    begun_ns: the time at its begin. The backend knows images by their stamps: no two episodes may share one.
    """
    if len(episode.goals) != 1 or episode.sign or episode.corruption:
        raise ConfigError(
            f"episode {episode.episode_id} is of {episode.split}: choose a split of one goal, in clean flats"
        )
    flat = flat_of(episode)
    target = find_object(flat, episode.target)
    way = OccupancyGrid(flat).field_to(target)
    simulator = Simulator(flat, robot=RobotConfig())
    try:
        simulator.reset(episode.start)
        navigator = (
            OracleNavigator(simulator, target, way)
            if backend is None
            else Navigator(backend, NavigatorConfig(), HistoryConfig())
        )
        chain = _Chain(simulator, navigator, setup, episode.instruction, begun_ns)
        while chain.mission.end is None:
            chain.tick()
        pose = simulator.odometry().pose
        return Drive(
            episode.episode_id,
            chain.mission.end,
            way.at(pose.x_m, pose.y_m),
            chain.contacts,
            simulator.time_ns / 1e9,
            chain.stopped_ticks * _TICK_NS / 1e9,
            chain.slowed_ticks * _TICK_NS / 1e9,
            chain.waited_ticks * _TICK_NS / 1e9,
            chain.holds,
            tuple(chain.answers_ms),
        )
    finally:
        simulator.close()


def summary(drives: Sequence[Drive]) -> dict[str, Any]:
    """Sum up the drives of one setup."""
    count, answers_ms = len(drives), [ms for drive in drives for ms in drive.answers_ms]
    return {
        "sr": round(sum(drive.is_success for drive in drives) / count, 4),
        "contacts": sum(drive.contacts for drive in drives),
        "episodes_with_contact": sum(drive.contacts > 0 for drive in drives),
        "ends": dict(Counter(drive.end.error.name for drive in drives)),
        "seconds": round(statistics.mean(drive.seconds for drive in drives), 2),
        "stopped_s": round(statistics.mean(drive.stopped_s for drive in drives), 2),
        "slowed_s": round(statistics.mean(drive.slowed_s for drive in drives), 2),
        "waiting_ratio": round(sum(drive.waited_s for drive in drives) / sum(drive.seconds for drive in drives), 4),
        "decisions": round(statistics.mean(drive.end.decisions for drive in drives), 1),
        "holds": sum(drive.holds for drive in drives),
        "answer_ms": round(statistics.median(answers_ms or [0.0]), 1),
    }


class _Chain:
    """All that drives the robot, tick by tick of 20 ms; the simulator's time is everybody's."""

    def __init__(
        self,
        simulator: Simulator,
        navigator: Navigator | OracleNavigator,
        setup: Setup,
        instruction: str,
        begun_ns: int = 0,
    ) -> None:
        self._simulator, self._begun_ns = simulator, begun_ns
        self._navigator = navigator
        self._motion, self._poses = MotionController(setup.control), PoseBuffer()
        self._timing, self._pace = DecisionTiming(setup.timing), setup.pace
        self._latency_ns = round(setup.latency_s * 1e9)
        self._is_measured = setup.is_measured
        self._is_guarded = setup.guarded
        unguarded = replace(setup.obstacles, sources="", required=False)
        self._guard = ObstacleGuard(setup.obstacles if setup.guarded else unguarded)
        self._governor = Governor(setup.governor, self._guard.limit, needs_watchdog=False)
        self._obstacles = setup.obstacles
        self._cloud_mount = from_mount((0.0, 0.0, simulator.robot.scan_height_m, 0.0, 0.0))
        self._measured: list[tuple[int, np.ndarray, np.ndarray]] = []
        self._decision: tuple[int, Decision] | None = None  # when it is there, and it
        self._action_id = 0
        self._ticks = 0
        self._touches = False
        self._passed = VelocityCommand()
        self._governor_watch = GovernorWatch(setup.control.governor_timeout_s)
        self.holds = 0  # answers that were none
        self.answers_ms: list[float] = []
        self.contacts = self.stopped_ticks = self.slowed_ticks = self.waited_ticks = 0
        self.mission = Mission(MissionConfig(), self._now_ns, decides_moving=self._timing.is_continuous)
        self._governor.on_mission(1, running=False, steady_ns=self._now_ns)
        self._governor.on_mission(2, running=True, steady_ns=self._now_ns)
        self._navigator.start(Instruction(instruction, self._now_ns))

    @property
    def _now_ns(self) -> int:
        return self._begun_ns + self._simulator.time_ns

    def tick(self) -> None:
        """Sense, decide, control, govern, step."""
        now_ns = self._now_ns
        odometry = replace(self._simulator.odometry(), stamp_ns=now_ns)
        self._poses.add(odometry)
        self._motion.path.measure(odometry)
        self.mission.on_odometry(odometry, now_ns)
        if self._ticks % _SENSOR_TICKS == 0:
            if isinstance(self._navigator, Navigator):
                self._navigator.observe(Frame(self._simulator.render(), now_ns), odometry)
            self.mission.on_image(now_ns)
            if self._is_guarded:
                self._scan(now_ns)
        self._decide(odometry, now_ns)
        if self._ticks % _CONTROL_TICKS == 0 and self.mission.state is MissionState.MOVING:
            self._control(odometry, now_ns)
        self._govern(now_ns)
        self._simulator.step(self._passed, _TICK_NS / 1e9)
        self.contacts += self._simulator.collided and not self._touches
        self._touches = self._simulator.collided
        is_still = abs(odometry.linear_mps) < STILL_MPS and abs(odometry.angular_rps) < STILL_RPS
        self.waited_ticks += is_still and self.mission.state is MissionState.WAITING
        self.mission.on_controller(now_ns)
        self.mission.tick(now_ns)
        self._ticks += 1

    def _scan(self, now_ns: int) -> None:
        """Note what the lasers measured before the last time, which is as old as on a robot."""
        ranges = self._simulator.scan(_RAYS, 2 * math.pi, _RANGE_M)
        sees = np.isfinite(ranges)
        angles = np.flatnonzero(sees) * 2 * math.pi / _RAYS - math.pi
        scan = ranges[sees, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cloud = obstacle_points(self._simulator.cloud(), self._cloud_mount, self._obstacles)
        self._measured.append((now_ns, scan.astype(np.float32), cloud))
        del self._measured[:-2]
        measured_ns, scan, cloud = self._measured[0]
        self._guard.note("scan", scan, measured_ns)
        self._guard.note("cloud", cloud, measured_ns)

    def _decide(self, odometry: Odometry, now_ns: int) -> None:
        if self._decision is None:
            is_due = self.mission.state is MissionState.MOVING and self._timing.is_due(odometry)
            if self._ticks % _SENSOR_TICKS == 0 and (is_due or self.mission.wants_decision):
                began_ns = time.perf_counter_ns()
                decision = self._navigator.decide(now_ns)
                taken_ns = time.perf_counter_ns() - began_ns
                self.answers_ms.append(taken_ns / 1e6)
                self._decision = now_ns + self._latency_ns + (taken_ns if self._is_measured else 0), decision
                self.holds += decision.action is None
            return
        ready_ns, decision = self._decision
        if now_ns < ready_ns:
            return
        self._decision = None
        if self.mission.accepts_decision:
            self._action_id += 1
            self._begin(decision, odometry, now_ns)
            self.mission.on_decision(decision, self._action_id, now_ns)

    def _begin(self, decision: Decision, odometry: Odometry, now_ns: int) -> None:
        self._governor.on_action(2, decision.action, decision.stamp_ns)
        if decision.action is None:
            self._motion.abort("hold")
            self._pace.end(now_ns)
            self._timing.begin(None, None, None)
            return
        anchor = replace(odometry, pose=self._poses.at(decision.stamp_ns))
        self._timing.note_decision(decision.stamp_ns, now_ns)
        self._timing.begin(decision.action, anchor, odometry)
        pace = self._pace.begin(self._begun_ns, decision.stamp_ns, now_ns)
        self._motion.start(decision.action, anchor.pose, now_ns, pace)

    def _control(self, odometry: Odometry, now_ns: int) -> None:
        step = self._motion.step(odometry, now_ns, speed_share=self._governor_watch.speed_share)
        self._governor.on_command(step.command, now_ns)
        report = _REPORTS[step.state]
        if step.state is not MotionState.RUNNING:
            self._pace.end(now_ns)
        self.mission.on_report(report, self._action_id, step.detail, stamp_ns=now_ns, now_ns=now_ns, fault=step.fault)

    def _govern(self, now_ns: int) -> None:
        self._governor.on_mission(2, running=True, steady_ns=now_ns)
        output = self._governor.tick(now_ns, now_ns)
        self._passed = output.command or VelocityCommand()
        self._motion.pass_on(self._passed, now_ns)
        self._governor_watch.note(output.state, output.reason, output.scale, now_ns)
        self.stopped_ticks += output.state is GovernorState.STOPPED and output.reason is StopReason.OBSTACLE
        self.slowed_ticks += output.state is GovernorState.LIMITED
        if output.state is GovernorState.REVOKED:
            raise RuntimeError(f"the governor revoked the mission, {output.reason.name}: {output.detail}")


_REPORTS = {
    MotionState.IDLE: MotionReport.ABORTED,
    MotionState.RUNNING: MotionReport.RUNNING,
    MotionState.DONE: MotionReport.DONE,
    MotionState.ABORTED: MotionReport.ABORTED,
}


def _under(parameters: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench drive", description=main.__doc__)
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="the model's directory")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="torch", help="default: %(default)s")
    parser.add_argument("--episodes", type=int, default=50, help="how many (%(default)s)")
    parser.add_argument("--split", default="val_unseen_layout", help="which flats (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which episodes (%(default)s)")
    parser.add_argument("--episode-file", type=Path, help="drive these instead")
    parser.add_argument("--speed", type=float, default=0.5, help="top speed in m/s (%(default)s)")
    parser.add_argument(
        "--latencies",
        type=float,
        nargs="+",
        default=[],
        metavar="S",
        help="compare timings for answers that take so long",
    )
    parser.add_argument("--measured", action="store_true", help="add what each answer takes here")
    parser.add_argument("--oracle", action="store_true", help="have the oracle decide, which knows the way")
    parser.add_argument("--json", type=Path, help="write the last line here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
