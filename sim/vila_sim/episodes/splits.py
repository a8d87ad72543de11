"""Navigation episodes by split: made from seeds, the same each time, and no layout of one split in another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from vila_core.errors import WorldError
from vila_sim.corruptions import corrupted_in_turn
from vila_sim.episodes.episode import SUCCESS_RADIUS_M, Episode, Pair
from vila_sim.episodes.tasks import (
    MAX_START_M,
    MIN_START_M,
    Maker,
    absent_episode,
    door_episode,
    held_out_pairs,
    room_episode,
    two_step_episode,
)
from vila_sim.families.table import PLAIN
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat
from vila_sim.flats.textures import SIGNS

__all__ = [
    "MAX_START_M",
    "MIN_START_M",
    "SPLITS",
    "SUCCESS_RADIUS_M",
    "Episode",
    "Pair",
    "draw_episode",
    "flat_of",
    "generate_episodes",
    "held_out_pairs",
    "layout_seed",
    "split_flat",
]

SPLITS = (
    *("train", "val_seen", "val_unseen_layout", "val_unseen_combo", "val_paraphrase", "val_all_unseen"),
    *("door", "two_step", "absent", "corrupted", "signs"),
)
CLEAN_SPLIT = "val_unseen_layout"  # whose episodes "corrupted" and "signs" spoil
SEEDS_PER_SPLIT = 1_000_000
_SEEN_LAYOUTS = 150  # from one seed of val_seen to the next: two stay among the 352 flats that vila-nano has seen

_FIRST_SEED = {
    **{"train": 0, "val_seen": 0, "val_unseen_layout": 1, "val_unseen_combo": 2, "val_paraphrase": 3},
    **{"val_all_unseen": 4, "door": 5, "two_step": 6, "absent": 7},
}
_MAKERS: dict[str, Maker] = {"door": door_episode, "two_step": two_step_episode, "absent": absent_episode}


def _signed_in_turn(episode: Episode, number: int) -> Episode:
    """Return the episode with one of the signs on the walls, each in its turn."""
    return replace(episode, sign=tuple(SIGNS)[number % len(SIGNS)])


_SPOILERS: dict[str, Callable[[Episode, int], Episode]] = {"corrupted": corrupted_in_turn, "signs": _signed_in_turn}
SPOILED_SPLITS = tuple(_SPOILERS)
_HOLDING_HELD_OUT = ("val_unseen_combo", "val_all_unseen")


def split_flat(seed: int, include: Sequence[Pair] = (), family: str = PLAIN) -> Flat:
    """The flat of a seed: without held-out pairs, other than those that it must include."""
    exclude = held_out_pairs() - set(include)
    return generate_flat(seed, include=tuple(include), exclude_pairs=exclude, family=family)


def flat_of(episode: Episode) -> Flat:
    """Build the flat in which the episode happens."""
    return split_flat(episode.flat_seed, episode.include, episode.family)


def layout_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of the index-th layout of a split; seeds of different splits never meet.

    val_seen alone shares the layouts of train, those of its seed 0 whatever the seed; corrupted and signs are episodes
    of val_unseen_layout. Raises WorldError for an unknown split, or a number below 0.
    """
    if index < 0 or seed < 0:
        raise WorldError(f"seed {min(index, seed)}: must be 0 or more")
    split = CLEAN_SPLIT if split in _SPOILERS else split
    if split not in _FIRST_SEED:
        raise WorldError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    stride = _SEEN_LAYOUTS if split == "val_seen" else 10_000
    return _FIRST_SEED[split] * SEEDS_PER_SPLIT + (seed * stride + index) % SEEDS_PER_SPLIT


def generate_episodes(split: str, count: int, seed: int = 0, family: str = PLAIN) -> list[Episode]:
    """Make episodes, one in each layout of a family; the same arguments give the same. What a split's are: tasks.py."""
    return [episode for episode, _ in zip(_stream(split, seed, family), range(count), strict=False)]


def draw_episode(split: str, rng: np.random.Generator) -> Episode:
    """Draw an episode from all layouts of a split. Raises WorldError for an unknown split."""
    while True:
        index = int(rng.integers(SEEDS_PER_SPLIT))
        episode = _episode_in(split, layout_seed(split, index), index, rng, f"{split}_drawn_{index}")
        if episode is not None:
            return _SPOILERS[split](episode, index) if split in _SPOILERS else episode


def spoiled_episodes(split: str, clean: Iterable[Episode], seed: int) -> Iterator[Episode]:
    """Yield the episodes of one of SPOILED_SPLITS: those of CLEAN_SPLIT and the same seed, with something wrong."""
    for number, episode in enumerate(clean):
        yield replace(_SPOILERS[split](episode, number), split=split, episode_id=f"{split}_{seed}_{number}")


def _stream(split: str, seed: int, family: str) -> Iterator[Episode]:
    """Yield episodes of successive layouts without end; a layout that offers none is left out."""
    if split in SPOILED_SPLITS:
        yield from spoiled_episodes(split, _stream(CLEAN_SPLIT, seed, family), seed)
        return
    made = 0
    for index in range(SEEDS_PER_SPLIT):
        layout = layout_seed(split, index, seed)
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        name = f"{split}_{seed}_{made}" if family == PLAIN else f"{family}_{split}_{seed}_{made}"
        episode = _episode_in(split, layout, index, rng, name, family)
        if episode is not None:
            made += 1
            yield episode


def _episode_in(
    split: str, layout: int, index: int, rng: np.random.Generator, name: str, family: str = PLAIN
) -> Episode | None:
    pairs = sorted(held_out_pairs())
    include = (pairs[index % len(pairs)],) if split in _HOLDING_HELD_OUT else ()
    grid = OccupancyGrid(split_flat(layout, include, family))
    return _MAKERS.get(split, room_episode)(split, grid, include, rng, name)
