"""All checks, by groups, in the order in which a newcomer would go through them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from vila_core.doctor import camera, clocks, graph, machine, model, mounting, odometry
from vila_core.doctor.findings import Finding
from vila_core.doctor.observations import Observations
from vila_core.doctor.picture_motion import PictureMotion, PicturePair, picture_motion, picture_pairs


class Case:
    """Observations, and what several checks compute of them, once.

    like: a case whose pictures were followed already; what is the same in both is taken from there.
    """

    def __init__(self, observed: Observations, like: Case | None = None) -> None:
        self.observed, self._like = observed, like

    @cached_property
    def pairs(self) -> tuple[PicturePair, ...]:
        """Pictures beside their next ones."""
        like, own = self._like, self.observed
        if like is not None and _shows_same(own, like.observed):
            return like.pairs
        return picture_pairs(own)

    @cached_property
    def motion(self) -> PictureMotion:
        """How the pictures moved; where nobody tells how far the camera looks down, the horizon does."""
        motion = picture_motion(self.pairs, self.pitch_rad)
        if self.observed.mounting is None and not math.isnan(motion.horizon_y):
            return picture_motion(self.pairs, -math.atan(motion.horizon_y))
        return motion

    @property
    def pitch_rad(self) -> float:
        """How far the camera is said to look down."""
        told = self.observed.mounting
        return math.radians(self.observed.trained.pitch_deg) if told is None else told.pitch_rad


@dataclass(frozen=True, slots=True)
class Check:
    """A check by its name, and what it looks at."""

    name: str
    group: str
    judge: Callable[[Case], Finding]


def _plain(group: str, *functions: Callable[[Observations], Finding]) -> list[Check]:
    def bound(function: Callable[[Observations], Finding]) -> Callable[[Case], Finding]:
        return lambda case: function(case.observed)

    return [Check(_name(function), group, bound(function)) for function in functions]


def _moving(group: str, *functions: Callable[[Observations, PictureMotion], Finding]) -> list[Check]:
    def bound(function: Callable[[Observations, PictureMotion], Finding]) -> Callable[[Case], Finding]:
        return lambda case: function(case.observed, case.motion)

    return [Check(_name(function), group, bound(function)) for function in functions]


def _name(function: Callable[..., Finding]) -> str:
    return function.__name__.replace("_", " ")


def _delay(case: Case) -> Finding:
    return clocks.camera_delay(case.observed, case.pairs, case.pitch_rad)


CHECKS: tuple[Check, ...] = (
    *_plain("camera", camera.image_rate, camera.image_gaps, camera.image_age, camera.encoding, camera.picture),
    *_plain("camera", camera.colour_order, camera.exposure, camera.blur, camera.field_of_view),
    *_moving("camera", mounting.orientation, mounting.camera_height, mounting.camera_pitch, mounting.camera_heading),
    *_plain("odometry", odometry.odometry_rate, odometry.odometry_jumps, odometry.odometry_velocity),
    *_plain("odometry", odometry.odometry_sign, odometry.odometry_scale),
    *_moving("odometry", odometry.odometry_and_picture),
    *_plain("clocks", clocks.camera_clock, clocks.odometry_clock),
    Check("camera delay", "clocks", _delay),
    *_plain("model", model.history, model.latency, model.probabilities, model.calibration, model.left_right),
    *_plain("machine", machine.disk, machine.memory, machine.heat, machine.cpu_governor, machine.gpu, machine.kernels),
    *_plain("graph", graph.qos, graph.publishers, machine.dds_profile, machine.shared_memory, graph.command_timeout),
)


def examine(case: Case) -> dict[str, Finding]:
    """Return what every check says, by its name."""
    return {check.name: check.judge(case) for check in CHECKS}


def _shows_same(one: Observations, other: Observations) -> bool:
    return one.frames is other.frames and one.odometry is other.odometry and one.optics is other.optics
