"""One pool of threads for a process: torch's, not numpy's beside it."""

from __future__ import annotations

import sys
from pathlib import Path

from threadpoolctl import ThreadpoolController

_LIBRARY, _OWN_POOL = "openblas", "pthreads"  # as threadpoolctl names them
_TORCH_HAS_IT = "BLAS_INFO=open"  # in what torch says of how it was built
_BUNDLES = ("numpy.libs", "scipy.libs", "scipy_openblas32", "scipy_openblas64")  # folders of those that are not torch's


def leave_cores_to_torch() -> None:
    """Have numpy's matrix products run in the thread that asks for them, in the whole process.

    OpenBLAS keeps threads of its own, which go on spinning for 30 to 60 ms after a product: on two cores a model beside
    them decides at a third of its speed (github.com/OpenMathLib/OpenBLAS/issues/3187). Only those that are loaded by
    now. One that shares its threads with torch, or that torch may multiply by itself (the system's, on a Jetson), is
    left as it is; so is the system's before torch is loaded.
    """
    build = _torchs_build()
    is_shared = build is None or _TORCH_HAS_IT in build
    for library in ThreadpoolController().lib_controllers:
        if library.internal_api != _LIBRARY or getattr(library, "threading_layer", None) != _OWN_POOL:
            continue
        if not is_shared or any(folder in Path(library.filepath).parts for folder in _BUNDLES):
            library.set_num_threads(1)


def _torchs_build() -> str | None:
    """What torch says of how it was built; None as long as it is not loaded."""
    torch = sys.modules.get("torch")
    return None if torch is None else str(torch.__config__.show())
