"""Runs of a simulated robot as the doctor would hear them: it turns to and fro, then drives where there is room."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.doctor.observations import (
    Endpoint,
    HeardCommand,
    HeardDecision,
    HeardOdometry,
    HostClocks,
    MachineFacts,
    Mounting,
    Observations,
    Optics,
    RobotFacts,
    SeenFrame,
)
from vila_core.engine.backend import Backend
from vila_core.errors import WorldError
from vila_core.machine.strain import MemoryLeft, Strain
from vila_core.machine.thermal import Heat, ThermalZone
from vila_core.navigator import Navigator
from vila_core.types import Frame, Instruction, Pose, VelocityCommand
from vila_sim.cameras import Exposure
from vila_sim.episodes.scenario import live_world
from vila_sim.families.table import HELD_OUT, PLAIN, RICH
from vila_sim.flats.scene import Flat
from vila_sim.mujoco.simulator import Simulator
from vila_sim.robot import CameraConfig
from vila_tools.doctor.probe import probe

FAMILIES = (PLAIN, RICH, HELD_OUT)
_BEGIN_NS = 1_790_000_000 * 10**9  # wall time
_SINCE_BOOT_NS = 5000 * 10**9
_TICK_S = 0.02
_IMAGE_TICKS, _ODOMETRY_TICKS, _DECISION_TICKS = 5, 2, 75
_TURN_RPS, _SPEED_MPS = 0.6, 0.3
_TURNS_RAD = (math.radians(40), math.radians(-80), math.radians(40))
_ROOM_M, _LONGEST_M = 0.55, 1.8
_TRIES, _APART = 10, 1000  # seeds for a run, so far from each other that runs share none
_FIRST_SEED = 7500  # of flats by which no limit of a check was chosen
_TARGETS = ("red chair", "blue sofa", "green cabinet", "yellow table", "white bed", "black bookshelf")

ENDPOINTS = (
    Endpoint("/camera/image_raw", "/camera", True, False),
    Endpoint("/camera/image_raw", "/navigator_camera", False, False),
    Endpoint("/odom", "/base", True, True),
    Endpoint("/odom", "/controller", False, False),
    Endpoint("/cmd_vel", "/governor", True, True),
    Endpoint("/cmd_vel", "/watchdog", True, True),
    Endpoint("/cmd_vel", "/base", False, True),
)
HEALTHY_MACHINE = MachineFacts(
    free_bytes=50 * 10**9,
    strain=Strain(
        heat=(Heat(ThermalZone(Path("/"), "cpu-thermal"), 52.0),),
        memory=(MemoryLeft("the machine", 5 * 10**9, 8 * 10**9),),
    ),
    cpu_governor="schedutil",
    cpu_driver="cpufreq-dt",
    kernels="avx2",
    torch="2.9",
    dds_profile="/opt/ros/share/vila_nav/config/fastdds.xml",
)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedRun:
    """A healthy run, and what it needs to be seen again through another camera: the simulator, and where it was."""

    observed: Observations
    simulator: Simulator
    poses: tuple[Pose, ...]  # of the frames
    camera: CameraConfig
    exposure: Exposure
    seed: int

    def seen_by(self, camera: CameraConfig) -> tuple[SeenFrame, ...]:
        """Return the frames as another camera, of as many pixels, would have taken them."""
        self.simulator.set_camera(camera)
        rng = np.random.default_rng(self.seed)
        frames = []
        for frame, pose in zip(self.observed.frames, self.poses, strict=True):
            self.simulator.teleport(pose)
            image = self.exposure.apply(self.simulator.render(), rng)
            frames.append(dataclasses.replace(frame, image=image))
        return tuple(frames)


@contextmanager
def healthy_run(number: int, backend: Backend) -> Iterator[SimulatedRun]:
    """Drive a robot of which nothing is wrong; each number is another flat, and another camera within what is usual."""
    rng = np.random.default_rng(number)
    instruction = f"go to the {_TARGETS[number % len(_TARGETS)]}"
    flat, start = _world(number, instruction)
    camera = CameraConfig(
        hfov_deg=round(float(rng.uniform(80, 100)), 1),
        height_m=round(float(rng.uniform(0.75, 1.05)), 2),
        pitch_deg=round(float(rng.uniform(7, 17)), 1),
    )
    exposure = Exposure(
        stops=float(rng.uniform(-0.5, 0.3)),
        white_balance=(1 + float(shift := rng.uniform(-0.06, 0.06)), 1.0, 1 - float(shift)),
        noise=float(rng.uniform(0, 5)),
        jpeg_quality=int(rng.integers(60, 95)) if number % 2 else 0,
    )
    simulator = Simulator(flat, camera)
    try:
        simulator.reset(start)
        recorder = _Recorder(simulator, exposure, backend, instruction, rng)
        recorder.drive()
        yield SimulatedRun(recorder.observations(number), simulator, tuple(recorder.poses), camera, exposure, number)
    finally:
        simulator.close()


def _world(number: int, instruction: str) -> tuple[Flat, Pose]:
    """A flat that holds what is named, with room for the robot in front of it: not every seed has that."""
    for seed in range(_FIRST_SEED + number, _FIRST_SEED + number + _TRIES * _APART, _APART):
        with suppress(WorldError):
            return live_world(seed, instruction, FAMILIES[number % len(FAMILIES)])
    raise WorldError(f"none of {_TRIES} flats has a place to start for run {number}: {instruction}")


class _Recorder:
    """Drives and notes what a robot's topics would carry."""

    def __init__(
        self,
        simulator: Simulator,
        exposure: Exposure,
        backend: Backend,
        instruction: str,
        rng: np.random.Generator,
    ) -> None:
        self._simulator, self._exposure, self._backend, self._rng = simulator, exposure, backend, rng
        self._instruction = instruction
        self._navigator = Navigator(backend, NavigatorConfig(max_image_age_s=60.0), HistoryConfig())
        self._navigator.start(Instruction(instruction, _BEGIN_NS))
        self.frames: list[SeenFrame] = []
        self.poses: list[Pose] = []
        self.odometry: list[HeardOdometry] = []
        self.commands: list[HeardCommand] = []
        self.decisions: list[HeardDecision] = []
        self._ticks = 0

    def drive(self) -> None:
        """Stand, turn to and fro, turn to where there is room, drive there, stand."""
        self._go(VelocityCommand(), 0.4)
        for angle_rad in _TURNS_RAD:
            self._turn(angle_rad)
        angle_rad, free_m = self._freest()
        self._turn(angle_rad)
        self._go(VelocityCommand(_SPEED_MPS), min(_LONGEST_M, max(free_m - _ROOM_M, 0.0)) / _SPEED_MPS)
        self._go(VelocityCommand(), 0.4)

    def observations(self, number: int) -> Observations:
        """Return what was heard."""
        camera = self._simulator.camera
        return Observations(
            source=f"simulated run {number}",
            is_live=True,
            frames=tuple(self.frames),
            odometry=tuple(self.odometry),
            commands=tuple(self.commands),
            optics=Optics(camera.width_px, camera.height_px, camera.focal_px),
            mounting=Mounting(camera.height_m, math.radians(camera.pitch_deg)),
            decisions=tuple(self.decisions),
            endpoints=ENDPOINTS,
            probes=probe(self._backend, self.frames, self._instruction),
            machine=HEALTHY_MACHINE,
            robot=RobotFacts("simulated", 0.3),
            clocks=HostClocks(steady_ahead_ns=_SINCE_BOOT_NS - _BEGIN_NS),
        )

    def _freest(self) -> tuple[float, float]:
        """Where the most room is: the angle to it, and how much."""
        ranges = np.minimum(self._simulator.scan(180), 8.0)
        beside = np.stack([np.roll(ranges, shift) for shift in range(-9, 10)]).min(axis=0)
        best = int(np.argmax(beside))
        return -math.pi + best * 2 * math.pi / 180, float(beside[best])

    def _turn(self, angle_rad: float) -> None:
        self._go(VelocityCommand(0.0, math.copysign(_TURN_RPS, angle_rad)), abs(angle_rad) / _TURN_RPS)
        self._go(VelocityCommand(), 0.3)

    def _go(self, command: VelocityCommand, seconds: float) -> None:
        for _ in range(round(seconds / _TICK_S)):
            now_ns = _BEGIN_NS + self._simulator.time_ns
            self.commands.append(HeardCommand(command, now_ns))
            self._sense(now_ns)
            self._simulator.step(command, _TICK_S)
            self._ticks += 1

    def _sense(self, now_ns: int) -> None:
        odometry = dataclasses.replace(self._simulator.odometry(), stamp_ns=now_ns)
        if self._ticks % _ODOMETRY_TICKS == 0:
            self.odometry.append(HeardOdometry(odometry, now_ns + self._late_ns(4, 1)))
        if self._ticks % _IMAGE_TICKS == 0:
            image = self._exposure.apply(self._simulator.render(), self._rng)
            self.frames.append(SeenFrame(image, now_ns, now_ns + self._late_ns(40, 8)))
            self.poses.append(odometry.pose)
            self._navigator.observe(Frame(image, now_ns), odometry)
        if self._ticks % _DECISION_TICKS == _DECISION_TICKS - 1:
            self._decide(now_ns)

    def _decide(self, now_ns: int) -> None:
        decision = self._navigator.decide(now_ns)
        latency_ms = float(self._rng.uniform(200, 400))
        told = HeardDecision(
            decision.stamp_ns,
            now_ns + round(1e6 * latency_ms),
            latency_ms,
            decision.probabilities,
            self._navigator.history_frames,
            decision.frames_used,
        )
        self.decisions.append(told)

    def _late_ns(self, usual_ms: float, spread_ms: float) -> int:
        return round(1e6 * max(1.0, self._rng.normal(usual_ms, spread_ms)))
