"""What tells one machine, and one way to compute on it, from another."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

# By these torch, oneDNN and our kernels are told to leave instructions unused.
_SWITCHES = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "VILA_NAV_KERNELS")
_CPUINFO = Path("/proc/cpuinfo")
_FACTS = ("model name", "cpu part", "flags", "features")  # of x86 and of ARM, in lower case


def identity(device: torch.device) -> dict[str, str]:
    """Return all that the speed of arithmetic on the device depends on, but what else runs beside."""
    facts = {"device": str(device.type), "torch": torch.__version__}
    if device.type == "cuda":
        return facts | {"name": torch.cuda.get_device_name(device)}
    switches = {name: os.environ[name] for name in _SWITCHES if os.environ.get(name)}
    return facts | {"machine": platform.machine()} | switches | processor()


def processor(cpuinfo: Path = _CPUINFO) -> dict[str, str]:
    """Return model and instruction flags of the first processor; {} where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip().lower() in _FACTS}
