"""Write one graph as an ONNX file."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from vila_core.errors import MissingDependencyError
from vila_core.export.graphs import Graph

OPSET = 19  # the first whose QuantizeLinear takes float16; TensorRT 10.0 already reads 20
REMEDY = "run `pip install '.[export]'`"


def write_onnx(graph: Graph, folder: Path) -> Path:
    """Export the graph; large weights go to FILE.data. Raises MissingDependencyError without onnx and onnxscript."""
    require_exporter()
    file = folder / graph.spec.file
    free = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in graph.spec.inputs
    }
    shapes = {name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in free.items()}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter's own parts, about each other
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            str(file),
            dynamo=True,
            dynamic_shapes=tuple(shapes.values()),
            input_names=[spec.name for spec in graph.spec.inputs],
            output_names=[spec.name for spec in graph.spec.outputs],
            opset_version=OPSET,
            external_data=True,
            verbose=False,
        )
    return file


def require_exporter() -> dict[str, str]:
    """Return the versions of what exports. Raises MissingDependencyError naming what is not installed."""
    try:
        import onnx
        import onnxscript
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"the ONNX exporter needs {err.name!r}, which is not installed; {REMEDY}") from err
    return {"torch": torch.__version__, "onnx": onnx.__version__, "onnxscript": onnxscript.__version__}
