"""The benchmark around the loop: tasks of every split, files, resuming, pairs, failures and any loadable checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError
from vila_core.media.field_of_view import as_seen_over
from vila_core.navigator import Navigator
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_core.types import Frame, Pose
from vila_ros.navigator.mission.mission import MissionError
from vila_sim.corruptions import corrupted
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.splits import Episode, flat_of, generate_episodes
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.mujoco.simulator import CameraConfig
from vila_tools.evaluation import episode_workers, failures, navigation
from vila_tools.evaluation import write_episodes as writer
from vila_tools.evaluation.comparison import compare
from vila_tools.evaluation.episode_run import EpisodeResult, run_episode
from vila_tools.evaluation.failure_sheet import choose_failures
from vila_tools.evaluation.failures import failure_of, what_failures_share
from vila_tools.evaluation.navigation import main
from vila_tools.evaluation.policies import make_policy

STOP, FORWARD, LEFT, LEFT_45 = SENTENCES[0], SENTENCES[3], SENTENCES[4], SENTENCES[6]
QUICK = ["--policies", "stop,forward,random"]


@pytest.fixture(scope="module")
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(CameraConfig(width_px=64, height_px=64))
    yield env
    env.close()


@pytest.fixture(scope="module")
def absent() -> Episode:
    return generate_episodes("absent", 1)[0]


@pytest.fixture(scope="module")
def rooms() -> list[Episode]:
    return generate_episodes("val_unseen_layout", 3)


def run(env: FlatEnv, name: str, episode: Episode, backend: ScriptedBackend | None = None) -> EpisodeResult:
    return run_episode(env, make_policy(name, env, backend), name, episode)


def program(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    assert main(list(arguments)) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def file(tmp_path: Path, rooms: list[Episode]) -> list[str]:
    write_episodes(tmp_path / "three.json", rooms)
    return ["--episode-file", str(tmp_path / "three.json"), "--workers", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "split",
    [
        *(pytest.param(name, marks=pytest.mark.long) for name in ("door", "two_step")),
        "absent",
        "val_all_unseen",
        "corrupted",
        "signs",
    ],
)
def test_the_oracle_does_every_task(split: str, env: FlatEnv) -> None:
    results = [run(env, "oracle", episode) for episode in generate_episodes(split, 2, seed=1)]
    assert [result.metrics.success for result in results] == [1.0] * 2, [result.end for result in results]


@pytest.mark.parametrize(("name", "shown_deg"), [("ours", 90.0), ("unfitted", 69.0)])
def test_the_model_is_shown_pictures_as_on_a_robot(
    name: str, shown_deg: float, env: FlatEnv, rooms, monkeypatch
) -> None:
    """Of a camera that sees 69 degrees: filled up to what it was trained with, unless that is not to be."""
    seen: list[Frame] = []
    monkeypatch.setattr(Navigator, "observe", lambda self, frame, odometry: seen.append(frame))
    backend = ScriptedBackend(STOP, info=dataclasses.replace(SCRIPTED_INFO, camera_hfov_deg=90.0))
    first, odometry = env.reset(corrupted(rooms[0], "narrow_lens"))
    make_policy(name, env, backend).observe(first, odometry)
    assert env.camera.hfov_deg == 69.0
    assert np.array_equal(seen[0].image, as_seen_over(first.image, 69.0, shown_deg)) and seen[0].key == first.key


def test_not_found_is_right_where_a_thing_is_absent_and_a_stop_is_wrong(env: FlatEnv, absent: Episode) -> None:
    looked = run(env, "ours", absent, ScriptedBackend(LEFT_45, probability=0.9))
    assert looked.metrics.success == 1.0 and looked.end == "NOT_FOUND" and looked.failure == ""
    assert len(looked.decision_ms) == 9  # nine times 45 degrees: more than once round
    stopped = run(env, "ours", absent, ScriptedBackend(LEFT_45, STOP, probability=0.9))
    assert stopped.metrics.success == 0.0 and stopped.failure.startswith("stopped")
    assert all(map(math.isnan, (stopped.metrics.spl, stopped.metrics.navigation_error_m, stopped.metrics.ndtw)))
    assert run(env, "stop", absent).metrics.success == 0.0


def test_the_same_end_is_a_failure_where_it_is_there(env: FlatEnv, rooms: list[Episode]) -> None:
    result = run(env, "ours", rooms[0], ScriptedBackend(LEFT_45, probability=0.9))
    assert (result.metrics.success, result.failure, result.is_given_up) == (0.0, failures.NOT_FOUND, True)


def test_an_unsure_stop_at_the_start_is_no_arrival_as_on_a_robot(env: FlatEnv, rooms: list[Episode]) -> None:
    result = run(env, "ours", rooms[0], ScriptedBackend(STOP, probability=0.3))
    assert (result.end, result.failure) == ("NOT_MOVED", failures.GAVE_UP)


def test_what_the_robot_stopped_at_is_named(rooms: list[Episode]) -> None:
    episode = rooms[0]
    flat = flat_of(episode)
    grid = OccupancyGrid(flat)
    colour, kind = episode.named_pairs[0]
    for thing in flat.objects:
        cells = grid.goal_cells(thing)
        row, column = next(zip(*cells.nonzero(), strict=True))
        x, y = grid.centre(int(row), int(column))
        pose = Pose(x, y, math.atan2(thing.y_m - y, thing.x_m - x))
        found = failures.stopped_at(flat, pose)
        said = failure_of(episode, flat, pose, MissionError.NONE, held=False)
        if found is thing and thing.name != episode.target:
            likeness = {(True, False): failures.SAME_COLOUR, (False, True): failures.SAME_KIND}
            assert said == likeness.get((thing.colour == colour, thing.kind == kind), failures.NEITHER)
    middle = next(room for room in flat.rooms if room.name == "corridor")
    nowhere = Pose((middle.x_min_m + middle.x_max_m) / 2, (middle.y_min_m + middle.y_max_m) / 2)
    assert failure_of(episode, flat, nowhere, MissionError.NONE, held=False) == failures.NOWHERE
    assert failure_of(episode, flat, nowhere, MissionError.NO_PROGRESS, held=False) == failures.GAVE_UP
    assert failure_of(episode, flat, nowhere, MissionError.TOO_MANY_DECISIONS, held=False) == failures.NEVER_STOPPED
    assert failure_of(episode, flat, nowhere, MissionError.NONE, held=True) == failures.HELD


def test_the_report_has_intervals_kinds_and_failures(file, capsys) -> None:
    report = program(capsys, *QUICK, *file)
    for row in (report, *report["baselines"].values()):
        for name in (
            "sr",
            "os",
            "spl",
            "ne_m",
            "ndtw",
            "sdtw",
            "collisions",
            "contact_s",
            "decisions",
            "waiting_ratio",
        ):
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        assert sum(row["failures"].values()) == row["outcomes"].count("0") and len(row["outcomes"]) == 3
        assert sum(kind["episodes"] for kind in row["kinds"].values()) == 3
    assert "no physics" in report["motion"] and report["episode_set"]["fingerprint"]
    assert report["shared"][0].startswith("3 of 3 episodes failed")


def test_a_metric_that_does_not_apply_is_null(tmp_path, capsys, absent) -> None:
    write_episodes(tmp_path / "one.json", [absent])
    report = program(capsys, "--policies", "oracle,stop", "--episode-file", str(tmp_path / "one.json"))
    assert report["sr"] == 1.0 and report["spl"] is None and report["spl_low"] is None and report["ne_m"] is None
    assert report["baselines"]["stop"]["sr"] == 0.0


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(file, tmp_path, capsys) -> None:
    def numbers(workers: str) -> dict:
        report = program(capsys, *QUICK, *file, "--workers", workers)
        rows = [report, *report.pop("baselines").values()]
        timed = (
            "decision_ms",
            "decisions_per_s",
            "waiting_ratio",
            "waiting_ratio_low",
            "waiting_ratio_high",
            "workers",
        )
        return [{name: value for name, value in row.items() if name not in timed} for row in rows]

    assert numbers("1") == numbers("3")


@pytest.mark.long
def test_a_run_that_was_killed_goes_on_where_it_was(file, tmp_path, capsys, monkeypatch) -> None:
    out = ["--out", str(tmp_path / "out")]
    whole = program(capsys, *QUICK, *file, *out)
    results = tmp_path / "out" / navigation.RESULTS
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:4]) + lines[4][:50])  # the settings, one episode, and half a line
    driven = []
    run_real = episode_workers.run_episode

    def counted(env, policy, name, episode, sign):
        driven.append((name, episode.episode_id))
        return run_real(env, policy, name, episode, sign)

    monkeypatch.setattr(episode_workers, "run_episode", counted)
    again = program(capsys, *QUICK, *file, *out)
    assert len(driven) == 6 and again["outcomes"] == whole["outcomes"] and again["spl"] == whole["spl"]
    driven.clear()
    more = program(capsys, "--policies", "stop,forward,random,oracle", *file, *out)
    assert {name for name, _ in driven} == {"oracle"} and more["baselines"]["oracle"]["sr"] == 1.0
    driven.clear()
    assert program(capsys, *QUICK, *file, *out, "--episodes", "2")["episodes"] == 2 and not driven
    with pytest.raises(ConfigError, match="holds another episode val_unseen_layout_0_0"):
        main([*QUICK, *file, *out, "--corruption", "dark"])
    with pytest.raises(ConfigError, match="another run, seed = 0 instead of 1"):
        main([*QUICK, *file, *out, "--seed", "1"])
    results.write_text(results.read_text() + "{}\n")
    with pytest.raises(ConfigError, match=r"line \d+ is no result"):
        main([*QUICK, *file, *out])


def test_the_folder_has_a_report_tables_and_a_sheet_of_failures(file, tmp_path, capsys) -> None:
    report = program(capsys, *QUICK, *file, "--out", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / navigation.REPORT).read_text()) == report
    text = (tmp_path / "out" / navigation.DOCUMENT).read_text()
    assert "| policy | SR |" in text and "## Failures" in text and "## By kind" in text and report["shared"][0] in text
    sheet = Image.open(tmp_path / "out" / navigation.SHEET)
    assert sheet.width > 1000 and sheet.height > 400 and len(sheet.getcolors(2**24)) > 100


def test_the_sheet_shows_every_kind_of_failure_first(env, rooms) -> None:
    plain = run(env, "stop", rooms[0])
    kinds = [failures.HELD] * 20 + [failures.NOWHERE, failures.SHORT]
    many = [dataclasses.replace(plain, failure=kind, episode_id=str(n)) for n, kind in enumerate(kinds)]
    chosen = choose_failures(many)
    assert len(chosen) == 10 and {result.failure for result in chosen[:3]} == set(kinds)


def test_what_failures_share_is_said_in_words(env, rooms) -> None:
    results = [run(env, "oracle", rooms[0]), run(env, "stop", rooms[1]), run(env, "stop", rooms[2])]
    said = what_failures_share(results, rooms)
    assert said[0].startswith("2 of 3 episodes failed") and any("way at the start" in line for line in said)
    assert what_failures_share(results[:1], rooms) == ["None of 1 episodes failed."]


def test_pairs_are_counted_and_tested() -> None:
    found = compare("1110001", "1001011")
    assert (found["both"], found["only_a"], found["only_b"], found["neither"]) == (2, 2, 2, 1)
    assert found["p"] == 1.0 and found["difference"] == 0.0
    assert compare("0" * 10, "1" * 10)["p"] == pytest.approx(2 / 2**10, rel=1e-3)


def test_two_reports_of_the_same_episodes_are_compared(file, tmp_path, capsys) -> None:
    a, b, c = (str(tmp_path / name) for name in ("a.json", "b.json", "c.json"))
    program(capsys, "--policies", "stop", *file, "--json", a)
    told = program(capsys, "--policies", "oracle", *file, "--json", b, "--against", a)
    assert told["against"]["only_a"] == 3 and told["against"]["p"] == 0.25
    assert program(capsys, "--compare", a, b)["only_b"] == 3
    program(capsys, "--policies", "stop", *file, "--episodes", "2", "--json", c)
    for arguments in (["--compare", a, c], ["--policies", "oracle", *file, "--against", c]):
        with pytest.raises(ConfigError, match=r"c\.json is of other episodes"):
            main(arguments)


def test_two_checkpoints_are_compared_on_the_same_episodes(file, tmp_path, capsys, monkeypatch) -> None:
    loaded = []

    def load(settings):
        loaded.append(settings.checkpoint)
        return ScriptedBackend(STOP, probability=0.9)

    monkeypatch.setattr(episode_workers, "_load_model", load)
    monkeypatch.setattr(navigation, "chosen_precision", lambda *_: "float32")
    other = tmp_path / "other"
    other.mkdir()
    told = program(capsys, "--policies", "ours,oracle", *file, "--against", str(other))
    assert loaded == [navigation.EMBEDDED_CHECKPOINT, other]
    assert told["against"]["neither"] == 3 and told["baselines"]["against"]["outcomes"] == "000"


@pytest.mark.parametrize("name", ["blur", "low_frame_rate", "rephrased"])
def test_a_split_may_be_spoiled_as_a_whole(name: str, file, capsys, monkeypatch) -> None:
    backend = ScriptedBackend(FORWARD, STOP, probability=0.9)
    monkeypatch.setattr(episode_workers, "_load_model", lambda settings: backend)
    report = program(capsys, "--policies", "ours", *file, "--corruption", name)
    assert report["corruption"] == name and report["corruptions"][name]["episodes"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["nvila-lite-2b", "navila-8b"])
def test_official_checkpoints_drive_too(shape: str, tmp_path, file, capsys) -> None:
    make_random(tmp_path / "checkpoint", tiny(SHAPES[shape]), name=shape)
    chosen = ["--policies", "ours,stop", "--checkpoint", str(tmp_path / "checkpoint")]
    report = program(capsys, *chosen, *file, "--episodes", "1")
    assert report["episodes"] == 1 and report["checkpoint"].endswith("checkpoint") and report["decisions"] >= 1


def test_episode_files_are_written_and_checked(tmp_path, capsys) -> None:
    chosen = ["--splits", "absent,signs", "--episodes", "2", "--workers", "1", "--out", str(tmp_path)]
    assert writer.main(chosen) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["episodes"] == 8 and told["bytes"] > 0
    assert writer.main([*chosen, "--check"]) == 0
    (tmp_path / "v1" / "signs.json.gz").unlink()
    assert writer.main([*chosen, "--check"]) == 1
    assert "signs.json.gz is not what its seeds give now" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="train"):
        writer.main(["--splits", "train"])
