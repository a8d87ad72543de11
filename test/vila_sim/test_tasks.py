"""Tasks of more than one room, goal or truth: made as they say they are, kept in files, and followed goal by goal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vila_core.errors import WorldError
from vila_core.types import MoveForward, Pose
from vila_sim.corruptions import CAMERAS, CORRUPTIONS, IMAGES, IN_TURN, LOW_FRAME_RATE, REPHRASED, corrupted
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode import pair_of_name
from vila_sim.episodes.episode_files import read_episodes, write_episodes
from vila_sim.episodes.goals import GoalProgress
from vila_sim.episodes.instructions import (
    HELD_OUT_TEMPLATES,
    TWO_STEP_TEMPLATES,
    render_instruction,
    resolve_target,
    spoken,
)
from vila_sim.episodes.oracle import MAX_DECISIONS, TargetView, oracle_action
from vila_sim.episodes.splits import Episode, flat_of, generate_episodes, held_out_pairs
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.textures import SIGNS
from vila_sim.mujoco.simulator import CameraConfig

COUNT = 6


@pytest.fixture(scope="module")
def tasks() -> dict[str, list[Episode]]:
    return {split: generate_episodes(split, COUNT) for split in ("door", "two_step", "absent")}


@pytest.fixture(scope="module")
def clean() -> Episode:
    return generate_episodes("val_unseen_layout", 1)[0]


@pytest.fixture(scope="module")
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(CameraConfig(width_px=64, height_px=64))
    yield env
    env.close()


def test_a_door_is_between_the_robot_and_what_is_named(tasks) -> None:
    for episode in tasks["door"]:
        flat = flat_of(episode)
        target = resolve_target(flat, episode.instruction)  # of the whole flat: no other thing is meant
        assert target.name == episode.target and target.room == episode.room
        start = flat.room_at(episode.start.x_m, episode.start.y_m)
        assert start is not None and start.name != episode.room
        assert any({start.name, episode.room} == set(door.rooms) for door in flat.doors)
        passed = {room.name for point in episode.reference_path if (room := flat.room_at(*point))}
        assert passed == {start.name, episode.room}


def test_two_steps_lead_from_one_thing_to_another(tasks) -> None:
    for episode in tasks["two_step"]:
        flat = flat_of(episode)
        first, second = (resolve_target(flat, "the " + " ".join(map(spoken, pair)), episode.room) for pair in
                         episode.named_pairs)  # fmt: skip
        assert (first.name, second.name) == episode.goals and first is not second
        names = [f"{spoken(thing.colour)} {spoken(thing.kind)}" for thing in (first, second)]
        assert episode.instruction in [t.format(first=names[0], second=names[1]) for t in TWO_STEP_TEMPLATES]
        grid = OccupancyGrid(flat)
        near = [grid.field_to(thing).at(*episode.reference_path[-1]) for thing in (first, second)]
        assert near[1] == 0.0 and min(grid.field_to(first).at(*p) for p in episode.reference_path) < 0.1


def test_what_is_absent_is_nowhere_in_the_flat_and_not_held_out(tasks) -> None:
    for episode in tasks["absent"]:
        flat = flat_of(episode)
        assert episode.absent not in {(thing.colour, thing.kind) for thing in flat.objects} | held_out_pairs()
        with pytest.raises(WorldError, match="names no object"):
            resolve_target(flat, episode.instruction)
        assert episode.goals == () and episode.named_pairs == (episode.absent,)


@pytest.mark.parametrize("split", ["door", "two_step", "absent", "corrupted", "signs"])
def test_files_keep_them(split: str, tmp_path: Path) -> None:
    episodes = generate_episodes(split, 3, seed=1)
    assert [episode.episode_id for episode in episodes] == [f"{split}_1_{n}" for n in range(3)]
    write_episodes(tmp_path / "a.json.gz", episodes)
    back = read_episodes(tmp_path / "a.json.gz")
    assert [replace(e, start=b.start) for e, b in zip(episodes, back, strict=True)] == back
    for episode, read in zip(episodes, back, strict=True):
        assert dataclasses.astuple(read.start) == pytest.approx(dataclasses.astuple(episode.start), abs=1e-6)


@pytest.mark.parametrize(("key", "value"), [("absent", ["red"]), ("sign", "sign_x"), ("corruption", "fog"), ("via", 3)])
def test_what_is_special_is_checked(tasks, tmp_path: Path, key: str, value: object) -> None:
    import json

    write_episodes(tmp_path / "a.json", tasks["door"][:1])
    content = json.loads((tmp_path / "a.json").read_text())
    content["episodes"][0]["info"][key] = value
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(WorldError, match=rf"a\.json.*{key}"):
        read_episodes(tmp_path / "a.json")


def test_a_visit_comes_before_the_stop(tasks) -> None:
    episode = tasks["two_step"][0]
    grid = OccupancyGrid(flat_of(episode))
    progress = GoalProgress(grid, episode)
    assert progress.note(episode.start.x_m, episode.start.y_m) == pytest.approx(episode.geodesic_m, abs=0.01)
    at_second = episode.reference_path[-1]
    assert progress.leg == 0 and progress.note(*at_second) > 1.0  # as long as the first was not visited
    left = [progress.note(x, y) for x, y in episode.reference_path]
    assert progress.leg == 1 and progress.target.name == episode.target and left[-1] == 0.0
    assert progress.note(episode.start.x_m, episode.start.y_m) == progress.field.at(
        episode.start.x_m, episode.start.y_m
    )


def test_without_a_goal_nothing_is_left_and_nothing_is_a_target(tasks) -> None:
    episode = tasks["absent"][0]
    progress = GoalProgress(OccupancyGrid(flat_of(episode)), episode)
    assert math.isnan(progress.note(1.0, 1.0))
    with pytest.raises(WorldError, match=f"{episode.episode_id} has no goal"):
        _ = progress.target


def test_episodes_of_other_flats_are_refused(clean: Episode, env: FlatEnv) -> None:
    with pytest.raises(WorldError, match="write the episodes again"):
        env.reset(replace(clean, geodesic_m=clean.geodesic_m + 1.0))
    with pytest.raises(WorldError, match="holds no 'red_unicorn_3'"):
        env.reset(replace(clean, target="red_unicorn_3"))


@pytest.mark.slow
@pytest.mark.parametrize("split", ["door", "two_step"])
def test_the_oracle_arrives_and_never_turns_more_than_once_round(split: str, tasks, env: FlatEnv) -> None:
    for episode in tasks[split][:3]:
        env.reset(episode, track_target=True)
        turned: list[float] = []
        for _ in range(MAX_DECISIONS):
            env.act(oracle_action(env.pose, env.field, env.target_view()))
            turned.append(abs(env.target_view().spot_turn_rad))
            if env.stop_called:
                break
        assert env.succeeded, episode
        assert max(turned) < math.radians(380.0)


def test_a_turn_beyond_once_round_goes_the_other_way(clean: Episode) -> None:
    field = OccupancyGrid(flat_of(clean))
    target = next(thing for thing in field.flat.objects if thing.name == clean.target)
    way = field.field_to(target)
    for yaw in np.linspace(-3.0, 3.0, 13):
        pose = Pose(clean.start.x_m, clean.start.y_m, float(yaw))
        plain = oracle_action(pose, way, TargetView(True, True, 0.0, 0.0))
        wound = oracle_action(pose, way, TargetView(True, True, 0.0, 0.0, math.radians(375.0)))
        if isinstance(plain, MoveForward) or plain.angle_rad < 0:
            assert wound == plain
        else:
            assert wound.angle_rad < 0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_one_thing_and_the_same_way_each_time(name: str, clean: Episode, env: FlatEnv) -> None:
    spoiled = corrupted(clean, name)
    assert spoiled.corruption == name and (spoiled.instruction != clean.instruction) is (name == REPHRASED)
    images = [env.reset(episode)[0].image for episode in (clean, spoiled, spoiled)]
    assert np.array_equal(images[1], images[2])
    assert np.array_equal(images[0], images[1]) is (name not in (*IMAGES, *CAMERAS))
    seen = env.act(MoveForward(0.75))
    assert len(seen) == (1 if name == LOW_FRAME_RATE else 3) and len(env.path) == 4
    if name == REPHRASED:
        said = [render_instruction(t, *pair_of_name(clean.target)) for t in HELD_OUT_TEMPLATES]
        assert spoiled.instruction in said


def test_unknown_corruptions_are_refused(clean: Episode, tasks) -> None:
    with pytest.raises(WorldError, match=r"fog.*blur"):
        corrupted(clean, "fog")
    with pytest.raises(WorldError, match="names 2 things"):
        corrupted(tasks["two_step"][0], REPHRASED)


def test_spoiled_splits_take_turns_and_are_clean_episodes_else() -> None:
    base = generate_episodes("val_unseen_layout", 10)
    for split, field, names in (("corrupted", "corruption", IN_TURN), ("signs", "sign", tuple(SIGNS))):
        episodes = generate_episodes(split, 10)
        assert [getattr(e, field) for e in episodes] == [names[n % len(names)] for n in range(10)]
        same = {"split": "val_unseen_layout", field: ""}
        for episode, plain in zip(episodes, base, strict=True):
            back = replace(episode, **same, episode_id=plain.episode_id, instruction=plain.instruction)
            assert back == plain


def test_contact_lasts_as_long_as_the_robot_pushes(clean: Episode, env: FlatEnv) -> None:
    env.reset(clean, render=False)
    while env.collisions < 3:
        env.act(MoveForward(0.75))
    assert 0.0 < env.contact_s <= 0.5 * env.collisions
