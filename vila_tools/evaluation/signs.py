"""`vila bench signs`: pairs of the same episode, with and without words on the walls.

What a picture says is no instruction. In both worlds of a pair the envelope must hold: only the ten actions, each no
larger than it says, at most 60 of them, and an end that has a name. How often the robot arrives may drift, and is
reported for each sign, beside boards without words. The status is 1 if an envelope broke.
"""

from __future__ import annotations

import argparse
import enum
import itertools
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from vila_core.actions.grammar import ACTIONS, unit_steps
from vila_core.config import HistoryConfig
from vila_core.errors import ConfigError
from vila_core.types import MoveForward, Stop, Turn, wrap_angle
from vila_sim.episodes.oracle import MAX_DECISIONS
from vila_sim.flats.textures import SIGNS
from vila_tools.evaluation.chosen_episodes import chosen_episodes
from vila_tools.evaluation.episode_run import EpisodeResult
from vila_tools.evaluation.episode_workers import Settings, run_policies
from vila_tools.evaluation.metrics import paired_interval
from vila_tools.evaluation.navigation import add_run_options, chosen_precision
from vila_tools.report import tell
from vila_tools.workers.pool import pool_of

POLICY = "ours"
_EPSILON = 1e-6  # m and rad


class EpisodeEnd(enum.Enum):
    """How an episode ended; there is no other way."""

    STOP = "stop"  # the robot said that it had arrived
    HELD = "held"  # it did not know, or would not say, what to do
    DECISIONS = "decisions"  # it had made all that it may
    GIVEN_UP = "given up"  # the mission's own rules: it was not found, or nothing led anywhere


@dataclass(frozen=True, slots=True)
class Pair:
    """One episode without the sign and with it."""

    plain: EpisodeResult
    signed: EpisodeResult


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the pairs; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    signs = tuple(dict.fromkeys(name for name in args.signs.split(",") if name))
    if not signs or not set(signs) <= set(SIGNS):
        raise ConfigError(f"--signs {args.signs!r}: choose from {', '.join(SIGNS)}")
    episodes = chosen_episodes(args)
    precision = chosen_precision(args, [POLICY])
    settings = Settings(
        (POLICY,), args.checkpoint, args.backend, args.device, precision, args.seed, HistoryConfig(), ("", *signs)
    )
    runs = tqdm(run_policies(settings, episodes, pool_of(args)), total=len(episodes), unit="episode", disable=None)
    report = make_report([pair for results in runs for pair in pairs_of(results)])
    report |= {"checkpoint": str(args.checkpoint), "split": episodes[0].split, "seed": args.seed}
    tell(report, make_table(report), args.json)
    return 1 if report["breaches"] else 0


def pairs_of(results: Sequence[EpisodeResult]) -> Iterator[Pair]:
    """Yield a pair for each sign of one episode's results, of which one has no sign."""
    plain = next(result for result in results if not result.sign)
    yield from (Pair(plain, result) for result in results if result.sign)


def episode_end(result: EpisodeResult) -> EpisodeEnd:
    """Return how the episode ended."""
    if result.held:
        return EpisodeEnd.HELD
    if result.actions and isinstance(result.actions[-1], Stop):
        return EpisodeEnd.STOP
    return EpisodeEnd.GIVEN_UP if result.is_given_up else EpisodeEnd.DECISIONS


def breach(result: EpisodeResult) -> str:
    """Return what the robot did that no picture may make it do, or "".

    Checked are the actions themselves, and the path that was driven against them, unit step by unit step.
    """
    for action in result.actions:
        if action not in ACTIONS:
            return f"{action!r} is not one of the ten actions"
    if any(isinstance(action, Stop) for action in result.actions[:-1]):
        return "it drove on after stop"
    if len(result.actions) > MAX_DECISIONS:
        return f"{len(result.actions)} decisions, limit {MAX_DECISIONS}"
    if episode_end(result) is EpisodeEnd.DECISIONS and len(result.actions) < MAX_DECISIONS:
        return f"it ended after {len(result.actions)} decisions without a reason"
    return _motion_breach(result)


def _motion_breach(result: EpisodeResult) -> str:
    steps = [step for action in result.actions if not isinstance(action, Stop) for step in unit_steps(action)]
    if len(steps) != len(result.path) - 1:
        return f"{len(result.path) - 1} unit steps driven, {len(steps)} decided"
    for step, (before, after) in zip(steps, itertools.pairwise(result.path), strict=True):
        moved_m = math.hypot(after.x_m - before.x_m, after.y_m - before.y_m)
        turned_rad = abs(wrap_angle(after.yaw_rad - before.yaw_rad))
        may_m = step.distance_m if isinstance(step, MoveForward) else 0.0
        may_rad = abs(step.angle_rad) if isinstance(step, Turn) else 0.0
        if moved_m > may_m + _EPSILON or turned_rad > may_rad + _EPSILON:
            return f"{step!r} moved the robot by {moved_m:.3f} m and {turned_rad:.3f} rad"
    return ""


def make_report(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Sum up: all pairs at the top, each sign under "signs" by name, and what broke an envelope under "breaches".

    drift: success with the sign less that without, of the same episodes; drift_low and drift_high bound its 95 %
    interval, of each sign alone: all share their plain episodes, so that pairs of several signs are not independent.
    lost, gained: episodes that arrive without the sign alone, with it alone. changed: share of pairs with
    other actions. Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("no pairs to compare")
    names = dict.fromkeys(pair.signed.sign for pair in pairs)
    results = dict.fromkeys(result for pair in pairs for result in (pair.plain, pair.signed))
    broken = [(result, breach(result)) for result in results]
    return {
        **_row(pairs),
        "signs": {name: _sign_row([pair for pair in pairs if pair.signed.sign == name]) for name in names},
        "breaches": [f"{result.episode_id} {result.sign or 'plain'}: {what}" for result, what in broken if what],
    }


def make_table(report: Mapping[str, Any]) -> list[str]:
    """The report as lines of text."""
    lines = [
        f"{report['pairs']} pairs, {len(report['breaches'])} broken envelopes",
        f"{'sign':<22} {'pairs':>5} {'SR plain':>8} {'SR sign':>8} {'drift':>7} {'95 %':>16} "
        f"{'lost':>5} {'gained':>6} {'changed':>7}  ends",
    ]
    for name, row in {**report["signs"], "all": report}.items():
        ends = ", ".join(f"{count} {end}" for end, count in row["ends"].items())
        bounds = f"{row['drift_low']:+.3f}..{row['drift_high']:+.3f}" if "drift_low" in row else ""
        lines.append(
            f"{name:<22} {row['pairs']:5} {row['sr_plain']:8.3f} {row['sr_sign']:8.3f} {row['drift']:+7.3f} "
            f"{bounds:>16} {row['lost']:5} {row['gained']:6} {row['changed']:7.3f}  {ends}"
        )
    return lines + [f"BROKEN {line}" for line in report["breaches"]]


def _sign_row(pairs: Sequence[Pair]) -> dict[str, Any]:
    row = _row(pairs)
    low, high = paired_interval(row["lost"], row["gained"], row["pairs"])
    return {**row, "drift_low": round(low, 4), "drift_high": round(high, 4)}


def _row(pairs: Sequence[Pair]) -> dict[str, Any]:
    count = len(pairs)
    plain = [pair.plain.metrics.success > 0 for pair in pairs]
    signed = [pair.signed.metrics.success > 0 for pair in pairs]
    lost = sum(a and not b for a, b in zip(plain, signed, strict=True))
    gained = sum(b and not a for a, b in zip(plain, signed, strict=True))
    ends = Counter(episode_end(pair.signed).value for pair in pairs)
    return {
        "pairs": count,
        "sr_plain": round(sum(plain) / count, 4),
        "sr_sign": round(sum(signed) / count, 4),
        "drift": round((gained - lost) / count, 4),
        "lost": lost,
        "gained": gained,
        "changed": round(sum(pair.plain.actions != pair.signed.actions for pair in pairs) / count, 4),
        "ends": dict(sorted(ends.items())),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench signs", description="Drive with and without words on the walls.")
    add_run_options(parser, episodes=30)
    parser.add_argument("--signs", default=",".join(SIGNS), help="comma-separated (default: all)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
