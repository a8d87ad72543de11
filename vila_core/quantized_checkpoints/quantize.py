"""Quantize a model's tower, and its decoder layer by layer: only the one at work is in memory, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vila_core.errors import CheckpointError
from vila_core.machine.memory import trim_heap
from vila_core.models.language_model import DecoderLayer, LanguageModel, rotary
from vila_core.models.stored.stored_layers import StoredLayers
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.awq_block import LINEARS, Block, BlockResult, apply_clip, apply_scale, search_block
from vila_core.quantization.awq_head import quantize_head
from vila_core.quantization.int8_linear import Int8Linear
from vila_core.quantization.linear import BITS, quantize_linear
from vila_core.quantization.w8a8_layer import (
    ALPHA,
    DECODER_FOLDS,
    VISION_FOLDS,
    largest_activations,
    quantize_layer_w8a8,
)
from vila_core.quantized_checkpoints.calibration import Calibration
from vila_core.quantized_checkpoints.state import QuantizeState

DECODER_ALPHA = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class DecoderPlan:
    """How to quantize.

    bits: 4 (AWQ) or 8 (W8A8). embeddings: [L_i, D] of the calibration's prompts, () for plain rounding.
    known: a search result read from a file, used in place of a search.
    """

    bits: int
    group_size: int
    embeddings: tuple[Tensor, ...] = ()
    known: Mapping[int, BlockResult] | None = None

    @property
    def runs_model(self) -> bool:
        """True if the layers are run on the calibration."""
        return bool(self.embeddings) and self.known is None


def require_matching(known: Mapping[int, BlockResult], model: VisionLanguageModel) -> None:
    """Raise CheckpointError for a search result that is of another model."""
    if set(known) != set(range(model.config.language.layers)):
        raise CheckpointError(
            f"the search result is of {len(known)} layers, the checkpoint has {model.config.language.layers}"
        )
    for number, result in known.items():
        misfit = result.misfit(model.language_model.layers[number])
        if misfit:
            raise CheckpointError(f"the search result is of another model: layer {number}: {misfit}")


def quantize_tower(model: VisionLanguageModel, calibration: Calibration | None) -> None:
    """Make the tower's linears W8A8, smoothed if there was a calibration."""
    for number, layer in enumerate(model.vision_tower.encoder.layers):
        activations = calibration.tower[number] if calibration else None
        quantize_layer_w8a8(layer, VISION_FOLDS, activations, ALPHA)
        trim_heap()  # of its float32 weights, or the heap would grow by them with each layer


@torch.no_grad()
def quantize_decoder(
    model: LanguageModel,
    stored: StoredLayers,
    plan: DecoderPlan,
    state: QuantizeState,
    *,
    progress: Callable[[Sequence[DecoderLayer]], Iterable[DecoderLayer]] = iter,
) -> None:
    """Replace the decoder's linears and its head by quantized ones, in place; goes on where the state ends.

    The layers' tensors are left in the state's files, the layers themselves on "meta". progress: passes the layers on
    as they are worked on, tqdm for one.
    """
    device = model.embed_tokens.weight.device
    done = state.finished()
    hidden = state.hidden(device) if done else _start(plan, model)
    layers = [layer for layer in model.layers if isinstance(layer, DecoderLayer)]
    for number, layer in enumerate(progress(layers)):
        if number < done:
            state.restore(number, layer)
            continue
        stored.fill(number, layer, device, torch.float32)
        hidden = _quantize_layer(number, layer, hidden, plan, model)
        state.keep(number, layer, hidden)
        layer.to("meta")
        trim_heap()
    _quantize_head(model, hidden, plan)


def _start(plan: DecoderPlan, model: LanguageModel) -> Tensor:
    if not plan.runs_model:
        return torch.zeros(0, model.config.hidden_size)
    return torch.cat([rows.to(model.embed_tokens.weight.device, torch.float32) for rows in plan.embeddings])


def _quantize_layer(
    number: int, layer: DecoderLayer, hidden: Tensor, plan: DecoderPlan, model: LanguageModel
) -> Tensor:
    """Quantize one layer; returns its output as it was."""
    block = _block(layer, [len(rows) for rows in plan.embeddings], model)
    if plan.bits != BITS:
        activations: dict[str, Tensor] | None = {} if plan.runs_model else None
        if activations is not None:
            with largest_activations(layer, tuple(DECODER_FOLDS), activations):
                hidden = block.outputs(hidden)
        quantize_layer_w8a8(layer, DECODER_FOLDS, activations, DECODER_ALPHA)
        return hidden
    if plan.runs_model:
        _, hidden = search_block(block, hidden, bits=plan.bits, group_size=plan.group_size)
    elif plan.known is not None and number in plan.known:
        _apply(layer, plan.known[number])
    for name in LINEARS:
        owner, _, leaf = name.rpartition(".")
        setattr(layer.get_submodule(owner), leaf, quantize_linear(block.linear(name), plan.group_size))
    return hidden


def _apply(layer: nn.Module, result: BlockResult) -> None:
    for found in result.scales:
        apply_scale(layer, found)
    for name, largest in result.clips.items():
        apply_clip(layer, name, largest)


def _block(layer: DecoderLayer, lengths: Sequence[int], model: LanguageModel) -> Block:
    """Run the layer prompt by prompt, each from position 0 on."""
    device = layer.input_layernorm.weight.device
    positions = torch.arange(max(lengths, default=0), device=device)
    cos, sin = rotary(positions, model.config, torch.float32)

    def batched(run: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda rows: run(rows[None], cos[: len(rows)], sin[: len(rows)], None)[0]

    return Block(layer, run=batched(layer), attend=batched(layer.self_attn), lengths=lengths)


def _quantize_head(model: LanguageModel, hidden: Tensor, plan: DecoderPlan) -> None:
    """Quantize the head; a tied one gets a copy of its own, for the embedding is looked up, not multiplied."""
    head = model.embed_tokens.weight if model.lm_head is None else _plain_head(model).weight
    if plan.bits != BITS:
        linear = nn.Linear(head.shape[1], head.shape[0], bias=False, device="meta")
        linear.weight = nn.Parameter(head, requires_grad=False)
        model.lm_head = Int8Linear.of(linear)
        return
    model.norm.float()
    inputs = model.norm(hidden) if plan.runs_model else None
    model.lm_head = quantize_head(head, model.norm if plan.runs_model else None, inputs, plan.group_size)


def _plain_head(model: LanguageModel) -> nn.Linear:
    assert isinstance(model.lm_head, nn.Linear)
    return model.lm_head
