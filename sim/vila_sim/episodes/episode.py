"""One navigation task: which flat, from where, to which things, in which words."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.types import Pose
from vila_sim.families.table import PLAIN

SUCCESS_RADIUS_M = 1.0  # 3 m, the usual radius in VLN-CE, is most of a room here
Pair = tuple[str, str]  # (colour, kind)


@dataclass(frozen=True, slots=True)
class Episode:
    """One task. geodesic_m is the way from the start past all goals; the path ends at the last one's goal cells.

    include: (colour, kind) pairs that the flat was built to hold, see episodes.flat_of. via: the thing to be visited
    first, at via_m, or "". absent: the pair that the instruction names and the flat does not hold; there is no target
    then, goal_m is the start, and the right end is NOT_FOUND. sign: hangs on the walls, a row of textures.SIGNS.
    corruption: what is wrong with the camera or the words, one of corruptions.CORRUPTIONS.
    """

    episode_id: str
    split: str
    flat_seed: int
    include: tuple[Pair, ...]
    room: str
    target: str  # name of the object
    goal_m: tuple[float, float]  # the object's centre
    start: Pose
    instruction: str
    reference_path: tuple[tuple[float, float], ...]  # metres, start first
    geodesic_m: float
    via: str = ""
    via_m: tuple[float, float] = (0.0, 0.0)
    absent: Pair | None = None
    sign: str = ""
    corruption: str = ""
    family: str = PLAIN  # of the flat, see vila_sim.families

    @property
    def scene_id(self) -> str:
        """The flat's name in the JSON form."""
        return scene_name(self.flat_seed, self.family)

    @property
    def goals(self) -> tuple[str, ...]:
        """The names of the things to be visited, in order; none if what is named is absent."""
        return tuple(name for name in (self.via, self.target) if name)

    @property
    def goal_places(self) -> tuple[tuple[float, float], ...]:
        """Where the things to be visited stand, in order."""
        return () if self.absent is not None else (*([self.via_m] if self.via else []), self.goal_m)

    @property
    def named_pairs(self) -> tuple[Pair, ...]:
        """Colour and kind of each thing that the instruction names, in order."""
        return (self.absent,) if self.absent is not None else tuple(map(pair_of_name, self.goals))


def scene_name(flat_seed: int, family: str = PLAIN) -> str:
    """Return the name of a flat without what it includes: flat/12, or flat/rich/12."""
    return f"flat/{flat_seed}" if family == PLAIN else f"flat/{family}/{flat_seed}"


def pair_of_name(name: str) -> Pair:
    """Return colour and kind of an object by its name, such as red_floor_lamp_3."""
    colour, _, rest = name.partition("_")
    return colour, rest.rpartition("_")[0]
