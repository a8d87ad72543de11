"""The least time that a step can take on a machine: FLOPs over measured peak, bytes over measured bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import (
    Storage,
    decoder_bytes,
    encode_flops,
    prefill_flops,
    projector_bytes,
    tower_bytes,
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine was seen to reach: bandwidth_gbps in 1e9 bytes a second, peak_tflops in 1e12 FLOP a second."""

    bandwidth_gbps: float
    peak_tflops: float

    def pass_ms(self, flops: float, weight_bytes: float) -> float:
        """A pass over weights takes at least its arithmetic, and at least one reading of the weights; milliseconds."""
        return max(flops / (self.peak_tflops * 1e9), weight_bytes / (self.bandwidth_gbps * 1e6))


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What a step computes anew: pictures, tokens read (the replies' tree included), and tokens kept from before."""

    pictures: int
    new_tokens: int
    past_tokens: int


def step_floor_ms(config: CheckpointConfig, counts: StepCounts, machine: Machine, storage: Storage) -> float:
    """The least milliseconds of a step: its pictures one by one, then its new tokens in one pass.

    Preprocessing and the head are not in it.
    """
    read = tower_bytes(config.vision, storage) + projector_bytes(config.projector, storage)
    encode_ms = machine.pass_ms(encode_flops(config), read)
    flops = prefill_flops(config.language, counts.new_tokens, counts.past_tokens)
    return counts.pictures * encode_ms + machine.pass_ms(flops, decoder_bytes(config.language, storage))
