"""Cases of AWQ's searches on one decoder layer, beside what the official code found.

Of a choice is asked whether its error is that of the reference's choice, on the same inputs: between two steps that
are as good as each other, the last bit of a sum decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vila_core.errors import ConfigError
from vila_core.models.config import LanguageConfig
from vila_core.models.language_model import Attention, DecoderLayer, rotary, rotate
from vila_core.quantization.awq_block import (
    LINEARS,
    PAIRS,
    Block,
    BlockResult,
    FoundScale,
    apply_clip,
    apply_scale,
    linear_inputs,
    search_block,
)
from vila_core.quantization.awq_clip import search_clip
from vila_core.quantization.awq_scales import ratio_scales
from vila_core.quantization.groupwise import quantize_groups
from vila_tools.parity.awq_loss import clip_losses, rounded, scale_loss
from vila_tools.parity.case import Case, Check, equal, few_ulps, near, read_json, read_tensors, same_share

Tensors = Mapping[str, Tensor]

SEARCH_META = "awq_search_meta.json"
_BITS, _GROUP = 4, 128
_RATIOS, _SAMPLED_TOKENS = 20, 512  # of the reference
_SAME_LOSS = 1e-4  # of two choices that are as good as each other; the next best one's is 9e-4 off and more
_SAME_LAYER_LOSS = 0.01  # a choice made otherwise moves all that are made after it


def search_cases(folder: Path) -> Iterator[Case]:
    """Yield a case for each layer that awq_search_meta.json describes."""
    if (folder / SEARCH_META).is_file():
        for name, row in read_json(folder / SEARCH_META).items():
            if isinstance(row, dict):
                yield Case("quantization search", name, partial(_search_checks, folder, name, row))


def _search_checks(folder: Path, name: str, row: Mapping[str, Any]) -> Iterator[Check]:
    """Search a layer as the reference did: float32, and attention written out, not fused."""
    file = folder / f"awq_search_{name}.safetensors"
    if not file.is_file():
        raise ConfigError(f"{file} is missing, though {SEARCH_META} describes it")
    tensors = read_tensors(file)
    hidden, block = tensors["in.x"].float().flatten(0, 1), _golden_block(tensors, row)
    result, output = search_block(block, hidden, bits=_BITS, group_size=_GROUP)
    wanted = tensors["in.y"]
    first = output.view(tensors["in.x"].shape)[: len(wanted)]  # in.y may hold fewer prompts
    yield near("output", first.to(wanted.dtype), wanted, float(wanted.abs().max()) * 2**-10)
    names = [(found["prev"], tuple(found["layers"])) for found in row["scales"]]
    yield equal("scaled", [(found.previous, found.linears) for found in result.scales], names)
    yield equal("clipped", list(result.clips), row["clip"])
    yield same_share("layer error", _layer_loss(block, hidden, output), row["mse_awq_scale_clip"], _SAME_LAYER_LOSS)
    yield from _choice_checks(_golden_block(tensors, row), hidden, result, tensors, row)


def _layer_loss(block: Block, hidden: Tensor, output: Tensor) -> float:
    """Return the mean squared change of the layer's output when its linears are rounded as they are now."""
    for name in LINEARS:
        linear = block.linear(name)
        linear.weight.data = rounded(linear.weight, _BITS, _GROUP)
    return float((block.outputs(hidden) - output).double().square().mean())


def _choice_checks(
    block: Block, hidden: Tensor, result: BlockResult, tensors: Tensors, row: Mapping[str, Any]
) -> Iterator[Check]:
    """Follow the reference: ask of each choice what it costs beside the reference's, then apply the latter."""
    inputs, _ = linear_inputs(block, hidden)
    pairs = {pair.previous: pair for pair in PAIRS}
    settings = {"bits": _BITS, "group_size": _GROUP}
    for number, found in enumerate(result.scales):
        pair, wanted = pairs[found.previous], tensors[f"scale.{number}"]
        seen, step = inputs[pair.linears[0]], row["scales"][number]["ratio_index_derived"]
        yield few_ulps("scales", ratio_scales(seen.abs().mean(0), step / _RATIOS), wanted)
        losses = [scale_loss(block, pair, seen, scales, **settings) for scales in (found.scales, wanted)]
        yield same_share("scale error", losses[0], losses[1], _SAME_LOSS)
    for number, found in enumerate(result.scales):
        wanted = tensors[f"scale.{number}"]
        apply_scale(block.module, FoundScale(found.previous, found.linears, wanted))
        inputs[found.linears[0]] = inputs[found.linears[0]] / wanted
    for name in row["clip"]:
        weight, wanted = block.linear(name).weight, tensors[f"clip.{name}"]
        seen = inputs[next(pair.linears[0] for pair in PAIRS if name in pair.linears)]
        sampled, chosen = seen[:: len(seen) // _SAMPLED_TOKENS], search_clip(weight, seen, **settings)
        mine, theirs = (clip_losses(weight, sampled, largest, **settings) for largest in (chosen, wanted))
        yield same_share("clip error", mine, theirs, _SAME_LOSS)
        apply_clip(block.module, name, wanted)
    yield from _weight_checks(block, tensors)


def _weight_checks(block: Block, tensors: Tensors) -> Iterator[Check]:
    """Compare the weights after the reference's choices, matrices as they are stored, in float16; and their groups."""
    for key, wanted in tensors.items():
        if key.startswith("after."):
            got = block.module.get_parameter(key.removeprefix("after."))
            yield few_ulps("weights", got.detach().to(wanted.dtype), wanted)
    for name in LINEARS:
        found = quantize_groups(block.linear(name).weight, _BITS, _GROUP)
        yield few_ulps("group scales", found.scales, tensors[f"q.{name}.scales"])
        yield near("group zeros", found.zeros, tensors[f"q.{name}.zeros"], 0.0)


def _golden_block(tensors: Tensors, row: Mapping[str, Any]) -> Block:
    layer, config = golden_layer(tensors, row["config"])
    return eager_block(layer, config, tensors["in.x"].shape[:2])


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
