"""The model's parts on tiny random weights: cached equals recomputed, strict loading, projector orders."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from vila_core.engine.backend import load_backend
from vila_core.engine.torch_backend import TorchBackend
from vila_core.engine.visual_cache import VisualCache
from vila_core.errors import BackendError, CheckpointError
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.projector import pool_tokens, space_to_channel
from vila_core.models.stored.checkpoint import load_checkpoint, save_weights
from vila_core.types import Frame, Prompt, Visual
from vila_tools.training.create import create_model
from vila_tools.training.recipe import ModelSizes

SIZES = ModelSizes(vision_width=32, vision_layers=2, vision_heads=2, width=32, layers=2, heads=2, kv_heads=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model = create_model(folder, SIZES, ["go to the red chair", "turn left"], seed=1)
    save_weights(model, folder, torch.float32)
    return folder


@pytest.fixture
def model(checkpoint):
    return load_checkpoint(checkpoint)


@torch.inference_mode()
def test_a_cached_prefix_gives_the_same_states_as_one_pass(model):
    embeddings = torch.randn(1, 12, SIZES.width, generator=torch.Generator().manual_seed(0))
    whole = model.language_model(embeddings, torch.arange(12))
    for cuts in ([4, 8], [1, 2, 3], [11], list(range(1, 12))):
        cache = KVCache(model.config.language, 16, dtype=torch.float32, device="cpu")
        edges = [0, *cuts, 12]
        parts = [
            model.language_model(embeddings[:, a:b], torch.arange(a, b), context=append(cache, a, b - a))
            for a, b in zip(edges, edges[1:], strict=False)
        ]
        assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-5)


def test_a_full_cache_says_so(model):
    cache = KVCache(model.config.language, 4, dtype=torch.float32, device="cpu")
    with pytest.raises(ValueError, match="has 4 rows, 5 are needed"):
        append(cache, 0, 5)


def test_a_frame_is_encoded_once(checkpoint, monkeypatch):
    backend = load_backend("torch", checkpoint)
    encoded = []
    encode = backend.model.encode_frames
    monkeypatch.setattr(backend.model, "encode_frames", lambda frames: encoded.extend(frames) or encode(frames))
    frames = [Frame(np.full((96, 96, 3), value, np.uint8), value) for value in range(3)]
    for last in (1, 2, 3, 3):
        visuals = tuple(Visual(frame, 4) for frame in frames[:last])
        backend.choose(Prompt("go" + "<image>" * last, visuals), ["left", "right"])
    assert [frame.stamp_ns for frame in encoded] == [0, 1, 2]


def test_generation_stops_at_the_limit_and_a_closed_backend_refuses(checkpoint):
    backend = TorchBackend(load_checkpoint(checkpoint), "float32")
    assert isinstance(backend.generate(Prompt("go to"), 3), str)
    with pytest.raises(BackendError, match="positions"):
        backend.generate(Prompt("go " * 2000), 3)
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.generate(Prompt("go"), 1)


def test_an_unknown_backend_is_named():
    with pytest.raises(BackendError, match="'tensorflow'; known: "):
        load_backend("tensorflow", ".")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda weights: weights.pop("model.norm.weight"), "missing, the first is 'norm.weight'"),
        (lambda weights: weights.update(surprise=torch.zeros(1)), "unexpected tensor 'surprise'"),
        (lambda weights: weights.update({"model.norm.weight": torch.zeros(3)}), r"expected shape \[32\], got \[3\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(checkpoint, tmp_path, spoil, message):
    copy = _copy(checkpoint, tmp_path)
    weights = load_file(copy / "llm" / "model.safetensors")
    spoil(weights)
    save_file(weights, copy / "llm" / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("mm_projector/config.json", {"mm_projector_type": "mlp_magic"}, "'mlp_magic' is not supported"),
        ("llm/config.json", {"model_type": "mamba"}, "'mamba' is not supported; supported: llama, qwen2"),
        ("vision_tower/config.json", {"model_type": "intern_vit_6b"}, "'intern_vit_6b' is not supported"),
        ("config.json", {"mm_vision_select_layer": -9}, "-9 does not fit a tower of 2 layers"),
    ],
)
def test_an_unsupported_configuration_is_named(checkpoint, tmp_path, file, change, message):
    copy = _copy(checkpoint, tmp_path)
    values = json.loads((copy / file).read_text())
    (copy / file).write_text(json.dumps(values | change))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(copy)


def test_what_is_no_checkpoint_is_named(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match="a checkpoint is a directory with"):
        load_checkpoint(tmp_path)
    copy = _copy(checkpoint, tmp_path)
    (copy / "llm" / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(copy)
    with pytest.raises(CheckpointError, match="precision 'int3' is not supported"):
        load_checkpoint(checkpoint, precision="int3")


@pytest.mark.parametrize("rate", [2, 3])
@pytest.mark.parametrize("side", [4, 5, 6])
def test_space_to_channel_merges_cells_in_both_orders(rate, side):
    grid = torch.arange(side * side * 2.0).view(1, side * side, 2)
    row, column = (space_to_channel(grid, rate, order) for order in ("row", "column"))
    cells = -(-side // rate)
    padded = torch.zeros(cells * rate, cells * rate, 2)
    padded[:side, :side] = grid.view(side, side, 2)
    for r in range(cells):
        for q in range(cells):
            cell = padded[r * rate : (r + 1) * rate, q * rate : (q + 1) * rate].flatten()
            assert torch.equal(row[0, r * cells + q], cell)
            assert torch.equal(column[0, q * cells + r], cell)


def test_pooling_averages_neighbours():
    tokens = torch.arange(16.0).view(4, 4, 1)
    assert pool_tokens(tokens.view(16, 1), 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    for count in (2, 25, 0):
        with pytest.raises(ValueError, match=f"cannot pool 16 visual tokens to {count}"):
            pool_tokens(tokens.view(16, 1), count)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_a_grid_that_does_not_divide_is_pooled_with_shared_edges(lead):
    tokens = torch.randn(*lead, 121, 5)
    pooled = pool_tokens(tokens, 25)
    assert pooled.shape == (*lead, 25, 5)
    grid = tokens.unflatten(-2, (11, 11))
    assert torch.allclose(pooled[..., 0, :], grid[..., :3, :3, :].mean((-3, -2)), atol=1e-6)
    assert torch.allclose(pooled[..., 7, :], grid[..., 2:5, 4:7, :].mean((-3, -2)), atol=1e-6)


def test_the_visual_cache_forgets_the_longest_unused():
    cache = VisualCache(2)
    for stamp in (1, 2):
        cache.put(("camera", stamp), torch.zeros(1))
    assert cache.get(("camera", 1)) is not None
    cache.put(("camera", 3), torch.zeros(1))
    assert cache.get(("camera", 2)) is None
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 2)


def _copy(source, target):
    for file in source.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return target
