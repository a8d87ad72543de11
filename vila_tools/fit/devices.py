"""The devices that `vila fit` knows: memory, bandwidth and peak arithmetic, each with its source."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.machine.arithmetic import Arithmetic

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Device:
    """A place to run a model.

    memory_mb: all that programs can see. other_mb: what other programs hold of it. libraries_mb: what CUDA and its
    libraries take of it. unified: the CPU's memory is the GPU's, so Python and torch lie there too.
    bandwidth_gbps: 1e9 bytes a second. float32, half, int8: 1e12 operations a second, dense, a multiply and an add
    being two; half: of bfloat16, and of float16 where that is not told apart.
    """

    name: str
    kind: str  # "cpu" | "cuda"
    memory_mb: float
    other_mb: float
    libraries_mb: float
    unified: bool
    bandwidth_gbps: float
    float32: float
    half: float
    int8: float
    float16: float | None = None

    @property
    def arithmetic(self) -> Arithmetic:
        """What it multiplies at."""
        float16 = self.half if self.float16 is None else self.float16
        return Arithmetic({"float32": self.float32, "bfloat16": self.half, "float16": float16})


# A CUDA context takes about 500 MB on an Orin (github.com/ace-step/ACE-Step-1.5/issues/1192), 723 MiB were seen on a
# desktop GPU (discuss.pytorch.org/t/73021); the CUDA libraries of torch are an estimate on top. Not measured by us.
_CONTEXT_MB = 500.0
_CUDA_LIBRARIES_MB = 400.0
# ROS, a camera driver and a system without a desktop; an estimate, --other-mb says it better
_ROBOT_MB = 1000.0
_DESKTOP_GPU_MB = 500.0  # of a screen

# Orin: 1024 or 2048 CUDA cores at 0.625, 0.918 and 1.3 GHz; int8 of the GPU alone, and dense: half of NVIDIA's 40, 60
# and 170 sparse TOPS (Jetson Orin module data sheets; AGX Orin technical brief v1.2); half precision is half of that.
# Bandwidths: the same data sheets. Memory: MemTotal as tegrastats shows it under JetPack 6: 7620, about 15650 and
# 62841 MiB (the second one by proportion, not from a document). The RTX 4090: Ada whitepaper v2.
DEVICES = {
    "orin-nano-8gb": Device(
        "orin-nano-8gb",
        "cuda",
        memory_mb=7620 * MIB / 1e6,
        other_mb=_ROBOT_MB,
        libraries_mb=_CONTEXT_MB + _CUDA_LIBRARIES_MB,
        unified=True,
        bandwidth_gbps=68.0,  # 102 as "Super", JetPack 6.1 and later
        float32=1.28,
        half=10.0,
        int8=20.0,
    ),
    "orin-nx-16gb": Device(
        "orin-nx-16gb",
        "cuda",
        memory_mb=15650 * MIB / 1e6,
        other_mb=_ROBOT_MB,
        libraries_mb=_CONTEXT_MB + _CUDA_LIBRARIES_MB,
        unified=True,
        bandwidth_gbps=102.0,
        float32=1.88,
        half=15.0,
        int8=30.0,
    ),
    "agx-orin-64gb": Device(
        "agx-orin-64gb",
        "cuda",
        memory_mb=62841 * MIB / 1e6,
        other_mb=_ROBOT_MB,
        libraries_mb=_CONTEXT_MB + _CUDA_LIBRARIES_MB,
        unified=True,
        bandwidth_gbps=204.8,
        float32=5.3,
        half=42.5,
        int8=85.0,
    ),
    "rtx-4090": Device(
        "rtx-4090",
        "cuda",
        memory_mb=24 * 1024 * MIB / 1e6,
        other_mb=_DESKTOP_GPU_MB,
        libraries_mb=_CONTEXT_MB + _CUDA_LIBRARIES_MB,
        unified=False,
        bandwidth_gbps=1008.0,
        float32=82.6,
        half=165.2,  # with float32 accumulation
        int8=660.6,
    ),
}
HERE = ("cpu", "auto")
