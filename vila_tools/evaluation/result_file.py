"""Results on disk as they come, a line of JSON each: a run that was killed goes on behind the last whole one."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vila_core.actions.grammar import ACTIONS, action_index
from vila_core.errors import ConfigError
from vila_core.files.writing import naming_output
from vila_core.types import Pose
from vila_sim.episodes.splits import Episode
from vila_tools.evaluation.episode_run import EpisodeResult
from vila_tools.evaluation.metrics import NavigationMetrics

Key = tuple[str, str]  # policy, episode
_DIGITS = 4


class ResultFile:
    """The results of one run. None: nothing is kept.

    settings: what the results depend on, which the file's first line holds. episodes: those of now; more than last time
    are welcome. Raises ConfigError for a file of other settings, or of an episode that was another task, naming it.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any], episodes: Sequence[Episode]) -> None:
        self._path, self.results = path, dict[Key, EpisodeResult]()
        self._tasks = {e.episode_id: hashlib.sha256(repr(e).encode()).hexdigest()[:16] for e in episodes}
        if path is None:
            return
        with naming_output(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))  # of what a kill left half written
            if not whole:
                path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
                return
        first, *lines = whole.splitlines()
        _require_same(path, first, settings)
        for number, line in enumerate(lines, 2):
            task, result = _read(path, number, line)
            if self._tasks.get(result.episode_id, task) != task:
                raise ConfigError(f"{path} holds another episode {result.episode_id}: name another folder")
            self.results[result.policy, result.episode_id] = result

    def add(self, results: Iterable[EpisodeResult]) -> None:
        """Keep what was measured."""
        new = list(results)
        self.results |= {(result.policy, result.episode_id): result for result in new}
        if self._path is not None:
            with naming_output(self._path), self._path.open("a", encoding="utf-8") as stream:
                rows = [{"task": self._tasks[result.episode_id], **_to_json(result)} for result in new]
                stream.write("".join(json.dumps(row) + "\n" for row in rows))

    def in_order(self, policies: Sequence[str], episodes: Sequence[str]) -> list[EpisodeResult]:
        """Return the results of these, policy by policy, in the order of the episodes: whoever was ready first."""
        return [self.results[policy, episode] for policy in policies for episode in episodes]


def _require_same(path: Path, line: bytes, settings: Mapping[str, Any]) -> None:
    try:
        there = json.loads(line)
    except ValueError as err:
        raise ConfigError(f"{path} is no file of results: {err}; name another folder") from err
    now = json.loads(json.dumps(settings))
    differ = [name for name in now if not isinstance(there, dict) or there.get(name) != now[name]]
    if differ:
        name = differ[0]
        was = there.get(name) if isinstance(there, dict) else there
        raise ConfigError(
            f"{path} holds results of another run, {name} = {was!r} instead of {now[name]!r}; name another folder, or "
            "delete this one"
        )


def _read(path: Path, number: int, line: bytes) -> tuple[str, EpisodeResult]:
    try:
        row = json.loads(line)
        return str(row.pop("task")), _from_json(row)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as err:
        raise ConfigError(f"{path}: line {number} is no result: {err!r}; delete the file") from err


def _to_json(result: EpisodeResult) -> dict[str, Any]:
    row = {name: getattr(result, name) for name in result.__slots__}
    row["metrics"] = {name: None if math.isnan(value) else value for name, value in asdict(result.metrics).items()}
    row["actions"] = [action_index(action) for action in result.actions]
    row["path"] = [[round(value, _DIGITS) for value in (p.x_m, p.y_m, p.yaw_rad)] for p in result.path]
    row["decision_ms"] = [round(value, 3) for value in result.decision_ms]
    return row


def _from_json(row: dict[str, Any]) -> EpisodeResult:
    row["metrics"] = NavigationMetrics(
        **{name: math.nan if value is None else value for name, value in row["metrics"].items()}
    )
    row["actions"] = tuple(ACTIONS[index] for index in row["actions"])
    row["path"] = tuple(Pose(*values) for values in row["path"])
    row["decision_ms"] = tuple(row["decision_ms"])
    return EpisodeResult(**row)
