"""A relevance head learns from the frames of `vila data`: what things are called, and how far off they are."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ranks_apart import assert_the_same
from torch import nn

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import ConfigError
from vila_core.models.relevance import RelevanceConfig, RelevanceHead
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.relevance_files import FOLDER, save_relevance
from vila_core.testing import make_frame
from vila_sim.dataset import DataOptions, dataset_meta, make_shard
from vila_tools.training import train_distances, train_names
from vila_tools.training.curves import read_log
from vila_tools.training.distance_stage import FREE_MOST_M, DistanceStage, _thing_weights, free_ranges
from vila_tools.training.frame_lessons import Frames, LessonRun
from vila_tools.training.frame_name_stage import FrameNameStage
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.seen_frames import SeenFrames
from vila_tools.training.shards import grid_objects, read_rollouts

SIZES = RelevanceConfig(
    **{"visual_tokens": 16, "visual_width": 128, "text_width": 128, "picture_px": 192, "patch_px": 24},
    **{"eyes_width": 32, "eyes_intermediate": 64, "eyes_layers": 1, "eyes_heads": 2},
    **{"width": 32, "cell_width": 16, "heads": 2, "maps": 3, "value_width": 4},
)
RECIPE = StageRecipe(60, 16, 3e-3, warmup_steps=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A shard of single frames of a few flats, as `vila data --views` makes them."""
    out, options = tmp_path_factory.mktemp("data"), DataOptions(views=True)
    make_shard(out, 0, 0, frames=200, options=options)
    (out / "meta.json").write_text(json.dumps(dataset_meta(0, options)))
    return out


@pytest.fixture(scope="module")
def rollouts(folder):
    return read_rollouts(folder)


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(EMBEDDED_CHECKPOINT, precision="float32")


@pytest.fixture
def head():
    torch.manual_seed(0)
    return RelevanceHead(SIZES).eval().requires_grad_(False)


def ready_head() -> RelevanceHead:
    return RelevanceHead(dataclasses.replace(SIZES, distance_width=8, free_space_width=8))


def test_the_truth_is_the_distance_along_the_floor_to_what_a_cell_shows(rollouts, head):
    stage = DistanceStage(ready_head(), Frames(rollouts, range(len(rollouts)), RECIPE))
    truth = stage.distances(np.arange(len(rollouts)), stage.shown(np.arange(len(rollouts))))
    shown = ~np.isnan(truth)
    assert truth.shape == (len(rollouts), 64) and 0.05 < shown.mean() < 0.9
    assert truth[shown].min() > 0.1 and truth[shown].max() < 15
    assert not shown[(rollouts.seg == 255).all(axis=(1, 2))].any()


def test_free_is_as_far_as_nothing_stands_in_the_way(rollouts):
    """What a picture shows in a column begins where the floor there ends, or behind it."""
    stage = DistanceStage(ready_head(), Frames(rollouts, range(50, 200), RECIPE))
    free = free_ranges(rollouts, range(50, 200), 8)
    assert free.shape == (150, 8) and 0.15 <= free.min() < 1 and free.max() == FREE_MOST_M
    rows = np.arange(50, 200)
    far = stage.distances(rows, stage.shown(rows)).reshape(150, 8, 8)  # rows from above, columns from the left
    shown = ~np.isnan(far)
    assert (far + 1.2 > free[:, None])[shown].mean() > 0.97  # the middle of a large thing may lie behind its edge
    again = free_ranges(rollouts, range(60, 70), 8)
    np.testing.assert_array_equal(again, free[10:20])


def test_each_thing_counts_as_much_as_another_however_many_cells_it_covers():
    weights = _thing_weights(np.array([[3, 3, 3, 7, -1], [-1, -1, -1, -1, 3]]))
    np.testing.assert_allclose(weights, [[1 / 3, 1 / 3, 1 / 3, 1, 0], [0, 0, 0, 0, 1]])


def test_the_eyes_see_each_frame_once(rollouts, head, monkeypatch):
    seen, look = [], RelevanceHead.features
    monkeypatch.setattr(RelevanceHead, "features", lambda self, it: seen.append(len(it)) or look(self, it))
    frames = SeenFrames(head, Frames(rollouts, range(100, 200), RECIPE))
    first = frames(np.array([120, 130, 120]))
    assert seen == [2] and torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    assert torch.equal(frames(np.array([130, 199]))[0], first[1]) and seen == [2, 1]
    other = SeenFrames(head, Frames(rollouts, range(130, 140), RECIPE))(np.array([130]))
    torch.testing.assert_close(other[0], first[1], atol=2e-3, rtol=2e-3)  # whoever looks


def test_it_learns_and_leaves_all_else_as_it_was(rollouts, head, tmp_path):
    before = {name: weight.clone() for name, weight in head.state_dict().items()}
    taught, figures = train_distances.train_distances(
        SimpleNamespace(relevance_head=head, device="cpu"), rollouts, LessonRun(RECIPE, tmp_path)
    )
    lines = [line for line in read_log(tmp_path / "log.jsonl", "distances") if "error" in line]
    stage = DistanceStage(taught, Frames(rollouts, range(200), RECIPE))
    shown = stage.shown(np.arange(200))
    truth, weights = np.log(stage.distances(np.arange(200), shown)), _thing_weights(shown)
    same_for_all = np.nansum(abs(truth - np.nanmedian(truth)) * weights) / weights.sum()
    assert lines[-1]["error"] < min(lines[0]["error"], 0.95 * same_for_all) and 0 < figures["distances_error"] < 1
    assert lines[-1]["free_error"] < lines[0]["free_error"] and 0 < figures["distances_free_error"] < 1
    assert all(torch.equal(taught.state_dict()[name], weight) for name, weight in before.items())
    assert taught.config.distance_width == taught.config.free_space_width == train_distances.WIDTH


@pytest.mark.long
def test_ranks_that_share_a_batch_learn_what_one_process_does(rollouts):
    torch.manual_seed(0)
    taught, recipe = ready_head(), StageRecipe(1, 3, 1e-3)
    assert_the_same(lambda ranks: DistanceStage(taught, Frames(rollouts, range(100), recipe, ranks=ranks)), batch=3)


@pytest.mark.parametrize("program", [train_distances, train_names])
def test_the_program_teaches_the_checkpoint(program, folder, head, tmp_path, monkeypatch, capsys):
    checkpoint, lesson = tmp_path / "nano", program.__name__.rpartition("train_")[2]
    shutil.copytree(EMBEDDED_CHECKPOINT, checkpoint, ignore=shutil.ignore_patterns(FOLDER))
    arguments = ["--data", str(folder), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="no relevance head; teach it one with: vila train-events"):
        program.main(arguments)
    save_relevance(head, checkpoint)
    monkeypatch.setattr(program, "RECIPE", StageRecipe(4, 4, 1e-3, 1e-3, warmup_steps=1))
    assert program.main([*arguments, "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["checkpoint"] == str(checkpoint)
    width = load_checkpoint(checkpoint).relevance_head.config.distance_width
    if lesson == "distances":
        assert 0 < told["distances_error"] < 3 and width == train_distances.WIDTH
        assert (load_backend("torch", checkpoint).distances(make_frame()) > 0).all()
    else:
        assert 0 <= told["frame_names_named"] <= 1 and width == 0  # its eyes are others: distances follow anew


def test_a_cell_is_called_as_its_thing_is(rollouts, model):
    stage = FrameNameStage(model, model.relevance_head, Frames(rollouts, range(200), RECIPE))
    rows = np.arange(len(rollouts))
    named, shown = stage._named(rows, rollouts.seg), grid_objects(rollouts.seg, 16, 0.25)
    assert (named[grid_objects(rollouts.seg, 16, 0.0) >= 0] != -1).all() and (named[shown >= 0] >= 0).all()
    row, cell = np.argwhere(named >= 0)[7]
    code, thing = stage._names[named[row, cell]], shown[row, cell]
    kind, colour = divmod(int(code), len(rollouts.colour_names))
    assert (kind, colour) == (rollouts.kinds[row, thing], rollouts.colours[row, thing])
    asked = load_backend("torch", EMBEDDED_CHECKPOINT).cell_queries(
        [f"the {rollouts.colour_names[colour]} {rollouts.kind_names[kind].replace('_', ' ')} is in view"]
    )
    np.testing.assert_allclose(stage._wanted[0, named[row, cell]], asked[0], atol=1e-4)


@pytest.mark.long
def test_its_eyes_learn_more_names_and_all_that_reads_them_stays(rollouts, model, tmp_path):
    model = copy.deepcopy(model)
    nn.init.normal_(model.relevance_head.place, std=0.3)  # it has much to learn again
    before = {name: weight.clone() for name, weight in model.relevance_head.state_dict().items()}
    steps = StageRecipe(40, 6, 1e-3, 5e-4, warmup_steps=5)
    taught, figures = train_names.train_names(model, rollouts, LessonRun(steps, tmp_path))
    lines = [line for line in read_log(tmp_path / "log.jsonl", "frame_names") if "named" in line]
    assert lines[-1]["named"] > lines[0]["named"] and 0 < figures["frame_names_named"] <= 1
    changed = {name for name, weight in taught.state_dict().items() if not torch.equal(before[name], weight)}
    assert {name.partition(".")[0] for name in changed} == {"eyes", "place", "look", "glance", "join", "near", "norm"}
    assert all(torch.equal(model.relevance_head.state_dict()[name], weight) for name, weight in before.items())
    assert taught.config.distance_width == taught.config.free_space_width == 0
    kept = torch.load(tmp_path / "frame_names.pt")["stage"]  # what learns, and nothing of the model beside it
    assert {name.partition(".")[0] for name in kept} == {"eyes", "place", "seeing"}


@pytest.mark.long
def test_ranks_that_share_a_batch_of_names_learn_what_one_process_does(rollouts, model):
    torch.manual_seed(0)
    recipe, rows = StageRecipe(1, 3, 1e-3), range(100)
    head = copy.deepcopy(model.relevance_head).requires_grad_(True)
    nn.init.normal_(head.place, std=0.1)  # as after some lessons
    assert_the_same(lambda ranks: FrameNameStage(model, head, Frames(rollouts, rows, recipe, ranks=ranks)), batch=3)
