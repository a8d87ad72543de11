"""Training the relevance head on made-up clips: it learns, resumes exactly, and lands in the checkpoint."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tqdm")

import torch
from ranks_apart import assert_the_same

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import FOLDER
from vila_tools.training import loop, train_events
from vila_tools.training.clip_features import clip_features, still_frames
from vila_tools.training.clips import active_frames, read_clips
from vila_tools.training.event_lessons import Lessons, cells
from vila_tools.training.event_stage import Course, EventStage, NameStage
from vila_tools.training.recipe import EventRecipe, StageRecipe

RECIPE = EventRecipe(
    names=StageRecipe(4, 2, 1e-3, 1e-4, warmup_steps=1),
    events=StageRecipe(40, 2, 4e-3, warmup_steps=5),
    frames=8,
    questions=2,
    contrasts=0,
    sightings=1,
    sighting_weight=0.1,
    named_clips=1,
)
FRAMES, CLIPS = 12, 20


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """The picture is bright in the middle of each clip: then "the red ball moves"; nothing else ever happens."""
    folder = tmp_path_factory.mktemp("clips")
    templates = {
        "moves": ["the {colour} {kind} moves"],
        "appears": ["the {colour} {kind} appears"],
        "vanishes": ["the {colour} {kind} is taken away"],
        "in_view": ["the {colour} {kind} is in view"],
        "door_opens": ["the door opens"],
    }
    (folder / "meta.json").write_text(json.dumps({"period_s": 0.25, "frames": FRAMES, "train_templates": templates}))
    images = np.full((CLIPS, FRAMES, 192, 192, 3), 40, np.uint8)
    images[:, 4:8] = 220
    seg = np.full((CLIPS, FRAMES, 48, 48), 255, np.uint8)
    seg[:, 4:8, :24] = 1
    rows = [
        {
            "clip": number,
            "things": [["", "door"], ["red", "ball"], ["blue", "floor_lamp"]],
            "scripted_events": [
                {"verb": "moves", "subject": "red_ball_1"},
                {"verb": "door_closes", "subject": "door_0"},
            ],
            "queries": [
                {"verb": "moves", "colour": "red", "kind": "ball", "text": "", "intervals_s": [[1.0, 1.75]]},
                {"verb": "in_view", "colour": "blue", "kind": "floor_lamp", "text": "", "intervals_s": []},
            ],
        }
        for number in range(CLIPS)
    ]
    (folder / "shard_00000").mkdir()
    np.save(folder / "shard_00000" / "images.npy", images)
    np.save(folder / "shard_00000" / "seg.npy", seg)
    (folder / "shard_00000" / "clips.json").write_text(json.dumps(rows))
    return read_clips(folder)


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(EMBEDDED_CHECKPOINT)


def test_clips_are_joined_with_what_goes_on_in_each_frame(clips):
    assert len(clips) == CLIPS and len(clips.questions) == 2 * CLIPS
    moves, unseen = clips.questions[:2]
    assert moves.active.tolist() == [4 <= frame <= 7 for frame in range(FRAMES)]
    assert not unseen.active.any() and clips.questions[-1].clip == CLIPS - 1


def test_intervals_hold_their_last_frame():
    assert np.flatnonzero(active_frames([[0.25, 0.5], [1.0, 1.0]], 0.25, 8)).tolist() == [1, 2, 4]


def test_a_directory_without_clips_says_what_to_run(tmp_path):
    with pytest.raises(ConfigError, match="vila clips --out"):
        read_clips(tmp_path)


def test_a_thing_is_in_the_cells_that_it_covers_enough_of(clips):
    pixels = np.zeros((1, 48, 48), bool)
    pixels[0, :3, :2] = pixels[0, 5, 5] = True
    told = cells(pixels, 16)[0]
    assert told[0] == 1 and told[17] == -1 and np.count_nonzero(told) == 2
    assert clips.covered(0, ("red", "ball"), slice(3, 5)).sum(axis=(1, 2)).tolist() == [0, 24 * 48]


def test_each_cell_has_the_name_of_what_it_shows(clips):
    naming = Lessons(clips, range(CLIPS), RECIPE, 16).draw_names(3, 12, np.random.default_rng(0))
    assert naming.named.shape == (3, 12, 256) and naming.frames.tolist() == [0, 0, 0]
    assert len(naming.texts) == 3 and "red ball" in naming.texts[2]  # in order of colour and kind; a door has none
    assert (naming.named.unflatten(2, (16, 16))[:, 4:8, :8] == 2).all() and (naming.named == 2).sum() == 3 * 4 * 128
    assert (naming.named[:, :4] == -1).all()


def test_what_did_not_happen_to_a_thing_is_asked_where_something_else_did(clips):
    recipe = dataclasses.replace(RECIPE, questions=0, contrasts=3, contrast_weight=0.2, sightings=0, nonsense_share=0.0)
    assert clips.happened[0] == {("moves", ("red", "ball")), ("door_closes", ("", "door"))}
    lesson = Lessons(clips, range(CLIPS), recipe, 16).draw(np.random.default_rng(0))
    assert set(lesson.texts[:2]) == {"the red ball appears", "the red ball is taken away"}
    assert set(lesson.verbs[:, :2].unique().tolist()) == {0, 4} and (lesson.verbs[:, 2] == 2).all()  # in order of name
    assert not lesson.active[:, :2].any() and lesson.certain[:, :2].all()
    assert "in view" in lesson.texts[2]  # a sighting, as nothing else is left
    assert (lesson.covered[:, :2] > 0).any() and lesson.weights[0].tolist() == pytest.approx([0.2, 0.2, 0.1])


def test_a_clip_is_found_in_its_shard(clips):
    shards = np.zeros((3, 2, 4, 4, 3), np.uint8), np.ones((2, 2, 4, 4, 3), np.uint8)
    two = dataclasses.replace(clips, images=shards)
    assert [int(two.film(number).max()) for number in range(5)] == [0, 0, 0, 1, 1]
    with pytest.raises(IndexError, match="behind the last"):
        two.film(5)


def test_the_eyes_begin_as_the_tower_in_each_quarter_of_the_picture(model):
    eyes = train_events.new_head(model, 0.25).eyes
    picture = torch.randn(1, 3, 192, 192)
    with torch.inference_mode():
        seen = eyes.embeddings(picture).unflatten(1, (16, 16))
        quarter = model.vision_tower.embeddings(picture[..., :96, 96:]).unflatten(1, (8, 8))
    torch.testing.assert_close(seen[:, :8, 8:], quarter)


@pytest.mark.slow
def test_ranks_that_share_a_batch_learn_what_one_process_does(clips, model, tmp_path):
    rates = StageRecipe(1, 2, 1e-3, 1e-4)
    recipe = dataclasses.replace(RECIPE, names=rates, events=rates, named_clips=2, precision="float32", frames=3)
    torch.manual_seed(0)
    head = train_events.new_head(model, clips.period_s)
    lessons = Lessons(clips, range(2), recipe, head.config.grid)
    few = dataclasses.replace(clips, things=clips.things[:2])
    features = clip_features(model, head, few, tmp_path, recipe)

    def course(ranks):
        return Course(model, head, clips, lessons, recipe, ranks)

    assert_the_same(lambda ranks: NameStage(course(ranks)), batch=2)
    assert_the_same(lambda ranks: EventStage(course(ranks), features), batch=2)


def test_a_picture_that_stays_is_encoded_once():
    film = np.zeros((5, 2, 2, 3), np.uint8)
    film[2:4] = 9
    once, again = still_frames(film)
    assert once.tolist() == [0, 2, 4] and again.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.long
def test_it_learns_and_a_stopped_run_goes_on_exactly(model, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 20)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    head, figures = train_events.train_events(model, clips, RECIPE, whole)
    assert figures["events_overlap"] > 0.6 and figures["events_not_seen"] > 0.9, figures
    with monkeypatch.context() as context:
        context.setattr(loop, "schedule", stopping_at(25))
        with pytest.raises(KeyboardInterrupt):
            train_events.train_events(model, clips, RECIPE, cut)
    again, _ = train_events.train_events(model, clips, RECIPE, cut)
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


def test_the_program_writes_the_head_into_the_checkpoint(clips, tmp_path, monkeypatch, capsys):
    checkpoint = tmp_path / "nano"
    shutil.copytree(EMBEDDED_CHECKPOINT, checkpoint, ignore=shutil.ignore_patterns(FOLDER))
    monkeypatch.setattr(train_events, "read_clips", lambda folder: clips)
    monkeypatch.setattr(train_events, "EventRecipe", partial(dataclasses.replace, RECIPE))
    arguments = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--scale", "0.05", "--threads", "1"]
    assert train_events.main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["checkpoint"] == str(checkpoint) and 0 <= told["events_overlap"] <= 1
    head = load_checkpoint(checkpoint).relevance_head
    eyes = {name: weight for name, weight in head.state_dict().items() if name.startswith("eyes.")}
    again = [*arguments, "--out", str(tmp_path / "again"), "--keep-eyes"]
    assert train_events.main(again) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    taught = load_checkpoint(checkpoint).relevance_head.state_dict()
    assert all(torch.equal(taught[name], weight) for name, weight in eyes.items())
    assert not torch.equal(taught["score.weight"], head.state_dict()["score.weight"])
    assert "names_named" not in told and "events_overlap" in told
    shutil.rmtree(checkpoint / FOLDER)
    with pytest.raises(ConfigError, match="no relevance head whose eyes could be kept"):
        train_events.main(again)
