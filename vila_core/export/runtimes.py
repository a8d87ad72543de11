"""The two TensorRTs, which have one Python API: NVIDIA's of JetPack and servers, and the one for RTX cards."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from vila_core.errors import BackendError, MissingDependencyError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_REMEDIES = {
    "tensorrt": "on a Jetson it comes with JetPack (`sudo apt install tensorrt python3-libnvinfer`; a virtual "
    "environment must be made with --system-site-packages), elsewhere from NVIDIA; see docs/jetson.md",
    "tensorrt-rtx": "run `pip install '.[trt-check]'`",
}


def load_runtime(name: str) -> Any:
    """Import the runtime's module, a row of MODULES. Raises MissingDependencyError saying how to get it."""
    try:
        return importlib.import_module(MODULES[name])
    except ImportError as err:
        raise MissingDependencyError(f"{name} cannot be imported ({err}); {_REMEDIES[name]}") from err


def made(make: Callable[..., Any], *arguments: Any) -> Any:
    """Make a builder or runtime. Raises BackendError where TensorRT gives none, as without a driver for its CUDA."""
    try:
        return make(*arguments)
    except (TypeError, RuntimeError) as err:  # what pybind11 makes of a null pointer
        raise BackendError(f"TensorRT does not start here; has the device a driver for its CUDA? ({err})") from err


def make_logger(runtime: Any) -> Any:
    """A logger of the runtime that tells warnings and errors."""
    return runtime.Logger(runtime.Logger.WARNING)
