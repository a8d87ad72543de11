"""The least time that a step can take on a device: FLOPs over its arithmetic, bytes over its bandwidth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import (
    Storage,
    decode_bytes,
    decode_flops,
    decoder_bytes,
    encode_flops,
    kv_row_bytes,
    prefill_flops,
    projector_bytes,
    tower_bytes,
)


@dataclass(frozen=True, slots=True)
class Roofline:
    """What a device reaches with a model whose weights are kept in one way.

    bandwidth_gbps: 1e9 bytes a second. tower_tflops, language_tflops: 1e12 operations a second at which the tower's and
    the decoder's weights are multiplied, a multiply and an add being two.
    """

    bandwidth_gbps: float
    tower_tflops: float
    language_tflops: float


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What one decision takes: frames encoded, tokens read anew, the replies' tree among them, and tokens reused."""

    encodes: float
    new_tokens: float
    reused_tokens: float

    def passes(self, chunk: int) -> Iterator[tuple[float, float]]:
        """Yield the new tokens of each pass and those before them; no pass has more than chunk new ones."""
        done = 0.0
        while done < self.new_tokens:
            new = min(float(chunk), self.new_tokens - done)
            yield new, self.reused_tokens + done
            done += new


def step_floor_ms(
    config: CheckpointConfig, storage: Storage, counts: StepCounts, roofline: Roofline, *, chunk: int
) -> float:
    """Return the least milliseconds of a step: its frames one by one, then its new tokens chunk by chunk.

    Every chunk reads the weights again, and the keys and values before it. Preprocessing and the head are not in it.
    """
    language, bandwidth = config.language, roofline.bandwidth_gbps
    read = tower_bytes(config.vision, storage) + projector_bytes(config.projector, storage)
    encode_ms = pass_floor_ms(encode_flops(config), read, roofline.tower_tflops, bandwidth)
    weights, row = decoder_bytes(language, storage), kv_row_bytes(language, storage.dtype_bytes)
    return counts.encodes * encode_ms + sum(
        pass_floor_ms(prefill_flops(language, new, past), weights + past * row, roofline.language_tflops, bandwidth)
        for new, past in counts.passes(chunk)
    )


def decode_floor_ms(config: CheckpointConfig, storage: Storage, past: int, roofline: Roofline) -> float:
    """Return the least milliseconds of a token behind `past` others: one reading of all that it needs."""
    flops, read = decode_flops(config.language, past), decode_bytes(config.language, storage, past)
    return pass_floor_ms(flops, read, roofline.language_tflops, roofline.bandwidth_gbps)


def pass_floor_ms(flops: float, read_bytes: float, tflops: float, bandwidth_gbps: float) -> float:
    """Return the longer of arithmetic and reading, in milliseconds."""
    return max(flops / (tflops * 1e9), read_bytes / (bandwidth_gbps * 1e6))
