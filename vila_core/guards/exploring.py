"""Where to look for what was not seen yet: at an edge of the floor that is known, behind which nobody has looked.

Exploring by frontiers, as Yamauchi named it (1997), over the map that the model tells picture by picture.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.guards.floor_map import FloorCosts, Spot
from vila_core.guards.way_search import cheapest_way, length_m
from vila_core.types import Pose, wrap_angle

NEAR_EDGE_M = 0.35  # of an edge: from there one sees what lies behind
_LEAST_CELLS = 4  # of an edge: less is a gap between two directions
_WORTH_M, _MOST_CELLS = 0.12, 20  # metres of way that each of its cells is worth, up to so many
_TURN_M = 0.6  # metres of way that a radian of turning first is worth
_AHEAD_CELLS = 6  # on the way, that the robot turns to first
_SAME_M = 0.5  # edges that lie so near each other are one
_HERE = 5  # cells around the robot that are no edge to go to
_AROUND, _STILL = 3, 2  # cells around an edge's middle, and how many of them make it an edge still


class Explorer:
    """Chooses one edge after the other, and stays with one until what lies behind it has been seen."""

    def __init__(self) -> None:
        self._chosen: Spot | None = None
        self._left: list[Spot] = []

    def edge(self, costs: FloorCosts, pose: Pose) -> Spot | None:
        """Return the middle of the edge to go to from a pose; None if no way leads to any."""
        edges = costs.edges()
        if self._chosen is None or not self._is_still_one(costs, edges, self._chosen):
            self._chosen = self._best(costs, edges, pose)
        return self._chosen

    def leave(self) -> None:
        """Go to another edge than the last one that was returned: nobody gets there, or sees more from there."""
        if self._chosen is not None:
            self._left.append(self._chosen)
        self._chosen = None

    def _is_still_one(self, costs: FloorCosts, edges: NDArray[np.bool_], spot: Spot) -> bool:
        return int(np.count_nonzero(edges[costs.map.around(spot, _AROUND)])) >= _STILL

    def _best(self, costs: FloorCosts, edges: NDArray[np.bool_], pose: Pose) -> Spot | None:
        """The edge that is worth the most for the way to it."""
        here, best, least_m = (pose.x_m, pose.y_m), None, math.inf
        edges = edges.copy()
        edges[costs.map.around(here, _HERE)] = False
        for spot, worth_m in sorted(_parts(costs, edges), key=lambda one: math.dist(here, one[0]) - one[1]):
            if math.dist(here, spot) - worth_m >= least_m:
                break  # no way is shorter than straight on
            if any(math.dist(spot, one) < _SAME_M for one in self._left):
                continue
            if way := cheapest_way(costs, here, spot, NEAR_EDGE_M):
                x_m, y_m = way[min(len(way) - 1, _AHEAD_CELLS)]
                turn_rad = abs(wrap_angle(math.atan2(y_m - here[1], x_m - here[0]) - pose.yaw_rad))
                cost_m = length_m([here, *way]) + _TURN_M * turn_rad - worth_m
                if cost_m < least_m:
                    best, least_m = spot, cost_m
        return best


def _parts(costs: FloorCosts, edges: NDArray[np.bool_]) -> list[tuple[Spot, float]]:
    """Of each edge that hangs together its middle, and how many metres of way it is worth."""
    _, labels, stats, middles = cv2.connectedComponentsWithStats(edges.astype(np.uint8), connectivity=8)
    found = []
    for label, (size, middle) in enumerate(zip(stats[:, cv2.CC_STAT_AREA], middles, strict=True)):
        if label and size >= _LEAST_CELLS:  # 0: all that is no edge
            cells = np.argwhere(labels == label)
            column, row = cells[np.linalg.norm(cells - middle[::-1], axis=1).argmin()]
            found.append((costs.map.middle((int(column), int(row))), _WORTH_M * min(int(size), _MOST_CELLS)))
    return found
