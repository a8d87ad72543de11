"""onnxruntime's tower with 8-bit weights, activations rounded as they come."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import Conversion, converted_folder
from vila_tools.benchmark.parts.turns import TowerTurns, picture
from vila_tools.benchmark.peers.hugging_face import Encoder
from vila_tools.benchmark.peers.onnxruntime import export

_FILE = "encoder.onnx"


class Tower(TowerTurns):
    """What is not quantized is computed in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        file = converted_folder(job, __name__) / _FILE
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.facts = {
            "precision": "dynamic int8 by channel, float32",
            "versions": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
        }

    def encode(self) -> NDArray[np.float32]:
        """One run."""
        return self._session.run(None, {"pixels": self.pixels.numpy()})[0][0]


def convert(job: StepJob) -> Conversion:
    """Export transformers' tower and the projector, and quantize both."""
    return Conversion(job, __name__, _write)


def _write(config: CheckpointConfig, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as plain:
        file = Path(plain) / _FILE
        export(Encoder(config, torch.float32), (picture(config, 0),), file, ["pixels"], ["visual"], ({},))
        quantize_dynamic(
            file,
            folder / _FILE,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
