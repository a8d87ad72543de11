"""The teacher: which of the ten actions an agent that knows the map would take.

It is a pure function of where the robot is and of what its camera has shown in this episode,
so that a model that sees the images can learn it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.types import Action, MoveForward, Pose, Stop, Turn, wrap_angle
from vila_sim.flats.grid import DistanceField, lookahead

STOP_DISTANCE_M = 0.5
CLOSEST_M = 0.2  # a forward move does not end nearer to the goal cells than this
LOOKAHEAD_M = 4.0
HEADING_TOLERANCE_RAD = math.radians(10.0)
FACING_RAD = math.radians(30.0)
MAX_DECISIONS = 60  # an episode that lasts longer has failed

_UNIT_TURN_RAD = math.radians(15.0)
_MOST_TURN_RAD = math.radians(376.0)  # net, on one spot: from 380 on a mission ends as NOT_FOUND
_FORWARD_M = (0.75, 0.50, 0.25)
_FULL_TURN_RAD = 2 * math.pi - math.radians(1.0)
_PROGRESS = 0.6  # a forward move must shorten the way by this part of its length


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the episode's images have shown of the target.

    bearing_rad: direction from the robot to the object's centre, left > 0. rotated_rad: sum of
    the absolute turns since the episode's start, or since the thing before it was visited. spot_turn_rad: net turn
    since the robot last got on, left > 0.
    """

    visible_now: bool
    seen_before: bool
    rotated_rad: float
    bearing_rad: float
    spot_turn_rad: float = 0.0


def oracle_action(pose: Pose, field: DistanceField, view: TargetView) -> Action:
    """The best action towards the goal cells of the field.

    1. A target that no image has shown yet is searched: turn left 45 degrees, up to a full turn.
    2. At the goal: stop if the target is in view or straight ahead, else turn to face it.
    3. Else follow the shortest path: turn to the path's heading, then drive as far as it allows.

    A turn that would lead more than once round goes the other way.
    """
    known = view.visible_now or view.seen_before
    if not known and view.rotated_rad < _FULL_TURN_RAD:
        return Turn(3 * _UNIT_TURN_RAD)
    if field.at(pose.x_m, pose.y_m) <= STOP_DISTANCE_M:
        if view.visible_now or abs(view.bearing_rad) <= FACING_RAD:
            return Stop()
        return _turn_towards(view.bearing_rad, view.spot_turn_rad)
    return _follow(pose, field, view.spot_turn_rad)


def _follow(pose: Pose, field: DistanceField, spot_turn_rad: float) -> Action:
    ahead = lookahead(pose, field, LOOKAHEAD_M)
    error = _heading_error(pose, ahead)
    if abs(error) <= HEADING_TOLERANCE_RAD and _is_open(pose, field):
        return MoveForward(_forward_length(pose, field))
    turn = _best_turn(pose, field, error)
    if turn == 0:
        return MoveForward(_forward_length(pose, field))
    return _turn_towards(turn * _UNIT_TURN_RAD, spot_turn_rad)


def _heading_error(pose: Pose, point: tuple[float, float]) -> float:
    dx, dy = point[0] - pose.x_m, point[1] - pose.y_m
    return wrap_angle(math.atan2(dy, dx) - pose.yaw_rad) if math.hypot(dx, dy) > 1e-6 else 0.0


def _turn_towards(angle_rad: float, spot_turn_rad: float) -> Turn:
    if abs(spot_turn_rad + angle_rad) > _MOST_TURN_RAD:
        angle_rad -= math.copysign(2 * math.pi, angle_rad)
    units = min(max(round(abs(angle_rad) / _UNIT_TURN_RAD), 1), 3)
    return Turn(math.copysign(units * _UNIT_TURN_RAD, angle_rad))


def _best_turn(pose: Pose, field: DistanceField, error: float) -> int:
    """Turn, in units of 15 degrees, to the open heading that lies nearest to the wanted one.

    The headings form one lattice around the robot's own, so after a part of the turn the choice
    stays the same: the oracle cannot swing to and fro. 0 if the robot already has it.
    """
    units = sorted(range(-11, 13), key=lambda k: abs(wrap_angle(k * _UNIT_TURN_RAD - error)))
    for unit in units:
        if _is_open(pose.turned(unit * _UNIT_TURN_RAD), field):
            return unit
    return units[0]


def _is_open(pose: Pose, field: DistanceField) -> bool:
    """True if 25 cm straight ahead are free and bring the robot nearer."""
    end = pose.advanced(_FORWARD_M[-1])
    nearer = field.at(end.x_m, end.y_m) < field.at(pose.x_m, pose.y_m)
    return nearer and field.grid.line_is_free(pose.x_m, pose.y_m, end.x_m, end.y_m)


def _forward_length(pose: Pose, field: DistanceField) -> float:
    here = field.at(pose.x_m, pose.y_m)
    for length in _FORWARD_M[:-1]:
        end = pose.advanced(length)
        there = field.at(end.x_m, end.y_m)
        gains = CLOSEST_M <= there <= here - _PROGRESS * length
        if gains and field.grid.line_is_free(pose.x_m, pose.y_m, end.x_m, end.y_m):
            return length
    return _FORWARD_M[-1]
