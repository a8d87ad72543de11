"""The benchmark's episodes as files of the package: one for each split, the same for everybody.

`vila episodes` writes them again from their seeds, where flats are made otherwise than before.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

from vila_core.errors import WorldError
from vila_sim.episodes.episode_files import episodes_text, read_episodes
from vila_sim.episodes.splits import SPLITS, Episode, generate_episodes

VERSION = "v1"  # another one for other tasks or other flats: figures of two versions are not to be compared
FOLDER = Path(__file__).parents[1] / "benchmark"
SET_SPLITS = tuple(split for split in SPLITS if split != "train")
SET_SEEDS, SET_EPISODES = (0, 1), 200  # of each seed


def set_path(split: str, folder: Path = FOLDER) -> Path:
    """Return where the episodes of a split are."""
    return folder / VERSION / f"{split}.json.gz"


def read_set(split: str, count: int, seed: int = 0) -> list[Episode]:
    """Return so many episodes of a split: those of the seed, then those of the seeds behind it.

    What is not in the package, training episodes and other seeds, is generated: the same each time. Raises WorldError
    for an unknown split, for more than the package has from its seeds on, and for a file that is missing or damaged.
    """
    if split not in SET_SPLITS or seed not in SET_SEEDS:
        return generate_episodes(split, count, seed)
    episodes = read_episodes(set_path(split))[SET_SEEDS.index(seed) * SET_EPISODES :]
    if count > len(episodes):
        raise WorldError(
            f"{split} has {len(episodes)} episodes from seed {seed} on, not {count}: take fewer, or a seed whose "
            f"episodes are generated, such as {SET_SEEDS[-1] + 1}"
        )
    return episodes[:count]


def holds_set(file: Path, made: Sequence[Episode]) -> bool:
    """Return True if the file is there and holds these episodes and no others."""
    if not file.is_file():
        return False
    try:
        return gzip.decompress(file.read_bytes()) == episodes_text(made).encode()
    except (OSError, EOFError, zlib.error):
        return False


def fingerprint(episodes: Sequence[Episode]) -> str:
    """Return what two lists have in common if robots begin at the same places, to go to the same things.

    Words, cameras and signs may differ: so that a corruption is compared with the clean episodes.
    """
    facts = [(e.episode_id, e.flat_seed, e.include, e.named_pairs, e.start.x_m, e.start.y_m) for e in episodes]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
