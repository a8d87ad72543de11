"""Cases of AWQ's searches on one decoder layer, beside what the official code found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vila_core.commands.parity.case import Case, Check, Limits, near, read_json, read_tensors
from vila_core.errors import ConfigError
from vila_core.models.config import LanguageConfig
from vila_core.models.language_model import Attention, DecoderLayer, rotary, rotate
from vila_core.quantization.awq_block import LINEARS, Block, search_block
from vila_core.quantization.groupwise import quantize_groups

Tensors = Mapping[str, Tensor]

SEARCH_META = "awq_search_meta.json"
_BITS, _GROUP = 4, 128
_TIES = 0.01  # of the values may be of a neighbouring step: the errors of both are as good as equal
_CHANGES = {torch.float16: 2**-10, torch.float32: 1e-5, torch.uint8: 0.0}  # relative, that count as none


def search_cases(folder: Path, limits: Limits) -> Iterator[Case]:
    """Yield a case for each layer that awq_search_meta.json describes."""
    if (folder / SEARCH_META).is_file():
        for name, row in read_json(folder / SEARCH_META).items():
            if isinstance(row, dict):
                yield Case("quantization search", name, partial(_search_checks, folder, name, row, limits))


def _search_checks(folder: Path, name: str, row: Mapping[str, Any], limits: Limits) -> Iterator[Check]:
    """Search a layer as the reference did: float32, and attention written out, not fused."""
    file = folder / f"awq_search_{name}.safetensors"
    if not file.is_file():
        raise ConfigError(f"{file} is missing, though {SEARCH_META} describes it")
    tensors = read_tensors(file)
    (layer, config), inputs = golden_layer(tensors, row["config"]), tensors["in.x"].float()
    block = eager_block(layer, config, inputs.shape[:2])
    result, output = search_block(block, inputs.flatten(0, 1), bits=_BITS, group_size=_GROUP)
    wanted = tensors["in.y"]
    first = output.view(tensors["in.x"].shape)[: len(wanted)]  # in.y may hold fewer prompts
    yield near("output", first.to(wanted.dtype), wanted, float(wanted.abs().max()) * 2**-10)
    names = [(found["prev"], tuple(found["layers"])) for found in row["scales"]]
    got = [(found.previous, found.linears) for found in result.scales]
    if got != names:
        raise ConfigError(f"scales were found for {got}, expected {names}")
    for number, found in enumerate(result.scales):
        yield near("scales", found.scales, tensors[f"scale.{number}"], limits.embeddings)
    for linear, largest in result.clips.items():
        yield _ties("clips", largest, tensors[f"clip.{linear}"])
    yield from _layer_checks(layer, tensors)


def _layer_checks(layer: DecoderLayer, tensors: Tensors) -> Iterator[Check]:
    """Compare the weights afterwards, matrices as they are stored: rounded to float16; and their groups."""
    for key, wanted in tensors.items():
        if key.startswith("after."):
            yield _ties("weights", layer.get_parameter(key.removeprefix("after.")).to(wanted.dtype), wanted)
    for name in LINEARS:
        linear = layer.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        found = quantize_groups(linear.weight, _BITS, _GROUP)
        yield _ties("group scales", found.scales, tensors[f"q.{name}.scales"])
        yield _ties("group zeros", found.zeros, tensors[f"q.{name}.zeros"])


def _ties(name: str, got: Tensor, wanted: Tensor) -> Check:
    """Share of values that differ by more than a small part; a search decides between steps that are all but equal."""
    same = near(name, got, wanted, 0.0)
    if got.shape != wanted.shape or same.error == 0.0:
        return same
    far = (got.double() - wanted.double()).abs() > _CHANGES[wanted.dtype] * wanted.double().abs().clamp(min=1e-3)
    return Check(name, float(far.double().mean()), _TIES, "of the values")


def golden_layer(tensors: Tensors, sizes: Mapping[str, Any]) -> tuple[DecoderLayer, LanguageConfig]:
    """Return the decoder layer whose weights a search file begins with."""
    bias = "in.self_attn.q_proj.bias" in tensors
    config = LanguageConfig(
        model_type="qwen2" if bias else "llama",
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["inter"],
        layers=1,
        heads=sizes["heads"],
        kv_heads=sizes["kv"],
        head_dim=sizes["hidden"] // sizes["heads"],
        vocab_size=1,
        max_positions=tensors["in.x"].shape[1],
        rope_theta=sizes["rope_theta"],
        eps=sizes["rms_eps"],
        qkv_bias=bias,
        tied=True,
        eos_token_ids=(),
    )
    layer = DecoderLayer(config, 0).requires_grad_(False)
    weights = {key.removeprefix("in."): value.float() for key, value in tensors.items() if key.startswith("in.")}
    layer.load_state_dict({key: value for key, value in weights.items() if key not in ("x", "y")})
    return layer, config


def eager_block(layer: DecoderLayer, config: LanguageConfig, shape: Sequence[int]) -> Block:
    """Run the layer on so many sequences of a length, attention written out."""
    count, length = shape
    cos, sin = rotary(torch.arange(length), config, torch.float32)

    def attend(rows: Tensor) -> Tensor:
        return _eager_attention(layer.self_attn, rows[None], cos, sin)[0]

    def run(rows: Tensor) -> Tensor:
        hidden = rows + attend(layer.input_layernorm(rows))
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))

    return Block(layer, run, attend, [length] * count)


def _eager_attention(attention: Attention, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, L, D] -> [B, L, D], causal."""
    width = attention.head_dim
    q, k, v = (
        proj(hidden).unflatten(-1, (-1, width)).transpose(1, 2)
        for proj in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    groups = q.shape[1] // k.shape[1]
    keys, values = (heads.repeat_interleave(groups, 1) for heads in (rotate(k, cos, sin), v))
    scores = rotate(q, cos, sin) @ keys.transpose(2, 3) * width**-0.5
    later = torch.full((q.shape[2],) * 2, torch.finfo(scores.dtype).min).triu(1)
    weights = torch.softmax(scores + later, dim=-1)
    return attention.o_proj((weights @ values).transpose(1, 2).flatten(2))
