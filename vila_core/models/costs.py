"""Bytes and FLOPs of a checkpoint's parts, from its configuration alone: nothing is loaded, nothing is run.

FLOPs count a multiply and an add as two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from vila_core.models.config import CheckpointConfig, ImageConfig, LanguageConfig, ProjectorConfig, VisionConfig
from vila_core.models.projector import DOWNSAMPLE, MLP, visual_token_count

GROUP_SIZE = 128  # inputs that share the scale and zero of 4-bit weights; less where it does not divide the width


@dataclass(frozen=True, slots=True)
class Storage:
    """How weights are kept.

    dtype_bytes: of each value that is not quantized, activations, keys and values included. language_bits and
    vision_bits: of the decoder's and head's, and of the tower's linear weights; 0: not quantized. group_bytes: of what
    stands beside each group of 4-bit weights: 4 for a float16 scale and zero, 8 in the layout of our CPU kernels.
    """

    dtype_bytes: int
    language_bits: int = 0
    vision_bits: int = 0
    group_bytes: int = 4


@dataclass(frozen=True, slots=True)
class Linears:
    """Linear layers of one size."""

    count: int
    outputs: int
    inputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Their weights, biases left out."""
        return self.count * self.outputs * self.inputs

    @property
    def biases(self) -> int:
        """Their biases."""
        return self.count * self.outputs if self.bias else 0

    def stored_bytes(self, storage: Storage, bits: int) -> int:
        """Bytes of weights and biases. bits: 0 for unquantized, 8 with a float32 scale an output, 4 in groups."""
        rows, kept = self.count * self.outputs, self.biases * storage.dtype_bytes
        if not bits:
            return kept + self.weights * storage.dtype_bytes
        if bits == 8:
            return kept + self.weights + 4 * rows
        return kept + self.weights * bits // 8 + rows * (self.inputs // group_size(self.inputs)) * storage.group_bytes


def group_size(width: int) -> int:
    """Return the largest power of two up to GROUP_SIZE that divides the width."""
    return min(GROUP_SIZE, width & -width)


# --- what the parts are made of ------------------------------------------------------------------


def tower_linears(vision: VisionConfig) -> tuple[Linears, ...]:
    """Return the linear layers of the vision tower that run; the patch embedding is none."""
    width, inner = vision.hidden_size, vision.intermediate_size
    return (
        Linears(4 * vision.layers, width, width, True),
        Linears(vision.layers, inner, width, True),
        Linears(vision.layers, width, inner, True),
    )


def tower_rest(vision: VisionConfig) -> int:
    """Weights of the tower that are in no linear layer: patches, positions, norms."""
    width = vision.hidden_size
    return width * (3 * vision.patch_size**2 + 1 + vision.grid**2 + 4 * vision.layers)


def projector_linears(projector: ProjectorConfig) -> tuple[Linears, ...]:
    """Return the projector's linear layers."""
    return tuple(Linears(1, after, before, True) for before, after in pairwise(_projector_widths(projector)))


def projector_norms(projector: ProjectorConfig) -> int:
    """Weights of the projector's layer norms, which stand before all its linears but the last."""
    return 2 * sum(_projector_widths(projector)[:-2]) if projector.kind in DOWNSAMPLE else 0


def _projector_widths(projector: ProjectorConfig) -> list[int]:
    out = projector.output_size
    if projector.kind in DOWNSAMPLE:
        return [*DOWNSAMPLE[projector.kind][1](projector.input_size), out, out]
    depth = MLP.fullmatch(projector.kind)
    if depth is not None:
        return [projector.input_size, *[out] * int(depth[1])]
    return [projector.input_size, out] if projector.kind == "linear" else []


def decoder_linears(language: LanguageConfig) -> tuple[Linears, ...]:
    """Return the linear layers of the decoder, the head left out."""
    layers, width, bias = language.layers, language.hidden_size, language.qkv_bias
    inner, heads, kv = language.intermediate_size, language.heads, language.kv_heads
    return (
        Linears(layers, heads * language.head_dim, width, bias),
        Linears(2 * layers, kv * language.head_dim, width, bias),
        Linears(layers, width, heads * language.head_dim),
        Linears(2 * layers, inner, width),
        Linears(layers, width, inner),
    )


def head_linear(language: LanguageConfig) -> Linears:
    """Return the language head; tied or not, it is multiplied with."""
    return Linears(1, language.vocab_size, language.hidden_size)


def decoder_norms(language: LanguageConfig) -> int:
    """Weights of the decoder's norms."""
    return language.hidden_size * (2 * language.layers + 1)


# --- bytes ---------------------------------------------------------------------------------------


def tower_bytes(vision: VisionConfig, storage: Storage) -> int:
    """Bytes of the vision tower's weights; all are read for each batch of pictures."""
    return _stored(tower_linears(vision), storage, storage.vision_bits) + tower_rest(vision) * storage.dtype_bytes


def projector_bytes(projector: ProjectorConfig, storage: Storage) -> int:
    """Bytes of the projector's weights; it is never quantized."""
    return _stored(projector_linears(projector), storage, 0) + projector_norms(projector) * storage.dtype_bytes


def decoder_bytes(language: LanguageConfig, storage: Storage) -> int:
    """Bytes of the decoder's weights that each pass reads; embedding and head left out."""
    linears = _stored(decoder_linears(language), storage, storage.language_bits)
    return linears + decoder_norms(language) * storage.dtype_bytes


def head_bytes(language: LanguageConfig, storage: Storage) -> int:
    """Bytes that computing all logits of a token reads."""
    return head_linear(language).stored_bytes(storage, storage.language_bits)


def language_bytes(language: LanguageConfig, storage: Storage) -> int:
    """Bytes of the decoder, embedding and head; a tied head that is quantized is a copy of its own.

    An embedding that is not multiplied with stays in the 16 bits that large checkpoints are stored in.
    """
    shared = language.tied and not storage.language_bits
    width = storage.dtype_bytes if shared else min(storage.dtype_bytes, 2)
    embedding = language.vocab_size * language.hidden_size * width
    return decoder_bytes(language, storage) + embedding + (0 if shared else head_bytes(language, storage))


def count_parameters(config: CheckpointConfig) -> dict[str, int]:
    """Return how many weights each part has that are loaded; a tied head counts once."""
    each = Storage(1)  # bytes are then weights
    return {
        "vision_tower": tower_bytes(config.vision, each),
        "projector": projector_bytes(config.projector, each),
        "language_model": language_bytes(config.language, each),
    }


def count_weights(config: CheckpointConfig) -> int:
    """Return how many weights the three parts have."""
    return sum(count_parameters(config).values())


def kv_row_bytes(language: LanguageConfig, dtype_bytes: int) -> int:
    """Bytes of one token's keys and values."""
    return 2 * language.layers * language.kv_heads * language.head_dim * dtype_bytes


def decode_bytes(language: LanguageConfig, storage: Storage, past: int = 0) -> int:
    """Bytes that one token behind `past` others reads: decoder, head, keys and values."""
    rows = past * kv_row_bytes(language, storage.dtype_bytes)
    return decoder_bytes(language, storage) + head_bytes(language, storage) + rows


def _stored(linears: Iterable[Linears], storage: Storage, bits: int) -> int:
    return sum(each.stored_bytes(storage, bits) for each in linears)


# --- FLOPs ---------------------------------------------------------------------------------------


def tiles_of_frame(vision: VisionConfig, images: ImageConfig) -> int:
    """Squares of the tower's size that a frame is cut into: one, but with static S2 those of all scales."""
    if not images.s2_scales or images.dynamic_s2:
        return 1
    split = images.s2_max_split_size or vision.image_size
    return sum((-(-scale // split)) ** 2 for scale in images.s2_scales)


def tower_flops(vision: VisionConfig) -> float:
    """FLOPs of one tile through the vision tower.

    N = grid ** 2 tokens of width C. Patches: 2 N * 3 patch^2 * C. Linears: 2 N * weights. Attention: 4 N^2 C a layer.
    """
    count, width = vision.grid**2, vision.hidden_size
    linears = sum(each.weights for each in tower_linears(vision))
    return 2.0 * count * (3 * vision.patch_size**2 * width + linears) + 4.0 * count**2 * width * vision.layers


def encode_flops(config: CheckpointConfig) -> float:
    """FLOPs from a frame's pixels to its visual tokens: its tiles through the tower, its tokens through the projector.

    With static S2 the projector sees the tokens of one scale.
    """
    vision, images = config.vision, config.images
    side = vision.grid
    if images.s2_scales and not images.dynamic_s2:
        side *= max(1, round(images.s2_scales[images.s2_resize_index] / vision.image_size))
    tokens = visual_token_count(config.projector.kind, side)
    weights = sum(each.weights for each in projector_linears(config.projector))
    return tiles_of_frame(vision, images) * tower_flops(vision) + 2.0 * tokens * weights


def prefill_flops(language: LanguageConfig, new: float, past: float) -> float:
    """FLOPs of reading `new` tokens behind `past` ones that are kept; the head is left out.

    Linears: 2 * weights * new. Attention: 4 * heads * d * layers for each token and each that it sees, which are
    new * past + new * (new + 1) / 2.
    """
    seen = new * past + new * (new + 1) / 2
    attention = 4.0 * language.heads * language.head_dim * language.layers * seen
    return 2.0 * sum(each.weights for each in decoder_linears(language)) * new + attention


def decode_flops(language: LanguageConfig, past: int) -> float:
    """FLOPs of one token behind `past` others, the head among them: 2 * V * D."""
    return prefill_flops(language, 1, past) + 2.0 * head_linear(language).weights
