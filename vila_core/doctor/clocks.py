"""Checks of clocks: of the camera and of odometry beside the host's, and of one beside the other by what moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vila_core.control.limits import MAX_FUTURE_S
from vila_core.control.stamp_watch import Clocks, StampWatch
from vila_core.doctor.findings import Finding, graded, green, red, unknown
from vila_core.doctor.observations import HostClocks, Observations
from vila_core.doctor.picture_motion import PicturePair, turn_rates

_S = 1_000_000_000
_FEWEST = 5
_APART_NS = 60 * _S
_LAGS_S = np.arange(-0.6, 0.61, 0.02)
_LEAST_RPS, _LEAST_SHARE = 0.15, 0.1
_SURE = 0.5  # of the variance that the best lag must explain
_LATE_S, _VERY_LATE_S = 0.2, 0.4


def camera_clock(observed: Observations) -> Finding:
    """Say whether the stamps of images are of the host's clock."""
    stamps = [(frame.stamp_ns, frame.arrival_ns) for frame in observed.frames]
    return _clock(observed, "images", stamps, 2 * observed.limits.max_image_age_s)


def odometry_clock(observed: Observations) -> Finding:
    """Say whether the stamps of odometry are of the host's clock."""
    stamps = [(heard.odometry.stamp_ns, heard.arrival_ns) for heard in observed.odometry]
    return _clock(observed, "odometry", stamps, 0.5)


def _clock(observed: Observations, what: str, stamps: Sequence[tuple[int, int]], max_age_s: float) -> Finding:
    if len(stamps) < _FEWEST:
        return unknown(f"no {what}")
    if not observed.is_live and _writer_had_another(observed):
        return unknown("who wrote the bag had another clock than camera and odometry, which have one")
    if text := _fault(observed.clocks, what, stamps, max_age_s):
        return red(text, "docs/architecture.md, Clocks")
    ages = [arrival - stamp for stamp, arrival in stamps]
    return green(f"stamps of {what} are {np.median(ages) / 1e6:.0f} ms before their arrival")


def _writer_had_another(observed: Observations) -> bool:
    """True if camera and odometry have one clock, far from that of the bag: wall time beside simulated time, mostly."""
    if not (observed.frames and observed.odometry):
        return False
    image, odometry = observed.frames[0], observed.odometry[0]
    stamps_ns = image.stamp_ns, odometry.odometry.stamp_ns
    is_one = min(stamps_ns) > 0 and abs(stamps_ns[0] - stamps_ns[1]) < _APART_NS
    return is_one and abs(image.arrival_ns - image.stamp_ns) > _APART_NS


def _fault(host: HostClocks, what: str, stamps: Iterable[tuple[int, int]], max_age_s: float) -> str:
    """What is wrong with stamps for half a second or longer, in the words of the watch that the navigator has."""
    watch = StampWatch(what, max_age_s)
    for stamp_ns, arrival_ns in stamps:
        steady_ns = arrival_ns + (host.steady_ahead_ns or 0)
        wall_ns = arrival_ns + host.wall_ahead_ns
        clocks = Clocks(arrival_ns, wall_ns, steady_ns, host.is_simulated, MAX_FUTURE_S)
        watch.note(stamp_ns // _S, stamp_ns % _S, clocks)
        if watch.fault:
            return watch.fault
    return ""


def camera_delay(observed: Observations, pairs: Sequence[PicturePair], pitch_rad: float) -> Finding:
    """Say by how much the stamps of images lag behind those of odometry, by when both see the robot turn."""
    seen = np.array(turn_rates(pairs, pitch_rad)).reshape(-1, 2)
    heard = [one.odometry for one in observed.odometry]
    times = np.array([odometry.stamp_ns for odometry in heard], np.float64)
    if len(seen) < 20 or len(times) < 20 or (np.diff(times) <= 0).any():
        return unknown("the robot must turn to and fro while images and odometry come")
    begin = seen[0, 0]
    yaw = np.unwrap([odometry.pose.yaw_rad for odometry in heard])
    at, rates = (seen[:, 0] - begin) / 1e9, seen[:, 1]
    known, period_s = (times - begin) / 1e9, float(np.median([pair.dt_s for pair in pairs]))

    def told(lag_s: float) -> np.ndarray:
        ends = [np.interp(at - lag_s + side * period_s / 2, known, yaw) for side in (-1, 1)]
        return (ends[1] - ends[0]) / period_s

    now = told(0.0)
    if (np.abs(now) > _LEAST_RPS).mean() < _LEAST_SHARE or np.std(now) < _LEAST_RPS or np.std(rates) == 0:
        return unknown("the robot must turn to and fro while images and odometry come")
    fits = [_likeness(told(lag_s), rates) for lag_s in _LAGS_S]
    best = int(np.argmax(np.abs(fits)))
    if fits[best] ** 2 < _SURE:
        return unknown("the picture does not turn with odometry, see orientation")
    lag_s = float(_LAGS_S[best])
    side = "later" if lag_s >= 0 else "earlier"
    return graded(
        f"pictures show turns {abs(lag_s):.2f} s {side} than odometry, by their stamps",
        "the driver stamps when it publishes, not when the picture is taken: let it stamp the exposure, or set the"
        " clocks of both machines (chrony)",
        is_amber=abs(lag_s) > _LATE_S,
        is_red=abs(lag_s) > _VERY_LATE_S,
    )


def _likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation, 0 where one of them is constant."""
    spread = float(np.std(one) * np.std(other))
    return float(np.mean((one - one.mean()) * (other - other.mean()))) / spread if spread > 0 else 0.0
