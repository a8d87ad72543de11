"""AWQ for one decoder layer: what is scaled with what, in the order of the reference: all scales, then all clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vila_core.quantization.awq_clip import clip_weight_, search_clip
from vila_core.quantization.awq_scales import fold_scales, search_scales


@dataclass(frozen=True, slots=True)
class Pair:
    """Linears that read what the module before them gives; inspected: the module whose output counts, "" for their own.

    Names below a decoder layer.
    """

    previous: str
    linears: tuple[str, ...]
    inspected: str = ""


PAIRS = (
    Pair("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn"),
    Pair("self_attn.v_proj", ("self_attn.o_proj",)),
    Pair("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"), "mlp"),
    Pair("mlp.up_proj", ("mlp.down_proj",)),
)
LINEARS = tuple(name for pair in PAIRS for name in pair.linears)
NOT_CLIPPED = frozenset({"self_attn.q_proj", "self_attn.k_proj"})  # their product decides, not their outputs


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A decoder layer with the names of PAIRS, and how to run it on one prompt of the calibration: [L, D] -> [L, D].

    attend: runs its self_attn, without the normalisation before it. lengths: of the prompts, in the order in which
    their tokens follow each other.
    """

    module: nn.Module
    run: Callable[[Tensor], Tensor]
    attend: Callable[[Tensor], Tensor]
    lengths: Sequence[int]

    def outputs(self, hidden: Tensor) -> Tensor:
        """Run the layer on all prompts: [T, D] -> [T, D]."""
        return torch.cat([self.run(prompt) for prompt in hidden.split(list(self.lengths))])

    def linear(self, name: str) -> nn.Linear:
        """The linear of that name."""
        found = self.module.get_submodule(name)
        assert isinstance(found, nn.Linear), name
        return found


@dataclass(frozen=True, slots=True, eq=False)
class FoundScale:
    """What is to be folded: see awq_scales.fold_scales. Names below the layer."""

    previous: str
    linears: tuple[str, ...]
    scales: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class BlockResult:
    """What both searches found for a layer; clips: linear -> [N, G, 1], of the scaled weight."""

    scales: tuple[FoundScale, ...]
    clips: Mapping[str, Tensor]

    def misfit(self, module: nn.Module) -> str:
        """Say what does not fit the layer, "" if all does."""
        for found in self.scales:
            for name in found.linears:
                width = module.get_parameter(f"{name}.weight").shape[1]
                if found.scales.shape != (width,):
                    return f"{list(found.scales.shape)} scales for {name}, which reads {width} channels"
        for name, largest in self.clips.items():
            rows, width = module.get_parameter(f"{name}.weight").shape
            groups = largest.shape[1] if largest.dim() == 3 else 0
            if largest.shape != (rows, groups, 1) or not groups or width % groups:
                return f"clips {list(largest.shape)} for {name} of shape {[rows, width]}"
        return ""


def search_block(block: Block, hidden: Tensor, *, bits: int, group_size: int) -> tuple[BlockResult, Tensor]:
    """Search a layer's scales and clips on what it reads, and apply them to it.

    hidden: [T, D]. Returns the result and the layer's output [T, D] as it was before, which the next layer reads.
    ValueError with fewer than 512 tokens.
    """
    inputs, output = linear_inputs(block, hidden)
    scales = tuple(
        FoundScale(pair.previous, pair.linears, _search_pair(block, pair, inputs, bits, group_size))
        for pair in PAIRS
        if _is_foldable(block, pair)
    )
    for found in scales:
        apply_scale(block.module, found)
        first = found.linears[0]
        inputs[first] = inputs[first].div_(found.scales)
    clips = {}
    for pair in PAIRS:
        for name in pair.linears:
            if name not in NOT_CLIPPED:
                weight = block.linear(name).weight
                clips[name] = search_clip(weight, inputs[pair.linears[0]], bits=bits, group_size=group_size)
                apply_clip(block.module, name, clips[name])
    return BlockResult(scales, clips), output


@torch.no_grad()
def linear_inputs(block: Block, hidden: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Run a layer; return what the first linear of each pair read, [T, K] each, and the layer's output [T, D]."""
    names = [pair.linears[0] for pair in PAIRS]
    seen = {name: hidden.new_empty(len(hidden), block.linear(name).in_features) for name in names}
    with _watched(block, seen):
        output = block.outputs(hidden)
    return seen, output


def apply_scale(module: nn.Module, found: FoundScale) -> None:
    """Fold a scale into the layer."""
    linears = [module.get_submodule(name) for name in found.linears]
    fold_scales(module.get_submodule(found.previous), linears, found.scales)  # type: ignore[arg-type]


@torch.no_grad()
def apply_clip(module: nn.Module, name: str, largest: Tensor) -> None:
    """Cut the weight of one of the layer's linears, in place."""
    clip_weight_(module.get_parameter(f"{name}.weight"), largest)


def _search_pair(block: Block, pair: Pair, inputs: Mapping[str, Tensor], bits: int, group_size: int) -> Tensor:
    linears = [block.linear(name) for name in pair.linears]
    passes: dict[str, Callable[[Tensor], Tensor]] = {"self_attn": block.attend, "": linears[0]}
    inspect = passes.get(pair.inspected) or block.module.get_submodule(pair.inspected)
    lengths = block.lengths if pair.inspected == "self_attn" else None  # all else looks at each token alone
    return search_scales(linears, inputs[pair.linears[0]], inspect, lengths=lengths, bits=bits, group_size=group_size)


def _is_foldable(block: Block, pair: Pair) -> bool:
    """With grouped-query attention v_proj has fewer rows than o_proj has columns: no scale fits both."""
    return pair.previous != "self_attn.v_proj" or (
        block.linear("self_attn.v_proj").weight.shape == block.linear("self_attn.o_proj").weight.shape
    )


@contextmanager
def _watched(block: Block, seen: Mapping[str, Tensor]) -> Iterator[None]:
    """While open, what the linears read goes into their rows of seen, one call after the other."""
    filled = dict.fromkeys(seen, 0)

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            rows = args[0].flatten(0, -2)
            seen[name][filled[name] : filled[name] + len(rows)] = rows
            filled[name] += len(rows)

        return hook

    handles = [block.linear(name).register_forward_pre_hook(note(name)) for name in seen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
