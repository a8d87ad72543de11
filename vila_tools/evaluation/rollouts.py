"""Rollouts of the oracle: the frames seen and where decisions were made, for comparisons off-line."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.types import Action, Frame
from vila_sim.environment import FlatEnv
from vila_sim.episodes.oracle import MAX_DECISIONS, oracle_action
from vila_sim.episodes.splits import Episode


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """An instruction and all frames seen while following it, oldest first.

    decisions: for each decision, how many of the frames had been seen. actions: what was decided then; empty where that
    is not known.
    """

    instruction: str
    frames: tuple[Frame, ...]
    decisions: tuple[int, ...]
    actions: tuple[Action, ...] = ()


def oracle_rollout(env: FlatEnv, episode: Episode) -> Rollout:
    """Let the oracle drive an episode."""
    frames = [env.reset(episode, track_target=True)[0]]
    decisions: list[int] = []
    actions: list[Action] = []
    while not env.stop_called and len(decisions) < MAX_DECISIONS:
        decisions.append(len(frames))
        actions.append(oracle_action(env.pose, env.field, env.target_view()))
        frames += [frame for frame, _ in env.act(actions[-1])]
    return Rollout(episode.instruction, tuple(frames), tuple(decisions), tuple(actions))
