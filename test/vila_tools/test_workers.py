"""Pools of workers: processes of this machine and Ray's actors do the same, and a kill loses and doubles nothing."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from ray_cluster import cluster  # noqa: F401  # a fixture
from worker_jobs import contents, failing, killed_once, killing, squares

from vila_core.errors import CheckpointError, ConfigError, MissingDependencyError, WorkerError
from vila_tools.workers import sent_files as sent
from vila_tools.workers.pool import InThisProcess, WorkerPool
from vila_tools.workers.processes import ProcessPool
from vila_tools.workers.ray_pool import RayPool


@pytest.mark.slow
def test_an_address_that_is_none_is_named() -> None:
    pytest.importorskip("ray", reason="extra `ray`")
    with pytest.raises(ConfigError, match="--ray nonsense: Invalid address"):  # before any cluster is there
        list(RayPool("nonsense").run(squares, [1]))


@pytest.fixture(params=["processes", pytest.param("ray", marks=pytest.mark.slow)])
def pool(request: pytest.FixtureRequest) -> WorkerPool:
    if request.param == "processes":
        return ProcessPool(2)
    request.getfixturevalue("cluster")
    return RayPool("local", 2)


def test_each_job_is_done_once_and_what_it_cost_is_known(pool: WorkerPool) -> None:
    done = list(pool.run(squares, range(7)))
    assert sorted(done) == [(number, number**2) for number in range(7)]
    assert sum(cost.jobs for cost in pool.costs) == 7 and not any(cost.is_lost for cost in pool.costs)
    assert all(cost.host and cost.pid != os.getpid() and cost.busy_s >= 0 for cost in pool.costs)


def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(pool: WorkerPool, tmp_path, capsys) -> None:
    done = list(pool.run(partial(killed_once, tmp_path), range(7)))
    assert sorted(done) == [(number, number**2) for number in range(7)]
    assert (tmp_path / "killed").exists() and sum(cost.is_lost for cost in pool.costs) == 1
    assert sum(cost.jobs for cost in pool.costs) == 7
    assert "is done again" in capsys.readouterr().err


def test_a_job_that_kills_every_worker_ends_the_run(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match="3 workers ended with job 4 of 7"):
        list(pool.run(killing, range(7)))


def test_what_a_job_raises_is_raised_here(pool: WorkerPool) -> None:
    with pytest.raises(ConfigError, match="-1: no number to square"):
        list(pool.run(squares, [1, 2, -1, 3]))
    with pytest.raises(ConfigError, match="this worker cannot start"):
        list(pool.run(failing, [1, 2, 3]))


def test_workers_are_renewed_after_so_many_jobs(pool: WorkerPool) -> None:
    assert sorted(pool.run(squares, range(6), most_jobs=2)) == [(number, number**2) for number in range(6)]
    assert len(pool.costs) >= 3 and all(cost.jobs <= 2 for cost in pool.costs)


def test_files_are_where_the_worker_is_told(pool: WorkerPool, tmp_path) -> None:
    folder = tmp_path / "model"
    (folder / "llm").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "llm" / "weights").write_bytes(bytes(range(200)))
    done = dict(pool.run(partial(contents, folder), range(2), brings=[folder]))
    assert done[0] == done[1] == ("model", ["config.json", "llm/weights"], b"{}")


def test_nothing_to_do_starts_nothing(pool: WorkerPool) -> None:
    assert list(pool.run(failing, [])) == [] and pool.costs == []
    assert list(InThisProcess().run(failing, [])) == []


def test_what_is_large_or_an_adapter_must_be_there_and_the_same(tmp_path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"12345")
    large = sent.sent_files(folder, most_mb=1e-6)
    assert large.contents is None
    with sent.placed([large]) as at:
        assert at(folder) == folder
    (folder / "weights").write_bytes(b"123")
    with pytest.raises(CheckpointError, match=r"is another one: weights differs"), sent.placed([large]):
        pass
    (folder / "adapter_config.json").write_text("{}")
    assert sent.sent_files(folder).contents is None
    elsewhere = dataclasses.replace(large, path=tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=f"nowhere is not on {os.uname().nodename}"), sent.placed([elsewhere]):
        pass


def test_a_file_is_sent_as_it_is(tmp_path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("model: x")
    one = sent.sent_files(file)
    file.unlink()
    with sent.placed([one]) as at:
        assert at(file) != file and at(file).name == "server.yaml" and at(file).read_text() == "model: x"


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[ray\]'"):
        RayPool("local")


def kill_first(pool: WorkerPool, done: list[tuple[int, int]]) -> None:
    """Kill who has done something, and by now does the next job."""
    if len(done) == 1:
        os.kill(pool.costs[0].pid, signal.SIGKILL)


def test_a_kill_from_outside_is_the_same(pool: WorkerPool) -> None:
    done = list[tuple[int, int]]()
    for one in pool.run(squares, range(9)):
        done.append(one)
        kill_first(pool, done)
    assert sorted(done) == [(number, number**2) for number in range(9)]


def test_paths_of_ours_are_what_they_are_here() -> None:
    assert dict(InThisProcess().run(lambda at: lambda path: at(path), [Path("/x")])) == {0: Path("/x")}
