"""One pool of threads for a process: torch's, not numpy's beside it."""

from __future__ import annotations

from threadpoolctl import ThreadpoolController

_LIBRARY, _OWN_POOL = "openblas", "pthreads"  # as threadpoolctl names them


def leave_cores_to_torch() -> None:
    """Have numpy's matrix products run in the thread that asks for them, from now on and in the whole process.

    OpenBLAS keeps threads of its own, which go on spinning for 30 to 60 ms after a product: on two cores a model beside
    them decides at a third of its speed (github.com/OpenMathLib/OpenBLAS/issues/3187). An OpenBLAS that shares its
    threads with torch (torch's own, on ARM) is left as it is.
    """
    for library in ThreadpoolController().lib_controllers:
        if library.internal_api == _LIBRARY and getattr(library, "threading_layer", None) == _OWN_POOL:
            library.set_num_threads(1)
