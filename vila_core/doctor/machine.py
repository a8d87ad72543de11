"""Checks of the computer: disk, memory, heat, clock speed, GPU, kernels, shared memory."""

from __future__ import annotations

from vila_core.config import StrainConfig
from vila_core.control.machine_watch import StrainLadder, StrainLevel
from vila_core.doctor.findings import Finding, amber, graded, green, red, unknown
from vila_core.doctor.observations import MachineFacts, Observations
from vila_core.machine.strain import Strain

_GB = 1e9
_SLOW_GOVERNORS = ("powersave", "conservative", "userspace")
_OWN_SPEED = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp", "amd-pstate")  # whose powersave is as quick as needed

_NOT_HERE = unknown("a bag tells nothing of the computer")


def disk(observed: Observations) -> Finding:
    """Say how much room recordings have."""
    free = _facts(observed).free_bytes
    if free is None:
        return _NOT_HERE
    return graded(
        f"{free / _GB:.1f} GB of disk are free",
        "make room: recordings take 2 GB (max_total_mb), logs and the system theirs",
        is_amber=free < 4 * _GB,
        is_red=free < 0.5 * _GB,
    )


def memory(observed: Observations) -> Finding:
    """Say whether memory is short, as the governor sees it."""
    strain = _facts(observed).strain
    only = Strain(memory=strain.memory, memory_pressure=strain.memory_pressure)
    if not strain.memory:
        return _NOT_HERE
    left = min(strain.memory, key=lambda one: one.left_bytes)
    return _strained(only, f"{left.left_bytes / _GB:.1f} GB of memory are left", "a smaller or quantized checkpoint")


def heat(observed: Observations) -> Finding:
    """Say whether the computer is hot, as the governor sees it."""
    readings = _facts(observed).strain.heat
    known = [one for one in readings if one.temperature_c is not None]
    if not known:
        return unknown("no sensor of heat")
    hottest = max(known, key=lambda one: one.temperature_c or 0.0)
    text = f"{hottest.zone.name} at {hottest.temperature_c:.0f} C"
    return _strained(
        Strain(heat=readings), text, "a fan, a cooler place, a lower power mode; it throttles before it stops"
    )


def _strained(strain: Strain, text: str, remedy: str) -> Finding:
    verdict = StrainLadder(StrainConfig()).update(strain, 0)
    if verdict.level is StrainLevel.NORMAL:
        return green(text)
    return graded(verdict.text, remedy, is_amber=True, is_red=verdict.level is StrainLevel.STOP)


def cpu_governor(observed: Observations) -> Finding:
    """Say whether the processor is kept slow."""
    facts = _facts(observed)
    if not facts.cpu_governor:
        return unknown("the kernel tells no CPU governor")
    is_slow = facts.cpu_governor in _SLOW_GOVERNORS and facts.cpu_driver not in _OWN_SPEED
    return graded(
        f"CPU governor {facts.cpu_governor} ({facts.cpu_driver or 'unknown driver'})",
        "cpupower frequency-set -g performance; on a Jetson: nvpmodel -m 0, jetson_clocks",
        is_amber=is_slow,
        is_red=False,
    )


def gpu(observed: Observations) -> Finding:
    """Say whether torch and TensorRT use the GPU that is there."""
    facts = _facts(observed)
    if not facts.torch:
        return _NOT_HERE
    versions = f"torch {facts.torch}, CUDA {facts.torch_cuda or 'none'}, TensorRT {facts.tensorrt or 'none'}"
    if facts.engine_tensorrt and facts.engine_tensorrt != facts.tensorrt:
        return red(
            f"the engines were built by TensorRT {facts.engine_tensorrt}; here: {versions}",
            "build them on this machine: vila engine build",
        )
    if facts.has_nvidia and not facts.sees_gpu:
        return amber(
            f"an NVIDIA GPU is there, but torch does not see it: {versions}",
            "install a torch for its CUDA (on a Jetson, NVIDIA's own wheel: docs/jetson.md)",
        )
    return green(versions if facts.has_nvidia else f"no NVIDIA GPU; {versions}")


def kernels(observed: Observations) -> Finding:
    """Say which of our kernels run on the CPU, or why none do."""
    facts = _facts(observed)
    if not facts.torch:
        return _NOT_HERE
    if facts.kernels:
        return green(f"kernels for {facts.kernels}")
    return amber(
        f"no kernels: {facts.kernels_reason}", "all runs, but slower: install g++, or a wheel for this machine"
    )


def dds_profile(observed: Observations) -> Finding:
    """Say whether Fast DDS was told to use shared memory for images."""
    facts = _facts(observed)
    if not observed.is_live:
        return _NOT_HERE
    if not facts.uses_fast_dds:
        return green("another DDS than Fast DDS; its own settings hold")
    remedy = "export FASTDDS_DEFAULT_PROFILES_FILE=.../share/vila_nav/config/fastdds.xml (before Kilted: FASTRTPS_)"
    if not facts.dds_profile:
        return amber("Fast DDS has no profile: of best-effort images nearly all are lost", remedy)
    if not facts.is_profile_there:
        return red(f"the DDS profile {facts.dds_profile} is not there", remedy)
    if not facts.profile_has_shared_memory:
        return amber(f"the DDS profile {facts.dds_profile} has no shared memory: images go by UDP", remedy)
    return green(f"DDS profile {facts.dds_profile}")


def shared_memory(observed: Observations) -> Finding:
    """Say whether there is room in shared memory."""
    if not observed.is_live:
        return _NOT_HERE
    flaws = _facts(observed).shared_memory_flaws
    return amber(flaws[0].partition(";")[0], flaws[0].partition("; ")[2]) if flaws else green("there is room in it")


def _facts(observed: Observations) -> MachineFacts:
    return observed.machine or MachineFacts()
