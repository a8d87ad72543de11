"""Rollouts of the oracle: the frames seen and where decisions were made, for comparisons off-line."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.types import Frame
from vila_sim.environment import FlatEnv
from vila_sim.episodes import Episode
from vila_sim.oracle import MAX_DECISIONS, oracle_action


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """An instruction and all frames seen while following it, oldest first.

    decisions: for each decision, how many of the frames had been seen.
    """

    instruction: str
    frames: tuple[Frame, ...]
    decisions: tuple[int, ...]


def oracle_rollout(env: FlatEnv, episode: Episode) -> Rollout:
    """Let the oracle drive an episode."""
    frames = [env.reset(episode, track_target=True)[0]]
    decisions: list[int] = []
    while not env.stop_called and len(decisions) < MAX_DECISIONS:
        decisions.append(len(frames))
        action = oracle_action(env.pose, env.field, env.target_view())
        frames += [frame for frame, _ in env.act(action)]
    return Rollout(episode.instruction, tuple(frames), tuple(decisions))
