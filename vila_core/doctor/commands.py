"""What odometry measured for what was commanded."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

import numpy as np

from vila_core.control.path_watch import body_step
from vila_core.doctor.observations import Observations

_FEWEST = 10
_WINDOW_NS = 500_000_000
_COMMAND_NS = 500_000_000  # a command counts so long at most
_LAGS_S = (0.0, 0.1, 0.2, 0.3)
LEAST_M, LEAST_RAD = 0.2, 0.35  # less says nothing


@dataclass(frozen=True, slots=True)
class Measured:
    """What odometry measured for what was commanded. slopes: 1 if as commanded, NaN where too little was.

    driven_m, turned_rad: what was commanded in all, without signs.
    """

    drive_slope: float
    turn_slope: float
    driven_m: float
    turned_rad: float


def commanded_and_measured(observed: Observations) -> Measured | None:
    """Compare what passed to the base with what odometry measured over half seconds; None if either is missing.

    A base obeys a little later: the lag counts by which both agree best.
    """
    if len(observed.commands) < _FEWEST or len(observed.odometry) < _FEWEST:
        return None
    times = [command.arrival_ns for command in observed.commands]
    windows = _windows(observed)
    best: tuple[float, Measured] | None = None
    for lag_s in _LAGS_S:
        rows = []
        for begin_ns, end_ns, moved_m, turned_rad in windows:
            told_m, told_rad = _commanded(observed, times, begin_ns - round(lag_s * 1e9), end_ns - round(lag_s * 1e9))
            rows.append((told_m, moved_m, told_rad, turned_rad))
        table = np.array(rows).reshape(-1, 4)
        drive, rest_m = _slope(table[:, 0], table[:, 1], LEAST_M)
        turn, rest_rad = _slope(table[:, 2], table[:, 3], LEAST_RAD)
        measured = Measured(drive, turn, float(np.abs(table[:, 0]).sum()), float(np.abs(table[:, 2]).sum()))
        if best is None or rest_m + rest_rad < best[0]:
            best = rest_m + rest_rad, measured
    return None if best is None else best[1]


def _windows(observed: Observations) -> list[tuple[int, int, float, float]]:
    """(begin, end, metres ahead, radians to the left) of half seconds, by arrival: that is the clock of commands."""
    told, begin = [], 0
    heard = observed.odometry
    moved_m = turned_rad = 0.0
    for index in range(1, len(heard)):
        step = body_step(heard[index - 1].odometry.pose, heard[index].odometry.pose)
        moved_m, turned_rad = moved_m + step.x_m, turned_rad + step.yaw_rad
        if heard[index].arrival_ns - heard[begin].arrival_ns >= _WINDOW_NS:
            told.append((heard[begin].arrival_ns, heard[index].arrival_ns, moved_m, turned_rad))
            begin, moved_m, turned_rad = index, 0.0, 0.0
    return told


def _commanded(observed: Observations, times: list[int], begin_ns: int, end_ns: int) -> tuple[float, float]:
    """Metres and radians that were commanded between two times."""
    first = max(0, bisect.bisect_right(times, begin_ns) - 1)
    moved_m = turned_rad = 0.0
    for index in range(first, len(times)):
        if times[index] >= end_ns:
            break
        until_ns = min(end_ns, times[index] + _COMMAND_NS, times[index + 1] if index + 1 < len(times) else end_ns)
        dt_s = max(0, until_ns - max(begin_ns, times[index])) / 1e9
        command = observed.commands[index].command
        moved_m, turned_rad = moved_m + dt_s * command.linear_mps, turned_rad + dt_s * command.angular_rps
    return moved_m, turned_rad


def _slope(told: np.ndarray, measured: np.ndarray, least: float) -> tuple[float, float]:
    """The line through both and what it leaves; NaN where too little was commanded."""
    if np.abs(told).sum() < least:
        return math.nan, 0.0
    slope = float(told @ measured / (told @ told))
    return slope, float(np.square(measured - slope * told).sum())
