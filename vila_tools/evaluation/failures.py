"""How an episode failed, and what the failures of a policy share, in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vila_core.types import Pose
from vila_ros.navigator.mission.mission import MissionError
from vila_sim.environment import bearing_rad
from vila_sim.episodes.episode import SUCCESS_RADIUS_M, Episode, Pair
from vila_sim.flats.room_space import footprint_distance
from vila_sim.flats.scene import Flat, SceneObject
from vila_tools.evaluation.metrics import mean, rate_row

if TYPE_CHECKING:
    from vila_tools.evaluation.episode_run import EpisodeResult

SAME_COLOUR = "stopped at same colour, other kind"
SAME_KIND = "stopped at same kind, other colour"
NEITHER = "stopped at another thing"
NOWHERE = "stopped at nothing"
SHORT = "stopped short of it"
AT_FIRST = "stopped at the first goal"
SKIPPED = "stopped at the second goal without the first"
NEVER_STOPPED = "never stopped"
NOT_FOUND = "said not found"
GAVE_UP = "gave up otherwise"
HELD = "held"
FAILURES = (
    *(SAME_COLOUR, SAME_KIND, NEITHER, NOWHERE, SHORT, AT_FIRST, SKIPPED),
    *(NEVER_STOPPED, NOT_FOUND, GAVE_UP, HELD),
)
_AT_M = 0.22 + SUCCESS_RADIUS_M  # of the robot's middle from a thing's footprint: it stands at it
_AHEAD_RAD = math.radians(60.0)


def failure_of(episode: Episode, flat: Flat, pose: Pose, error: MissionError, *, held: bool) -> str:
    """Return how a failed episode failed, one of FAILURES: by its mission's end, and by what the robot stopped at."""
    if held:
        return HELD
    if error is MissionError.TOO_MANY_DECISIONS:
        return NEVER_STOPPED
    if error is MissionError.NOT_FOUND:
        return NOT_FOUND
    if error is not MissionError.NONE:
        return GAVE_UP
    thing = stopped_at(flat, pose)
    if thing is None:
        return NOWHERE
    if thing.name == episode.via:
        return AT_FIRST
    if thing.name == episode.target:
        return SKIPPED if episode.via else SHORT
    return _likeness((thing.colour, thing.kind), episode.named_pairs)


def stopped_at(flat: Flat, pose: Pose) -> SceneObject | None:
    """Return the thing at which a robot stands: within a metre, the nearest of those before it, or of all."""
    x, y = np.array(pose.x_m), np.array(pose.y_m)
    room = flat.room_at(pose.x_m, pose.y_m)
    near = [
        (float(footprint_distance(thing, x, y)), thing) for thing in flat.objects if room and thing.room == room.name
    ]
    near = [(distance, thing) for distance, thing in near if distance <= _AT_M]
    ahead = [(distance, thing) for distance, thing in near if abs(bearing_rad(pose, thing)) <= _AHEAD_RAD]
    return min(ahead or near, key=lambda row: row[0], default=(0.0, None))[1]


def _likeness(pair: Pair, wanted: Sequence[Pair]) -> str:
    if any(pair[0] == colour for colour, _ in wanted):
        return SAME_COLOUR
    return SAME_KIND if any(pair[1] == kind for _, kind in wanted) else NEITHER


def failure_counts(results: Sequence[EpisodeResult]) -> dict[str, int]:
    """Return how often each kind of failure came up, those that did, in the order of FAILURES."""
    counts = Counter(result.failure for result in results)
    return {name: counts[name] for name in FAILURES if counts[name]}


def success_by(results: Sequence[EpisodeResult], what: str) -> dict[str, dict[str, Any]]:
    """Return episodes, SR and its 95 % interval for each value of a field, kind, sign or corruption, worst first."""
    groups: dict[str, list[EpisodeResult]] = {}
    for result in results:
        groups.setdefault(getattr(result, what), []).append(result)
    rows = {name: _rate(members) for name, members in groups.items() if name}
    return dict(sorted(rows.items(), key=lambda row: (row[1]["sr"], row[0])))


def _rate(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    return {"episodes": len(results)} | rate_row("sr", sum(result.metrics.success for result in results), len(results))


def what_failures_share(results: Sequence[EpisodeResult], episodes: Sequence[Episode]) -> list[str]:
    """Return in sentences how failures differ from successes: how they end, what for, from how far, with what contact.

    episodes: at least those of the results.
    """
    failed = [result for result in results if not result.metrics.success]
    others = [result for result in results if result.metrics.success]
    if not failed:
        return [f"None of {len(results)} episodes failed."]
    said = [f"{len(failed)} of {len(results)} episodes failed: {_listing(failure_counts(failed))}."]
    worst = [f"{name} {_failed(row)} of {row['episodes']}" for name, row in success_by(results, "kind").items()][:4]
    said.append(f"Named in them most, by share: {', '.join(worst)}.")
    if not others:
        return said
    starts = {episode.episode_id: episode for episode in episodes}
    measures: tuple[tuple[str, Callable[[EpisodeResult], float], str], ...] = (
        ("The way at the start", lambda r: starts[r.episode_id].geodesic_m, " m"),
        ("The goal's angle from straight ahead at the start", lambda r: _angle_deg(starts[r.episode_id]), " degrees"),
        ("Steps that touched something", lambda r: float(r.collisions), ""),
        ("Decisions", lambda r: float(len(r.decision_ms)), ""),
    )
    for about, value, unit in measures:
        there, here = mean([value(result) for result in failed]), mean([value(result) for result in others])
        if not math.isnan(there) and (there or here):
            said.append(f"{about}: {there:.1f}{unit} on average, {here:.1f}{unit} in successes.")
    never = [result for result in failed if result.failure == NEVER_STOPPED]
    if never and not math.isnan(never[0].metrics.navigation_error_m):
        far = sum(result.metrics.navigation_error_m > 2 * SUCCESS_RADIUS_M for result in never)
        said.append(f"Of {len(never)} that never stopped {far} ended more than {2 * SUCCESS_RADIUS_M:g} m away.")
    return said


def _failed(row: dict[str, Any]) -> int:
    return int(row["episodes"] - round(row["sr"] * row["episodes"]))


def _angle_deg(episode: Episode) -> float:
    """The direction of the first goal from the robot's heading at the start; nan if there is none."""
    if not episode.goals:
        return math.nan
    x, y = episode.goal_places[0]
    towards = math.atan2(y - episode.start.y_m, x - episode.start.x_m) - episode.start.yaw_rad
    return abs(math.degrees(math.remainder(towards, 2 * math.pi)))


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda row: -row[1]))
