"""Where to watch a room from: places to stand and look, and a robot's patrol between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import WorldError
from vila_core.types import Pose, wrap_angle
from vila_sim.episodes.route import Leg, Route, after, drive_to, turn_to
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import DoorLeaf, Room

NEAR_M, FAR_M = 0.9, 4.0  # what stands between them is near enough to be told by its colour and shape
LOOK_RAD = math.radians(38.0)  # half of what counts as being in front of a camera of 90 degrees
SPEED_MPS, TURN_RPS = (0.3, 0.5), (0.5, 0.8)
LOOK_S = (3.0, 6.0)
SWING_CLEARANCE_M = 0.3
_SHORTEST_WAY_M, _LONGEST_WAY_M = 0.7, 3.5
_VIEWS, _WAYS = 40, 30  # that are tried before the best, or none, is taken


def is_ahead(pose: Pose, x_m: float, y_m: float) -> bool:
    """True if the point is in front of the camera and near enough."""
    dx, dy = x_m - pose.x_m, y_m - pose.y_m
    near = NEAR_M <= math.hypot(dx, dy) <= FAR_M
    return near and abs(wrap_angle(math.atan2(dy, dx) - pose.yaw_rad)) <= LOOK_RAD


def leaves_of(grid: OccupancyGrid, room: Room) -> tuple[DoorLeaf, ...]:
    """The leaves of the room's doors."""
    return tuple(leaf for door, leaf in zip(grid.flat.doors, grid.flat.leaves, strict=False) if room.name in door.rooms)


class Watch:
    """Chooses poses and patrols in one room from which there is much to be seen."""

    def __init__(self, grid: OccupancyGrid, room: Room, rng: np.random.Generator) -> None:
        self._grid, self._rng = grid, rng
        self._objects = [thing for thing in grid.flat.objects if thing.room == room.name]
        self._leaves = leaves_of(grid, room)
        self._cells = self._standing_cells(room)
        if len(self._cells) == 0:
            raise WorldError(f"flat {grid.flat.seed}: nowhere to stand in the {room.name} clear of its doors")

    def view(self, door_wanted: bool = False) -> Pose:
        """The best of some random poses: how many objects, and the door if it is wanted, are ahead."""
        poses = [self._random_pose() for _ in range(_VIEWS)]
        return max(poses, key=lambda pose: self._worth(pose, door_wanted))

    def patrol(self, duration_s: float, door_wanted: bool = False) -> Route:
        """Stand and look, turn, drive, look again, for as long or a little longer.

        In a room without a straight way to anywhere the robot turns on the spot.
        """
        speed, rate = self._rng.uniform(*SPEED_MPS), self._rng.uniform(*TURN_RPS)
        start = pose = self.view(door_wanted)
        legs: list[Leg] = []
        while sum(leg.duration_s for leg in legs) < duration_s:
            legs.append(Leg(self._rng.uniform(*LOOK_S)))
            aim = self._next_view(pose, door_wanted)
            way = []
            if (aim.x_m, aim.y_m) != (pose.x_m, pose.y_m):
                way = [turn_to(pose, math.atan2(aim.y_m - pose.y_m, aim.x_m - pose.x_m), rate)]
                way.append(drive_to(pose, aim.x_m, aim.y_m, speed))
            way.append(turn_to(after(pose, way), aim.yaw_rad, rate))
            pose = after(pose, way)
            legs += way
        return Route(start, tuple(legs))

    def _next_view(self, pose: Pose, door_wanted: bool) -> Pose:
        for _ in range(_WAYS):
            aim = self.view(door_wanted)
            length = math.dist((pose.x_m, pose.y_m), (aim.x_m, aim.y_m))
            if _SHORTEST_WAY_M <= length <= _LONGEST_WAY_M and self._way_is_clear(pose, aim):
                return aim
        return Pose(pose.x_m, pose.y_m, float(self._rng.uniform(-math.pi, math.pi)))

    def _way_is_clear(self, pose: Pose, aim: Pose) -> bool:
        if not self._grid.line_is_free(pose.x_m, pose.y_m, aim.x_m, aim.y_m):
            return False
        shares = np.linspace(0.0, 1.0, 12)
        x, y = pose.x_m + shares * (aim.x_m - pose.x_m), pose.y_m + shares * (aim.y_m - pose.y_m)
        return bool(self._clear_of_doors(x, y).all())

    def _standing_cells(self, room: Room) -> NDArray[np.float64]:
        """Points [N, 2] of the room where no furniture stands and no door swings."""
        cells = np.argwhere(self._grid.room_cells(room))
        points = np.array([self._grid.centre(int(row), int(column)) for row, column in cells]).reshape(-1, 2)
        return points[self._clear_of_doors(points[:, 0], points[:, 1])]

    def _clear_of_doors(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        clear = np.ones(x.shape, bool)
        for leaf in self._leaves:
            clear &= np.hypot(x - leaf.thing.x_m, y - leaf.thing.y_m) > leaf.length_m + SWING_CLEARANCE_M
        return clear

    def _random_pose(self) -> Pose:
        x, y = self._cells[self._rng.integers(len(self._cells))]
        return Pose(float(x), float(y), float(self._rng.uniform(-math.pi, math.pi)))

    def _worth(self, pose: Pose, door_wanted: bool) -> float:
        seen = sum(is_ahead(pose, thing.x_m, thing.y_m) for thing in self._objects)
        doors = any(is_ahead(pose, *middle_of(leaf)) for leaf in self._leaves) if door_wanted else False
        return min(seen, 4) + 2.5 * doors + float(self._rng.uniform(0.0, 1.5))


def middle_of(leaf: DoorLeaf) -> tuple[float, float]:
    """The middle of the closed leaf."""
    half = leaf.length_m / 2
    return leaf.thing.x_m + half * math.cos(leaf.closed_rad), leaf.thing.y_m + half * math.sin(leaf.closed_rad)
