"""What Python, torch and this package occupy before any checkpoint: measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import torch

from vila_core.errors import BackendError
from vila_core.machine.memory import resident_bytes
from vila_core.models.config import LanguageConfig, VisionConfig

_CHILD = "import sys; from vila_tools.fit.libraries import child; sys.exit(child())"


def libraries_mb() -> float:
    """Megabytes resident in a new process that imported the torch backend and ran every kind of layer once.

    Running counts: the system maps a library's code when it is first used. Raises BackendError if the process fails.
    """
    done = subprocess.run([sys.executable, "-c", _CHILD], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"the libraries' memory cannot be measured: {last}")
    return int(done.stdout) / 1e6


def child() -> int:
    """Do so in this process and print the bytes."""
    import vila_core.engine.torch_backend  # noqa: F401 - what a backend imports

    for dtype in (torch.float32, torch.bfloat16):
        _run_layers(dtype)
    print(resident_bytes() or 0)
    return 0


@torch.inference_mode()
def _run_layers(dtype: torch.dtype) -> None:
    from vila_core.models.language_model import LanguageModel
    from vila_core.models.packed_linear import pack_linears
    from vila_core.models.vision_tower import VisionTower

    tower = VisionTower(VisionConfig(64, 128, 1, 2, 28, 14, 1e-6, (0.5,) * 3, (0.5,) * 3)).to(dtype)
    config = LanguageConfig("qwen2", 64, 128, 1, 2, 1, 32, 256, 128, 1e4, 1e-6, True, True, ())
    language = LanguageModel(config).to(dtype)
    for part in (tower, language.layers):
        pack_linears(part)
    tower(torch.zeros(1, 3, 28, 28, dtype=dtype))
    language.logits(language(torch.zeros(1, 32, 64, dtype=dtype), torch.arange(32)))
