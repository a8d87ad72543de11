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
from functools import lru_cache
from pathlib import Path

_SOURCE = Path(__file__).parent / "source"
_FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-w")
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 300.0
SETS = ("none", "avx2", "avxvnni", "avx512vnni")  # instruction sets, as vila_best_set numbers them


class LinearCall(ctypes.Structure):
    """The arguments of vila_linear: `Call` of source/kernels.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "scale", "shift", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("tokens", "outputs", "inputs", "group")),
        ("bits", ctypes.c_int),
        ("bfloat16", ctypes.c_int),
    )


class Kernels:
    """The loaded library. instruction_set: the best of SETS that this processor has."""

    def __init__(self, file: Path) -> None:
        self._library = ctypes.CDLL(str(file))
        for pack in (self._library.vila_pack_int4, self._library.vila_pack_int8):
            pack.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._library.vila_linear.argtypes = (ctypes.POINTER(LinearCall), ctypes.c_int)
        self.instruction_set = int(self._library.vila_best_set())

    def pack(self, values: int, packed: int, *, outputs: int, inputs: int, bits: int) -> None:
        """Lay unsigned bytes [outputs, inputs] out for vila_linear. values, packed: addresses."""
        pack = self._library.vila_pack_int4 if bits == 4 else self._library.vila_pack_int8
        pack(values, packed, outputs, inputs)

    def linear(self, call: LinearCall, instruction_set: int | None = None) -> None:
        """Compute y; see source/kernels.h."""
        self._library.vila_linear(
            ctypes.byref(call), self.instruction_set if instruction_set is None else instruction_set
        )


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
