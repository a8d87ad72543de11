"""The tensorrt backend: the torch backend's caches and choice, on engines that `vila engine build` made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vila_core.engine.cached_decoder import CachedDecoder
from vila_core.engine.tensorrt.decoder import EngineDecoder
from vila_core.engine.tensorrt.model import load_engine_model
from vila_core.engine.tensorrt.runner import EngineRunner, Runner
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import BackendError
from vila_core.export.manifest import Engines, Manifest, read_engines, read_manifest
from vila_core.export.runtimes import load_runtime, make_logger
from vila_core.files.reading import require_file
from vila_core.machine.precision import AUTO


def load_tensorrt_backend(checkpoint: Path, *, device: str, precision: str, check_memory: bool = True) -> TorchBackend:
    """Load a directory that `vila engine export` wrote and `vila engine build` completed.

    precision: that of the export, which the embeddings and the head are kept in, or "auto" for just that.
    check_memory: for the backends that know before what they need; TensorRT says so when it makes the engines'
    contexts. Raises CheckpointError for another directory, MissingDependencyError without TensorRT, BackendError
    without a GPU or for engines of another TensorRT.
    """
    manifest, engines = read_manifest(checkpoint), read_engines(checkpoint)
    if precision not in (AUTO, manifest.precision):
        raise BackendError(f"precision {precision!r}: the engines were exported in {manifest.precision}; set that")
    trt = load_runtime(engines.runtime)
    _require_device(device)
    if trt.__version__ != engines.version:
        raise BackendError(
            f"the engines were built by {engines.runtime} {engines.version}, here is {trt.__version__}; build them "
            "again with `vila engine build`"
        )
    logger, where = make_logger(trt), torch.device(device)
    runners = {part: EngineRunner(trt, logger, _plan(checkpoint / file), where) for part, file in engines.files.items()}
    return assemble(checkpoint, manifest, engines, runners, where)


def assemble(
    folder: Path, manifest: Manifest, engines: Engines, runners: Mapping[str, Runner], device: torch.device
) -> TorchBackend:
    """Make the backend of an export and of what runs its parts "vision" and "decoder"."""
    model = load_engine_model(folder, manifest, runners["vision"], device)
    config, limits = model.config.language, manifest.limits
    decoder = CachedDecoder(
        model,
        rows=min(limits.rows, 2 * config.max_positions),
        make_decoder=lambda cache: EngineDecoder(runners["decoder"], config, cache, limits, engines.profiles),
    )
    return TorchBackend(model, f"{engines.runtime} {engines.precision}", decoder)


def _require_device(device: str) -> None:
    if not device.startswith("cuda"):
        raise BackendError(f"device {device!r}: the backend tensorrt runs on 'cuda' alone; use the backend torch here")
    if not torch.cuda.is_available():
        raise BackendError(f"device {device!r}: torch {torch.__version__} finds no CUDA device; see docs/jetson.md")


def _plan(file: Path) -> bytes:
    require_file(file, error=BackendError, remedy="build the engine again")
    try:
        return file.read_bytes()
    except OSError as err:
        raise BackendError(f"cannot read the engine {file}: {err.strerror}; build it again") from err
