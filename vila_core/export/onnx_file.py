"""Write one graph as an ONNX file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from vila_core.errors import MissingDependencyError
from vila_core.export.graphs import Graph

REMEDY = "run `pip install '.[export]'`"


def write_onnx(graph: Graph, folder: Path) -> Path:
    """Export the graph; large weights go to FILE.data, those dequantized by blocks in 4 bits.

    Raises MissingDependencyError without onnx and onnxscript.
    """
    require_exporter()
    file = folder / graph.spec.file
    free = {
        spec.name: {axis: dim for axis, dim in enumerate(spec.shape) if isinstance(dim, str)}
        for spec in graph.spec.inputs
    }
    shapes = {name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in free.items()}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter's own parts, about each other
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            dynamic_shapes=tuple(shapes.values()),
            input_names=[spec.name for spec in graph.spec.inputs],
            output_names=[spec.name for spec in graph.spec.outputs],
            opset_version=graph.opset,
            verbose=False,
        )
    assert program is not None  # what the exporter returns with dynamo=True
    _narrow_blocks(program.model)
    program.save(str(file), external_data=True)
    return file


def _narrow_blocks(model: Any) -> None:
    """Give the weights that are dequantized by blocks the 4-bit type that torch has no word for."""
    import ml_dtypes
    from onnxscript import ir

    for node in model.graph:
        if node.op_type == "DequantizeLinear" and "block_size" in node.attributes:
            weight = node.inputs[0]
            narrow = weight.const_value.numpy().astype(ml_dtypes.int4)
            weight.const_value = ir.Tensor(narrow, dtype=ir.DataType.INT4, name=weight.name)
            weight.dtype = ir.DataType.INT4


def require_exporter() -> dict[str, str]:
    """Return the versions of what exports. Raises MissingDependencyError naming what is not installed."""
    try:
        import onnx
        import onnxscript
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"the ONNX exporter needs {err.name!r}, which is not installed; {REMEDY}") from err
    return {"torch": torch.__version__, "onnx": onnx.__version__, "onnxscript": onnxscript.__version__}
