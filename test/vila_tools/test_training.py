"""Training on a made-up data directory: it learns, resumes exactly, and writes a checkpoint that loads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from ranks_apart import assert_the_same

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import ConfigError
from vila_core.machine.precision import Precision
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_sim.dataset import DataOptions, dataset_meta
from vila_tools.training import curves
from vila_tools.training import train as train_module
from vila_tools.training.autocast import autocast
from vila_tools.training.curves import read_log
from vila_tools.training.loop import schedule
from vila_tools.training.policy_stage import PolicyStage, frozen_features
from vila_tools.training.ranks import Ranks, Share
from vila_tools.training.recipe import DataRecipe, ModelSizes, Recipe, StageRecipe, read_recipe
from vila_tools.training.samples import VISUAL, Sampler, prompt_ids
from vila_tools.training.shards import grid_objects, joined, read_rollouts
from vila_tools.training.train import corpus, create_model, train
from vila_tools.training.train import main as train_main
from vila_tools.training.vision_stage import VisionStage, zoomed

KINDS, COLOURS = ("chair", "floor_lamp"), ("red", "blue")
RECIPE = Recipe(
    sizes=ModelSizes(
        **{"image_size": 96, "patch_size": 12, "vision_width": 32, "vision_layers": 1, "vision_heads": 1},
        **{"width": 32, "layers": 1, "heads": 1, "kv_heads": 1, "num_frames": 4},
    ),
    driven=DataRecipe(frames=0),
    vision=StageRecipe(4, 8, 1e-3, warmup_steps=1),
    policy=StageRecipe(100, 16, 5e-3, warmup_steps=5),
    joint=StageRecipe(2, 4, 1e-4, 1e-4, warmup_steps=1),
    joint_again=StageRecipe(2, 4, 1e-4, 1e-4, warmup_steps=1),
)


@pytest.fixture(scope="module")
def data(data_folder):
    return read_rollouts(data_folder)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """Two shards: the image is bright where slot 0 is to be turned to, dark where the robot is to stop."""
    folder = tmp_path_factory.mktemp("data")
    meta = {
        "kinds": KINDS,
        "colours": COLOURS,
        "sentences": SENTENCES,
        "train_templates": ["go to the {colour} {kind}"],
        "families": ["plain"],
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    rng = np.random.default_rng(0)
    for number in range(2):
        shard = folder / f"shard_{number:05d}"
        shard.mkdir()
        count, slots = 60, 8
        bright = rng.random(count) < 0.5
        seg = np.full((count, 48, 48), 255, np.uint8)
        seg[:, 24:, :24] = 1
        labels = np.full((count, slots), -1, np.int8)
        labels[:, 0], labels[:, 1] = np.where(bright, 4, 0), 3
        arrays = {
            "images": np.broadcast_to(np.where(bright, 220, 30)[:, None, None, None], (count, 96, 96, 3)).astype(
                np.uint8
            ),
            "seg": seg,
            "labels": labels,
            "visible": labels >= 0,
            "distance": np.ones((count, slots), np.float32),
            "bearing": np.zeros((count, slots), np.float32),
            "episode": np.repeat(np.arange(6), 10).astype(np.int32),
            "slots": np.tile(np.array([1, 0] + [-1] * 6, np.int16), (6, 1)),
            "target_slot": np.zeros(6, np.int8),
            "flat": np.zeros(6, np.int32),
            "camera": np.tile(np.float32([0.9, 12.0, 90.0]), (6, 1)),
            "flat_seed": np.array([7]),
            "flat_family": np.zeros(1, np.int8),
            "pose": np.where(bright[:, None], (1.0, 1.0, 0.0), (4.0, 3.0, 0.0)).astype(np.float32),
            "objects": np.concatenate([[[[0, 0], [1, 1]]], np.full((1, 62, 2), -1)], axis=1).astype(np.int16),
        }
        for name, array in arrays.items():
            np.save(shard / f"{name}.npy", array)
    return folder


def test_shards_are_joined_with_each_frame_at_its_episode(data):
    assert len(data) == 120
    assert data.first[[0, 9, 10, 60, 119]].tolist() == [0, 0, 10, 60, 110]
    assert (data.labels[data.slots < 0] == -1).all()


def test_a_part_is_shown_with_what_is_where_in_it():
    """The pictures are their own segmentation, so that whatever part is shown both must agree."""
    rng = np.random.default_rng(0)
    seg = rng.integers(0, 4, (3, 6, 6)).repeat(8, 1).repeat(8, 2).astype(np.uint8)  # [3, 48, 48]
    pictures = (60 * seg).repeat(4, 1).repeat(4, 2)[..., None].repeat(3, -1)  # [3, 192, 192, 3]
    sides = set()
    for _ in range(40):
        shown, where = zoomed(pictures, seg, rng)
        assert shown.shape == pictures.shape and where.shape == seg.shape and shown.dtype == np.uint8
        middles = shown[:, 2::4, 2::4, 0].astype(int)
        assert (np.abs(middles - 60 * where.astype(int)) <= 15).mean() > 0.85  # but for what is between two
        sides.add(int((where[0, 0] == where[0, 0, 0]).argmin()))
    assert len(sides) > 3


def test_views_are_learned_from_beside_the_drives(data, tmp_path, monkeypatch):
    counts = {}

    def note(name, stage, *_, **__):
        counts[name] = len(stage.rollouts)

    monkeypatch.setattr("vila_tools.training.stage_run.train_stage", note)
    train(data, RECIPE, tmp_path, tmp_path / "checkpoint", torch.device("cpu"), views=data)
    assert counts == {"vision": 240, "policy": 240, "joint": 240, "joint_again": 240}


def test_auto_is_what_the_device_computes_well(data, tmp_path, monkeypatch):
    """bfloat16 is emulated on many processors, 80 times slower."""
    used = []
    monkeypatch.setattr(
        "vila_tools.training.stage_run.train_stage", lambda name, stage, *_, **__: used.append(stage.recipe)
    )
    for name in ("float32", "bfloat16"):
        monkeypatch.setattr("vila_tools.training.train.autocast_precision", lambda *_, chosen=name: Precision(chosen))
        train(data, RECIPE, tmp_path / name, tmp_path / name / "checkpoint", torch.device("cpu"))
    assert [recipe.precision for recipe in used] == ["float32"] * 4 + ["bfloat16"] * 4
    with pytest.raises(ValueError, match="'auto' was not made one"):
        autocast(torch.device("cpu"), "auto")


def test_in_a_mirror_left_is_right(data, tmp_path):
    model = create_model(tmp_path / "m", RECIPE.sizes, corpus(data), seed=0)
    sampler = Sampler(model, data, dataclasses.replace(RECIPE, nonsense_share=0.0), range(100))
    rows, slots = np.array([12, 12]), np.array([0, 0])
    plain, mirrored = (
        sampler.batch(rows, slots, np.random.default_rng(0), np.array([is_mirrored, False]))
        for is_mirrored in (False, True)
    )
    turned = {0: 0, 4: 7, 7: 4}
    assert mirrored.labels[0] == turned[int(plain.labels[0])] and mirrored.labels[1] == plain.labels[1]
    grid = model.config.vision.grid // model.projector.rate
    assert torch.equal(mirrored.grounding[0].view(grid, grid), plain.grounding[0].view(grid, grid).flip(1))
    assert mirrored.aim[0, 0] == -plain.aim[0, 0] and mirrored.aim[0, 1:].equal(plain.aim[0, 1:])
    is_real = plain.frames[0] >= 0
    assert (mirrored.frames[0][is_real] == plain.frames[0][is_real] + len(data) + 1).all()
    assert mirrored.frames[1].equal(plain.frames[1])


def test_open_eyes_see_what_frozen_ones_saw(data, tmp_path, monkeypatch):
    """Mirrored rows, black ones and all: the same tokens whether features were kept or are computed anew."""
    monkeypatch.setattr("vila_tools.training.policy_stage.augment", lambda images, rng, share: images.float())
    recipe = dataclasses.replace(RECIPE, precision="float32")
    model = create_model(tmp_path / "m", recipe.sizes, corpus(data), seed=0)
    frozen = frozen_features(model, data, "float32")
    stages = [
        PolicyStage(model, data, recipe, range(100), stage=recipe.policy, features=features)
        for features in (lambda: frozen, None)
    ]
    batch = stages[0].sampler.batch(
        np.array([12, 25]), np.array([0, 1]), np.random.default_rng(0), np.array([True, False])
    )
    with torch.inference_mode():
        kept, anew = (stage._visual_tokens(batch, np.random.default_rng(0), Share.whole(2)) for stage in stages)
    torch.testing.assert_close(kept, anew, rtol=1e-2, atol=1e-2)


def test_two_sets_become_one_with_each_frame_at_its_own_episode(data):
    both = joined(data, data)
    assert len(both) == len(both.images) == 240
    assert both.first[[119, 120, 239]].tolist() == [110, 120, 230]
    rows = np.array([5, 125, 119, 239, -1])
    np.testing.assert_array_equal(both.images[rows], data.images[np.array([5, 5, 119, 119, 119])])
    with pytest.raises(ConfigError, match="other kind_names"):
        joined(data, dataclasses.replace(data, kind_names=("bed",)))


def test_a_recipe_in_a_file_says_what_differs(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("seed: 3\nvision: {steps: 7}\nsizes:\n  width: 64\n")
    recipe = read_recipe(file)
    assert recipe == dataclasses.replace(
        Recipe(),
        seed=3,
        vision=dataclasses.replace(Recipe().vision, steps=7),
        sizes=dataclasses.replace(Recipe().sizes, width=64),
    )
    for text, words in (
        ("visoin: {steps: 7}", "did you mean 'vision'"),
        ("vision: {step: 7}", "did you mean 'steps'"),
        ("vision: 7", "vision = 7: expected names and values"),
        ("seed: many", "Recipe.seed = 'many': expected int"),
        ("[1, 2]", "expected names and values, got list"),
        ("a: [", "is no YAML"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_recipe(file)


def test_a_batch_lines_up_words_pictures_and_labels(data, tmp_path):
    model = create_model(tmp_path, RECIPE.sizes, corpus(data), 0)
    sampler = Sampler(model, data, dataclasses.replace(RECIPE, nonsense_share=0.0), range(100))
    batch = sampler.batch(np.array([0, 25]), np.array([0, 1]), np.random.default_rng(0))
    assert batch.frames.tolist() == [[-1, -1, -1, 0], [20, 21, 23, 25]]
    assert ((batch.ids == VISUAL).sum(1) == 3 * 4 + 16).all()
    for row, (name, label) in enumerate([("blue floor lamp", int(data.labels[0, 0])), ("red chair", 3)]):
        ids = batch.ids[row].tolist()
        start = int(batch.ask[row]) + 1
        assert ids[:start] == prompt_ids(model, f"go to the {name}")
        reply = [token for token in batch.targets[row].tolist() if token >= 0]
        assert model.tokenizer.decode(reply) == SENTENCES[label]
        assert reply == ids[start : start + len(reply)]
    assert batch.grounding[0].view(4, 4).tolist() == [[0] * 4, [0] * 4, [1, 1, 0, 0], [1, 1, 0, 0]]
    assert batch.grounding[1].sum() == 0


@pytest.mark.long
def test_training_learns_resumes_exactly_and_leaves_a_checkpoint(data, tmp_path):
    device = torch.device("cpu")
    whole = train(data, RECIPE, _folder(tmp_path / "a"), tmp_path / "a" / "checkpoint", device)
    assert whole["joint_again_branch_accuracy"] > 0.8
    cut = dataclasses.replace(RECIPE, joint=StageRecipe(0, 4, 0.0), joint_again=StageRecipe(0, 4, 0.0))
    train(data, cut, _folder(tmp_path / "b"), tmp_path / "b" / "checkpoint", device)
    resumed = train(data, RECIPE, tmp_path / "b", tmp_path / "b" / "checkpoint", device)
    assert resumed == whole
    backend = TorchBackend(load_checkpoint(tmp_path / "a" / "checkpoint"), "float32")
    assert (backend.info.prompt_style, backend.info.num_frames, backend.info.history_tokens) == ("nano", 4, 4)


def test_what_was_trained_is_neither_seen_nor_checked_again(data, tmp_path, monkeypatch):
    """Of a whole data set the features take ten minutes on two cores, at each sitting."""
    few = StageRecipe(2, 4, 1e-3, warmup_steps=1)
    recipe = dataclasses.replace(RECIPE, vision=few, policy=few)
    figures = train(data, recipe, tmp_path, tmp_path / "checkpoint", torch.device("cpu"))

    def again(*_):
        raise AssertionError

    monkeypatch.setattr("vila_tools.training.train.frozen_features", again)
    monkeypatch.setattr("vila_tools.training.policy_stage.PolicyStage.loss", again)
    assert train(data, recipe, tmp_path, tmp_path / "checkpoint", torch.device("cpu")) == figures


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vision", "frozen", "open"])
def test_ranks_that_share_a_batch_learn_what_one_process_does(name, data, tmp_path):
    recipe = dataclasses.replace(RECIPE, precision="float32", vision=StageRecipe(1, 3, 1e-3))
    model = create_model(tmp_path, recipe.sizes, corpus(data), 0)
    seen = frozen_features(model, data, recipe.precision)
    features = (lambda: seen) if name == "frozen" else None
    steps = StageRecipe(1, 3, 1e-3, 0.0 if name == "frozen" else 1e-4)

    def stage_of(ranks):
        torch.manual_seed(0)
        if name == "vision":
            stage = VisionStage(model, data, recipe, range(100), ranks=ranks)
        else:
            stage = PolicyStage(model, data, recipe, range(100), stage=steps, features=features, ranks=ranks)
        for part, head in made.items():
            setattr(stage, part, head)
        return stage

    made = {}
    made |= {part: head for part, head in stage_of(Ranks()).named_children() if part != "model"}
    assert_the_same(stage_of, batch=3)


def test_a_batch_of_fewer_rows_than_processes_is_refused():
    with pytest.raises(ConfigError, match="3 processes for a batch of 2"):
        Ranks(0, 3).share(2)


@pytest.mark.long
def test_torchrun_gives_the_curve_of_one_process_and_goes_on_from_its_states(data_folder, tmp_path, capsys):
    steps = {"vision": [40, 5], "policy": [40, 7], "joint": [3, 3], "joint_again": [0, 3]}
    recipe = {name: {"steps": count, "batch_size": batch, "warmup_steps": 1} for name, (count, batch) in steps.items()}
    recipe |= {
        "sizes": dataclasses.asdict(RECIPE.sizes),
        "driven": {"frames": 0},
        "views": {"frames": 0},
        "precision": "float32",
    }
    recipe |= {"data": {"frames": 4000, "families": "plain", "cameras": "fixed"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data" / "meta.json").write_text(json.dumps(dataset_meta(0, DataOptions())))

    def arguments(out):
        files = {"recipe": "recipe.yaml", "data": "data", "out": out}
        named = [word for name, file in files.items() for word in (f"--{name}", str(tmp_path / file))]
        return [*named, "--device", "cpu", "--threads", "1"]

    def together(out):
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vila_tools.cli"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *command, "train", *arguments(out)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1  # the first process's alone
        return json.loads(done.stdout)

    def lines(out):
        kept = [line for name in steps for line in read_log(tmp_path / out / "log.jsonl", name)]
        return [{key: value for key, value in line.items() if key not in ("seconds", "stage")} for line in kept]

    def assert_alike(out):
        assert len(lines(out)) == len(lines("one")) == 5
        for got, expected in zip(lines(out), lines("one"), strict=True):
            assert got == pytest.approx(expected, rel=1e-3, abs=2e-4)  # logs have 4 digits

    assert train_main(arguments("one")) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert together("two")["joint_spoken"] == pytest.approx(told["joint_spoken"], abs=1e-3)
    assert_alike("two")
    # what two processes left is gone on with by one, and the other way round
    shutil.copytree(tmp_path / "one", tmp_path / "one_then_two")
    for out in ("two", "one_then_two"):
        (tmp_path / out / "joint.pt").unlink()
        log = tmp_path / out / "log.jsonl"
        log.write_text("".join(line for line in log.read_text().splitlines(True) if '"joint"' not in line))
    assert train_main(arguments("two")) == 0
    assert_alike("two")
    together("one_then_two")
    assert_alike("one_then_two")


def test_a_cell_belongs_to_the_object_that_covers_enough_of_it():
    seg = np.full((1, 48, 48), 255, np.uint8)
    seg[0, :12, :6], seg[0, :2, 12:24] = 7, 9
    assert grid_objects(seg, 4, 0.2)[0, :3].tolist() == [7, -1, -1]
    assert grid_objects(seg, 4, 0.1)[0, :3].tolist() == [7, 9, -1]


def test_the_schedule_warms_up_and_decays():
    recipe = StageRecipe(100, 1, 1.0, warmup_steps=10)
    values = [schedule(step, recipe) for step in range(100)]
    assert max(values) == values[9] == 1.0
    assert values[0] == 0.1 and values[-1] == pytest.approx(0.1, abs=0.01)


def test_a_folder_without_data_says_how_to_make_it(tmp_path):
    with pytest.raises(ConfigError, match="vila data --out"):
        read_rollouts(tmp_path)


def _folder(path):
    path.mkdir()
    return path


def test_vila_nano_s_own_recipe_has_a_name(monkeypatch, tmp_path, capsys):
    made, weights = [], tmp_path / "out" / "checkpoint" / "llm" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    monkeypatch.setattr(train_module, "make_episodes", lambda folder, recipe, workers: made.append(recipe))
    monkeypatch.setattr(train_module, "read_rollouts", lambda folder: None)
    monkeypatch.setattr(train_module, "train", lambda *arguments, **more: {})
    assert (
        train_main(["--recipe", "nano", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cpu"])
        == 0
    )
    assert made == [Recipe().data, Recipe().views]
    told = json.loads(capsys.readouterr().out)
    assert told["sha256"] == {"llm": hashlib.sha256(b"weights").hexdigest()}


def test_a_stage_s_figures_are_drawn_beside_those_of_held_out_data(tmp_path):
    rows = [
        {"stage": "eyes", "step": step, "seconds": 1.0, "loss": 1 / step, "seen": 0.5, "said": 0.1, "heard": 0.2}
        | ({"val_said": 0.2, "val_seen": 0.4, "val_heard": 0.1} if step % 2 else {})
        for step in range(1, 6)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw_curves", lambda lines, names, file: drawn.append((len(lines), names, file.name)))
        curves.draw_stage(tmp_path, "eyes")
    assert drawn == [(5, ["seen", "val_seen", "said", "val_said"], "curves_eyes.png")]
    curves.draw_stage(tmp_path, "eyes")
    assert (tmp_path / "curves_eyes.png").is_file()
    curves.draw_stage(tmp_path, "nobody")
    assert not (tmp_path / "curves_nobody.png").exists()
