"""The episodes that a program's options ask for: those of a file, of the package, or generated ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from vila_core.errors import ConfigError
from vila_sim.corruptions import corrupted
from vila_sim.episodes.episode_files import read_episodes
from vila_sim.episodes.episode_sets import read_set
from vila_sim.episodes.splits import Episode


def chosen_episodes(args: argparse.Namespace) -> list[Episode]:
    """Return args.episodes episodes, by args.episode_file or args.split and args.seed; see take_episodes."""
    episodes = take_episodes(args.episode_file, args.split, args.episodes, args.seed)
    name = getattr(args, "corruption", "")
    return [corrupted(episode, name) for episode in episodes] if name else episodes


def take_episodes(file: Path | None, split: str, count: int, seed: int) -> list[Episode]:
    """Return the first episodes of a file, or so many of a split, as the package has them or generated.

    Raises ConfigError for fewer than one, and for a file without any; WorldError as read_set does.
    """
    if count < 1:
        raise ConfigError(f"--episodes {count}: must be at least 1")
    if file is None:
        return read_set(split, count, seed)
    episodes = read_episodes(file)[:count]
    if not episodes:
        raise ConfigError(f"{file} holds no episodes")
    return episodes
