"""Mistakes that are seeded into a healthy simulated run, each for the check that is to find it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import ACTIONS
from vila_core.doctor.observations import (
    Endpoint,
    HeardOdometry,
    Mounting,
    Observations,
    Optics,
    ProbedFrame,
    RobotFacts,
    SeenFrame,
)
from vila_core.machine.strain import MemoryLeft, Strain
from vila_core.machine.thermal import Heat, ThermalZone
from vila_core.types import Pose, Turn
from vila_tools.doctor.simulated import SimulatedRun

Picture = NDArray[np.uint8]
Seed = Callable[[SimulatedRun], Observations]
_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in words, the check that is to find it, and how it is made."""

    check: str
    about: str
    seed: Seed


def _replaced(**values: object) -> Seed:
    return lambda run: dataclasses.replace(run.observed, **values)  # type: ignore[arg-type]


def _machine(**values: object) -> Seed:
    def seed(run: SimulatedRun) -> Observations:
        assert run.observed.machine is not None
        machine = dataclasses.replace(run.observed.machine, **values)  # type: ignore[arg-type]
        return dataclasses.replace(run.observed, machine=machine)

    return seed


def _frames(change: Callable[[Sequence[SeenFrame]], Sequence[SeenFrame]]) -> Seed:
    return lambda run: dataclasses.replace(run.observed, frames=tuple(change(run.observed.frames)))


def _pictures(change: Callable[[Picture], Picture], encoding: str = "rgb8") -> Seed:
    def all_of(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
        return [
            dataclasses.replace(frame, image=np.ascontiguousarray(change(frame.image)), encoding=encoding)
            for frame in frames
        ]

    return _frames(all_of)


def _times(stamp: Callable[[int, int], int], late_ns: int = 0) -> Seed:
    """Other stamps, by number and stamp, and a later arrival."""

    def all_of(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
        return [
            dataclasses.replace(frame, stamp_ns=stamp(number, frame.stamp_ns), arrival_ns=frame.arrival_ns + late_ns)
            for number, frame in enumerate(frames)
        ]

    return _frames(all_of)


def _odometry(change: Callable[[int, HeardOdometry], HeardOdometry | None]) -> Seed:
    """Odometry with each message changed, or left out."""

    def seed(run: SimulatedRun) -> Observations:
        changed = (change(number, heard) for number, heard in enumerate(run.observed.odometry))
        return dataclasses.replace(run.observed, odometry=tuple(one for one in changed if one is not None))

    return seed


def _posed(change: Callable[[Pose], Pose], linear: float = 1.0, angular: float = 1.0) -> Seed:
    """Poses as seen from the first one, changed; velocities scaled."""

    def seed(run: SimulatedRun) -> Observations:
        first = run.observed.odometry[0].odometry.pose

        def one(_: int, heard: HeardOdometry) -> HeardOdometry:
            before = heard.odometry
            pose = first.compose(change(before.pose.relative_to(first)))
            told = dataclasses.replace(
                before, pose=pose, linear_mps=linear * before.linear_mps, angular_rps=angular * before.angular_rps
            )
            return dataclasses.replace(heard, odometry=told)

        return _odometry(one)(run)

    return seed


def _without_commands(seed: Seed) -> Seed:
    return lambda run: dataclasses.replace(seed(run), commands=())


def _camera(tf: Mounting | None = None, *, has_tf: bool = True, **values: float) -> Seed:
    """Another camera; tf: what tf says of it, if that is not true."""

    def seed(run: SimulatedRun) -> Observations:
        camera = dataclasses.replace(run.camera, **values)  # type: ignore[arg-type]
        mounting = Mounting(camera.height_m, math.radians(camera.pitch_deg)) if tf is None else tf
        return dataclasses.replace(
            run.observed,
            frames=run.seen_by(camera),
            optics=Optics(camera.width_px, camera.height_px, camera.focal_px),
            mounting=mounting if has_tf else None,
        )

    return seed


def _aside(angle_deg: float) -> Seed:
    """The camera looks to the left: the picture of a wide one, seen from there."""

    def seed(run: SimulatedRun) -> Observations:
        wide = dataclasses.replace(run.camera, hfov_deg=140.0)
        pitch, yaw = math.radians(run.camera.pitch_deg), math.radians(angle_deg)
        up = np.array([0.0, -math.cos(pitch), -math.sin(pitch)])
        rotation = cv2.Rodrigues(yaw * up)[0]  # from the turned camera's axes to the straight one's
        to_wide = _intrinsics(wide.focal_px, wide.width_px) @ rotation
        homography = to_wide @ np.linalg.inv(_intrinsics(run.camera.focal_px, run.camera.width_px))
        size = (wide.width_px, wide.height_px)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames = tuple(
            dataclasses.replace(
                frame, image=np.asarray(cv2.warpPerspective(frame.image, homography, size, flags=flags))
            )
            for frame in run.seen_by(wide)
        )
        return dataclasses.replace(run.observed, frames=frames)

    return seed


def _intrinsics(focal_px: float, width_px: int) -> NDArray[np.float64]:
    return np.array([[focal_px, 0.0, width_px / 2], [0.0, focal_px, width_px / 2], [0.0, 0.0, 1.0]])


def _exposed(stops: float) -> Callable[[Picture], Picture]:
    return lambda image: np.clip(image * 2.0**stops, 0, 255).astype(np.uint8)


def _blurred(image: Picture) -> Picture:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0))


def _grey(image: Picture) -> Picture:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _frozen(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
    return [dataclasses.replace(frame, image=frames[0].image) for frame in frames]


def _gappy(frames: Sequence[SeenFrame]) -> Sequence[SeenFrame]:
    return [frame for number, frame in enumerate(frames) if number % 12 < 7]


def _refused(run: SimulatedRun) -> Observations:
    fault = "image in 16UC1 is a depth image; choose the topic of a colour camera"
    return dataclasses.replace(run.observed, frames=(), image_faults=(fault,) * 5)


def _decisions(**values: object) -> Seed:
    def seed(run: SimulatedRun) -> Observations:
        changed = tuple(dataclasses.replace(one, **values) for one in run.observed.decisions)  # type: ignore[arg-type]
        return dataclasses.replace(run.observed, decisions=changed)

    return seed


def _reversed_prompts(run: SimulatedRun) -> Observations:
    changed = tuple(dataclasses.replace(one, frames_ns=one.frames_ns[::-1]) for one in run.observed.decisions)
    return dataclasses.replace(run.observed, decisions=changed)


def _never_looks(run: SimulatedRun) -> Observations:
    first = next(one.probabilities for one in run.observed.decisions if one.probabilities)
    return _decisions(probabilities=first)(run)


def _guesses(run: SimulatedRun) -> Observations:
    """A model that is sure of whatever comes to its mind."""
    rng = np.random.default_rng(run.seed)
    rows = np.eye(len(ACTIONS))

    def guess() -> tuple[float, ...]:
        return tuple(rows[rng.integers(len(ACTIONS))])

    probes = tuple(ProbedFrame(guess(), guess(), tuple(guess() for _ in one.changed)) for one in run.observed.probes)
    return dataclasses.replace(run.observed, probes=probes)


def _prefers_left(run: SimulatedRun) -> Observations:
    """A model to which turning left is e^3 times as probable as it ought to be."""
    gain = np.array([math.e**3 if isinstance(action, Turn) and action.angle_rad > 0 else 1.0 for action in ACTIONS])

    def biased(row: tuple[float, ...]) -> tuple[float, ...]:
        weighted = np.array(row) * gain
        return tuple(weighted / weighted.sum())

    probes = tuple(
        ProbedFrame(biased(one.plain), biased(one.mirrored), tuple(map(biased, one.changed)))
        for one in run.observed.probes
    )
    return dataclasses.replace(run.observed, probes=probes)


def _more_ends(*ends: Endpoint) -> Seed:
    return lambda run: dataclasses.replace(run.observed, endpoints=(*run.observed.endpoints, *ends))


def _hot(celsius: float) -> Strain:
    return Strain(heat=(Heat(ThermalZone(Path("/"), "cpu-thermal"), celsius),))


def _jumping(number: int, heard: HeardOdometry) -> HeardOdometry:
    if number < 200:
        return heard
    moved = dataclasses.replace(heard.odometry, pose=heard.odometry.pose.advanced(0.6))
    return dataclasses.replace(heard, odometry=moved)


def _without_twist(_: int, heard: HeardOdometry) -> HeardOdometry:
    return dataclasses.replace(heard, odometry=dataclasses.replace(heard.odometry, linear_mps=0.0, angular_rps=0.0))


def _in_degrees(_: int, heard: HeardOdometry) -> HeardOdometry:
    told = dataclasses.replace(heard.odometry, angular_rps=math.degrees(heard.odometry.angular_rps))
    return dataclasses.replace(heard, odometry=told)


def _late_odometry(_: int, heard: HeardOdometry) -> HeardOdometry:
    return dataclasses.replace(
        heard, odometry=dataclasses.replace(heard.odometry, stamp_ns=heard.odometry.stamp_ns - 5 * _S)
    )


_HALF, _MIRRORED = (lambda p: Pose(p.x_m / 2, p.y_m / 2, p.yaw_rad)), (lambda p: Pose(p.x_m, -p.y_m, -p.yaw_rad))
_WRONG_TF = Mounting(0.9, 0.0)
_PROFILE = {"dds_profile": "", "shared_memory_flaws": ()}

MISTAKES: tuple[Mistake, ...] = (
    Mistake("image rate", "2.5 images a second", _frames(lambda frames: frames[::4])),
    Mistake("image gaps", "five of twelve images are lost, in a row", _frames(_gappy)),
    Mistake("image age", "images come 0.6 s late", _times(lambda _, stamp: stamp, 6 * _S // 10)),
    Mistake("encoding", "a depth image", _refused),
    Mistake("encoding", "a grey picture", _pictures(_grey, "mono8")),
    Mistake("picture", "the driver repeats one picture", _frames(_frozen)),
    Mistake("picture", "the cap is on", _pictures(lambda image: image // 40)),
    Mistake("colour order", "red and blue are swapped", _pictures(lambda image: image[..., ::-1])),
    Mistake("exposure", "3.5 stops too dark", _pictures(_exposed(-3.5))),
    Mistake("exposure", "3 stops too bright", _pictures(_exposed(3.0))),
    Mistake("blur", "a Gaussian of 3 pixels", _pictures(_blurred)),
    Mistake("field of view", "a lens of 50 degrees", _camera(hfov_deg=50.0)),
    Mistake("field of view", "camera_info of another mode", _replaced(optics=Optics(1280, 720, 640.0))),
    Mistake("orientation", "mirrored", _pictures(lambda image: image[:, ::-1])),
    Mistake("orientation", "upside down", _pictures(lambda image: image[::-1, ::-1])),
    Mistake("orientation", "turned to the left by 90 degrees", _pictures(np.rot90)),  # type: ignore[arg-type]
    Mistake("orientation", "turned to the right by 90 degrees", _pictures(lambda image: np.rot90(image, 3))),
    Mistake("camera height", "0.3 m above the floor, by tf", _camera(height_m=0.3)),
    Mistake("camera height", "0.3 m above the floor, without tf", _camera(has_tf=False, height_m=0.3)),
    Mistake("camera pitch", "looks down by 40 degrees, by tf", _camera(pitch_deg=40.0)),
    Mistake("camera pitch", "looks down by 35 degrees, without tf", _camera(has_tf=False, pitch_deg=35.0)),
    Mistake("camera pitch", "tf says level, it looks down by 25 degrees", _camera(_WRONG_TF, pitch_deg=25.0)),
    Mistake("camera heading", "looks 20 degrees to the left", _aside(20.0)),
    Mistake("odometry rate", "2.5 messages a second", _odometry(lambda n, heard: None if n % 10 else heard)),
    Mistake("odometry jumps", "it jumps by 0.6 m", _odometry(_jumping)),
    Mistake("odometry velocity", "always zero", _odometry(_without_twist)),
    Mistake("odometry velocity", "degrees a second", _odometry(_in_degrees)),
    Mistake("odometry sign", "turns are reversed", _posed(_MIRRORED, 1.0, -1.0)),
    Mistake("odometry scale", "half of the distance", _posed(_HALF, 0.5)),
    Mistake("odometry and picture", "half of the distance, no commands heard", _without_commands(_posed(_HALF, 0.5))),
    Mistake("odometry and picture", "camera_info of a lens half as long", _replaced(optics=Optics(224, 224, 45.0))),
    Mistake("camera clock", "stamps are the time since boot", _times(lambda n, _: 5000 * _S + n * _S // 10)),
    Mistake("camera clock", "stamps are zero", _times(lambda _, __: 0)),
    Mistake("odometry clock", "stamps are 5 s old", _odometry(_late_odometry)),
    Mistake("camera delay", "stamped 0.35 s late", _times(lambda _, stamp: stamp + 35 * _S // 100, 35 * _S // 100)),
    Mistake("history", "it does not grow", _decisions(history_frames=1)),
    Mistake("history", "shown backward", _reversed_prompts),
    Mistake("latency", "5 s a decision", _decisions(latency_ms=5000.0)),
    Mistake("probabilities", "the model does not look", _never_looks),
    Mistake("probabilities", "not a number", _decisions(probabilities=(math.nan,) * len(ACTIONS))),
    Mistake("calibration", "sure of guesses", _guesses),
    Mistake("left right", "prefers left", _prefers_left),
    Mistake("disk", "0.2 GB are free", _machine(free_bytes=2 * 10**8)),
    Mistake(
        "memory", "150 MB are left", _machine(strain=Strain(memory=(MemoryLeft("the machine", 15 * 10**7, 8 * 10**9),)))
    ),
    Mistake("heat", "93 C", _machine(strain=_hot(93.0))),
    Mistake("cpu governor", "powersave", _machine(cpu_governor="powersave")),
    Mistake("gpu", "torch does not see the GPU", _machine(has_nvidia=True)),
    Mistake("gpu", "engines of another TensorRT", _machine(tensorrt="10.3.0", engine_tensorrt="10.0.1")),
    Mistake("kernels", "none", _machine(kernels="", kernels_reason="no compiler")),
    Mistake("qos", "the camera offers best effort", _more_ends(Endpoint("/camera/image_raw", "/viewer", False, True))),
    Mistake("publishers", "two of odometry", _more_ends(Endpoint("/odom", "/ekf", True, True))),
    Mistake("dds profile", "none", _machine(**_PROFILE)),
    Mistake("shared memory", "none in the container", _machine(shared_memory_flaws=("no shared memory; --shm-size",))),
    Mistake("command timeout", "the base has none", _replaced(robot=RobotFacts("hoverboard", 0.0))),
)
