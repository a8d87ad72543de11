"""How the picture moved from image to image, beside what odometry says the robot did meanwhile.

Axes of a picture: x right and y down of its middle, in focal lengths. For a camera above the middle of the base that
looks down by p, with s = sin p and c = cos p, a turn by a to the left moves a point by
a (c - s y + c x^2, s x + c x y), and driving d ahead moves a point of the floor, h below the camera, by d q / h (x, q),
where q = s + c y.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.control.path_watch import body_step
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.doctor.observations import HeardOdometry, Observations, SeenFrame
from vila_core.types import Pose

_WIDTH_PX = 320  # that pictures are followed in
_CORNERS, _LEAST_CORNERS = 160, 12
_MOST_PAIRS = 400
_BACK_PX = 1.0  # a corner that is followed there and back must come so near
_LONGEST_S = 0.6  # between two pictures that are compared
_TURN_RAD, _MOST_TURN_RAD = math.radians(0.7), math.radians(16.0)  # a turn to judge by, and one that LK still follows
_STILL_M, _STRAIGHT_RAD = 0.02, math.radians(0.6)
_DRIVE_M = 0.012
_FLOOR_Q = 0.35  # points of the floor from so far below the horizon on
_LOWEST_M, _HIGHEST_M, _BINS = 0.08, 4.0, 40  # heights of cameras, and how finely they are told apart
_SEEN_PX = 0.4  # a motion that can be told from noise

Points = NDArray[np.float64]  # [N, 2]


@dataclass(frozen=True, slots=True, eq=False)
class PicturePair:
    """Two pictures: where points were, how they moved [N, 2], and what odometry says: NaN without.

    middle_ns: between their stamps. focal_px: of the pictures as they were followed.
    """

    points: Points
    flow: Points
    moved_m: float
    turned_rad: float
    dt_s: float
    middle_ns: int
    focal_px: float


@dataclass(frozen=True, slots=True)
class PictureMotion:
    """What the pairs of a run say together. NaN, or a count of 0, where the robot did not move so.

    turn_ratio: the picture's turn by odometry's; 1 if they agree, -1 if one of them is reversed. aside_ratio: the same
    of its motion down the picture, which a turn does not have. turn_pairs, drive_pairs: that these come from.
    horizon_y, ahead_x: the point that the robot drives toward. lower_ratio: how much faster the lower half moves than
    the upper one when it drives. floor_rate: radians of floor for each metre, 1/h.
    """

    turn_ratio: float
    aside_ratio: float
    turn_pairs: int
    horizon_y: float
    ahead_x: float
    lower_ratio: float
    floor_rate: float
    drive_pairs: int


def picture_pairs(observed: Observations) -> tuple[PicturePair, ...]:
    """Follow corners from each picture to the next, where odometry knows both; every second, third... of very many."""
    frames = observed.frames
    step = max(1, math.ceil(len(frames) / _MOST_PAIRS))
    firsts = range(0, len(frames) - 1, step)
    poses = _Poses(observed.odometry)
    pairs = []
    for index in firsts:
        before, after = frames[index], frames[index + 1]
        dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
        if not 0 < dt_s <= _LONGEST_S or before.image.shape != after.image.shape:
            continue
        step_made = poses.step(before.stamp_ns, after.stamp_ns)
        moved = _moved(before, after, observed)
        if moved is not None and step_made is not None:
            points, flow, focal_px = moved
            middle_ns = (before.stamp_ns + after.stamp_ns) // 2
            pairs.append(PicturePair(points, flow, step_made.x_m, step_made.yaw_rad, dt_s, middle_ns, focal_px))
    return tuple(pairs)


def picture_motion(pairs: Sequence[PicturePair], pitch_rad: float) -> PictureMotion:
    """Put together what the pairs say; pitch_rad: how far the camera is said to look down."""
    turns = [
        pair for pair in pairs if _TURN_RAD < abs(pair.turned_rad) < _MOST_TURN_RAD and abs(pair.moved_m) < _STILL_M
    ]
    drives = [pair for pair in pairs if pair.moved_m > _DRIVE_M and abs(pair.turned_rad) < _STRAIGHT_RAD]
    turn_ratio = _median([_turn_ratio(pair, pitch_rad) for pair in turns])
    aside = _median([float(np.median(pair.flow[:, 1])) / pair.turned_rad for pair in turns])
    ahead_x, horizon_y, lower = _ahead(drives)
    floor_rate = _floor_rate(drives, pitch_rad)
    return PictureMotion(turn_ratio, aside, len(turns), horizon_y, ahead_x, lower, floor_rate, len(drives))


def turn_rates(pairs: Sequence[PicturePair], pitch_rad: float) -> tuple[tuple[int, float], ...]:
    """Return (time in ns, radians a second) that the picture turns at, left > 0, for each pair."""
    told = []
    for pair in pairs:
        basis = _turn_basis(pair.points, pitch_rad)
        told.append((pair.middle_ns, float(np.median(pair.flow[:, 0] / basis)) / pair.dt_s))
    return tuple(told)


class _Poses:
    """Where the robot was when, by odometry."""

    def __init__(self, heard: Sequence[HeardOdometry]) -> None:
        self._odometry = sorted((one.odometry for one in heard), key=lambda odometry: odometry.stamp_ns)
        self._stamps = [odometry.stamp_ns for odometry in self._odometry]

    def step(self, before_ns: int, after_ns: int) -> Pose | None:
        """Return the motion between two times, None if odometry does not tell."""
        first, last = (bisect.bisect_left(self._stamps, stamp) for stamp in (before_ns, after_ns))
        buffer = PoseBuffer()
        for odometry in self._odometry[max(0, first - 2) : last + 2]:
            buffer.add(odometry)
        try:
            return body_step(buffer.at(before_ns), buffer.at(after_ns))
        except LookupError:
            return None


def _moved(before: SeenFrame, after: SeenFrame, observed: Observations) -> tuple[Points, Points, float] | None:
    """Points of a picture [N, 2], their motion, and the focal length that both are measured by; None of too few."""
    first, second = _grey(before.image), _grey(after.image)
    found = cv2.goodFeaturesToTrack(first, _CORNERS, 0.01, 7)
    if found is None or len(found) < _LEAST_CORNERS:
        return None
    size = {"winSize": (21, 21), "maxLevel": 4}
    there, is_there, _ = cv2.calcOpticalFlowPyrLK(first, second, found, None, **size)  # type: ignore[call-overload]
    back, is_back, _ = cv2.calcOpticalFlowPyrLK(second, first, there, None, **size)  # type: ignore[call-overload]
    is_sure = (is_there.ravel() > 0) & (is_back.ravel() > 0)
    is_sure &= np.linalg.norm((back - found).reshape(-1, 2), axis=1) < _BACK_PX
    if is_sure.sum() < _LEAST_CORNERS:
        return None
    height, width = first.shape
    focal_px = focal_share(observed) * width
    begin, end = (points.reshape(-1, 2)[is_sure].astype(np.float64) for points in (found, there))
    middle = (begin + end) / 2 - np.array([width / 2, height / 2])
    return middle / focal_px, (end - begin) / focal_px, focal_px


def focal_share(observed: Observations) -> float:
    """Return the focal length in widths of the picture: by camera_info, else that of the model's training."""
    optics = observed.optics
    if optics is not None and optics.focal_px > 0 and optics.width_px > 0:
        return optics.focal_px / optics.width_px
    return 0.5 / math.tan(math.radians(observed.trained.hfov_deg) / 2)


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if width > _WIDTH_PX:
        size = (_WIDTH_PX, max(8, round(height * _WIDTH_PX / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)


def _turn_basis(points: Points, pitch_rad: float) -> NDArray[np.float64]:
    sin, cos = math.sin(pitch_rad), math.cos(pitch_rad)
    basis: NDArray[np.float64] = np.maximum(cos - sin * points[:, 1] + cos * points[:, 0] ** 2, 0.2)
    return basis


def _turn_ratio(pair: PicturePair, pitch_rad: float) -> float:
    return float(np.median(pair.flow[:, 0] / _turn_basis(pair.points, pitch_rad))) / pair.turned_rad


def _floor_rate(drives: Sequence[PicturePair], pitch_rad: float) -> float:
    """1/h by where most rates of points below the horizon lie: the floor's are alike, those of what stands on it not.

    NaN if there are few.
    """
    found = [np.empty(0)]
    for pair in drives:
        below = math.sin(pitch_rad) + math.cos(pitch_rad) * pair.points[:, 1]
        is_floor = below > _FLOOR_Q
        q, x = below[is_floor], pair.points[is_floor, 0]
        basis = np.stack([x * q, q * q], axis=1)
        found.append((pair.flow[is_floor] * basis).sum(axis=1) / (basis * basis).sum(axis=1) / pair.moved_m)
    rates = np.concatenate(found)
    rates = np.log(rates[(rates > 1 / _HIGHEST_M) & (rates < 1 / _LOWEST_M)])
    if len(rates) < 5 * _LEAST_CORNERS:
        return math.nan
    counts, edges = np.histogram(rates, _BINS, (math.log(1 / _HIGHEST_M), math.log(1 / _LOWEST_M)))
    best = int(np.argmax(np.convolve(counts, np.ones(3), "same")))
    near = rates[(rates >= edges[max(0, best - 1)]) & (rates <= edges[min(_BINS, best + 2)])]
    return math.exp(float(np.median(near)))


def _ahead(drives: Sequence[PicturePair]) -> tuple[float, float, float]:
    """The point that all flow comes from when the robot drives straight, by least distances; and lower_ratio."""
    points, flows = [np.empty((0, 2))], [np.empty((0, 2))]
    for pair in drives:
        turn = pair.turned_rad * _turn_basis(pair.points, 0.0)
        flow = pair.flow - np.stack([turn, np.zeros_like(turn)], axis=1)
        is_seen = np.linalg.norm(flow, axis=1) * pair.focal_px > _SEEN_PX
        points.append(pair.points[is_seen])
        flows.append(flow[is_seen] / pair.moved_m)
    at, flow = np.concatenate(points), np.concatenate(flows)
    if len(at) < 5 * _LEAST_CORNERS:
        return math.nan, math.nan, math.nan
    length = np.linalg.norm(flow, axis=1)
    across = np.stack([-flow[:, 1], flow[:, 0]], axis=1) / length[:, None]
    told = (across * at).sum(axis=1)
    weights = np.ones(len(at))
    ahead = np.zeros(2)
    for _ in range(20):
        scaled = across * weights[:, None]
        ahead = np.linalg.lstsq(scaled.T @ across, scaled.T @ told, rcond=None)[0]
        weights = 1.0 / np.maximum(np.abs(across @ ahead - told), 0.01)
    speed = np.abs((flow * (at - ahead)).sum(axis=1)) / np.maximum(((at - ahead) ** 2).sum(axis=1), 1e-3)
    offset = at[:, 1] - ahead[1]
    lower, upper = speed[offset > 0.2], speed[offset < -0.2]
    ratio = float(np.median(lower) / max(np.median(upper), 1e-6)) if min(len(lower), len(upper)) > 20 else math.nan
    return float(ahead[0]), float(ahead[1]), ratio


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else math.nan
