"""The tower of transformers and the projector in torch: with dynamic int8 linears, and plain."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import nn

from vila_core.models.checkpoint import DTYPES
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.parts.torch_linears import int8_linear, replace_linears
from vila_tools.benchmark.parts.turns import TowerTurns
from vila_tools.benchmark.peers.hugging_face import Encoder


class _Tower(TowerTurns):
    def __init__(self, job: StepJob, dtype: torch.dtype, precision: str) -> None:
        super().__init__(job)
        self._module: nn.Module = Encoder(self.config, dtype)
        self.pixels = self.pixels.to(dtype)
        self.facts = {
            "precision": precision,
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        }

    @torch.inference_mode()
    def encode(self) -> NDArray[np.float32]:
        """One forward pass."""
        return self._module(self.pixels)[0].float().numpy()


class Int8Tower(_Tower):
    """quantized::linear_dynamic, everything else in float32."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job, torch.float32, "dynamic int8, float32")
        self._module = replace_linears(self._module, int8_linear)


class PlainTower(_Tower):
    """Nothing is quantized; in the job's precision."""

    def __init__(self, job: StepJob) -> None:
        super().__init__(job, DTYPES[job.precision], job.precision)
