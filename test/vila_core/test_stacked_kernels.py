"""All layers of a decoder or tower on the kernels in one call, against the same layers one step at a time."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from vila_core.engine import torch_backend
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.kernels.decoder import MOST_TOKENS
from vila_core.kernels.library import kernels
from vila_core.models.config import LanguageConfig, VisionConfig
from vila_core.models.kv_cache import AttentionContext, KVCache, append
from vila_core.models.language_model import LanguageModel
from vila_core.models.packed_linear import lay_out_small
from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.models.working_precision import quantized_as
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import quantize_linear
from vila_core.quantization.runtime import convert_for_cpu

pytestmark = pytest.mark.skipif(kernels() is None, reason="no compiler")
TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])

CONFIG = LanguageConfig(
    model_type="qwen2",
    vocab_size=50,
    hidden_size=64,
    intermediate_size=96,
    layers=3,
    heads=4,
    kv_heads=2,
    head_dim=32,
    max_positions=400,
    qkv_bias=True,
    rope_theta=1e4,
    eps=1e-6,
    tied=True,
    eos_token_ids=(2,),
)


TOWER = VisionConfig(
    hidden_size=48,
    intermediate_size=80,
    layers=2,
    heads=4,
    image_size=56,
    patch_size=14,
    eps=1e-6,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


@torch.no_grad()
def converted(model, layers, quantize, dtype):
    """Every linear of the layers quantized, norms no longer all one, on the kernels."""
    model.to(dtype)
    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, quantize(child))
            elif "norm" in name:
                child.weight.add_(torch.randn(child.weight.shape) * 0.1)
    convert_for_cpu(model)
    return model


def decoder(config=CONFIG, group=32, dtype=torch.bfloat16):
    torch.manual_seed(0)
    model = LanguageModel(config)
    return converted(model, model.layers, lambda linear: quantize_linear(linear, group), dtype)


def tower(config=TOWER, dtype=torch.bfloat16):
    torch.manual_seed(0)
    model = VisionTower(config)
    return converted(model, model.encoder.layers, Int8Linear.of, dtype)


def cache(config=CONFIG, rows=300, dtype=torch.bfloat16):
    made = KVCache(config, rows, dtype=dtype, device="cpu")
    for part in (made.keys, made.values):
        part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
    return made


def contexts(count, dtype=torch.bfloat16):
    """Behind what is there; from nothing; and as a tree's branches, in rows here and there, which see some rows."""
    seen = torch.rand(count, 280, generator=torch.Generator().manual_seed(2)) < 0.7
    rows = torch.randperm(280, generator=torch.Generator().manual_seed(3))[:count]
    seen[torch.arange(count), rows] = True
    mask = torch.zeros(count, 280).masked_fill(~seen, float("-inf")).to(dtype)
    return [
        lambda kept: append(kept, 200, count),
        lambda kept: append(kept, 0, count),
        lambda kept: AttentionContext(kept, rows, 280, mask),
    ]


@TYPES
@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, MOST_TOKENS])
@torch.inference_mode()
def test_one_call_gives_what_the_steps_give(count, which, dtype):
    model = decoder(dtype=dtype)
    inputs = torch.randn(1, count, 64, generator=torch.Generator().manual_seed(4)).to(dtype)
    positions = torch.arange(count) + 7
    steps, joined = cache(dtype=dtype), cache(dtype=dtype)
    wanted = model(inputs, positions, context=contexts(count, dtype)[which](steps))
    assert model.join_layers()
    got = model(inputs, positions, context=contexts(count, dtype)[which](joined))
    assert torch.equal(got, wanted)
    assert torch.equal(joined.keys, steps.keys) and torch.equal(joined.values, steps.values)


@torch.inference_mode()
def test_what_one_call_does_not_take_runs_in_steps():
    model, plain = decoder(), LanguageModel(CONFIG).bfloat16()
    assert not plain.join_layers()
    assert not decoder(dataclasses.replace(CONFIG, heads=8, kv_heads=2, head_dim=16)).join_layers()
    many = torch.randn(1, MOST_TOKENS + 1, 64, generator=torch.Generator().manual_seed(4)).bfloat16()
    positions = torch.arange(MOST_TOKENS + 1)
    wanted = model(many, positions, context=append(cache(), 0, MOST_TOKENS + 1))
    unread = model(many[:, :3], positions[:3])
    assert model.join_layers()
    assert torch.equal(model(many, positions, context=append(cache(), 0, MOST_TOKENS + 1)), wanted)
    assert torch.equal(model(many[:, :3], positions[:3]), unread)
    model.layers[1].mlp.up_proj = torch.nn.Linear(64, 96).bfloat16()
    assert not model.join_layers()
    assert model(many[:, :3], positions[:3], context=append(cache(), 0, 3)).shape == (1, 3, 64)


@TYPES
@pytest.mark.parametrize("pictures", [1, 3])
@torch.inference_mode()
def test_a_tower_in_one_call_gives_what_its_steps_give(pictures, dtype):
    model = tower(dtype=dtype)
    pixels = torch.randn(pictures, 3, 56, 56, generator=torch.Generator().manual_seed(4)).to(dtype)
    wanted = model(pixels)
    assert model.encoder.join_layers()
    assert torch.equal(model(pixels), wanted)


@pytest.mark.parametrize("count", [1, 3, 9, MOST_TOKENS])
@torch.inference_mode()
def test_a_small_decoder_in_float32_gives_what_torchs_layers_give(count):
    torch.manual_seed(0)
    model, plain = LanguageModel(CONFIG), LanguageModel(CONFIG)
    plain.load_state_dict(model.state_dict())
    assert lay_out_small(model.layers) and quantized_as(model) == ""
    inputs = torch.randn(1, count, 64, generator=torch.Generator().manual_seed(4))
    positions = torch.arange(count) + 7
    for which in range(3):
        kept = {name: cache(dtype=torch.float32) for name in ("torch", "steps", "joined")}
        context = contexts(count, torch.float32)[which]
        wanted = plain(inputs, positions, context=context(kept["torch"]))
        model.split_layers()
        steps = model(inputs, positions, context=context(kept["steps"]))
        assert model.join_layers()
        assert torch.equal(model(inputs, positions, context=context(kept["joined"])), steps)
        assert torch.equal(kept["joined"].keys, kept["steps"].keys)
        assert (steps - wanted).norm() <= 2e-6 * wanted.norm()


@torch.inference_mode()
def test_a_small_tower_in_float32_gives_what_torchs_layers_give():
    torch.manual_seed(0)
    model, plain = VisionTower(TOWER), VisionTower(TOWER)
    plain.load_state_dict(model.state_dict())
    assert lay_out_small(model.encoder.layers) and quantized_as(model) == ""
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(4))
    steps = model(pixels)
    assert model.encoder.join_layers() and torch.equal(model(pixels), steps)
    wanted = plain(pixels)
    assert (steps - wanted).norm() <= 2e-6 * wanted.norm()


def test_large_layers_and_those_of_another_precision_stay_as_they_are():
    large = dataclasses.replace(CONFIG, hidden_size=512, intermediate_size=1024, heads=8, head_dim=64)
    for model in (LanguageModel(large), LanguageModel(CONFIG).bfloat16(), decoder()):
        before = [type(child) for child in model.modules()]
        assert not lay_out_small(model.layers) and [type(child) for child in model.modules()] == before


def test_layers_that_stand_for_a_large_model_stay_as_its_own_would():
    model = LanguageModel(CONFIG)
    assert not lay_out_small(model.layers, times=1000) and lay_out_small(model.layers, times=2)


@torch.no_grad()
def test_a_tower_of_which_one_layer_rounds_and_another_does_not_runs_in_steps():
    model = VisionTower(TOWER)
    first = model.encoder.layers[0]
    for parent in list(first.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear):
                setattr(parent, name, Int8Linear.of(child))
    convert_for_cpu(model)
    assert lay_out_small(model.encoder.layers) and not model.encoder.join_layers()


def test_without_kernels_no_layers_are_joined(monkeypatch):
    decoding, seeing = decoder(), tower()
    for module in ("language_model", "vision_tower"):
        monkeypatch.setattr(f"vila_core.models.{module}.kernels", lambda: None)
    assert not decoding.join_layers() and not seeing.encoder.join_layers()
    assert not VisionTower(TOWER).encoder.join_layers()


def test_kernels_are_asked_for_as_a_model_is_loaded_on_any_device(monkeypatch):
    asked = []
    monkeypatch.setattr(torch_backend, "kernels", lambda: asked.append(True))
    config = read_checkpoint_config(EMBEDDED_CHECKPOINT)
    torch_backend.prepare_for_device(build_model(config, Tokenizer(EMBEDDED_CHECKPOINT / "llm"), device="meta"))
    assert asked
