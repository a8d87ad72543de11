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
_FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-w")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 300.0
SETS = ("none", "avx2", "avxvnni", "avx512vnni")  # instruction sets, as vila_best_set numbers them


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

    instruction_set: the best of SETS that this processor has, for `linear`. has_bf16: whether it has what the functions
    on bfloat16 need.
    """

    def __init__(self, file: Path) -> None:
        library = ctypes.CDLL(str(file))
        self.instruction_set = int(library.vila_best_set())
        self.has_bf16 = bool(library.vila_has_bf16())
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, f"vila_{name}")
            function.argtypes, function.restype = arguments, None
            setattr(self, name, function)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., None]: ...


@lru_cache(maxsize=1)
def kernels() -> Kernels | None:
    """Compile and load the kernels, the first time; None where that cannot be."""
    if os.environ.get("VILA_NAV_KERNELS", "").lower() in ("off", "0") or platform.machine() not in ("x86_64", "AMD64"):
        return None
    compiler = next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), *_COMPILERS)))), None)
    try:
        file = _built(compiler)
        loaded = None if file is None else Kernels(file)
    except OSError:  # no place to write to, or a library that does not fit this system
        return None
    return loaded if loaded is not None and loaded.instruction_set > 0 else None


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
