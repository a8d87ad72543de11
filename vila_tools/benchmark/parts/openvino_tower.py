"""OpenVINO's tower in 8 bits, weights and activations, by NNCF's post-training quantization."""

from __future__ import annotations

from pathlib import Path

import nncf
import numpy as np
import openvino
import torch
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.conversion import Conversion, converted_folder
from vila_tools.benchmark.parts.turns import TowerTurns, picture
from vila_tools.benchmark.peers.hugging_face import Encoder
from vila_tools.benchmark.peers.openvino_model import HINTS, converted

_FILE = "encoder.xml"
_ALPHA = 0.3
_PICTURES = 2  # of calibration: its ranges change no time, nor would correcting the biases
_OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1"}


class Tower(TowerTurns):
    """What is not quantized is computed in the job's precision."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job)
        options = _OPTIONS | {
            "INFERENCE_NUM_THREADS": str(job.threads),
            "INFERENCE_PRECISION_HINT": HINTS[job.precision],
        }
        model = openvino.Core().compile_model(converted_folder(job, __name__) / _FILE, "CPU", options)
        self._request = model.create_infer_request()
        self.facts = {
            "precision": f"W8A8, {job.precision}",
            "versions": {"openvino": openvino.__version__, "nncf": nncf.__version__},
        }

    def encode(self) -> NDArray[np.float32]:
        """One inference."""
        return self._request.infer([self.pixels.numpy()])[0][0]


def convert(job: StepJob) -> Conversion:
    """Convert transformers' tower and the projector, and quantize both."""
    return Conversion(job, __name__, _write)


def _write(config: CheckpointConfig, folder: Path) -> None:
    pictures = [picture(config, number).numpy() for number in range(_PICTURES)]
    model = converted(Encoder(config, torch.float32), (torch.from_numpy(pictures[0]),))
    model.reshape(list(pictures[0].shape))
    smooth = AdvancedSmoothQuantParameters(matmul=_ALPHA)
    model = nncf.quantize(
        model,
        nncf.Dataset(pictures),
        subset_size=_PICTURES,
        model_type=nncf.ModelType.TRANSFORMER,
        advanced_parameters=AdvancedQuantizationParameters(smooth_quant_alphas=smooth, disable_bias_correction=True),
    )
    openvino.save_model(model, folder / _FILE, compress_to_fp16=False)
