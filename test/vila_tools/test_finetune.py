"""`vila finetune` on tiny checkpoints in the official layout: what is trained, what is kept, and that it goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks_apart import assert_the_same
from safetensors.torch import load_file, save_file

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import ConfigError
from vila_core.models.stored.adapters import PREFIXES
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.navigator import decision_prompt
from vila_core.types import Frame, Instruction
from vila_tools.cli import main as vila
from vila_tools.finetune import run, stage
from vila_tools.finetune.annotations import Annotation, read_annotations, write_annotations
from vila_tools.finetune.float8 import FORWARD, Float8Linear, require_float8, to_float8, use_float8
from vila_tools.finetune.plan import Plan, apply_plan
from vila_tools.finetune.pruning import delta_loss, kept_samples
from vila_tools.finetune.replies import Examiner
from vila_tools.finetune.samples import read_samples, split_samples
from vila_tools.training.curves import draw_curves, read_log

CHECKPOINTS = Path(__file__).parents[1] / "reference" / "vila" / "checkpoints"
TINY = CHECKPOINTS / "nvila_lite_tiny"
FAMILIES = ("navila_tiny", "nvila_lite_tiny", "nvila_tiny", "vila15_tiny", "vila15_s2_tiny")
STOP, FORWARD_75, LEFT = SENTENCES[0], SENTENCES[3], SENTENCES[4]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four drives of three samples: forward where it is bright, left where it is dark, stop where it is red."""
    folder = tmp_path_factory.mktemp("annotated")
    rows = []
    for drive in range(4):
        colours = [(230, 230, 230), (20, 20, 20), (220, 30, 30)]
        names = [f"{drive}/frame_{number}.jpg" for number in range(3)]
        (folder / "train" / str(drive)).mkdir(parents=True)
        for name, colour in zip(names, colours, strict=True):
            Image.new("RGB", (40, 30), colour).save(folder / "train" / name)
        for number, answer in enumerate((FORWARD_75, LEFT, STOP)):
            rows.append(Annotation(f"{drive}-{number}", "go on", answer, tuple(names[: number + 1])))
    write_annotations(folder, rows)
    return folder


def finetune(capsys, checkpoint, data, out, *options):
    status = vila(["finetune", str(checkpoint), "--data", str(data), "--out", str(out), "--device", "cpu", *options])
    told = capsys.readouterr()
    assert status == 0, told.err
    return json.loads(told.out.splitlines()[-1])


QUICK = ("--precision", "float32", "--steps", "3", "--batch", "2", "--save-every", "3", "--warmup", "0")


def prompt_logits(model, samples):
    with torch.no_grad():
        examiner = Examiner(model)
        return examiner.replies([examiner.ask(sample) for sample in samples]).logits


def in_float32(checkpoint, out):
    """A copy whose weights lie in float32, so that merging rounds nothing."""
    shutil.copytree(checkpoint, out)
    for file in out.rglob("*.safetensors"):
        save_file({name: value.float() for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    return out


SLOW = {"nvila_tiny", "vila15_tiny", "vila15_s2_tiny"}


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in FAMILIES]
)
def test_every_family_is_trained_and_its_adapter_read_again(family, data, tmp_path, capsys, monkeypatch):
    kept, base = {}, in_float32(CHECKPOINTS / family, tmp_path / "base")
    monkeypatch.setattr(run, "trained_tensors", lambda model, plan: kept.setdefault("t", original(model, plan, kept)))
    result = finetune(
        capsys,
        base,
        data,
        tmp_path / "a",
        *QUICK,
        "--decoder-rate",
        "1e-2",
        "--merge",
        str(tmp_path / "m"),
    )
    samples = read_samples(data, None, 0)[:3]
    trained, adapter, merged = (
        prompt_logits(model, samples)
        for model in (
            kept["model"],
            load_checkpoint(tmp_path / "a" / "adapter", precision="float32"),
            load_checkpoint(tmp_path / "m", precision="float32"),
        )
    )
    before = prompt_logits(load_checkpoint(base, precision="float32"), samples)
    assert torch.allclose(trained, adapter, atol=1e-5) and (trained - before).abs().max() > 1e-3
    assert torch.allclose(adapter, merged, atol=1e-5)
    assert result["samples"] == 12 and result["held_out"] == 0 and result["step"] == 3
    for name in ("log.jsonl", "curves.png", "settings.json", "finetune.pt"):
        assert (tmp_path / "a" / name).is_file()


def original(model, plan, kept):
    from vila_tools.finetune.plan import trained_tensors

    kept["model"] = model
    return trained_tensors(model, plan)


@pytest.mark.long
def test_a_handful_of_samples_is_learned_and_the_navigator_decides_so(data, tmp_path, capsys):
    options = ("--precision", "float32", "--steps", "40", "--batch", "4", "--decoder-rate", "1e-2", "--save-memory")
    result = finetune(capsys, EMBEDDED_CHECKPOINT, data, tmp_path / "out", *options, "--validation", "0.25")
    lines = read_log(tmp_path / "out" / "log.jsonl", "finetune")
    assert lines[-1]["loss"] < 0.3 * lines[0]["loss"] and result["val_accuracy"] == 1.0 and result["held_out"] == 3
    backend = TorchBackend(load_checkpoint(tmp_path / "out" / "adapter", precision="float32"), "float32")
    for sample in read_samples(data, None, 0)[:3]:
        frames = [Frame(sample.image(index), index) for index in range(len(sample.frames))]
        choice = backend.choose(decision_prompt(backend.info, Instruction(sample.instruction), frames), SENTENCES)
        assert SENTENCES[choice.index] == sample.answer


FULL = ("--decoder", "full", "--tower", "lora", "--dropout", "0.1", "--augment")


@pytest.mark.parametrize("options", [(), pytest.param(FULL, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_ends_as_one_that_was_not(options, data, tmp_path, capsys, monkeypatch):
    steps = ("--steps", "6", "--save-every", "2", "--precision", "float32", "--batch", "2", "--validation", "0.25")
    finetune(capsys, TINY, data, tmp_path / "whole", *steps, *options)
    loss, calls = stage.FinetuneStage.loss, []

    def killed(self, rng):
        calls.append(0)
        if len(calls) == 4:  # behind the state of step 2
            raise KeyboardInterrupt
        return loss(self, rng)

    monkeypatch.setattr(stage.FinetuneStage, "loss", killed)
    arguments = ["finetune", str(TINY), "--data", str(data), "--out", str(tmp_path / "cut"), "--device", "cpu"]
    assert vila([*arguments, *steps, *options]) == 130
    calls.extend([0] * 10)
    finetune(capsys, TINY, data, tmp_path / "cut", *steps, *options)
    assert len(calls) == 4 + 10 + 4
    whole, cut = (torch.load(tmp_path / name / "finetune.pt", weights_only=True)["stage"] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)
    kind = "checkpoint" if options else "adapter"
    files = [sorted((tmp_path / name / kind).rglob("*.safetensors")) for name in ("whole", "cut")]
    assert files[0] and [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]


def test_gradient_checkpointing_changes_memory_alone(data, tmp_path, capsys):
    for name, options in (("plain", ()), ("saving", ("--save-memory",))):
        finetune(capsys, TINY, data, tmp_path / name, *QUICK, *options)
    states = [torch.load(tmp_path / name / "finetune.pt", weights_only=True)["stage"] for name in ("plain", "saving")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("plan", "parts"),
    [
        (Plan(), {"lora of the decoder", "projector", "norms"}),
        (Plan(projector="frozen", tower="frozen"), {"lora of the decoder"}),
        (Plan(decoder="frozen", projector="frozen", tower="lora"), {"lora of the tower"}),
        (Plan(decoder="frozen", tower="full"), {"projector", "tower", "norms"}),
        (Plan(decoder="full", projector="frozen", tower="norm"), {"decoder", "norms"}),
    ],
)
def test_the_named_parts_are_trained_and_no_others(plan, parts):
    torch.manual_seed(0)
    model = load_checkpoint(TINY, precision="float32")
    trained = apply_plan(model, plan)
    stated = {id(weight) for weights in trained.values() for weight in weights}
    assert stated == {id(weight) for weight in model.parameters() if weight.requires_grad}
    found = set()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            is_lora = name.endswith((".down", ".up"))
            owner = {"language_model": "decoder", "vision_tower": "tower"}.get(name.split(".")[0], "projector")
            found.add(f"lora of the {owner}" if is_lora else "norms" if "layer_norm" in name else owner)
    assert found == parts
    rates = dataclasses.replace(plan, decoder_rate=1e-3, tower_rate=1e-5, projector_rate=3e-4).rates
    assert (rates["decoder"], rates["projector"], rates["tower"]) == (1e-3, 3e-4, 1e-5)


def test_rates_are_the_parts_own_and_the_usual_tower_is_ten_times_slower(data):
    assert Plan(decoder_rate=1e-3).rates == {"decoder": 1e-3, "projector": 1e-3, "tower": pytest.approx(1e-4)}
    assert Plan(decoder_rate=1e-3).warning == "" and Plan(tower="frozen", tower_rate=1.0).warning == ""
    assert "0.5 of the decoder's" in Plan(decoder_rate=1e-3, tower_rate=5e-4).warning
    model = load_checkpoint(TINY, precision="float32")
    plan = Plan(decoder_rate=1e-3)
    made = stage.FinetuneStage(model, read_samples(data, None, 0), apply_plan(model, plan), plan.rates, batch=2)
    assert [rate for _, rate in made.groups()] == [1e-3, 1e-3, pytest.approx(1e-4)]


@pytest.mark.parametrize("augments", [False, True])
def test_ranks_that_share_a_batch_learn_what_one_process_does(data, augments):
    model = load_checkpoint(TINY, precision="float32")
    plan, samples = Plan(decoder_rate=1e-3), read_samples(data, None, 0)
    trained = apply_plan(model, plan)

    def stage_of(ranks):
        return stage.FinetuneStage(model, samples, trained, plan.rates, batch=3, augments=augments, ranks=ranks)

    assert_the_same(stage_of, batch=3)


@pytest.mark.long
def test_torchrun_finetunes_as_one_process(data, tmp_path, capsys):
    alone = finetune(capsys, TINY, data, tmp_path / "one", *QUICK, "--augment")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "vila_tools.cli"]
    chosen = ["finetune", str(TINY), "--data", str(data), "--out", str(tmp_path / "two"), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, *chosen, *QUICK, "--augment"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)  # of the first process alone
    for name in ("loss", "accuracy"):
        assert together[name] == pytest.approx(alone[name], abs=2e-4)
    one, two = (load_file(tmp_path / out / "adapter" / "adapter_model.safetensors") for out in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=1e-2, atol=1e-4)


def test_answers_end_as_the_chat_template_ends_them():
    endings = {"navila_tiny": "<|end_of_text|>", "nvila_lite_tiny": "<|im_end|>", "vila15_tiny": "</s>"}
    for name, ending in endings.items():
        model = load_checkpoint(CHECKPOINTS / name, precision="float32")
        ids = Examiner(model)._reply_ids(STOP)
        assert ids[-1] == model.tokenizer.id_of(ending) and model.tokenizer.decode(ids[:-1]).strip() == STOP


def test_padding_and_company_change_no_loss(data):
    model = load_checkpoint(CHECKPOINTS / "navila_tiny", precision="float32")
    samples = read_samples(data, None, 0)[:3]
    samples[1] = dataclasses.replace(samples[1], instruction="walk along the wall and past the door, then wait")
    together, _ = stage.sample_scores(Examiner(model), samples, batch=3, precision="float32")
    alone, right = stage.sample_scores(Examiner(model), samples, batch=1, precision="float32")
    assert np.allclose(together, alone, atol=1e-5) and right.shape == (3,)


def test_bfloat16_keeps_what_is_trained_in_float32(data, tmp_path, capsys):
    finetune(capsys, TINY, data, tmp_path / "out", *QUICK[2:], "--precision", "bfloat16")
    state = torch.load(tmp_path / "out" / "finetune.pt", weights_only=True)["stage"]
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in state.values())


def test_float8_is_refused_where_there_is_none(data, capsys, monkeypatch):
    assert vila(["finetune", str(TINY), "--data", str(data), "--precision", "float8", "--device", "cpu"]) == 2
    assert "precision 'float8': cpu does not multiply 8-bit floats" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    with pytest.raises(ConfigError, match=r"A100 has compute capability 8.0, and 8-bit floats begin at 8.9"):
        require_float8(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    require_float8(torch.device("cuda"))


def test_float8_products_and_their_gradient_are_near(monkeypatch):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 30)).requires_grad_(False)
    rounded = torch.nn.Sequential(plain[0], plain[1])
    monkeypatch.setattr(torch, "_scaled_mm", scaled_product)
    assert use_float8(rounded) == 1 and isinstance(rounded[0], Float8Linear)  # 30 is no multiple of 16
    x = torch.randn(5, 64, requires_grad=True)
    made = rounded[0](x)
    made.float().sum().backward()
    assert torch.allclose(made.float(), plain[0](x), atol=0.2) and made.dtype == torch.bfloat16
    assert torch.allclose(x.grad, plain[0].weight.sum(0).expand(5, 64), atol=0.1)
    values, scale = to_float8(torch.tensor([1.0, -448.0]), FORWARD)
    assert torch.allclose(values.float() * scale, torch.tensor([1.0, -448.0]))


def scaled_product(a, b, *, scale_a, scale_b, out_dtype):
    return ((a.float() * scale_a) @ (b.float() * scale_b)).to(out_dtype)


def test_pruning_keeps_what_the_larger_model_knows_and_the_smaller_does_not():
    larger, smaller = np.array([0.1, 0.1, 3.0, 0.1]), np.array([0.1, 2.0, 3.0, 1.0])
    assert delta_loss(larger, smaller).tolist() == pytest.approx([0.0, 1.9, 0.0, 0.9])
    assert kept_samples("deltaloss", 0.5, 4, larger=larger, smaller=smaller).tolist() == [1, 3]
    assert kept_samples("perplexity", 0.25, 4, smaller=smaller).tolist() == [2]
    some = kept_samples("random", 0.5, 100, rng=np.random.default_rng(0))
    assert len(set(some.tolist())) == 50 and (np.diff(some) > 0).all()
    with pytest.raises(ValueError, match="needs the losses of 4 samples"):
        kept_samples("deltaloss", 0.5, 4, smaller=smaller)


@pytest.mark.parametrize("by", ["deltaloss", "perplexity", "random"])
def test_a_share_of_the_samples_is_trained_on(by, data, tmp_path, capsys):
    options = (
        "--keep",
        "0.5",
        "--by",
        by,
        *(("--larger", str(CHECKPOINTS / "nvila_tiny")) if by == "deltaloss" else ()),
    )
    assert finetune(capsys, TINY, data, tmp_path / "out", *QUICK, *options)["samples"] == 6
    assert len(list((tmp_path / "out").glob("losses_*.npy"))) == {"deltaloss": 2, "perplexity": 1, "random": 0}[by]


def test_json_lines_and_lists_are_read_and_frames_found(data, tmp_path):
    rows, folder = read_annotations(data)
    assert folder == data / "train" and len(rows) == 12 and len(rows[2].frames) == 3
    lines = tmp_path / "lines.json"
    lines.write_text("\n".join(json.dumps(row) for row in json.loads((data / "annotations.json").read_text())))
    assert read_annotations(lines, data / "train")[0] == rows
    train, held_out = split_samples(read_samples(data, None, 0), 0.5, 0)
    assert len(train) == len(held_out) == 6 and not {one.group for one in train} & {one.group for one in held_out}
    assert split_samples(train[:3], 0.9, 0)[1] == []


def test_the_simulators_frames_are_samples_too(tmp_path):
    meta = {"kinds": ["chair", "floor_lamp"], "colours": ["red", "blue"], "sentences": SENTENCES}
    (tmp_path / "shard_00000").mkdir()
    (tmp_path / "meta.json").write_text(
        json.dumps(meta | {"train_templates": ["go to the {colour} {kind}"], "families": ["plain"]})
    )
    labels = np.full((4, 8), -1, np.int8)
    labels[:, 1] = [3, 4, -1, 0]  # of the object that the robot drives to
    arrays = {
        "images": np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8),
        "seg": np.zeros((4, 48, 48), np.uint8),
        "labels": labels,
        "visible": labels >= 0,
        "distance": np.ones((4, 8), np.float32),
        "bearing": np.zeros((4, 8), np.float32),
        "episode": np.array([0, 0, 0, 1], np.int32),
        "slots": np.tile(np.array([0, 1] + [-1] * 6, np.int16), (2, 1)),
        "target_slot": np.ones(2, np.int8),
        "flat": np.zeros(2, np.int32),
        "camera": np.tile(np.float32([0.9, 12.0, 90.0]), (2, 1)),
        "flat_seed": np.zeros(1, np.int64),
        "flat_family": np.zeros(1, np.int8),
        "pose": np.zeros((4, 3), np.float32),
        "objects": np.concatenate([[[[0, 0], [1, 1]]], np.full((1, 62, 2), -1)], axis=1).astype(np.int16),
    }
    for name, array in arrays.items():
        np.save(tmp_path / "shard_00000" / f"{name}.npy", array)
    samples = read_samples(tmp_path, None, 0)
    assert [sample.answer for sample in samples] == [SENTENCES[3], SENTENCES[4], SENTENCES[0]]
    assert {sample.instruction for sample in samples} == {"go to the blue floor lamp"}
    assert [len(sample.frames) for sample in samples] == [1, 2, 1] and samples[1].image(1)[0, 0, 0] == 1
    assert [sample.group for sample in samples] == ["episode 0", "episode 0", "episode 3"]


RECORD = {"video_id": "1", "q": "go", "a": STOP, "frames": ["0/frame_0.jpg"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": ""}, "annotations.0.q: the instruction is empty"),
        ({"q": "a <image> b"}, "holds '<image>'"),
        ({"q": 3}, "annotations.0.q 3 is not a text"),
        ({"a": " "}, "annotations.0.a ' ' is not an answer"),
        ({"frames": []}, "is not a list of at least one file"),
        ({"frames": ["/etc/passwd"]}, "is not a file below the folder"),
        ({"frames": ["../a.jpg"]}, "is not a file below the folder"),
        ({"frames": ["0/none.jpg"]}, "its first frame '0/none.jpg' is not in"),
        ({"frames": None}, "lacks the key"),
    ],
)
def test_a_bad_record_is_named(change, words, data, tmp_path):
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps([RECORD | change]))
    with pytest.raises(ConfigError) as told:
        read_annotations(file, data / "train")
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--decoder", "frozen", "--projector", "frozen", "--tower", "frozen"), "nothing is left to train"),
        (("--rank", "0"), "rank = 0"),
        (("--decoder-rate", "-1"), "decoder_rate = -1"),
        (("--tower-rate", "nan"), "tower_rate = nan"),
        (("--dropout", "1"), "dropout = 1"),
        (("--steps", "0"), "--steps 0"),
        (("--batch", "0"), "--batch 0"),
        (("--warmup", "2000"), "--warmup 2000"),
        (("--validation", "1"), "--validation 1"),
        (("--keep", "0"), "--keep 0"),
        (("--keep", "0.5"), "name the larger one with --larger"),
        (("--device", "tpu"), "--device 'tpu'"),
        (("--seed", "-1"), "--seed -1"),
    ],
)
def test_impossible_options_are_one_line(options, words, data, tmp_path, capsys):
    assert vila(["finetune", str(TINY), "--data", str(data), "--out", str(tmp_path / "o"), *options]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1] and sum(line.startswith("vila: ") for line in told) == 1


def test_a_run_of_other_settings_and_a_damaged_state_are_refused(data, tmp_path, capsys):
    out = tmp_path / "out"
    finetune(capsys, TINY, data, out, *QUICK)
    arguments = ["finetune", str(TINY), "--data", str(data), "--out", str(out), "--device", "cpu", *QUICK]
    assert vila([*arguments, "--rank", "8"]) == 2
    assert "holds a run with rank 16, now it is 8" in capsys.readouterr().err
    (out / "finetune.pt").write_bytes(b"nothing")
    assert vila(arguments) == 2
    assert "finetune.pt cannot be read" in capsys.readouterr().err
    shutil.rmtree(out)
    out.mkdir()
    (out / "letter.txt").write_text("dear")
    assert vila(arguments) == 2 and "holds no run of `vila finetune`" in capsys.readouterr().err


def test_merging_is_a_program_and_quantizing_takes_what_it_writes(data, tmp_path, capsys):
    finetune(capsys, TINY, data, tmp_path / "out", *QUICK)
    adapter = tmp_path / "out" / "adapter"
    assert vila(["merge", str(adapter), "--out", str(tmp_path / "merged")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["base"] == str(TINY)
    assert vila(["merge", str(adapter), "--out", str(tmp_path / "merged")]) == 2
    assert "is there and not empty" in capsys.readouterr().err
    assert vila(["merge", str(TINY), "--out", str(tmp_path / "other")]) == 2
    assert "there is nothing to merge" in capsys.readouterr().err
    for source in ("merged", "out/adapter"):
        out = tmp_path / f"small {source[:3]}"
        assert vila(["quantize", str(tmp_path / source), "--plain", "--bits", "8", "--out", str(out)]) == 0
    one, two = (sorted((tmp_path / f"small {name}").rglob("model.safetensors")) for name in ("mer", "out"))
    assert one and [file.stat().st_size for file in one] == [file.stat().st_size for file in two]
    assert vila(["info", str(adapter)]) == 0 and PREFIXES


def test_curves_are_drawn_of_what_was_logged(tmp_path):
    lines = [{"stage": "a", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    file = tmp_path / "log.jsonl"
    file.write_text(
        "".join(json.dumps(line) + "\n" for line in [*lines, {"stage": "a", "step": 2, "loss": 9}, {"stage": "b"}])
    )
    assert [line["loss"] for line in read_log(file, "a")] == [1.0, 9, 1 / 3]
    draw_curves(lines, ("loss", "val_loss"), tmp_path / "curves.png")
    assert len(np.unique(np.asarray(Image.open(tmp_path / "curves.png")).reshape(-1, 3), axis=0)) > 3
    draw_curves([], ("loss",), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
