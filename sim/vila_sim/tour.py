"""A drive through a whole flat, from thing to thing, with what the camera saw on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import unit_steps
from vila_core.types import Action, Frame, Odometry, Pose, Stop
from vila_sim.environment import STEP_NS, VISIBLE_PIXELS, Turned, bearing_rad, move, visible_pixels
from vila_sim.episodes.oracle import TargetView, oracle_action
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat, SceneObject
from vila_sim.mujoco.simulator import CameraConfig, Simulator


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What was seen at one step. pixels: [N] of each of the flat's things, in an image of 224 px."""

    frame: Frame
    odometry: Odometry
    pixels: NDArray[np.int64]


def tour(flat: Flat, rng: np.random.Generator, steps: int, *, first_ns: int = 0) -> Iterator[Sight]:
    """Yield what a robot sees that visits the flat's things in a drawn order, a unit step after the other.

    first_ns: the first stamp; others follow at STEP_NS.
    """
    grid, simulator = OccupancyGrid(flat), Simulator(flat, CameraConfig())
    try:
        robot = _Robot(flat, grid, simulator, _start(grid, rng), first_ns)
        yield robot.look()
        while robot.looks < steps:
            before = robot.looks
            for index in rng.permutation(len(flat.objects)):
                for sight in robot.visit(int(index)):
                    yield sight
                    if robot.looks >= steps:
                        return
            if robot.looks == before:  # nothing can be reached from here
                return
    finally:
        simulator.close()


class _Robot:
    def __init__(self, flat: Flat, grid: OccupancyGrid, simulator: Simulator, pose: Pose, first_ns: int) -> None:
        self._flat, self._grid, self._simulator = flat, grid, simulator
        self._pose, self._first_ns, self.looks = pose, first_ns, 0
        self._pixels: NDArray[np.int64] = np.zeros(len(flat.objects), np.int64)

    def look(self) -> Sight:
        self._simulator.teleport(self._pose)
        self._pixels = visible_pixels(self._simulator.render_segmentation(), len(self._flat.objects))
        stamp_ns = self._first_ns + self.looks * STEP_NS
        self.looks += 1
        return Sight(Frame(self._simulator.render(), stamp_ns), Odometry(stamp_ns, self._pose), self._pixels)

    def visit(self, index: int) -> Iterator[Sight]:
        """Drive to a thing as the oracle does; nothing if there is no way."""
        thing: SceneObject = self._flat.objects[index]
        field = self._grid.field_to(thing)
        if not math.isfinite(field.at(self._pose.x_m, self._pose.y_m)):
            return
        turned, was_seen = Turned(self._pose), False
        while True:
            is_seen = bool(self._pixels[index] >= VISIBLE_PIXELS)
            was_seen |= is_seen
            bearing = bearing_rad(self._pose, thing)
            view = TargetView(is_seen, was_seen, turned.rotated_rad, bearing, turned.spot_turn_rad)
            action: Action = oracle_action(self._pose, field, view)
            if isinstance(action, Stop):
                return
            for step in unit_steps(action):
                self._pose, _ = move(self._grid, self._pose, step)
                turned.note(self._pose)
                yield self.look()


def _start(grid: OccupancyGrid, rng: np.random.Generator) -> Pose:
    cells = np.argwhere(grid.room_cells(grid.flat.rooms[int(rng.integers(len(grid.flat.rooms)))]))
    x, y = grid.centre(*cells[rng.integers(len(cells))])
    return Pose(float(x), float(y), float(rng.uniform(-math.pi, math.pi)))
