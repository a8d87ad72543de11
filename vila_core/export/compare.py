"""How far onnxruntime's results of an exported graph are from torch's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.errors import MissingDependencyError
from vila_core.export.graphs import Graph, shape_of
from vila_core.export.onnx_file import REMEDY
from vila_core.files.reading import require_file

_TOLERANCE = {"float32": 1e-3, "float16": 1e-2}
# onnxruntime rounds the inputs of 4-bit products to 8 bits if nobody forbids it
EXACT_INT4 = ("session.qdq_matmulnbits_accuracy_level", "1")
_ONE_STEP = 5e-2  # of 8-bit inputs: one that stands between two steps may fall either way


def is_close(errors: dict[str, dict[str, float]], precision: str) -> bool:
    """Tell if all errors of {graph: {output: error}} are within the precision's tolerance; false for NaN too."""
    return all(error <= _tolerance(name, precision) for name, part in errors.items() for error in part.values())


def _tolerance(name: str, precision: str) -> float:
    return _ONE_STEP if name.endswith("int8") else _TOLERANCE[precision]


def example_inputs(graph: Graph, sizes: dict[str, int], seed: int) -> dict[str, Tensor]:
    """Random inputs of the sizes; a mask is causal and sees all rows, positions follow the rows."""
    rng = torch.Generator().manual_seed(seed)
    return {
        spec.name: _example(spec.name, shape_of(spec, sizes), graph.inputs[spec.name].dtype, rng)
        for spec in graph.spec.inputs
    }


def relative_errors(graph: Graph, file: Path, inputs: dict[str, Tensor]) -> dict[str, float]:
    """For each output the largest difference between onnxruntime and torch, over the largest magnitude.

    Raises MissingDependencyError without onnxruntime.
    """
    with torch.inference_mode():
        wanted = graph.module(*inputs.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    found = run_onnx(file, {name: value.numpy() for name, value in inputs.items()})
    return {
        spec.name: float((torch.from_numpy(ours).float() - theirs.float()).abs().max() / theirs.float().abs().max())
        for spec, ours, theirs in zip(graph.spec.outputs, found, wanted, strict=True)
    }


def run_onnx(file: Path, inputs: dict[str, NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Run an ONNX file once on the CPU."""
    try:
        import onnxruntime
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"onnxruntime is not installed; {REMEDY}") from err
    require_file(file, remedy="export the checkpoint again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry(*EXACT_INT4)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def _example(name: str, shape: tuple[int, ...], dtype: torch.dtype, rng: torch.Generator) -> Tensor:
    if name == "mask":
        tokens, seen = shape
        later = torch.ones(tokens, seen, dtype=torch.bool).triu(seen - tokens + 1)
        return torch.zeros(shape, dtype=dtype).masked_fill_(later, float("-inf"))
    if name == "positions":
        return torch.arange(shape[0]) + 3
    return torch.randn(shape, generator=rng).to(dtype)
