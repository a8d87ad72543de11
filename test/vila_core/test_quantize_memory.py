"""How much memory quantizing takes, counted in live tensors: the layer at work and no other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vila_core.models.config import LanguageConfig
from vila_core.models.language_model import DecoderLayer
from vila_core.quantization.awq_block import search_block
from vila_core.quantization.linear import quantize_linear
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.parity.awq_search import eager_block
from vila_tools.quantize.run import main as quantize

TOKENS = 512
CONFIG = LanguageConfig(
    model_type="qwen2",
    hidden_size=256,
    intermediate_size=1024,
    layers=1,
    heads=4,
    kv_heads=2,
    head_dim=64,
    vocab_size=1,
    max_positions=TOKENS,
    rope_theta=1e6,
    eps=1e-6,
    qkv_bias=True,
    tied=True,
    eos_token_ids=(),
)


class LiveTensors(TorchDispatchMode):
    """While open, follows the bytes of tensors that live: those given and what operators make; peak: the most."""

    def __init__(self, *given):
        super().__init__()
        self._live, self.peak = {}, 0
        self._note(given)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self._note(tree_leaves(made))
        return made

    def _note(self, tensors):
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._live = {key: row for key, row in self._live.items() if not row[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))


def layer_bytes(layer):
    return sum(weight.nbytes for weight in layer.parameters())


def test_a_search_takes_the_weights_on_trial_and_the_activations():
    torch.manual_seed(0)
    layer, hidden = DecoderLayer(CONFIG, 0).requires_grad_(False), torch.randn(TOKENS, CONFIG.hidden_size)
    block = eager_block(layer, CONFIG, (4, TOKENS // 4))
    width, wide = CONFIG.hidden_size, CONFIG.intermediate_size
    on_trial = 4 * 2 * width * wide  # gate and up
    activations = 4 * TOKENS * (7 * width + 5 * wide)  # what linears read and give, and the MLP on its way
    kept = [*layer.parameters(), hidden]
    with LiveTensors(*kept) as live:
        search_block(block, hidden, bits=4, group_size=128)
    assert live.peak < layer_bytes(layer) + on_trial + activations
    weight = layer.mlp.up_proj.weight
    with LiveTensors(weight) as live:
        quantize_linear(layer.mlp.up_proj, 128)
    assert live.peak < 1.5 * weight.nbytes + 4 * 4 * (1 << 19)  # 4 bits of it twice, and one block on its way


@pytest.mark.parametrize("bits", ["4", "8"])
def test_layers_that_are_done_or_wait_take_nothing(tmp_path, bits):
    shape, peaks = tiny(SHAPES["nvila-lite-2b"]), {}
    for layers in (2, 7):
        decoder = dataclasses.replace(shape.decoder, layers=layers, hidden_size=256, intermediate_size=1024)
        source = tmp_path / f"{layers}"
        make_random(source, dataclasses.replace(shape, decoder=decoder), name="nvila-lite-2b")
        with LiveTensors() as live:
            assert quantize([str(source), "--out", f"{source}-out", "--plain", "--bits", bits]) == 0
        peaks[layers] = live.peak
    one = layer_bytes(DecoderLayer(CONFIG, 0))
    assert peaks[7] - peaks[2] < 0.02 * one
    assert peaks[7] < 2 * one
