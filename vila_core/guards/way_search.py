"""The cheapest way over a map of the floor."""

from __future__ import annotations

import heapq
import itertools
import math

from vila_core.guards.floor_map import CELL_M, Cell, FloorCosts, Spot

_MARGIN_CELLS = 30  # around the start and the goal; ways that leave it are too long
_STEPS = tuple((right, up, math.hypot(right, up)) for right in (-1, 0, 1) for up in (-1, 0, 1) if right or up)


def cheapest_way(costs: FloorCosts, start: Spot, goal: Spot, near_m: float) -> list[Spot]:
    """Return the way of least cost from a spot to within near_m of another; empty if there is none.

    It begins with the first cell's middle behind the start.
    """
    begin, end = costs.map.cell_of(start), costs.map.cell_of(goal)
    if not costs.map.holds(begin) or not costs.map.holds(end):
        return []
    columns, rows = (
        range(max(0, min(pair) - _MARGIN_CELLS), min(size, max(pair) + _MARGIN_CELLS + 1))
        for pair, size in zip(zip(begin, end, strict=True), costs.values.shape, strict=True)
    )
    # Plain lists: to read single numbers of an array takes several times as long.
    values = costs.values[columns.start : columns.stop, rows.start : rows.stop].tolist()
    near_cells = near_m / CELL_M
    best, before = {begin: 0.0}, dict[Cell, Cell]()
    queue = [(math.dist(begin, end), 0.0, begin)]
    while queue:
        _, cost, cell = heapq.heappop(queue)
        if math.dist(cell, end) <= near_cells:
            return _way_to(cell, before, costs)
        if cost > best[cell]:
            continue
        for right, up, length in _STEPS:
            other = cell[0] + right, cell[1] + up
            if other[0] not in columns or other[1] not in rows:
                continue
            total = cost + values[other[0] - columns.start][other[1] - rows.start] * length
            if total < best.get(other, math.inf):
                best[other], before[other] = total, cell
                heapq.heappush(queue, (total + math.dist(other, end), total, other))
    return []


def length_m(way: list[Spot]) -> float:
    """Return how long a way is."""
    return sum(math.dist(one, other) for one, other in itertools.pairwise(way))


def _way_to(cell: Cell, before: dict[Cell, Cell], costs: FloorCosts) -> list[Spot]:
    cells = [cell]
    while cells[-1] in before:
        cells.append(before[cells[-1]])
    return [costs.map.middle(each) for each in reversed(cells[:-1])]
