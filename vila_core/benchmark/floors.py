"""The least time that a step can take on a machine: FLOPs over measured peak, bytes over measured bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.models.config import LanguageConfig, ProjectorConfig, VisionConfig
from vila_core.models.projector import DOWNSAMPLE, visual_token_count


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine was seen to reach: bandwidth_gbps in 1e9 bytes a second, peak_tflops in 1e12 FLOP a second."""

    bandwidth_gbps: float
    peak_tflops: float

    def pass_ms(self, flops: float, weight_bytes: float) -> float:
        """A pass over weights takes at least its arithmetic, and at least one reading of the weights; milliseconds."""
        return max(flops / (self.peak_tflops * 1e9), weight_bytes / (self.bandwidth_gbps * 1e6))


def tower_flops(vision: VisionConfig) -> float:
    """FLOPs of a picture through the vision tower.

    N = (image / patch) ** 2 tokens of width C; a multiply and an add count as two. Patches: 2 N * 3 patch^2 * C.
    Each layer: projections 2 N * 4 C^2, MLP 2 N * 2 C I, attention 2 * 2 N^2 C.
    """
    count, width = vision.grid**2, vision.hidden_size
    layer = 2 * count * (4 * width**2 + 2 * width * vision.intermediate_size) + 4 * count**2 * width
    return 2 * count * 3 * vision.patch_size**2 * width + vision.layers * layer


def projector_weights(projector: ProjectorConfig, width: int) -> int:
    """Weights of the projector's linear layers, biases left out; width: of the tower."""
    out = projector.output_size
    if projector.kind in DOWNSAMPLE:
        widths = [*DOWNSAMPLE[projector.kind][1](width), out, out]
    elif projector.kind == "identity":
        widths = []
    else:
        depth = 1 if projector.kind == "linear" else int(projector.kind.removeprefix("mlp").partition("x")[0])
        widths = [projector.input_size, *[out] * depth]
    return sum(before * after for before, after in zip(widths, widths[1:], strict=False))


def encode_flops(vision: VisionConfig, projector: ProjectorConfig) -> float:
    """FLOPs from pixels to visual tokens: the tower, and each visual token through the projector's linears."""
    tokens = visual_token_count(projector.kind, vision.grid)
    return tower_flops(vision) + 2.0 * tokens * projector_weights(projector, vision.hidden_size)


def encode_weights(vision: VisionConfig, projector: ProjectorConfig) -> int:
    """Weights that the encoding of a picture reads; norms, biases and positions left out."""
    width = vision.hidden_size
    layer = 4 * width**2 + 2 * width * vision.intermediate_size
    return 3 * vision.patch_size**2 * width + vision.layers * layer + projector_weights(projector, width)


def decoder_weights(language: LanguageConfig) -> int:
    """Weights of the decoder's linear layers; embedding, head, norms and biases left out.

    Each layer: queries and output 2 D * heads * d, keys and values 2 D * kv_heads * d, MLP 3 D * I.
    """
    width, heads, kv_heads = language.hidden_size, language.heads, language.kv_heads
    attention = 2 * width * language.head_dim * (heads + kv_heads)
    return language.layers * (attention + 3 * width * language.intermediate_size)


def prefill_flops(language: LanguageConfig, new: int, past: int) -> float:
    """FLOPs of reading `new` tokens behind `past` ones that are kept; the head is left out.

    Linears: 2 * weights * new. Attention: 4 * heads * d * layers for each token and each that it sees, which are
    new * past + new * (new + 1) / 2.
    """
    seen = new * past + new * (new + 1) / 2
    attention = 4 * language.heads * language.head_dim * language.layers * seen
    return 2.0 * decoder_weights(language) * new + attention


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What a step computes anew: pictures, tokens read (the replies' tree included), and tokens kept from before."""

    pictures: int
    new_tokens: int
    past_tokens: int


def step_floor_ms(
    vision: VisionConfig,
    projector: ProjectorConfig,
    language: LanguageConfig,
    counts: StepCounts,
    machine: Machine,
    *,
    weight_bytes: float = 2.0,
) -> float:
    """The least milliseconds of a step: its pictures one by one, then its new tokens in one pass.

    weight_bytes: of one weight as it is stored. Preprocessing, norms and the head are not in it.
    """
    encode = machine.pass_ms(encode_flops(vision, projector), weight_bytes * encode_weights(vision, projector))
    flops = prefill_flops(language, counts.new_tokens, counts.past_tokens)
    return counts.pictures * encode + machine.pass_ms(flops, weight_bytes * decoder_weights(language))
