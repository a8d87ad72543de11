"""What the system says of the processor that this runs on."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_FACTS = ("model name", "cpu part", "flags", "features")  # of x86 and of ARM, in lower case


def processor(cpuinfo: Path = _CPUINFO) -> dict[str, str]:
    """Return model and instruction flags of the first processor; {} where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs if name.strip().lower() in _FACTS}


def processor_name(cpuinfo: Path = _CPUINFO) -> str:
    """Return the model of the first processor, what kind it is where the system does not tell."""
    facts = processor(cpuinfo)
    return facts.get("model name") or facts.get("cpu part") or platform.machine()
