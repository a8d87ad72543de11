"""`vila bench miniworld` and `vila bench babyai`: other people's rooms and sentences through our loop."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError
from vila_core.testing import ScriptedBackend
from vila_core.types import MoveForward, Stop, Turn
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_tools.other_worlds import babyai, miniworld
from vila_tools.other_worlds.babyai import BabyAiOptions, missions, read_sentence
from vila_tools.other_worlds.miniworld import MiniWorldOptions, instruction_of, play
from vila_tools.other_worlds.rooms import LEVELS, MIN_START_M, MiniWorldRoom

STOP, FORWARD = SENTENCES[0], SENTENCES[3]


# --- rooms


needs_miniworld = pytest.mark.skipif(
    importlib.util.find_spec("miniworld") is None, reason="MiniWorld is not installed"
)  # importing it opens a window, before we could ask for none


@pytest.fixture(scope="module")
def room() -> Iterator[MiniWorldRoom]:
    room = MiniWorldRoom("pickup_objects")
    yield room
    room.close()


@pytest.mark.long
@needs_miniworld
def test_the_same_seed_gives_the_same_task_and_picture(room: MiniWorldRoom) -> None:
    first, (frame, _) = room.reset(3), room.see()
    second, (again, _) = room.reset(3), room.see()
    assert first == second and (frame.image == again.image).all()
    assert frame.image.shape == (224, 224, 3) and frame.image.std() > 10
    assert again.stamp_ns > frame.stamp_ns
    assert len({room.reset(seed) for seed in range(6)}) == 6


@needs_miniworld
def test_tasks_name_what_our_flats_have_too(room: MiniWorldRoom) -> None:
    for seed in range(20):
        task = room.reset(seed)
        assert task.kind in KINDS and task.colour in COLOURS
        assert task.start_m >= MIN_START_M
    assert instruction_of(task, "ours") == f"go to the {task.colour} {task.kind}"


@needs_miniworld
def test_a_box_is_called_a_box_where_its_own_words_are_wanted(room: MiniWorldRoom) -> None:
    task = next(task for task in map(room.reset, range(50)) if task.kind == "crate")
    assert instruction_of(task, "own") == f"go to the {task.colour} box"


@needs_miniworld
def test_actions_move_the_robot_as_in_our_flats(room: MiniWorldRoom) -> None:
    room.reset(1)
    room.see()
    start = room.pose
    seen = room.act(Turn(math.radians(30)))
    assert len(seen) == 2 and room.pose.yaw_rad == pytest.approx(start.turned(math.radians(30)).yaw_rad)
    assert (room.pose.x_m, room.pose.y_m) == pytest.approx((start.x_m, start.y_m))
    before = room.pose
    room.act(MoveForward(0.25))
    ahead = before.advanced(0.25)
    if not room.collisions:
        assert (room.pose.x_m, room.pose.y_m) == pytest.approx((ahead.x_m, ahead.y_m))
    assert room.act(Stop()) == () and room.stop_called
    assert len(room.path) == len(room.distances_m) == 4


@needs_miniworld
def test_a_thing_ahead_is_in_the_middle_of_the_picture_in_its_colour(room: MiniWorldRoom) -> None:
    """Axes and camera: turn to a red thing, and red is where it should be."""
    task = next(task for task in map(room.reset, range(200)) if (task.colour, task.kind) == ("red", "crate"))
    room.see()
    while abs(room.bearing_rad) > math.radians(8):
        image = room.act(Turn(math.copysign(math.radians(15), room.bearing_rad)))[-1][0].image.astype(int)
    red = (image[..., 0] > 90) & (image[..., 1] < 60) & (image[..., 2] < 60)
    rows, columns = np.nonzero(red)
    assert len(rows) > 80, task
    assert 80 < columns.mean() < 144


@needs_miniworld
def test_the_room_stops_the_robot(room: MiniWorldRoom) -> None:
    room.reset(0)
    room.see()
    for _ in range(20):
        room.act(MoveForward(0.75))
    assert room.collisions > 0
    assert 0.0 < room.pose.x_m < 12.0 and -12.0 < room.pose.y_m < 0.0


def test_unknown_levels_and_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match="'castle'; known: one_room"):
        MiniWorldRoom("castle")
    for wrong in ({"levels": "castle"}, {"policies": ""}, {"words": "french"}, {"episodes": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            MiniWorldOptions(**wrong)


# --- the benchmark


@needs_miniworld
def test_all_policies_drive_the_same_tasks() -> None:
    options = MiniWorldOptions(levels="room_objects", episodes=4, policies="beeline,ours,forward,random,stop")
    results = list(play(options, ScriptedBackend(FORWARD, STOP, STOP, STOP)))
    assert len(results) == 20
    by_policy = {name: [r for r in results if r.policy == name] for name in options.policy_names}
    tasks = {tuple(r.task for r in rows) for rows in by_policy.values()}
    assert len(tasks) == 1
    assert sum(r.metrics.success for r in by_policy["beeline"]) >= 3  # a key may stand in its way
    assert all(r.metrics.success == 0 and r.decisions == 1 for r in by_policy["stop"])
    assert all(r.stopped for r in by_policy["ours"])


@needs_miniworld
def test_it_prints_a_table_and_writes_its_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--levels", "small_room,put_next", "--episodes", "2", "--policies", "beeline,stop"]
    assert miniworld.main([*arguments, "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["policy"] == "beeline" and report["episodes"] == 4
    assert set(report["sr_by_level"]) == {"small_room", "put_next"} and report["baselines"]["stop"]["sr"] == 0.0
    assert set(LEVELS) > {"small_room", "put_next"}


# --- sentences


@pytest.mark.parametrize(
    ("text", "unknown", "names_one", "is_one_step", "understood"),
    [
        ("go to the red ball", (), True, True, True),
        ("go to a red ball", ("a",), True, True, False),
        ("go to the red key", ("key",), False, True, False),
        ("go to the grey ball", ("grey",), False, True, False),
        ("pick up the blue ball", ("pick", "up"), True, True, False),
        ("put the red ball next to the blue box", ("box", "put"), True, True, False),
        ("go to the red ball, then go to the blue ball", ("then",), False, False, False),
        ("go to the red ball after you open the green door", ("after", "door", "open"), True, False, False),
    ],
)
def test_a_sentence_is_judged_by_each_question(
    text: str, unknown: tuple[str, ...], names_one: bool, is_one_step: bool, understood: bool
) -> None:
    sentence = read_sentence("level", text)
    assert sentence.is_taken
    assert (sentence.unknown, sentence.names_one, sentence.is_one_step) == (unknown, names_one, is_one_step)
    assert sentence.is_understood == understood


def test_the_missions_of_a_level_are_read_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("minigrid")
    assert len(list(missions(BabyAiOptions(missions=3, levels="GoToRedBallGrey")))) == 3
    with pytest.raises(ConfigError, match="'Castle'"):
        list(missions(BabyAiOptions(levels="Castle")))
    assert babyai.main(["--levels", "GoToRedBallGrey", "--missions", "3", "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["sentences"] == report["taken"] == 3 and report["levels"] == 1
