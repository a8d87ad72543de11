"""What this computer tells of itself, for the doctor."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from pathlib import Path

from vila_core.doctor.observations import MachineFacts
from vila_core.errors import ConfigError
from vila_core.export.manifest import ENGINES, read_engines
from vila_core.kernels.library import kernels_status
from vila_core.machine.strain import ROOT, read_strain
from vila_ros.common.machine import SHARED_MEMORY, shared_memory_flaws
from vila_ros.common.transports import uses_fast_dds

_PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
_NVIDIA = ("proc/driver/nvidia/version", "dev/nvidiactl", "dev/nvhost-gpu", "dev/nvmap")
_CPU = "sys/devices/system/cpu/cpu0/cpufreq"


def machine_facts(runs: Path, checkpoint: Path | None = None, root: Path = ROOT) -> MachineFacts:
    """Read them; root: of the system's files. runs: where recordings are kept. checkpoint: one with engines, or None.

    Raises CheckpointError for engines whose description cannot be read.
    """
    import torch

    status = _kernels()
    profile = next((os.environ[name] for name in _PROFILES if os.environ.get(name)), "")
    engines = checkpoint is not None and (checkpoint / ENGINES).is_file()
    return MachineFacts(
        free_bytes=_free_bytes(runs),
        strain=read_strain(root),
        cpu_governor=_text(root / _CPU / "scaling_governor"),
        cpu_driver=_text(root / _CPU / "scaling_driver"),
        kernels=status[0],
        kernels_reason=status[1],
        has_nvidia=any((root / name).exists() for name in _NVIDIA),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda or "",
        sees_gpu=torch.cuda.is_available(),
        tensorrt=_version("tensorrt"),
        engine_tensorrt=read_engines(checkpoint).version if engines and checkpoint is not None else "",
        uses_fast_dds=uses_fast_dds(os.environ),
        dds_profile=profile,
        is_profile_there=not profile or Path(profile).is_file(),
        profile_has_shared_memory="<type>SHM</type>" in _text(Path(profile)) if profile else True,
        shared_memory_flaws=tuple(shared_memory_flaws(root / SHARED_MEMORY.relative_to("/"))),
    )


def _kernels() -> tuple[str, str]:
    try:
        status = kernels_status()
    except ConfigError as err:
        return "", str(err)
    return status.instruction_set, status.reason


def _free_bytes(runs: Path) -> int | None:
    folder = next((path for path in (runs, *runs.absolute().parents) if path.exists()), Path("/"))
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
