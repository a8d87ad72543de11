"""The precision that training multiplies in: bfloat16 where that is computed quickly, else float32."""

from __future__ import annotations

import torch

from vila_core.errors import ConfigError
from vila_core.machine.arithmetic import arithmetic_of
from vila_core.machine.precision import AUTO, Measure, Precision, choose_precision, quickest

AUTOCAST_PRECISIONS = (AUTO, "bfloat16", "float32")


def autocast_precision(asked: str, device: torch.device, *, measure: Measure = arithmetic_of) -> Precision:
    """Return what `asked` means on the device; float16 is never taken, it would need scaled losses.

    Raises ConfigError for another name than AUTOCAST_PRECISIONS.
    """
    if asked not in AUTOCAST_PRECISIONS:
        raise ConfigError(f"precision {asked!r}: training knows {', '.join(AUTOCAST_PRECISIONS)}")
    if asked != AUTO:
        return choose_precision(asked, device, weights=0, is_16_bits=False, measure=measure)
    found = quickest(measure(device), device)
    return Precision("float32", "bfloat16 is not computed quicker") if found.name == "float16" else found


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Multiply in bfloat16 within, unless the precision is float32; weights and sums stay float32.

    Raises ValueError for "auto": `autocast_precision` says what that is here.
    """
    if precision == AUTO:
        raise ValueError(f"precision {AUTO!r} was not made one of this device")
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32")
