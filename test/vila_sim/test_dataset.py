"""A shard of the training set: shapes, consistency of its labels, resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.errors import WorldError
from vila_core.types import Decision, Frame, MoveForward, Odometry, Stop
from vila_sim import dataset
from vila_sim.cameras import CameraRandomization
from vila_sim.dataset import FRAMES_PER_FLAT, SLOTS, VIEWS_PER_FLAT, DataOptions, make_shard, shard_path
from vila_sim.episodes.splits import held_out_pairs, split_flat
from vila_sim.episodes.tasks import is_the_only_one, next_rooms
from vila_sim.rollout_recorder import small_segmentation
from vila_tools.training.data_sets import episodes_main

pytestmark = pytest.mark.slow
Shard = dict[str, NDArray[Any]]


def load(folder: Path) -> Shard:
    return {path.stem: np.load(path) for path in folder.glob("*.npy")}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return load(make_shard(tmp_path_factory.mktemp("data"), 0, 0, frames=FRAMES_PER_FLAT))


def test_shapes_and_types(shard: Shard) -> None:
    n, e, f = len(shard["images"]), len(shard["slots"]), 1
    assert n == FRAMES_PER_FLAT
    expected = {
        "images": ((n, 192, 192, 3), "uint8"),
        "seg": ((n, 48, 48), "uint8"),
        "labels": ((n, SLOTS), "int8"),
        "visible": ((n, SLOTS), "bool"),
        "distance": ((n, SLOTS), "float32"),
        "bearing": ((n, SLOTS), "float32"),
        "executed": ((n,), "int8"),
        "pose": ((n, 3), "float32"),
        "episode": ((n,), "int32"),
        "step": ((n,), "int32"),
        "slots": ((e, SLOTS), "int16"),
        "target_slot": ((e,), "int8"),
        "flat": ((e,), "int32"),
        "camera": ((e, 3), "float32"),
        "objects": ((f, 64, 2), "int16"),
        "flat_seed": ((f,), "int64"),
        "flat_family": ((f,), "int8"),
    }
    assert {name: (array.shape, str(array.dtype)) for name, array in shard.items()} == expected


def test_slots_and_labels_fit(shard: Shard) -> None:
    flat = split_flat(int(shard["flat_seed"][0]))
    slots = shard["slots"][shard["episode"]]
    empty = slots < 0
    assert (shard["labels"][empty] == -1).all() and not shard["visible"][empty].any()
    assert np.isnan(shard["distance"][empty]).all() and np.isnan(shard["bearing"][empty]).all()
    assert (shard["labels"] < len(SENTENCES)).all()
    for row in shard["slots"]:
        things = [flat.objects[i] for i in row if i >= 0]
        near = {room.name for room in next_rooms(flat, things[0].room)}
        assert all(thing.room == things[0].room or thing.room in near for thing in things)
        assert all(thing.room == things[0].room or is_the_only_one(flat, thing) for thing in things)
    stops = shard["labels"] == 0
    assert (shard["distance"][stops] <= 0.5).all()
    assert np.abs(shard["bearing"][~empty]).max() <= np.pi + 1e-6


def test_visible_objects_are_in_the_segmentation(shard: Shard) -> None:
    slots = shard["slots"][shard["episode"]]
    for frame, slot in zip(*np.nonzero(shard["visible"]), strict=True):
        if (shard["seg"][frame] == slots[frame, slot]).sum() > 20:
            assert abs(shard["bearing"][frame, slot]) < 1.6
    assert shard["visible"].any() and (shard["seg"] == 255).any()
    hidden = ~shard["visible"] & (slots >= 0)
    counts = [(shard["seg"][f] == slots[f, s]).sum() for f, s in zip(*np.nonzero(hidden), strict=True)]
    assert max(counts) <= 10  # 30 of 224 x 224 pixels are one or two of 48 x 48


def test_a_target_never_seen_is_searched_to_the_left(shard: Shard) -> None:
    first = shard["step"] == 0
    unseen = first[:, None] & ~shard["visible"] & (shard["slots"][shard["episode"]] >= 0)
    assert unseen.any()
    assert (shard["labels"][unseen] == SENTENCES.index("The next action is turn left 45 degree.")).all()


def test_episodes_end_with_the_oracle_stop(shard: Shard) -> None:
    ends = np.flatnonzero(np.diff(shard["episode"], append=-1) != 0)[:-1]
    executed = shard["executed"]
    stops = np.flatnonzero(executed == ACTIONS.index(Stop()))
    assert set(stops) <= set(ends) | {len(executed) - 1}
    target = shard["target_slot"][shard["episode"][stops]]
    assert (shard["labels"][stops, target] == 0).all()
    starts = np.flatnonzero(shard["step"] == 0)
    assert (executed[starts] >= 0).all()


def test_training_flats_hold_no_held_out_pair(shard: Shard) -> None:
    kinds, colours = list(dataset.KINDS), list(dataset.COLOURS)
    pairs = {(colours[c], kinds[k]) for k, c in shard["objects"][0] if k >= 0}
    assert pairs and not pairs & held_out_pairs()


@pytest.mark.long
def test_same_seed_gives_the_same_shard(shard: Shard, tmp_path: Path) -> None:
    again = load(make_shard(tmp_path, 0, 0, frames=FRAMES_PER_FLAT))
    for name, array in shard.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)
    assert [path.name for path in tmp_path.iterdir()] == ["shard_00000"]


def test_views_are_single_frames_from_anywhere_of_many_flats(tmp_path: Path) -> None:
    options = DataOptions(("plain",), CameraRandomization(), views=True)
    views = load(make_shard(tmp_path, 0, 7, frames=2 * VIEWS_PER_FLAT, options=options))
    count = 2 * VIEWS_PER_FLAT
    assert views["flat"].tolist() == [0] * VIEWS_PER_FLAT + [1] * VIEWS_PER_FLAT
    assert views["episode"].tolist() == list(range(count)) and not views["step"].any()
    assert len(np.unique(views["pose"], axis=0)) == count
    assert (views["seg"] < 255).any(axis=(1, 2)).mean() > 0.5
    assert dataset.dataset_meta(7, options) != dataset.dataset_meta(7, DataOptions(("plain",), CameraRandomization()))
    with pytest.raises(WorldError, match="a shard of 30 frames: must be a multiple of 20"):
        make_shard(tmp_path, 1, 7, frames=30, options=options)


@pytest.mark.long
def test_a_set_of_two_families_takes_them_in_turn_and_draws_cameras(tmp_path: Path) -> None:
    options = DataOptions(("plain", "rich"), CameraRandomization())
    shards = [load(make_shard(tmp_path / name, 0, 0, frames=2 * FRAMES_PER_FLAT, options=options)) for name in "ab"]
    for name, array in shards[0].items():
        np.testing.assert_array_equal(array, shards[1][name], err_msg=name)
    shard = shards[0]
    assert shard["flat_family"].tolist() == [0, 1]
    assert len(np.unique(shard["camera"], axis=0)) == len(shard["camera"]) > 4
    flat = split_flat(int(shard["flat_seed"][1]), family="rich")
    for (kind, colour), thing in zip(shard["objects"][1], flat.objects, strict=False):
        assert (list(dataset.KINDS)[kind], list(dataset.COLOURS)[colour]) == (thing.kind, thing.colour)
    slots = shard["slots"][shard["episode"]]
    inside = np.cos(shard["bearing"][shard["visible"] & (slots >= 0)]) > 0.2
    assert inside.mean() > 0.95  # the segmentation, by which they count as visible, is the drawn camera's


class Forward:
    """Goes on whatever it sees, and stops at the seventh decision."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.seen = self.decided = 0

    def start(self, instruction: str) -> None:
        self.told.append(instruction)
        self.seen = self.decided = 0

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        assert frame.image.shape == (224, 224, 3) and frame.stamp_ns == odometry.stamp_ns
        self.seen += 1

    def decide(self) -> Decision:
        assert self.seen == self.decided + 1  # each 25 cm are seen
        self.decided += 1
        return Decision(Stop() if self.decided == 7 else MoveForward(0.25), 0)


@pytest.mark.long
def test_a_driver_drives_and_the_oracle_says_what_would_have_been_right(shard: Shard, tmp_path: Path) -> None:
    driver = Forward()
    driven = load(make_shard(tmp_path, 0, 0, frames=FRAMES_PER_FLAT, driver=driver))
    assert len(driver.told) == len(driven["slots"]) and all(driver.told)
    whole = driven["episode"] < driven["episode"][-1]
    assert set(driven["executed"][whole]) == {SENTENCES.index("The next action is move forward 25 cm."), 0}
    target = driven["labels"][np.arange(FRAMES_PER_FLAT), driven["target_slot"][driven["episode"]]]
    assert len(set(target)) > 3 and (target != driven["executed"])[whole].mean() > 0.3


def test_main_makes_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []

    def fake(out: Path, index: int, seed: int, *, options: DataOptions, driver: object) -> Path:
        assert driver is None
        made.append(index)
        shard_path(out, index).mkdir()
        return shard_path(out, index)

    monkeypatch.setattr(dataset, "make_shard", fake)
    arguments = ["--out", str(tmp_path), "--frames", "6000", "--workers", "1"]
    shard_path(tmp_path, 1).mkdir()
    assert episodes_main(arguments) == 0
    assert made == [0, 2]
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["frames_made"] == 4000
    assert episodes_main(arguments) == 0 and made == [0, 2]
    assert json.loads((tmp_path / "meta.json").read_text())["sentences"] == list(SENTENCES)
    with pytest.raises(WorldError, match="other settings"):
        episodes_main([*arguments, "--seed", "1"])


def test_a_shard_that_another_run_finished_is_kept(tmp_path: Path) -> None:
    shard_path(tmp_path, 0).mkdir()
    make_shard(tmp_path, 0, 0, frames=FRAMES_PER_FLAT)
    assert [path.name for path in tmp_path.iterdir()] == ["shard_00000"]
    assert not list(shard_path(tmp_path, 0).iterdir())


def test_frames_must_fill_flats(tmp_path: Path) -> None:
    with pytest.raises(WorldError, match="multiple of 125"):
        make_shard(tmp_path, 0, 0, frames=100)


def test_small_segmentation_samples_the_nearest() -> None:
    segmentation = np.full((224, 224), -1, np.int16)
    segmentation[112:, :] = 7
    small = small_segmentation(segmentation)
    assert (small[:24] == 255).all() and (small[24:] == 7).all()
