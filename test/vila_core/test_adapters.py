"""Adapters in peft's layout: what the library itself wrote, what we write, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vila_core.errors import CheckpointError
from vila_core.models.stored.adapter_writer import Trained, save_adapter
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.merging import adapted_tensors, digest_of, write_merged
from vila_core.models.stored.weights import read_tensor
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny

REFERENCE = Path(__file__).parents[1] / "reference"
BASE = REFERENCE / "vila" / "checkpoints" / "nvila_lite_tiny"
QUERY = ("llm", "model.layers.0.self_attn.q_proj.weight")
NORM = ("vision_tower", "vision_model.encoder.layers.0.layer_norm1.weight")


def placed(folder: Path, base: Path = BASE, **changes) -> Path:
    """Let an adapter name its base, and change its configuration."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)} | changes))
    return folder


@pytest.fixture
def adapter(tmp_path):
    """One of ours, that changes a matrix and a norm."""
    shapes = {key: shape_of(key) for key in (QUERY, NORM)}
    rows, columns = shapes[QUERY]
    generator = torch.Generator().manual_seed(0)
    down, up = (torch.randn(size, generator=generator) * 0.1 for size in ((2, columns), (rows, 2)))
    trained = Trained(2, 4.0, {QUERY: (down, up)}, {NORM: torch.ones(shapes[NORM]) * 1.5})
    folder = tmp_path / "adapter"
    save_adapter(folder, BASE, trained, digest=digest_of(open_layout(BASE)), dropout=0.0, about={})
    return folder


def shape_of(key):
    return load_file(BASE / key[0] / "model.safetensors")[key[1]].shape


def tensors_of(layout):
    return {
        (part, tensor.name.removeprefix(place.prefix)): tensor
        for part, place in layout.parts.items()
        for tensor in adapted_tensors(layout, place.folder)
        if tensor.name.startswith(place.prefix)
    }


def read(tensor):
    return read_tensor(tensor, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("kind", ["plain", "rslora", "dora"])
def test_what_peft_wrote_is_merged_as_peft_merges_it(kind, tmp_path):
    folder = placed(Path(shutil.copytree(REFERENCE / "lora" / kind, tmp_path / kind)))
    expected = load_file(folder / "merged.safetensors")
    (folder / "merged.safetensors").unlink()
    layout = open_layout(folder)
    found = tensors_of(layout)
    prefixes = {"llm.": "llm", "vision_tower.vision_tower.": "vision_tower"}
    for name, value in expected.items():
        prefix, part = next((prefix, part) for prefix, part in prefixes.items() if name.startswith(prefix))
        key = (part, name.removeprefix(prefix) + ".weight")
        rows = read(found.pop(key))[::4]  # the others were left out of the reference
        assert torch.allclose(rows, value, atol=1e-6), name
    plain = tensors_of(open_layout(BASE))
    assert all(torch.equal(read(found[key]), read(plain[key])) for key in found)
    assert load_checkpoint(folder, precision="float32").config.name == BASE.name


def test_ours_is_its_base_and_what_was_trained(adapter):
    found, plain = tensors_of(open_layout(adapter)), tensors_of(open_layout(BASE))
    stored = load_file(adapter / "adapter_model.safetensors")
    layer = "base_model.model.llm.model.layers.0.self_attn.q_proj"
    added = 2.0 * stored[f"{layer}.lora_B.weight"] @ stored[f"{layer}.lora_A.weight"]
    assert torch.allclose(read(found[QUERY]), read(plain[QUERY]) + added, atol=1e-6)
    assert (read(found[NORM]) == 1.5).all()
    changed = {key for key in found if not torch.equal(read(found[key]), read(plain[key]))}
    assert changed == {QUERY, NORM}


@pytest.mark.parametrize("layout", ["classic", "hf"])
def test_a_merged_checkpoint_answers_as_its_adapter(layout, tmp_path):
    base, out = tmp_path / "base", tmp_path / "merged"
    make_random(base, tiny(SHAPES["nvila-lite-2b"]), name="tiny", layout=layout, shard_mb=0.05)
    key = next(t for t in tensors_of(open_layout(base)) if t[1].endswith("0.mlp.down_proj.weight"))
    rows, columns = tensors_of(open_layout(base))[key].shape
    pair = torch.randn(2, columns) * 0.2, torch.randn(rows, 2) * 0.2
    digest = digest_of(open_layout(base))
    save_adapter(tmp_path / "adapter", base, Trained(2, 2.0, {key: pair}), digest=digest, dropout=0.0, about={})
    assert (
        json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "../base"
    )
    write_merged(open_layout(tmp_path / "adapter"), out)
    assert {f.relative_to(out) for f in out.rglob("*") if f.is_file()} == {
        f.relative_to(base) for f in base.rglob("*") if f.is_file()
    }
    merged, unmerged, before = (
        load_checkpoint(path, precision="float32") for path in (out, tmp_path / "adapter", base)
    )
    ids = torch.tensor(merged.tokenizer.encode("go to the door"))
    logits = [
        model.language_model.logits(model.language_model(model.embed_ids(ids.tolist())[None], torch.arange(len(ids))))
        for model in (merged, unmerged, before)
    ]
    rounding = 0.02 * logits[0].abs().max()  # of bfloat16, in which this base lies
    assert torch.allclose(logits[0], logits[1], atol=rounding) and not torch.allclose(logits[1], logits[2], atol=1e-3)


def test_vilas_own_pickles_are_read(adapter):
    stored = load_file(adapter / "adapter_model.safetensors")
    pairs = {name: value for name, value in stored.items() if "lora_" in name}
    others = {
        name.replace("base_model.model.", "base_model.model.model."): stored[name] for name in set(stored) - set(pairs)
    }
    before = tensors_of(open_layout(adapter))
    expected = {key: read(before[key]) for key in (QUERY, NORM)}
    torch.save(pairs, adapter / "adapter_model.bin")
    torch.save(others, adapter / "non_lora_trainables.bin")
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "vila_nav.json").unlink()
    (adapter / "config.json").write_text("{}")
    found = tensors_of(open_layout(adapter))
    assert all(torch.equal(read(found[key]), expected[key]) for key in (QUERY, NORM))


def rewritten(folder, change):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


TOWER_NORM = "base_model.model.vision_tower.vision_tower.vision_model.encoder.layers.0.layer_norm1.weight"
LAYER = "base_model.model.llm.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: placed(a, Path("elsewhere/llama")), "an adapter of 'elsewhere/llama', which is no local directory"),
        (lambda a: placed(a, a), "is an adapter itself; merge that one first"),
        (lambda a: placed(a, peft_type="IA3"), "peft_type 'IA3' is not supported"),
        (lambda a: placed(a, use_qalora=True), "use_qalora True is not supported"),
        (lambda a: placed(a, fan_in_fan_out=True), "fan_in_fan_out True is not false"),
        (lambda a: placed(a, use_dora=True), "lacks its lora_magnitude_vector"),
        (lambda a: placed(a, lora_alpha="a"), "lora_alpha 'a' is not a finite number"),
        (lambda a: placed(a, alpha_pattern={"(": 1}), "is no pattern"),
        (lambda a: (a / "adapter_model.safetensors").unlink(), "adapter_model.safetensors does not exist"),
        (lambda a: rewritten(a, lambda t: t.pop(f"{LAYER}.lora_A.weight")), "has not both of lora_A and lora_B"),
        (lambda a: rewritten(a, lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(3, 4)})), "do not fit"),
        (lambda a: rewritten(a, lambda t: t.update({"lora_embedding_A": torch.ones(3)})), "a kind of LoRA"),
        (
            lambda a: rewritten(a, lambda t: t.update({"base_model.model.audio.weight": torch.ones(3)})),
            "of none of the parts",
        ),
        (
            lambda a: rewritten(a, lambda t: t.update({"llm.model.layers.9.norm.weight": torch.ones(3)})),
            "has no place in its base",
        ),
        (lambda a: rewritten(a, lambda t: t.update({TOWER_NORM: torch.ones(3)})), "it is of another base"),
        (lambda a: rewritten(a, lambda t: t.update({TOWER_NORM.split(".", 3)[3]: torch.ones(3)})), "twice"),
        (lambda a: (a / "vila_nav.json").write_text('{"base_digest": "0"}'), "was made for other weights"),
    ],
)
def test_an_adapter_that_cannot_be_joined_is_refused(spoil, words, adapter):
    spoil(adapter)
    with pytest.raises(CheckpointError) as told:
        load_checkpoint(adapter, precision="float32")
    assert words in str(told.value) and "\n" not in str(told.value)


def test_a_quantized_base_is_refused(adapter, tmp_path):
    base = Path(shutil.copytree(BASE, tmp_path / "base"))
    top = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps(top | {"quantization_config": {"quant_method": "vila-nav", "version": 1}})
    )
    with pytest.raises(CheckpointError, match="quantized already"):
        load_checkpoint(placed(adapter, base), precision="float32")
