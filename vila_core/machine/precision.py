"""The precision that a device computes a model in: asked for by name, or "auto", what it computes well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from vila_core.errors import CheckpointError
from vila_core.machine.arithmetic import DTYPES, Arithmetic, arithmetic_of

AUTO = "auto"
PRECISIONS = (AUTO, *sorted(DTYPES))  # what may be asked for
SMALL_WEIGHTS = 50_000_000  # 200 MB in float32; vila-nano has 2 million
_CLEARLY = 1.2  # times as fast as float32: less is not worth the digits
SLOW = 0.5  # and less is emulated, or as good as

Measure = Callable[[torch.device], Arithmetic]


@dataclass(frozen=True, slots=True)
class Precision:
    """A precision by name, and in one line why; "" if it was asked for and is computed well. is_slow: it is not."""

    name: str
    reason: str = ""
    is_slow: bool = False

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.reason else self.name


def choose_precision(
    asked: str, device: torch.device, *, weights: int, is_16_bits: bool, measure: Measure = arithmetic_of
) -> Precision:
    """Return the precision to compute in.

    "auto": bfloat16, or on a GPU float16 where it has no bfloat16, if that is computed at least 1.2 times as fast as
    float32, the weights are stored in 16 bits (is_16_bits) and there are at least 50 million of them; else float32.
    Smaller models fit the processor's caches, gain nothing and would lose digits. A name is taken as it is; one that
    the device emulates with a reason that gives the factor. measure: replaced in tests. Raises CheckpointError for an
    unknown name.
    """
    if asked not in PRECISIONS:
        raise CheckpointError(f"precision {asked!r} is not supported; supported: {', '.join(PRECISIONS)}")
    if asked != AUTO:
        return _insisted(asked, device, measure)
    if weights < SMALL_WEIGHTS:
        return Precision("float32", f"a model of {weights / 1e6:.1f} million weights gains nothing from fewer bits")
    if not is_16_bits:
        return Precision("float32", "the weights are stored in it")
    return quickest(measure(device), device)


def quickest(arithmetic: Arithmetic, device: torch.device) -> Precision:
    """Return what "auto" means for a large model whose weights are stored in 16 bits."""
    halves = ("bfloat16", "float16") if device.type == "cuda" else ("bfloat16",)
    for name in halves:
        if arithmetic.gain(name) >= _CLEARLY:
            return Precision(name, f"computed {_times(arithmetic.gain(name))} times as fast as float32 here")
    return Precision("float32", f"bfloat16 is computed {_compared(arithmetic.gain('bfloat16'))} here")


def _insisted(asked: str, device: torch.device, measure: Measure) -> Precision:
    if asked == "float32":
        return Precision(asked)
    gain = measure(device).gain(asked)
    if gain >= SLOW:
        return Precision(asked)
    return Precision(asked, f"computed {_compared(gain)} on this device; precision 'auto' takes float32", True)


def _compared(gain: float) -> str:
    return f"{_times(1 / gain)} times slower than float32" if gain < 1 else f"only {gain:.1f} times as fast as float32"


def _times(factor: float) -> str:
    return f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"
