"""The way back to a place where the robot was: one action after the other, over ground that it has driven."""

from __future__ import annotations

import itertools
import math

from vila_core.config import ControlConfig
from vila_core.control.driven_ground import FAR_M, shortest_way
from vila_core.control.driven_path import DrivenPath, Place, distance_to_line_m
from vila_core.control.limits import ActionLimits
from vila_core.errors import WayError
from vila_core.types import Action, MoveForward, Pose, Stop, Turn, wrap_angle

THERE_M = 0.3  # a robot that is so near to the place, and turned so near to its heading, is there
THERE_RAD = math.radians(15.0)
_NEAR_M = 0.1  # how near it is brought, if two tries do
_TRIES = 2
_AIMED_RAD = math.radians(5.0)  # how near its heading is brought, if one turn does
_CORRIDOR_M = 0.1  # a straight drive leaves the way by no more
_AHEAD_M = 2.0  # of the way, that is looked at for where the robot is and where it drives next


class WayBack:
    """Leads to a place of the driven path; the way is found once, then followed from wherever the robot is near it.

    limits: of one action. place: where it leads. Raises WayError as `shortest_way` does.
    """

    def __init__(self, path: DrivenPath, start: Pose, place: Place, limits: ActionLimits | None = None) -> None:
        self.place = place
        self._limits: ActionLimits = limits or ControlConfig()
        self._way = shortest_way(path.places, start, place)
        steps_m = [before.distance_m(after) for before, after in itertools.pairwise(self._way)]
        self._left_m = [*reversed(list(itertools.accumulate(reversed(steps_m), initial=0.0)))]
        self._next = 1  # the pose of the way that comes next
        self._tries = 0
        self._is_at_place = self._has_turned = False

    @property
    def way(self) -> tuple[Pose, ...]:
        """The poses that are joined by straight lines, from the start to the place."""
        return self._way

    @property
    def length_m(self) -> float:
        """How long the whole way is."""
        return self._left_m[0]

    def remaining_m(self, pose: Pose) -> float:
        """Return how much of the way is left from a pose."""
        coming = self._coming(pose)
        return pose.distance_m(self._way[coming]) + self._left_m[coming]

    def next_action(self, pose: Pose) -> Action:
        """Return what to do from a pose: turn to where the way goes, drive on, turn as it was turned then, stop.

        Raises WayError for a pose that is farther than FAR_M from what is left of the way.
        """
        self._next = self._coming(pose)
        off_m = min(distance_to_line_m(pose, *line) for line in self._lines(self._next))
        if off_m > FAR_M:
            raise WayError(f"the robot is {off_m:.1f} m off its way, limit {FAR_M:g} m")
        if self._is_near_place(pose):
            turn = self._turn(self.place.pose.yaw_rad - pose.yaw_rad)
            return Stop() if turn is None else turn
        aim = self._aim(pose)
        off_rad = wrap_angle(math.atan2(aim.y_m - pose.y_m, aim.x_m - pose.x_m) - pose.yaw_rad)
        turn = self._turn(off_rad)
        return self._drive(pose.distance_m(aim), off_rad, pose) if turn is None else turn

    def _lines(self, first: int) -> list[tuple[Pose, Pose]]:
        """The straight lines to the pose of that number and on from there, over _AHEAD_M."""
        lines = []
        for index in range(first, len(self._way)):
            lines.append((self._way[index - 1], self._way[index]))
            if self._left_m[first] - self._left_m[index] > _AHEAD_M:
                break
        return lines

    def _coming(self, pose: Pose) -> int:
        """The pose of the way that comes next: behind the nearest line, or the one after if it is all but reached."""
        lines = self._lines(self._next)
        coming = self._next + min(range(len(lines)), key=lambda index: distance_to_line_m(pose, *lines[index]))
        while coming < len(self._way) - 1 and pose.distance_m(self._way[coming]) < _NEAR_M:
            coming += 1
        return coming

    def _aim(self, pose: Pose) -> Pose:
        """The farthest pose of the way that a straight drive may lead to, at least the one that comes next."""
        best = self._next
        for index in range(self._next + 1, self._next + len(self._lines(self._next))):
            skipped = self._way[self._next : index]
            if any(distance_to_line_m(one, pose, self._way[index]) > _CORRIDOR_M for one in skipped):
                break
            best = index
        return self._way[best]

    def _is_near_place(self, pose: Pose) -> bool:
        """True once the robot is as near to the place as it gets, until it has left it."""
        distance_m = pose.distance_m(self.place.pose)
        is_tried = self._is_at_place or self._tries >= _TRIES
        self._is_at_place = distance_m <= _NEAR_M or (distance_m <= THERE_M and is_tried)
        return self._is_at_place

    def _turn(self, off_rad: float) -> Turn | None:
        """The turn by that angle, in equal parts; None if it is done, or as good as this robot does it."""
        off_rad = wrap_angle(off_rad)
        is_enough = abs(off_rad) <= (THERE_RAD if self._has_turned else _AIMED_RAD)
        self._has_turned = not is_enough
        if is_enough:
            return None
        return Turn(off_rad / _parts(abs(off_rad), self._limits.max_turn_rad))

    def _drive(self, distance_m: float, off_rad: float, pose: Pose) -> MoveForward:
        if pose.distance_m(self.place.pose) <= THERE_M:
            self._tries += 1
        if (off := abs(math.sin(off_rad))) > 0.0:
            distance_m = min(distance_m, _CORRIDOR_M / off)
        return MoveForward(distance_m / _parts(distance_m, self._limits.max_distance_m))


def _parts(size: float, most: float) -> int:
    """Into how many equal parts of at most so much; rounding makes none more."""
    return max(1, math.ceil(size / most - 1e-7))
