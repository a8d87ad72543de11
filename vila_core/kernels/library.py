"""The package's own CPU kernels: compiled once for the machine, when first asked for, by the compiler that is there.

Without a compiler, or on another processor than x86-64, there are none, and whoever asks does without. The environment
variable VILA_NAV_KERNELS=off says the same. What is compiled is kept in $XDG_CACHE_HOME/vila_nav.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

_SOURCE = Path(__file__).parent / "source"
_FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-Wall", "-Wextra")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 300.0
_MACHINES = ("x86_64", "aarch64")


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
}


class Kernels:
    """The loaded library with one of its instruction sets: its functions by the names above, arguments as in source/.

    sets: that this processor has, the best one first. set_name: the one in use. Pointers are addresses. Raises
    ValueError if this processor does not have the set.
    """

    def __init__(self, file: Path, set_name: str | None = None) -> None:
        library = ctypes.CDLL(str(file))
        library.vila_sets.restype = ctypes.c_char_p
        self.file = file
        self.sets = tuple(library.vila_sets().decode().split(","))
        self.set_name = set_name or self.sets[0]
        if self.set_name not in self.sets:
            raise ValueError(f"kernels: this processor has no {self.set_name}, it has {', '.join(self.sets)}")
        number = library.vila_set(self.set_name.encode())
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


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """Compile and load the kernels, the first time; None where that cannot be."""
    if os.environ.get("VILA_NAV_KERNELS", "").lower() in ("off", "0") or platform.machine() not in _MACHINES:
        return None
    compiler = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), *_COMPILERS)))), None)
    try:
        file = _built(compiler)
        name = os.environ.get("VILA_NAV_KERNELS", "auto")
        return None if file is None else Kernels(file, None if name == "auto" else name)
    except OSError:  # no place to write to, or a library that does not fit this system
        return None


def _built(compiler: str | None) -> Path | None:
    """The library of these sources; compiled if it is not in the cache, None if that fails."""
    sources = sorted(_SOURCE.iterdir())
    digest = hashlib.sha256(" ".join((*_FLAGS, platform.platform())).encode())
    for source in sources:
        digest.update(source.read_bytes())
    file = _cache() / f"kernels-{digest.hexdigest()[:16]}.so"
    if file.is_file():
        return file
    if compiler is None:
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        command = [compiler, *_FLAGS, "-o", str(made), *(str(s) for s in sources if s.suffix == ".cpp")]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode:
            return None
        made.replace(file)  # at once: another process may be doing the same
    return file


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vila_nav"
