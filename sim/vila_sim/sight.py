"""Which targets are in view, and for how long the others have not been."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vila_core.types import Action, Turn

MEMORY_STEPS = 8  # unit steps for which a target that left the view still counts as known


@dataclass(frozen=True, slots=True)
class TargetView:
    """What the latest images have shown of a target.

    bearing_rad: direction from the robot to the object's centre, left > 0. rotated_rad: sum of
    the absolute turns since it was last in view, or since the start.
    """

    visible_now: bool
    seen_lately: bool
    rotated_rad: float
    bearing_rad: float


class Sightings:
    """Follows so many targets through an episode: `look` at every frame, `step` after every unit step."""

    def __init__(self, count: int) -> None:
        self._visible = np.zeros(count, bool)
        self._steps = np.full(count, MEMORY_STEPS + 1)  # since it was last in view
        self._rotated_rad = np.zeros(count)

    def look(self, visible: ArrayLike) -> None:
        """Note which targets [count] bool are in view."""
        self._visible = np.asarray(visible, bool)
        self._steps[self._visible] = 0
        self._rotated_rad[self._visible] = 0.0

    def step(self, action: Action) -> None:
        """Note that the robot has made a unit step."""
        self._steps += 1
        self._rotated_rad += abs(action.angle_rad) if isinstance(action, Turn) else 0.0

    def view(self, index: int, bearing_rad: float) -> TargetView:
        """What is known of one target."""
        visible = bool(self._visible[index])
        lately = bool(self._steps[index] <= MEMORY_STEPS)
        return TargetView(visible, lately, float(self._rotated_rad[index]), bearing_rad)


FULL_TURN_RAD = 2 * math.pi - math.radians(1.0)  # after so much rotation everything has been in view
