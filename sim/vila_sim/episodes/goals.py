"""How far a robot still has to go in an episode: past the thing that it is to visit first, to the last one."""

from __future__ import annotations

import math

from vila_core.errors import WorldError
from vila_sim.episodes.episode import SUCCESS_RADIUS_M, Episode
from vila_sim.flats.grid import DistanceField, OccupancyGrid
from vila_sim.flats.scene import Flat, SceneObject

_DRIFT_M = 0.1  # of a start's distance: positions are stored to a millimetre


class GoalProgress:
    """Follows the robot through the goals of an episode, each visited within 1 m, in order.

    Raises WorldError if the flat does not hold a goal, or is not the one that the episode was made in.
    """

    def __init__(self, grid: OccupancyGrid, episode: Episode) -> None:
        self.targets = tuple(find_object(grid.flat, name) for name in episode.goals)
        self._fields = tuple(grid.field_to(target) for target in self.targets)
        self._episode, self.leg = episode, 0
        self._later_m = 0.0  # from the first goal to the last, as the reference path goes
        if self._fields:
            first_m = self._fields[0].at(episode.start.x_m, episode.start.y_m)
            self._later_m = episode.geodesic_m - first_m if len(self._fields) > 1 else 0.0
            self._require_same_flat(first_m + self._later_m)

    @property
    def target(self) -> SceneObject:
        """The thing that is to be visited next. Raises WorldError if what the episode names is absent."""
        self._require_goal()
        return self.targets[self.leg]

    @property
    def field(self) -> DistanceField:
        """The distances to the thing that is to be visited next; raises as target does."""
        self._require_goal()
        return self._fields[self.leg]

    def note(self, x_m: float, y_m: float) -> float:
        """Take the robot's position; return the metres that are left, nan if there is no goal."""
        if not self._fields:
            return math.nan
        left_m = self._fields[self.leg].at(x_m, y_m)
        if self.leg + 1 < len(self._fields) and left_m < SUCCESS_RADIUS_M:
            self.leg += 1
            return self._fields[self.leg].at(x_m, y_m)
        return left_m + (self._later_m if self.leg + 1 < len(self._fields) else 0.0)

    def _require_goal(self) -> None:
        if not self.targets:
            raise WorldError(f"episode {self._episode.episode_id} has no goal: what it names is absent")

    def _require_same_flat(self, found_m: float) -> None:
        if not abs(found_m - self._episode.geodesic_m) <= _DRIFT_M:
            raise WorldError(
                f"episode {self._episode.episode_id}: its goal is {found_m:.2f} m away, not "
                f"{self._episode.geodesic_m:.2f} m; flats are made otherwise now, write the episodes again"
            )


def find_object(flat: Flat, name: str) -> SceneObject:
    """Return the object of that name. Raises WorldError if the flat holds none, naming those that it holds."""
    for item in flat.objects:
        if item.name == name:
            return item
    raise WorldError(f"flat {flat.seed} holds no {name!r}; it holds {', '.join(o.name for o in flat.objects)}")
