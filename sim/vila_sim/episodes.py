"""Navigation episodes: which flat, from where, to which object, in which words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vila_core.errors import WorldError
from vila_core.types import Pose
from vila_sim.families.table import PLAIN
from vila_sim.flat import generate_flat
from vila_sim.furniture import COLOURS, KINDS
from vila_sim.grid import OccupancyGrid, path_points
from vila_sim.instructions import instruction_for
from vila_sim.scene import Flat, SceneObject

SPLITS = ("train", "val_seen", "val_unseen_layout", "val_unseen_combo", "val_paraphrase")
SUCCESS_RADIUS_M = 1.0  # 3 m, the usual radius in VLN-CE, is most of a room here
MIN_START_M, MAX_START_M = 1.5, 6.0  # geodesic distance of a start from its goal
SEEDS_PER_SPLIT = 1_000_000

_FIRST_SEED = {"train": 0, "val_seen": 0, "val_unseen_layout": 1, "val_unseen_combo": 2, "val_paraphrase": 3}
Pair = tuple[str, str]  # (colour, kind)


@dataclass(frozen=True, slots=True)
class Episode:
    """One task. geodesic_m is the distance at the start; the path ends at the goal cells.

    include: (colour, kind) pairs that the flat was built to hold, see flat_of.
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
    family: str = PLAIN  # of the flat, see vila_sim.families

    @property
    def scene_id(self) -> str:
        """The flat's name in the JSON form."""
        return scene_name(self.flat_seed, self.family)


def scene_name(flat_seed: int, family: str = PLAIN) -> str:
    """Return the name of a flat without what it includes: flat/12, or flat/rich/12."""
    return f"flat/{flat_seed}" if family == PLAIN else f"flat/{family}/{flat_seed}"


@functools.cache
def held_out_pairs() -> frozenset[Pair]:
    """The (colour, kind) pairs that no training flat holds: one colour of each kind."""
    colours = sorted(COLOURS)
    return frozenset((colours[(3 * i + 1) % len(colours)], kind) for i, kind in enumerate(sorted(KINDS)))


def split_flat(seed: int, include: Sequence[Pair] = (), family: str = PLAIN) -> Flat:
    """The flat of a seed: without held-out pairs, other than those that it must include."""
    exclude = held_out_pairs() - set(include)
    return generate_flat(seed, include=tuple(include), exclude_pairs=exclude, family=family)


def flat_of(episode: Episode) -> Flat:
    """Build the flat in which the episode happens."""
    return split_flat(episode.flat_seed, episode.include, episode.family)


def layout_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of the index-th layout of a split; seeds of different splits never meet.

    val_seen alone shares the layouts of train. Raises WorldError for an unknown split, or a number below 0.
    """
    if index < 0 or seed < 0:
        raise WorldError(f"seed {min(index, seed)}: must be 0 or more")
    if split not in _FIRST_SEED:
        raise WorldError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    return _FIRST_SEED[split] * SEEDS_PER_SPLIT + (seed * 10_000 + index) % SEEDS_PER_SPLIT


def generate_episodes(split: str, count: int, seed: int = 0, family: str = PLAIN) -> list[Episode]:
    """Make one-room episodes, one in each layout of a family; the same arguments give the same episodes.

    The robot starts in the target's room, 1.5 to 6 m away from it, with any heading.
    """
    return [episode for episode, _ in zip(_stream(split, seed, family), range(count), strict=False)]


def draw_episode(split: str, rng: np.random.Generator) -> Episode:
    """Draw an episode from all layouts of a split. Raises WorldError for an unknown split."""
    pairs = sorted(held_out_pairs())
    while True:
        index = int(rng.integers(SEEDS_PER_SPLIT))
        include = (pairs[index % len(pairs)],) if split == "val_unseen_combo" else ()
        episode = _episode_in(split, layout_seed(split, index), include, rng, f"{split}_drawn_{index}")
        if episode is not None:
            return episode


def _stream(split: str, seed: int, family: str) -> Iterator[Episode]:
    """Yield episodes of successive layouts without end; a layout that offers none is left out."""
    pairs = sorted(held_out_pairs())
    made = 0
    for index in range(SEEDS_PER_SPLIT):
        layout = layout_seed(split, index, seed)
        include = (pairs[index % len(pairs)],) if split == "val_unseen_combo" else ()
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        name = f"{split}_{seed}_{made}" if family == PLAIN else f"{family}_{split}_{seed}_{made}"
        episode = _episode_in(split, layout, include, rng, name, family)
        if episode is not None:
            made += 1
            yield episode


def _episode_in(
    split: str, layout: int, include: tuple[Pair, ...], rng: np.random.Generator, name: str, family: str = PLAIN
) -> Episode | None:
    flat = split_flat(layout, include, family)
    grid = OccupancyGrid(flat)
    targets = [item for item in flat.objects if not include or (item.colour, item.kind) in include]
    for index in rng.permutation(len(targets)):
        episode = _episode_to(split, grid, targets[index], include, rng, name)
        if episode is not None:
            return episode
    return None


def _episode_to(
    split: str,
    grid: OccupancyGrid,
    target: SceneObject,
    include: tuple[Pair, ...],
    rng: np.random.Generator,
    name: str,
) -> Episode | None:
    field = grid.field_to(target)
    in_reach = (field.values_m >= MIN_START_M) & (field.values_m <= MAX_START_M)
    starts = np.argwhere(in_reach & grid.room_cells(grid.flat.room(target.room)))
    if len(starts) == 0:
        return None
    row, column = starts[rng.integers(len(starts))]
    x, y = grid.centre(int(row), int(column))
    return Episode(
        episode_id=name,
        split=split,
        flat_seed=grid.flat.seed,
        include=include,
        room=target.room,
        target=target.name,
        goal_m=(target.x_m, target.y_m),
        start=Pose(x, y, float(rng.uniform(-math.pi, math.pi))),
        instruction=instruction_for(target, rng, split),
        reference_path=tuple(path_points(field, x, y)),
        geodesic_m=field.at(x, y),
        family=grid.flat.family,
    )
