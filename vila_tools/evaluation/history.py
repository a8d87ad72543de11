"""`vila bench history CHECKPOINT`: what a checkpoint would do differently with another history.

The oracle drives the episodes. At each of its decisions the checkpoint is asked under every history policy what it
would do, from the same frames: how often is its action the one under `navila`, and how far apart are the ten
probabilities (total variation: half the sum of the differences)? Success needs a checkpoint that was trained to
navigate (`vila bench nav`); this needs none. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.backend import BACKENDS, Backend, ModelInfo, load_backend
from vila_core.errors import ConfigError
from vila_core.history.buffer import FrameHistory
from vila_core.history.policies import make_policy
from vila_core.history.policy import HistoryPolicy
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Action, Choice, Frame, Instruction, Visual
from vila_sim.environment import FlatEnv
from vila_sim.episodes.oracle import MAX_DECISIONS, oracle_action
from vila_sim.episodes.splits import SPLITS, Episode, generate_episodes
from vila_tools.options import add_model_options, tell_precision
from vila_tools.report import with_kernels

REFERENCE = "navila"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the checkpoint would do under one policy; visual_tokens: those of the prompt."""

    choice: Choice
    visual_tokens: int


@dataclass(frozen=True, slots=True)
class Moment:
    """A decision of the oracle, and the answers by policy."""

    oracle: Action
    answers: Mapping[str, Answer]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    if args.episodes < 1:
        raise ConfigError(f"--episodes {args.episodes}: must be at least 1")
    config = HistoryConfig(
        window_frames=args.window_frames, kept_frames=args.kept_frames, memory_frames=args.memory_frames
    )
    backend = load_backend(args.backend, args.checkpoint, device=args.device, precision=args.precision)
    tell_precision(backend.info)
    env = FlatEnv()
    try:
        episodes = generate_episodes(args.split, args.episodes, args.seed)
        moments = [
            moment
            for episode in tqdm(episodes, unit="episode", disable=None)
            for moment in compare_episode(env, backend, config, episode)
        ]
    finally:
        env.close()
        backend.close()
    report = {
        **{"checkpoint": backend.info.name, "split": args.split, "seed": args.seed, "episodes": len(episodes)},
        **make_report(moments),
    }
    print(make_table(report))
    print(json.dumps(with_kernels(report)))
    return 0


def compare_episode(env: FlatEnv, backend: Backend, config: HistoryConfig, episode: Episode) -> Iterator[Moment]:
    """Let the oracle drive one episode and ask at each of its decisions, under each policy.

    config: of the history, whatever policy it names.
    """
    history = FrameHistory(config)
    policies = {name: make_policy(dataclasses.replace(config, policy=name), backend.info) for name in HISTORY_POLICIES}
    history.add(*env.reset(episode, track_target=True))
    for _ in range(MAX_DECISIONS):
        action = oracle_action(env.pose, env.field, env.target_view())
        frames = history.snapshot()
        instruction = Instruction(episode.instruction)
        answers = {name: _ask(backend, name, policy, instruction, frames) for name, policy in policies.items()}
        yield Moment(action, answers)
        for seen in env.act(action):
            history.add(*seen)
        if env.stop_called:
            return


def make_report(moments: Sequence[Moment]) -> dict[str, Any]:
    """Sum up by policy.

    agreement: share of decisions with the same action as under navila. total_variation: mean distance of the
    probabilities from those under navila. oracle_agreement: share with the oracle's action. visual_tokens: mean.
    Raises ValueError without moments.
    """
    if not moments:
        raise ValueError("no decisions to compare")
    rows = {name: _row([m.answers[name] for m in moments], moments) for name in HISTORY_POLICIES}
    return {"decisions": len(moments), "reference": REFERENCE, "policies": rows}


def make_table(report: Mapping[str, Any]) -> str:
    """The report as text, a line for each policy."""
    lines = [
        f"{report['checkpoint']}, {report['episodes']} episodes of {report['split']}, {report['decisions']} decisions",
        f"{'policy':<12} {'as navila':>10} {'variation':>10} {'as oracle':>10} {'visual tokens':>14}",
    ]
    for name, row in report["policies"].items():
        lines.append(
            f"{name:<12} {row['agreement']:10.3f} {row['total_variation']:10.4f} {row['oracle_agreement']:10.3f} "
            f"{row['visual_tokens']:14.1f}"
        )
    return "\n".join(lines)


def _ask(
    backend: Backend, name: str, policy: HistoryPolicy, instruction: Instruction, frames: Sequence[Frame]
) -> Answer:
    info = backend.info
    visuals = policy.select(frames)
    prompt = navigation_prompt(info.prompt_style, info.chat_template, instruction, visuals, SENTENCES)
    choice = backend.choose(dataclasses.replace(prompt, cache_slot=name), SENTENCES)
    return Answer(choice, _token_count(visuals, info))


def _token_count(visuals: Sequence[Visual], info: ModelInfo) -> int:
    return sum(info.visual_tokens if visual.tokens is None else visual.tokens for visual in visuals)


def _row(answers: Sequence[Answer], moments: Sequence[Moment]) -> dict[str, float]:
    reference = [moment.answers[REFERENCE] for moment in moments]
    same = [a.choice.index == b.choice.index for a, b in zip(answers, reference, strict=True)]
    right = [ACTIONS[a.choice.index] == moment.oracle for a, moment in zip(answers, moments, strict=True)]
    gaps = np.array([a.choice.probabilities for a in answers]) - [b.choice.probabilities for b in reference]
    return {
        "agreement": round(float(np.mean(same)), 4),
        "total_variation": round(float(np.abs(gaps).sum(axis=1).mean() / 2), 4),
        "oracle_agreement": round(float(np.mean(right)), 4),
        "visual_tokens": round(float(np.mean([a.visual_tokens for a in answers])), 1),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench history", description="Compare a checkpoint's history policies.")
    add_model_options(parser)
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="torch", help="default: %(default)s")
    parser.add_argument("--split", choices=SPLITS, default="val_unseen_layout")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the episodes")
    for size in ("window", "kept", "memory"):
        parser.add_argument(f"--{size}-frames", type=int, default=-1, help=f"history.{size}_frames; -1: as the model")
    return parser


if __name__ == "__main__":
    sys.exit(main())
