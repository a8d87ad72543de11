"""The episodes that a program's options ask for: those of a file, or generated ones."""

from __future__ import annotations

import argparse

from vila_core.errors import ConfigError
from vila_sim.episode_files import read_episodes
from vila_sim.episodes import Episode, generate_episodes


def chosen_episodes(args: argparse.Namespace) -> list[Episode]:
    """Read or generate args.episodes episodes, by args.episode_file or args.split and args.seed.

    Raises ConfigError for fewer than one, and for a file without any.
    """
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: must be at least 1")
    if args.episode_file:
        episodes = read_episodes(args.episode_file)[: args.episodes]
        if not episodes:
            raise ConfigError(f"{args.episode_file} holds no episodes")
        return episodes
    return generate_episodes(args.split, args.episodes, args.seed)
