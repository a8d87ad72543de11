"""Episodes: deterministic, in the JSON form of VLN-CE, and without leaks between splits."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vila_core.errors import WorldError
from vila_core.prompts.instruction import sanitize
from vila_sim.episodes.episode_files import read_episodes, write_episodes
from vila_sim.episodes.instructions import (
    HELD_OUT_SPLITS,
    HELD_OUT_TEMPLATES,
    TRAIN_TEMPLATES,
    instruction_for,
    render_instruction,
    resolve_target,
)
from vila_sim.episodes.splits import (
    MAX_START_M,
    MIN_START_M,
    SPLITS,
    Episode,
    flat_of,
    generate_episodes,
    held_out_pairs,
    layout_seed,
    split_flat,
)
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.scene import Flat, SceneObject

COUNT = 8
ROOM_SPLITS = SPLITS[:6]  # one thing, in the room in which the robot begins


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Episode]]:
    return {split: generate_episodes(split, COUNT) for split in ROOM_SPLITS}


def test_same_arguments_give_the_same_episodes(splits: dict[str, list[Episode]]) -> None:
    assert generate_episodes("val_paraphrase", 3) == splits["val_paraphrase"][:3]
    assert generate_episodes("val_paraphrase", 3, seed=1) != splits["val_paraphrase"][:3]


@pytest.mark.parametrize("split", ROOM_SPLITS)
def test_episodes_are_one_room_tasks(splits: dict[str, list[Episode]], split: str) -> None:
    for episode in splits[split][:5]:
        flat = flat_of(episode)
        target = resolve_target(flat, episode.instruction, episode.room)
        assert target.name == episode.target and target.room == episode.room
        assert MIN_START_M <= episode.geodesic_m <= MAX_START_M + 0.1
        room = flat.room_at(episode.start.x_m, episode.start.y_m)
        assert room is not None and room.name == episode.room
        field = OccupancyGrid(flat).field_to(target)
        assert field.at(*episode.reference_path[-1]) == 0.0
        assert episode.reference_path[0] == (episode.start.x_m, episode.start.y_m)
        assert sanitize(episode.instruction, 512) == episode.instruction


def test_layouts_and_templates_do_not_cross_splits(splits: dict[str, list[Episode]]) -> None:
    train = {_layout_hash(split_flat(layout_seed("train", index))) for index in range(2 * COUNT)}
    seen = {_layout_hash(_flat(episode)) for episode in splits["val_seen"]}
    assert seen <= train
    unseen = [
        split
        for split in ROOM_SPLITS
        if split == "val_all_unseen" or split.startswith("val_unseen") or split == "val_paraphrase"
    ]
    hashes = {split: {_layout_hash(_flat(episode)) for episode in splits[split]} for split in unseen}
    assert sum(map(len, hashes.values())) == len(set.union(*hashes.values())) == len(unseen) * COUNT
    assert not set.union(*hashes.values()) & train
    assert not set(TRAIN_TEMPLATES) & set(HELD_OUT_TEMPLATES)
    for split, episodes in splits.items():
        for episode in episodes:
            target = resolve_target(_flat(episode), episode.instruction, episode.room)
            templates = [t for t in (*TRAIN_TEMPLATES, *HELD_OUT_TEMPLATES) if _says(t, target, episode)]
            held_out = set(templates) <= set(HELD_OUT_TEMPLATES)
            assert templates and held_out == (split in HELD_OUT_SPLITS)


def test_held_out_pairs_are_in_no_training_flat(splits: dict[str, list[Episode]]) -> None:
    held_out = held_out_pairs()
    assert {kind for _, kind in held_out} == set(KINDS)
    assert 0.05 < len(held_out) / (len(KINDS) * len(COLOURS)) < 0.15
    shown = {(o.colour, o.kind) for index in range(30) for o in split_flat(layout_seed("train", index)).objects}
    assert not shown & held_out
    assert {c for c, _ in shown} == set(COLOURS) and {k for _, k in shown} == set(KINDS)
    for episode in (*splits["val_unseen_combo"], *splits["val_all_unseen"]):
        target = resolve_target(flat_of(episode), episode.instruction, episode.room)
        assert (target.colour, target.kind) in held_out


def test_seeds_of_splits_never_meet() -> None:
    own = [split for split in SPLITS if split not in ("val_seen", "corrupted", "signs")]
    ends = {split: {layout_seed(split, i, s) for i in (0, 9_999) for s in (0, 99)} for split in own}
    ranges = sorted((min(e), max(e)) for e in ends.values())
    assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    with pytest.raises(WorldError, match="val_unseen_layout"):
        layout_seed("test", 0)
    for spoiled in ("corrupted", "signs"):  # the clean episodes of this split, with something wrong
        assert layout_seed(spoiled, 3) == layout_seed("val_unseen_layout", 3)
    assert layout_seed("val_seen", 3) == layout_seed("train", 3)


@pytest.mark.parametrize("name", ["val.json", "val.json.gz"])
def test_json_round_trip(tmp_path: Path, splits: dict[str, list[Episode]], name: str) -> None:
    episodes = splits["val_unseen_combo"]
    write_episodes(tmp_path / name, episodes)
    back = read_episodes(tmp_path / name)
    assert [replace(e, start=b.start) for e, b in zip(episodes, back, strict=True)] == back
    for episode, read in zip(episodes, back, strict=True):
        assert read.start.yaw_rad == pytest.approx(episode.start.yaw_rad)


def test_json_has_the_fields_of_vln_ce(tmp_path: Path, splits: dict[str, list[Episode]]) -> None:
    write_episodes(tmp_path / "val.json", splits["train"])
    content = json.loads((tmp_path / "val.json").read_text())
    row, words = content["episodes"][0], content["instruction_vocab"]["word_list"]
    assert set(row) == {
        "episode_id", "trajectory_id", "scene_id", "start_position", "start_rotation",
        "goals", "reference_path", "instruction", "info",
    }  # fmt: skip
    said = row["instruction"]
    assert [words[token] for token in said["instruction_tokens"]] == said["instruction_text"].split()
    assert math.hypot(*row["start_rotation"]) == pytest.approx(1.0)
    assert row["goals"][0]["radius"] == 1.0


@pytest.mark.parametrize("content", [b"{}", b"nonsense", b'{"episodes": [{}]}'])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "val.json").write_bytes(content)
    with pytest.raises(WorldError, match=r"val\.json"):
        read_episodes(tmp_path / "val.json")
    with pytest.raises(WorldError, match="val"):
        (tmp_path / "val.json.gz").write_bytes(content)
        read_episodes(tmp_path / "val.json.gz")


BAD = (None, True, 0, -1, 2.5, 10**400, "word", [], [None], {}, float("nan"))
PLACES = {
    "start_position.2": ("start_position", 2),
    "start_rotation": ("start_rotation",),
    "scene_id": ("scene_id",),
    "goals.0.position.0": ("goals", 0, "position", 0),
    "reference_path.1": ("reference_path", 1),
    "instruction.instruction_text": ("instruction", "instruction_text"),
    "info.geodesic_distance": ("info", "geodesic_distance"),
    "info.split": ("info", "split"),
    "info.include": ("info", "include"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_does_not_fit_is_named(tmp_path: Path, splits: dict[str, list[Episode]], place: str) -> None:
    write_episodes(tmp_path / "val.json", splits["train"][:2])
    for bad in BAD:
        content = json.loads((tmp_path / "val.json").read_text())
        owner, *keys = content["episodes"][1], *PLACES[place]
        for key in keys[:-1]:
            owner = owner[key]
        is_number = type(owner[keys[-1]]) is float
        owner[keys[-1]] = bad
        (tmp_path / "bad.json").write_text(json.dumps(content))
        fits = (is_number and type(bad) in (int, float) and 0 <= bad < 1e9) or (is_number and bad in (-1,))
        fits |= (place.endswith("text") and isinstance(bad, str)) or (place == "info.include" and bad == [])
        if fits:
            continue
        with pytest.raises(WorldError, match=rf"bad\.json.* ?'?episodes\.1\.{place}"):
            read_episodes(tmp_path / "bad.json")


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vila_sim.episodes.episode_files.MOST_BYTES", 1000)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 10_000))
    with pytest.raises(WorldError, match=r"a\.json\.gz holds more than the 1000 bytes"):
        read_episodes(tmp_path / "a.json.gz")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b" " * 10_000)[:-20])
    with pytest.raises(WorldError, match=r"a\.json\.gz cannot be read: Compressed file ended"):
        read_episodes(tmp_path / "a.json.gz")


def test_every_template_names_its_target() -> None:
    flat = split_flat(3)
    for template in (*TRAIN_TEMPLATES, *HELD_OUT_TEMPLATES):
        for item in flat.objects:
            text = render_instruction(template, item.colour, item.kind)
            assert resolve_target(flat, text.upper(), item.room) is item


def test_unknown_targets_name_what_there_is() -> None:
    flat = split_flat(3)
    item = flat.objects[0]
    with pytest.raises(WorldError, match=f"{item.colour} {item.kind}"):
        resolve_target(flat, "go to the unicorn", item.room)
    with pytest.raises(WorldError, match="names no object"):
        resolve_target(flat, "go to the " + item.kind[:-1])


def test_main_template_is_half_of_the_training_instructions() -> None:
    rng = np.random.default_rng(0)
    item = split_flat(3).objects[0]
    said = [instruction_for(item, rng) for _ in range(400)]
    main = said.count(f"go to the {item.colour} {item.kind}") / len(said)
    assert 0.4 < main < 0.65
    assert len(set(said)) == len(TRAIN_TEMPLATES)


def _layout_hash(flat: Flat) -> str:
    shape = [(w.x_min_m, w.y_min_m, w.x_max_m, w.y_max_m) for w in flat.walls]
    things = [(o.kind, o.colour, o.x_m, o.y_m) for o in flat.objects]
    return hashlib.sha256(repr((shape, things)).encode()).hexdigest()


def _says(template: str, target: SceneObject, episode: Episode) -> bool:
    return render_instruction(template, target.colour, target.kind) == episode.instruction


@functools.cache
def _flat(episode: Episode) -> Flat:
    return flat_of(episode)
