"""Checks of odometry: rate, jumps, sign and scale; beside commands, beside its own velocity, beside the picture."""

from __future__ import annotations

import math

import numpy as np

from vila_core.control.odometry_watch import OdometryWatch, Source
from vila_core.control.path_watch import body_step
from vila_core.doctor.commands import LEAST_M, LEAST_RAD, commanded_and_measured
from vila_core.doctor.findings import Finding, amber, graded, green, red, unknown
from vila_core.doctor.mounting import FEWEST_DRIVES, FEWEST_TURNS
from vila_core.doctor.observations import Observations
from vila_core.doctor.picture_motion import PictureMotion
from vila_core.types import VelocityCommand

_FEWEST = 10
_SLOW_HZ, _DEAD_HZ = 15.0, 4.0  # the controller's poses are good for 0.1 s, and silence of 0.5 s stops it
_OFF, _FAR = 0.2, 0.45  # of a scale


def odometry_rate(observed: Observations) -> Finding:
    """Say whether odometry comes often enough."""
    stamps = np.array([heard.odometry.stamp_ns for heard in observed.odometry], np.float64)
    if len(stamps) < _FEWEST:
        return unknown("no odometry")
    periods = np.diff(stamps) / 1e9
    periods = periods[periods > 0]
    if not len(periods):
        return red("all stamps of odometry are the same", "let the driver stamp each message")
    rate_hz, longest_s = 1.0 / float(np.median(periods)), float(periods.max())
    return graded(
        f"{rate_hz:.0f} odometry messages a second, longest gap {longest_s:.2f} s",
        f"let the driver publish {_SLOW_HZ:g} a second or more; silence of 0.5 s stops the robot",
        is_amber=rate_hz < _SLOW_HZ or longest_s > 0.5,
        is_red=rate_hz < _DEAD_HZ or longest_s > 2.0,
    )


def odometry_jumps(observed: Observations) -> Finding:
    """Say whether odometry is of one piece: no jumps, one pair of frames, one publisher."""
    if len(observed.odometry) < _FEWEST:
        return unknown("no odometry")
    watch, still = OdometryWatch(), VelocityCommand()
    for heard in observed.odometry:
        broken = watch.note(heard.odometry, Source(heard.frame, heard.child_frame), still, still, heard.arrival_ns)
        if broken is not None:
            return red(broken.detail, "one driver must publish it, without corrections: take odom, not a map's pose")
    return green("no jumps, one pair of frames")


def odometry_velocity(observed: Observations) -> Finding:
    """Say whether the velocity in odometry is that of its poses, along the body."""
    rows = [(heard.odometry, index) for index, heard in enumerate(observed.odometry)]
    moved, told = [], []
    for before, after in zip(rows, rows[1:], strict=False):
        dt_s = (after[0].stamp_ns - before[0].stamp_ns) / 1e9
        if 0 < dt_s < 0.5:
            step = body_step(before[0].pose, after[0].pose)
            moved.append((step.x_m, step.yaw_rad))
            mean = (before[0].linear_mps + after[0].linear_mps, before[0].angular_rps + after[0].angular_rps)
            told.append((dt_s * mean[0] / 2, dt_s * mean[1] / 2))
    if not moved:
        return unknown("no odometry")
    way, said = np.abs(moved).sum(axis=0), np.abs(told).sum(axis=0)
    if way[0] < LEAST_M and way[1] < LEAST_RAD:
        return unknown("the robot must move while odometry comes")
    if said[0] + said[1] < 0.05 * (way[0] + way[1]):
        return amber(
            "the velocity in odometry is always zero", "the driver must fill in twist; motions end later without"
        )
    products = np.array([np.dot(*pair) for pair in zip(np.transpose(moved), np.transpose(told), strict=True)])
    slopes = products / np.maximum((np.square(moved)).sum(axis=0), 1e-9)
    wrong = [
        f"{name} of its velocity is {slope:.2f} of its poses'"
        for name, slope, path, least in zip(("forward", "turning"), slopes, way, (LEAST_M, LEAST_RAD), strict=True)
        if path > least and abs(slope - 1) > _FAR
    ]
    if wrong:
        remedy = "velocity is to be along the body (else set odometry_twist: world), in m/s and rad/s"
        return amber("; ".join(wrong), remedy)
    return green("its velocity is that of its poses")


def odometry_sign(observed: Observations) -> Finding:
    """Say whether odometry moves the way that was commanded."""
    measured = commanded_and_measured(observed)
    if measured is None or (math.isnan(measured.drive_slope) and math.isnan(measured.turn_slope)):
        return unknown("commands and odometry of a robot that moves; --drive makes it")
    names = {"ahead": measured.drive_slope, "to the left": measured.turn_slope}
    wrong = [name for name, slope in names.items() if slope < -0.2]
    if wrong:
        return red(f"what was commanded {' and '.join(wrong)} odometry measures the other way", _SIGNS)
    return green("odometry moves the way that was commanded")


_SIGNS = "REP-103: x ahead, left turns positive; swap the wheels or the signs in the driver"


def odometry_scale(observed: Observations) -> Finding:
    """Say whether odometry measures as much as was commanded."""
    measured = commanded_and_measured(observed)
    if measured is None or (math.isnan(measured.drive_slope) and math.isnan(measured.turn_slope)):
        return unknown("commands and odometry of a robot that moves; --drive makes it")
    scales = {"driven": abs(measured.drive_slope), "turned": abs(measured.turn_slope)}
    known = {name: scale for name, scale in scales.items() if not math.isnan(scale)}
    worst = max(abs(scale - 1) for scale in known.values())
    text = ", ".join(f"{name} {scale:.2f}" for name, scale in known.items())
    return graded(
        f"of what was commanded odometry measures: {text}",
        "measure one metre and one whole turn by hand: wheel radius and wheel separation in the driver",
        is_amber=worst > _OFF,
        is_red=worst > _FAR,
    )


def odometry_and_picture(observed: Observations, motion: PictureMotion) -> Finding:
    """Say whether odometry agrees with how the picture moves."""
    told, wrong = [], []
    if motion.turn_pairs >= FEWEST_TURNS and abs(motion.aside_ratio) < 0.5:
        ratio = abs(motion.turn_ratio)
        told.append(f"turns: the picture makes {ratio:.2f} of odometry's")
        wrong.append(abs(ratio - 1))
    if motion.drive_pairs >= FEWEST_DRIVES and motion.floor_rate > 0 and observed.mounting is not None:
        ratio = motion.floor_rate * observed.mounting.height_m
        told.append(f"drives: the floor passes {ratio:.2f} as fast as odometry says")
        wrong.append(abs(ratio - 1) if ratio > 1 else 1 / ratio - 1)
    if not told:
        return unknown("images and odometry of a robot that turns, or drives with the camera's height known")
    limits = (0.3, 0.6)
    return graded(
        "; ".join(told),
        "odometry's scale is wrong, or camera_info's focal length (turns), or the camera's height (drives)",
        is_amber=max(wrong) > limits[0],
        is_red=max(wrong) > limits[1],
    )
