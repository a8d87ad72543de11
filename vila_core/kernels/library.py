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
        ("bfloat16", ctypes.c_int),
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
        ("bfloat16", ctypes.c_int),
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
        ("bfloat16", ctypes.c_int),
    )


class RowsCall(ctypes.Structure):
    """The arguments of an operation on rows: `RowsCall` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "other", "weight", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("rows", "width", "heads", "head_stride", "row_stride")),
        ("eps", ctypes.c_float),
        ("bfloat16", ctypes.c_int),
    )


class FilterCall(ctypes.Structure):
    """What the outputs of one direction are made of: `Filter` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("first", "count", "weights")),
        *((name, ctypes.c_int64) for name in ("outputs", "taps")),
    )


class ResizeCall(ctypes.Structure):
    """The arguments of vila_resize: `ResizeCall` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "y")),
        *((name, ctypes.c_int64) for name in ("height", "width")),
        ("columns", FilterCall),
        ("rows", FilterCall),
    )


_POINTER, _COUNT, _SET = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_PACKINGS: dict[str, tuple[type, ...]] = {
    "pack_int4": (_POINTER, _POINTER, _COUNT, _COUNT),
    "pack_int8": (_POINTER, _POINTER, _COUNT, _COUNT),
}
_CALLS: dict[str, tuple[type, ...]] = {
    "linear": (ctypes.POINTER(LinearCall), ctypes.c_int),
    "attend": (ctypes.POINTER(AttendCall), ctypes.c_int),
    "attend_few": (ctypes.POINTER(AttendCall), ctypes.c_int),
    "decoder": (ctypes.POINTER(DecoderCall),),
    "tower": (ctypes.POINTER(TowerCall),),
    **{name: (ctypes.POINTER(RowsCall),) for name in ("gelu", "silu_mul", "rms_norm", "layer_norm", "rotate")},
    "resize": (ctypes.POINTER(ResizeCall),),
}
_SYMBOLS = ("vila_sets", "vila_set", *(f"vila_{name}" for name in (*_PACKINGS, *_CALLS)))


class Kernels:
    """The loaded library with one of its instruction sets: its functions by the names above, arguments as in source/.

    sets: that this processor has, the best one first. name: of the one in use. Pointers are addresses.
    """

    def __init__(self, file: Path, wanted: str = AUTO) -> None:
        """Load the file; ConfigError if this processor lacks the wanted set."""
        library = ctypes.CDLL(str(file))
        library.vila_sets.restype = ctypes.c_char_p
        self.file = file
        self.sets = tuple(library.vila_sets().decode().split(","))
        self.name = chosen_set(wanted, self.sets)
        number = library.vila_set(self.name.encode())
        for name, arguments in _PACKINGS.items():
            setattr(self, name, _function(library, name, arguments))
        for name, arguments in _CALLS.items():
            setattr(self, name, _with_set(_function(library, name, (*arguments, _SET)), number))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None]: ...


def _function(library: ctypes.CDLL, name: str, arguments: tuple[type, ...]) -> Callable[..., None]:
    function = getattr(library, f"vila_{name}")
    function.argtypes, function.restype = arguments, None
    return function


def _with_set(function: Callable[..., None], number: int) -> Callable[..., None]:
    return lambda *arguments: function(*arguments, number)


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
    found = find_library(_SYMBOLS)
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
