"""A shard of clips: what is in it, and that its answers are true."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vila_core.errors import WorldError
from vila_sim.episodes.splits import SEEDS_PER_SPLIT, split_flat
from vila_sim.events import clips
from vila_sim.events.clips import FRAMES, PERIOD_S, make_shard
from vila_sim.events.event_queries import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES
from vila_sim.events.patrol_scenario import VERBS, make_patrol
from vila_sim.events.scripted_events import ScriptedEvent, home, things
from vila_sim.flats.doors import DOOR, with_leaves
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.shards import shard_path
from vila_sim.truth import DOOR_PAIR, GLIMPSED_PIXELS, PLAIN_PIXELS, Truth
from vila_tools.training.data_sets import clips_main

pytestmark = pytest.mark.slow
CLIPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shard(tmp_path_factory.mktemp("clips"), 0, split="train", seed=3, clips=CLIPS)


@pytest.fixture(scope="module")
def images(folder: Path) -> NDArray[np.uint8]:
    return np.load(folder / "images.npy")


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "clips.json").read_text())


def test_shapes_and_kinds(images: NDArray[np.uint8], rows: list[dict[str, Any]]) -> None:
    assert images.shape == (CLIPS, FRAMES, 192, 192, 3) and images.dtype == np.uint8
    assert [row["clip"] for row in rows] == list(range(CLIPS))
    assert Counter(row["camera"] for row in rows) == {"fixed": 3, "patrol": 3}
    assert len({row["flat_seed"] for row in rows}) == 2


def test_what_a_question_names_is_where_the_segmentation_says(folder: Path, rows: list[dict[str, Any]]) -> None:
    seg = np.load(folder / "seg.npy")
    assert seg.shape == (CLIPS, FRAMES, 48, 48) and seg.dtype == np.uint8
    for row, film in zip(rows, seg, strict=True):
        for query in row["queries"]:
            named = [i for i, thing in enumerate(row["things"]) if thing == [query["colour"], query["kind"]]]
            seen = np.isin(film, named).sum(axis=(1, 2)) > 0
            for start_s, end_s in query["intervals_s"]:
                assert seen[round(start_s / PERIOD_S) : round(end_s / PERIOD_S) + 1].mean() > 0.8


def test_every_query_is_well_formed(rows: list[dict[str, Any]]) -> None:
    queries = [query for row in rows for query in row["queries"]]
    assert 10 * CLIPS <= len(queries) <= 14 * CLIPS
    assert 0.3 < sum(bool(query["intervals_s"]) for query in queries) / len(queries) < 0.7
    for query in queries:
        assert query["verb"] in TRAIN_TEMPLATES and not query["held_out_template"]
        assert (query["colour"], query["kind"]) == DOOR_PAIR or (query["colour"] in COLOURS and query["kind"] in KINDS)
        assert query["kind"].replace("_", " ") in query["text"]
        ends = [time for interval in query["intervals_s"] for time in interval]
        glimpsed = [tuple(one) for one in query["glimpsed_s"]]
        assert all(any(a <= start and end <= b for a, b in glimpsed) for start, end in query["intervals_s"])
        assert ends == sorted(ends) and all(0 <= t <= (FRAMES - 1) * PERIOD_S and t % PERIOD_S == 0 for t in ends)


def test_a_standing_camera_sees_change_only_while_something_happens(
    images: NDArray[np.uint8], rows: list[dict[str, Any]]
) -> None:
    for row, film in zip(rows, images, strict=True):
        if row["camera"] == "fixed":
            changed = np.flatnonzero((film[1:] != film[:-1]).any(axis=(1, 2, 3))) + 1
            spans = [(one["start_s"], one["end_s"] + PERIOD_S) for one in row["scripted_events"]]
            assert all(any(a <= i * PERIOD_S <= b for a, b in spans) for i in changed)


@pytest.mark.long
def test_the_same_seed_gives_the_same_clips(
    images: NDArray[np.uint8], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    again = make_shard(tmp_path, 0, split="train", seed=3, clips=2)
    assert (np.load(again / "images.npy") == images[:2]).all()
    assert json.loads((again / "clips.json").read_text()) == rows[:2]


def test_no_sentence_and_no_layout_crosses_splits(tmp_path: Path) -> None:
    for verb, templates in HELD_OUT_TEMPLATES.items():
        assert (not set(templates) & set(TRAIN_TEMPLATES[verb]) and "door" in verb) or "{colour} {kind}" in templates[0]
    folder = make_shard(tmp_path, 0, split="val_unseen_layout", seed=0, clips=1)
    (row,) = json.loads((folder / "clips.json").read_text())
    assert row["flat_seed"] >= SEEDS_PER_SPLIT
    assert any(query["held_out_template"] for query in row["queries"])


def test_making_resumes_and_refuses_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []

    def fake(out: Path, index: int, **_: Any) -> Path:
        made.append(index)
        shard_path(out, index).mkdir()
        return shard_path(out, index)

    monkeypatch.setattr(clips, "make_shard", fake)
    shard_path(tmp_path, 1).mkdir()
    arguments = ["--out", str(tmp_path), "--clips", "70", "--workers", "1"]
    assert clips_main(arguments) == 0 and made == [0, 2]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clips"] == 75
    assert clips_main(arguments) == 0 and made == [0, 2]
    with pytest.raises(WorldError, match="made with other settings"):
        clips_main([*arguments, "--split", "val_unseen_layout"])


def test_truth_joins_what_is_seen_with_what_happens() -> None:
    flat = with_leaves(split_flat(5), np.random.default_rng(0))
    times, names = np.arange(8.0), [thing.name for thing in things(flat)]
    pixels = np.zeros((8, len(names)), np.int64)
    pixels[1:7, 0], pixels[2:7, 0] = GLIMPSED_PIXELS, PLAIN_PIXELS
    leaf, index = flat.leaves[0], len(flat.objects)
    pixels[:, index] = PLAIN_PIXELS
    shut = home(leaf.thing)
    start, end = (type(shut)(shut.x_m, shut.y_m, 0.0, yaw) for yaw in (leaf.closed_rad, leaf.open_rad))
    at = home(flat.objects[0])
    script = (
        ScriptedEvent("moves", names[0], 1.0, 4.0, at, at),
        ScriptedEvent("door_opens", names[index], 2.0, 4.0, start, end),
    )
    truth = Truth(flat, script, times, pixels)
    pair = (flat.objects[0].colour, flat.objects[0].kind)
    assert truth.seen_pairs() == [pair]
    assert truth.intervals("in_view", pair) == ((2.0, 6.0),)
    assert truth.intervals("in_view", pair, GLIMPSED_PIXELS) == ((1.0, 6.0),)
    assert truth.intervals("moves", pair) == ((2.0, 4.0),) and truth.intervals("appears", pair) == ()
    assert truth.intervals("door_opens", DOOR_PAIR) == ((2.0, 4.0),)
    assert truth.intervals("door_is_open", ("", DOOR)) == ((4.0, 7.0),)
    assert ("door_opens", DOOR_PAIR) in truth.goes_on()


@pytest.mark.long
def test_a_patrol_is_the_same_each_time_and_holds_what_it_promises() -> None:
    first, second = make_patrol(0, 30.0), make_patrol(0, 30.0)
    assert (first.route, first.script, first.queries) == (second.route, second.script, second.queries)
    assert first.route.duration_s >= 30.0
    asked = {query.verb for query in first.queries if query.intervals_s}
    assert {scripted.verb for scripted in first.script} == set(VERBS) <= asked
    grid_free = first.flat.room_at(first.route.start.x_m, first.route.start.y_m)
    assert grid_free is not None and grid_free.name == first.room.name
