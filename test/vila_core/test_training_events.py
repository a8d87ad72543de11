"""Training the relevance head on made-up clips: it learns, resumes exactly, and lands in the checkpoint."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tqdm")

import torch

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.models.checkpoint import load_checkpoint
from vila_core.models.relevance_files import FOLDER
from vila_core.training import loop, train_events
from vila_core.training.clips import active_frames, read_clips
from vila_core.training.recipe import EventRecipe, StageRecipe
from vila_core.training.shards import read_drives
from vila_core.training.sightings import Sightings, objects_in_view

RECIPE = EventRecipe(
    sightings=StageRecipe(4, 8, 1e-3, warmup_steps=1),
    events=StageRecipe(60, 8, 4e-3, warmup_steps=5),
    frames=12,
    reminders=4,
)
FRAMES, CLIPS = 16, 20


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The picture is bright in the middle of each clip: then "the red ball moves"; nothing else ever happens."""
    folder = tmp_path_factory.mktemp("clips")
    templates = {"moves": ["the {colour} {kind} moves"], "in_view": ["the {colour} {kind} is in view"]}
    (folder / "meta.json").write_text(json.dumps({"period_s": 0.25, "frames": FRAMES, "train_templates": templates}))
    images = np.full((CLIPS, FRAMES, 96, 96, 3), 40, np.uint8)
    images[:, 5:11] = 220
    rows = [
        {
            "clip": number,
            "queries": [
                {"verb": "moves", "colour": "red", "kind": "ball", "text": "", "intervals_s": [[1.25, 2.5]]},
                {"verb": "in_view", "colour": "blue", "kind": "floor_lamp", "text": "", "intervals_s": []},
            ],
        }
        for number in range(CLIPS)
    ]
    (folder / "shard_00000").mkdir()
    np.save(folder / "shard_00000" / "images.npy", images)
    (folder / "shard_00000" / "clips.json").write_text(json.dumps(rows))
    return read_clips(folder)


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Forty frames; the red ball covers a quarter of every second one."""
    folder, count, slots = tmp_path_factory.mktemp("drives"), 40, 8
    names = {"kinds": ["ball", "floor_lamp"], "colours": ["red", "blue"]}
    (folder / "meta.json").write_text(json.dumps({**names, "sentences": SENTENCES, "train_templates": []}))
    seg = np.full((count, 48, 48), 255, np.uint8)
    seg[::2, 24:, :24] = 0
    arrays = {
        "images": np.zeros((count, 96, 96, 3), np.uint8),
        "seg": seg,
        "labels": np.zeros((count, slots), np.int8),
        "visible": np.zeros((count, slots), bool),
        "distance": np.ones((count, slots), np.float32),
        "bearing": np.zeros((count, slots), np.float32),
        "episode": np.zeros(count, np.int32),
        "slots": np.zeros((1, slots), np.int16),
        "target_slot": np.zeros(1, np.int8),
        "flat": np.zeros(1, np.int32),
        "objects": np.concatenate([[[[0, 0]]], np.full((1, 63, 2), -1)], axis=1).astype(np.int16),
    }
    (folder / "shard_00000").mkdir()
    for name, array in arrays.items():
        np.save(folder / "shard_00000" / f"{name}.npy", array)
    return read_drives(folder)


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(EMBEDDED_CHECKPOINT)


def test_clips_are_joined_with_what_goes_on_in_each_frame(clips):
    assert len(clips) == CLIPS and len(clips.questions) == 2 * CLIPS
    moves, unseen = clips.questions[:2]
    assert moves.active.tolist() == [5 <= frame <= 10 for frame in range(FRAMES)]
    assert not unseen.active.any() and clips.questions[-1].clip == CLIPS - 1


def test_intervals_hold_their_last_frame():
    assert np.flatnonzero(active_frames([[0.25, 0.5], [1.0, 1.0]], 0.25, 8)).tolist() == [1, 2, 4]


def test_a_directory_without_clips_says_what_to_run(tmp_path):
    with pytest.raises(ConfigError, match="vila clips --out"):
        read_clips(tmp_path)


def test_what_covers_too_little_is_not_in_view():
    seg = np.full((1, 48, 48), 255, np.uint8)
    seg[0, 0, 0], seg[0, 1, :2] = 3, 5
    assert np.flatnonzero(objects_in_view(seg, 8)[0]).tolist() == [5]


def test_sightings_tell_the_truth_about_each_frame(drives):
    tokens = torch.zeros(len(drives), 16, 128)
    in_view = objects_in_view(drives.seg, drives.kinds.shape[1])
    lesson = Sightings(drives, tokens, in_view, ("the {colour} {kind} is in view",), range(len(drives))).draw(
        64, np.random.default_rng(0)
    )
    assert lesson.tokens.shape == (64, 2, 16, 128) and lesson.thumbnails.shape == (64, 2, 48, 48, 3)
    asked = [text == "the red ball is in view" for text in lesson.texts]
    assert (lesson.active.sum(dim=1) == torch.tensor(asked)).all()  # in one of two frames, if it is the red ball
    assert 0.3 < np.mean(asked) < 0.9


def test_it_learns_and_a_stopped_run_goes_on_exactly(model, drives, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 20)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    head, figures = train_events.train_events(model, drives, clips, RECIPE, whole)
    assert figures["events_overlap"] > 0.6 and figures["events_not_seen"] > 0.9, figures
    with monkeypatch.context() as context:
        context.setattr(loop, "schedule", stopping_at(30))
        with pytest.raises(KeyboardInterrupt):
            train_events.train_events(model, drives, clips, RECIPE, cut)
    again, _ = train_events.train_events(model, drives, clips, RECIPE, cut)
    for name, weight in head.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight)


def stopping_at(step):
    """The loop's schedule, with Ctrl-C at a step of the events."""
    rates = loop.schedule

    def schedule(at, recipe):
        if at == step and recipe.steps == RECIPE.events.steps:
            raise KeyboardInterrupt
        return rates(at, recipe)

    return schedule


def test_the_program_writes_the_head_into_the_checkpoint(drives, clips, tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / "nano"
    shutil.copytree(EMBEDDED_CHECKPOINT, checkpoint, ignore=shutil.ignore_patterns(FOLDER))
    monkeypatch.setattr(train_events, "read_drives", lambda folder: drives)
    monkeypatch.setattr(train_events, "read_clips", lambda folder: clips)
    monkeypatch.setattr(train_events, "EventRecipe", lambda seed: dataclasses.replace(RECIPE, seed=seed))
    arguments = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--scale", "0.05", "--threads", "1"]
    assert train_events.main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["checkpoint"] == str(checkpoint) and 0 <= told["events_overlap"] <= 1
    assert load_checkpoint(checkpoint).relevance_head is not None
