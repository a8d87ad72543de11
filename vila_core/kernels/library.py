"""The package's own CPU kernels, loaded when first asked for; build.py tells where they come from.

Where there are none, whoever asks does without, slower: that is logged once, and `kernels_status` gives the reason.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from vila_core.kernels.build import AUTO, OFF, KernelsStatus, chosen_set, find_library, wanted_set

SETS = ("none", "avx2", "avxvnni", "avx512vnni")  # instruction sets, as vila_best_set numbers them

_logger = logging.getLogger(__name__)


class LinearCall(ctypes.Structure):
    """One of the layers of vila_linear: `Call` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "scale", "zero", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("tokens", "outputs", "inputs", "group")),
        ("bits", ctypes.c_int),
        ("bfloat16", ctypes.c_int),
        ("half_scale", ctypes.c_int),
    )


class AttendCall(ctypes.Structure):
    """The arguments of vila_attend and vila_attend_few: `AttendCall` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "mask", "out")),
        *((name, ctypes.c_int64) for name in ("heads", "kv_heads", "queries", "keys", "dim")),
        *((f"{name}_{part}", ctypes.c_int64) for name in ("q", "k", "v", "out") for part in ("head", "row")),
        ("scale", ctypes.c_float),
        ("causal", ctypes.c_int),
        ("eight_bits", ctypes.c_int),
    )


class DecoderLayerCall(ctypes.Structure):
    """A layer of vila_decoder: `DecoderLayer` of source/kernels.h."""

    _fields_ = (
        ("input_norm", ctypes.c_void_p),
        ("post_norm", ctypes.c_void_p),
        ("qkv", LinearCall * 3),
        ("out", LinearCall),
        ("gate_up", LinearCall * 2),
        ("down", LinearCall),
    )


class DecoderCall(ctypes.Structure):
    """The arguments of vila_decoder: `DecoderCall` of source/kernels.h."""

    _fields_ = (
        ("layers", ctypes.POINTER(DecoderLayerCall)),
        *(
            (name, ctypes.c_void_p)
            for name in ("norm", "hidden", "cos", "sin", "mask", "keys", "values", "out", "rows")
        ),
        *(
            (name, ctypes.c_int64)
            for name in ("count", "tokens", "width", "heads", "kv_heads", "dim", "cache_rows", "extent")
        ),
        ("eps", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("set", ctypes.c_int),
    )


class TowerLayerCall(ctypes.Structure):
    """A layer of vila_tower: `TowerLayer` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("weight1", "bias1", "weight2", "bias2")),
        ("qkv", LinearCall * 3),
        ("out", LinearCall),
        ("fc1", LinearCall),
        ("fc2", LinearCall),
    )


class TowerCall(ctypes.Structure):
    """The arguments of vila_tower: `TowerCall` of source/kernels.h."""

    _fields_ = (
        ("layers", ctypes.POINTER(TowerLayerCall)),
        ("hidden", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "pictures", "tokens", "width", "heads")),
        ("eps", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("set", ctypes.c_int),
    )


_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "pack_int4": (_POINTER, _POINTER, _COUNT, _COUNT),
    "pack_int8": (_POINTER, _POINTER, _COUNT, _COUNT),
    "linear": (ctypes.POINTER(LinearCall), ctypes.c_int, ctypes.c_int),
    "attend": (ctypes.POINTER(AttendCall), ctypes.c_int),
    "attend_few": (ctypes.POINTER(AttendCall), ctypes.c_int),
    "decoder": (ctypes.POINTER(DecoderCall),),
    "tower": (ctypes.POINTER(TowerCall),),
    "gelu": (_POINTER, _POINTER, _COUNT),
    "silu_mul": (_POINTER, _POINTER, _POINTER, _COUNT),
    "rms_norm": (_POINTER, _POINTER, _POINTER, _COUNT, _COUNT, ctypes.c_float),
    "layer_norm": (_POINTER, _POINTER, _POINTER, _POINTER, _COUNT, _COUNT, ctypes.c_float),
    "rotate": (*[_POINTER] * 4, *[_COUNT] * 5),
}


class Kernels:
    """The loaded library: its functions by the names of _SIGNATURES, arguments as in source/; pointers are addresses.

    name: of the instruction set in use. instruction_set: its number, for `linear`. has_bf16: whether it has what the
    functions on bfloat16 need.
    """

    def __init__(self, file: Path, wanted: str = AUTO) -> None:
        """Load the file; ConfigError if this processor lacks the wanted set, OSError if it runs none at all."""
        library = ctypes.CDLL(str(file))
        runnable = _runnable_sets(library)
        if not runnable:
            raise OSError("this processor runs none of their instruction sets")
        self.name = chosen_set(wanted, tuple(runnable))
        self.instruction_set = runnable[self.name]
        self.has_bf16 = self.name == "avx512bf16"
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, f"vila_{name}")
            function.argtypes, function.restype = arguments, None
            setattr(self, name, function)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None]: ...


def _runnable_sets(library: ctypes.CDLL) -> dict[str, int]:
    """Names of the sets that this processor has, best first, and their numbers."""
    best = int(library.vila_best_set())
    numbers = {"avx512bf16": 3, "avx512": 3, "avxvnni": 2, "avx2": 1}
    has = {"avx512bf16": library.vila_has_bf16(), "avx512": best == 3, "avxvnni": best == 2, "avx2": best >= 1}
    return {name: number for name, number in numbers.items() if has[name]}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The kernels of this process, None if there are none, and what is to be told of them."""

    kernels: Kernels | None
    status: KernelsStatus


def kernels() -> Kernels | None:
    """Return the kernels, found or compiled the first time; None where there are none.

    Raises ConfigError if VILA_NAV_KERNELS names no set, or one that this processor lacks.
    """
    return _loaded().kernels


def kernels_status() -> KernelsStatus:
    """Return what the kernels are and where they came from, or why there are none; loads and raises as `kernels`."""
    return _loaded().status


@lru_cache(maxsize=1)
def _loaded() -> Loaded:
    return load_kernels()


def load_kernels() -> Loaded:
    """Load the kernels anew and log why, if there are none or they could not be kept."""
    wanted = wanted_set()
    if wanted == OFF:
        return Loaded(None, KernelsStatus(reason="switched off by VILA_NAV_KERNELS"))
    found = find_library()
    loaded = None
    reason = found.reason
    if found.file is not None:
        try:
            loaded = Kernels(found.file, wanted)
        except OSError as err:  # of another processor
            reason = str(err)
    status = KernelsStatus(loaded.name, found.origin, reason) if loaded else KernelsStatus(reason=reason)
    if status.reason:
        _logger.warning("the CPU's kernels: %s%s", status.text(), "" if loaded else "; all runs, but slower")
    return Loaded(loaded, status)
