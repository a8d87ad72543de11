"""The ground that a robot has driven, as a graph, and the shortest way over it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from vila_core.control.driven_path import Place
from vila_core.errors import WayError
from vila_core.types import Pose

JOINED_M = 0.3  # where the path comes so near to itself, the robot may change over
FAR_M = 1.0  # a robot that is farther from all that it has driven has no way
_CELL_M = 0.1  # one place of each cell stands for all in it: a robot that stays in a room fills a bounded graph
_REACH = math.ceil(JOINED_M / _CELL_M)

Cell = tuple[int, int]


def shortest_way(places: Sequence[Place], start: Pose, goal: Place) -> tuple[Pose, ...]:
    """Return the shortest way over driven ground from a pose to one of the places, both included.

    Two poses in a row are places that were driven one after the other, or lie within JOINED_M. Raises WayError if the
    start is farther than FAR_M from all places, or none of those near it leads to the goal.
    """
    ground = _Ground(places)
    begins = ground.near(start, JOINED_M) or ground.nearest(start)
    cells = ground.shortest(begins, ground.cell_of(goal.pose))
    return (start, *(ground.pose(cell) for cell in cells), goal.pose)


class _Ground:
    """Cells with the newest place in each, which drift of odometry has moved least; steps: where one leads to."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._newest = {self.cell_of(place.pose): place.pose for place in places}
        self._driven: defaultdict[Cell, set[Cell]] = defaultdict(set)
        for before, after in itertools.pairwise(places):
            if before.stretch == after.stretch:
                here, there = self.cell_of(before.pose), self.cell_of(after.pose)
                self._driven[here].add(there)
                self._driven[there].add(here)

    @staticmethod
    def cell_of(pose: Pose) -> Cell:
        return math.floor(pose.x_m / _CELL_M), math.floor(pose.y_m / _CELL_M)

    def pose(self, cell: Cell) -> Pose:
        return self._newest[cell]

    def near(self, pose: Pose, within_m: float) -> dict[Cell, float]:
        """Return the cells whose place lies so near, with its distance."""
        column, row = self.cell_of(pose)
        steps = range(-_REACH, _REACH + 1)
        around = ((column + right, row + up) for right, up in itertools.product(steps, steps))
        distances = {cell: self._newest[cell].distance_m(pose) for cell in around if cell in self._newest}
        return {cell: distance for cell, distance in distances.items() if distance <= within_m}

    def nearest(self, pose: Pose) -> dict[Cell, float]:
        """Return the nearest cell with its distance; WayError if that is farther than FAR_M."""
        cell = min(self._newest, key=lambda one: self._newest[one].distance_m(pose), default=None)
        if cell is None:
            raise WayError("no place is remembered yet: there was no odometry")
        distance_m = self._newest[cell].distance_m(pose)
        if distance_m > FAR_M:
            raise WayError(f"the robot is {distance_m:.1f} m away from all that it has driven, limit {FAR_M:g} m")
        return {cell: distance_m}

    def shortest(self, begins: dict[Cell, float], goal: Cell) -> list[Cell]:
        """Return the cells of the shortest way from one of the begins, which are so far away already (Dijkstra)."""
        best: dict[Cell, float] = dict(begins)
        before: dict[Cell, Cell | None] = dict.fromkeys(begins)
        queue = [(distance_m, cell) for cell, distance_m in begins.items()]
        heapq.heapify(queue)
        while queue:
            distance_m, cell = heapq.heappop(queue)
            if cell == goal:
                return _traced(before, goal)
            if distance_m > best[cell]:
                continue
            for other, step_m in self._steps(cell):
                if distance_m + step_m < best.get(other, math.inf):
                    best[other], before[other] = distance_m + step_m, cell
                    heapq.heappush(queue, (distance_m + step_m, other))
        raise WayError("no driven way is known from here to there: odometry was silent in between")

    def _steps(self, cell: Cell) -> Iterator[tuple[Cell, float]]:
        here = self._newest[cell]
        for other in self._driven[cell]:
            yield other, here.distance_m(self._newest[other])
        yield from self.near(here, JOINED_M).items()


def _traced(before: dict[Cell, Cell | None], goal: Cell) -> list[Cell]:
    cells, cell = [], before[goal]
    while cell is not None:
        cells.append(cell)
        cell = before[cell]
    return [*reversed(cells), goal]
