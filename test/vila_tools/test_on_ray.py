"""Evaluation and data making on a real Ray cluster of this machine give what one process gives."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="extra `ray`")
pytest.importorskip("vila_sim.mujoco.simulator")

from ray_cluster import cluster  # noqa: F401  # a fixture
from worker_jobs import noise_shard

from vila_core.config import HistoryConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.splits import Episode, generate_episodes
from vila_tools.evaluation import events, navigation
from vila_tools.evaluation.episode_run import EpisodeResult
from vila_tools.evaluation.episode_workers import Settings, run_policies
from vila_tools.training import data_sets
from vila_tools.workers.pool import InThisProcess, WorkerPool
from vila_tools.workers.ray_pool import RayPool

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("cluster")]
TIMED = ("decision_ms", "decisions_per_s", "waiting_ratio", "waiting_ratio_low", "waiting_ratio_high", "workers")


@pytest.fixture(scope="module")
def rooms() -> list[Episode]:
    return generate_episodes("val_unseen_layout", 4)


def driven(policies: tuple[str, ...], rooms: list[Episode], pool: WorkerPool, *, kills: bool = False) -> list:
    """All results, times aside, in order. kills: who is first done with an episode is killed in its next one."""
    settings = Settings(policies, EMBEDDED_CHECKPOINT, "torch", "cpu", "float32", 0, HistoryConfig())
    found = list[EpisodeResult]()
    for number, results in enumerate(run_policies(settings, rooms, pool)):
        found += results
        if kills and number == 0:
            os.kill(pool.costs[0].pid, signal.SIGKILL)
    key = [(result.policy, result.episode_id) for result in found]
    assert len(set(key)) == len(key) == len(policies) * len(rooms)  # none lost, none doubled
    plain = [dataclasses.replace(result, decision_ms=(float(len(result.decision_ms)),)) for result in found]
    return sorted(plain, key=lambda result: (result.policy, result.episode_id))


def test_a_worker_killed_with_9_loses_no_episode_and_doubles_none(rooms: list[Episode], capsys) -> None:
    policies, pool = ("stop", "forward", "random"), RayPool("local", 2)
    assert repr(driven(policies, rooms, pool, kills=True)) == repr(driven(policies, rooms, InThisProcess()))
    assert sum(cost.is_lost for cost in pool.costs) == 1 and sum(cost.jobs for cost in pool.costs) == len(rooms)
    assert "is done again" in capsys.readouterr().err


def test_a_model_that_is_sent_drives_as_here(rooms: list[Episode]) -> None:
    one, blind = rooms[:1], ("image_blind",)  # for which nothing need be rendered
    assert repr(driven(blind, one, RayPool("local", 1))) == repr(driven(blind, one, InThisProcess()))


def test_the_program_gives_the_same_numbers_and_what_each_worker_cost(rooms, tmp_path: Path, capsys) -> None:
    write_episodes(tmp_path / "rooms.json", rooms)
    arguments = ["--policies", "stop,forward", "--episode-file", str(tmp_path / "rooms.json")]

    def report(*more: str) -> dict:
        assert navigation.main([*arguments, *more]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    def numbers(told: dict) -> list[dict]:
        rows = [told, *told["baselines"].values()]
        return [{k: v for k, v in row.items() if k not in (*TIMED, "baselines")} for row in rows]

    here, there = report("--workers", "1"), report("--ray", "local", "--workers", "2")
    assert numbers(here) == numbers(there)
    assert sum(row["episodes"] for row in there["workers"]) == len(rooms)
    assert all(row["host"] and row["node"] and row["pid"] != os.getpid() for row in there["workers"])


def test_events_are_told_as_in_one_process(capsys) -> None:
    def report(*more: str) -> dict:
        assert events.main(["--clips", "1", "--patrol-minutes", "0.1", "--threads", "1", *more]) == 0
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        return {name: value for name, value in told.items() if name not in ("seconds", "workers")}

    assert report("--ray", "local", "--workers", "2") == report()


def test_shards_come_back_byte_for_byte(tmp_path: Path) -> None:
    for name, pool in (("here", InThisProcess()), ("there", RayPool("local", 2))):
        made, _ = data_sets._make_missing(tmp_path / name, {"seed": 3}, noise_shard, 3, pool, (1, "shard"))
        assert made == 3 and sum(cost.jobs for cost in pool.costs) == 3
    here, there = (
        {str(file.relative_to(tmp_path / name)): file.read_bytes() for file in (tmp_path / name).rglob("*.*")}
        for name in ("here", "there")
    )
    assert here == there and len(here) == 1 + 3 * 2
