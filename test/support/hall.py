"""A floor with walls, seen as a model's relevance head tells it, and a robot that drives on it."""

from __future__ import annotations

import math

import numpy as np
from recalling import picture

from vila_core.guards.camera_view import HALF_PICTURE_RAD, bearing_rad
from vila_core.guards.second_look import Sight, View
from vila_core.types import Action, Frame, MoveForward, Pose, Turn

S = 1_000_000_000
COLUMNS = 16
THING = (3.0, 0.0)
SEEN, NOT_SEEN = (3.0, 3.0), (-8.0, -8.0)
FRAME = picture({})


class Hall:
    """A floor with a wall across the way to a thing; seen and driven as a robot of 0.2 m does."""

    def __init__(self, *walls: tuple[float, float, float], thing=THING, far=1.0) -> None:
        """walls: x, and from which to which y. far: what the distance is told to be, times what it is."""
        self.walls, self.thing, self.far = walls, thing, far
        self.pose, self.bumps = Pose(), 0

    def free_m(self, pose: Pose, angle_rad: float, most_m: float = 5.0) -> float:
        cos, sin = math.cos(pose.yaw_rad + angle_rad), math.sin(pose.yaw_rad + angle_rad)
        hits = []
        for x, low, high in self.walls:
            end = (x - pose.x_m) / cos if abs(cos) > 1e-9 else -1.0
            if end > 0 and low <= pose.y_m + end * sin <= high:
                hits.append(end)
        at = Pose(*self.thing, 0.0).relative_to(pose.turned(angle_rad))
        thing = [at.x_m - 0.2] if at.x_m > 0.2 and abs(at.y_m) < 0.2 else []
        return min((most_m, *hits, *thing))

    def view(self, frame: Frame) -> View:
        bearings = [bearing_rad((column + 0.5) / COLUMNS) for column in range(COLUMNS)]
        ranges = np.array([self.free_m(self.pose, each) for each in bearings], np.float32)
        far_m = math.dist((self.pose.x_m, self.pose.y_m), self.thing)
        at = Pose(*self.thing, 0.0).relative_to(self.pose)
        bearing = math.atan2(at.y_m, at.x_m)
        is_seen = abs(bearing) < HALF_PICTURE_RAD
        return View(Sight(*(SEEN if is_seen else NOT_SEEN), bearing), ranges, far_m * self.far)

    def do(self, action: Action) -> None:
        if isinstance(action, Turn):
            self.pose = self.pose.turned(action.angle_rad)
        if isinstance(action, MoveForward):
            room_m = min(self.free_m(self.pose, side) for side in (-0.4, -0.2, 0.0, 0.2, 0.4)) - 0.2
            self.bumps += room_m < action.distance_m
            self.pose = self.pose.advanced(max(0.0, min(action.distance_m, room_m)))
