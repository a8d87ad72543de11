"""Memory and time of a step on a device, from bytes, FLOPs and the device's figures."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vila_core.config import HistoryConfig
from vila_core.engine.cached_decoder import CHUNK
from vila_core.engine.memory import Usage, plan_memory
from vila_core.engine.torch_backend import VISUAL_CACHE_FRAMES
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.precision import SLOW
from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import Storage
from vila_core.models.roofline import Roofline, decode_floor_ms, step_floor_ms
from vila_tools.fit.devices import Device
from vila_tools.fit.probe import Measured
from vila_tools.fit.steps import Mission

# What TinyChat's published tokens per second are of the decode floors of an AGX Orin: 26 % with NVILA-2B, 73 % with
# NVILA-8B. Taken for everything else too.
EFFICIENCY = (0.26, 0.73)
IMAGE_BYTES = 640 * 480 * 3  # of a camera frame in the history
_HALF, _FULL = Storage(2), Storage(4)
PRECISIONS: dict[str, Storage] = {
    "float32": _FULL,
    "bfloat16": _HALF,
    "float16": _HALF,
    "w4a16": Storage(2, language_bits=4),
    "w4a16+w8a8": Storage(2, language_bits=4, vision_bits=8),
}


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes on the device by what they are for, when all caches are full."""

    vision_tower: float
    projector: float
    language_model: float
    kv_cache: float
    visual_cache: float
    activations: float
    camera_frames: float
    tokenizer: float
    libraries: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True, slots=True)
class Times:
    """The least milliseconds: an average step, the longest one, and each token of a free reply."""

    step_ms: float
    worst_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """A precision under a history policy on a device. reason: why it cannot be, "" if it can.

    times: the floors. expected: from what this machine's layers were seen to take, None for a device of the table.
    is_auto: whether `precision: auto` takes it. slower: how many times slower than float32 it is emulated, else 0.
    """

    precision: str
    policy: str
    memory: Memory
    times: Times
    reason: str
    expected: Times | None = None
    is_auto: bool = False
    slower: float = 0.0

    @property
    def fits(self) -> bool:
        """Whether there is room, and the model reads such a history."""
        return not self.reason


def predict(
    config: CheckpointConfig,
    precision: str,
    mission: Mission,
    device: Device,
    *,
    tokenizer: int,
    libraries_mb: float,
    auto: str = "bfloat16",
    measured: Measured | None = None,
) -> Prediction:
    """Predict memory and time.

    tokenizer: bytes of its files. libraries_mb: what Python, torch and the package take on the CPU's side. auto: what
    `precision: auto` takes for the checkpoint there. measured: what its parts take there in this precision.
    """
    storage = storage_on(device, precision, auto)
    memory = _memory(config, storage, mission, device, tokenizer=tokenizer, libraries_mb=libraries_mb)
    roofline = roofline_of(device, storage)
    steps = [step_floor_ms(config, storage, counts, roofline, chunk=CHUNK) for counts in mission.steps]
    decode = decode_floor_ms(config, storage, mission.prompt_tokens, roofline)
    times = Times(sum(steps) / len(steps), max(steps), decode)
    return Prediction(
        precision,
        mission.policy,
        memory,
        times,
        _reason(memory, mission, device),
        None if measured is None else _expected(mission, measured),
        is_auto=precision == auto,
        slower=slower_than_float32(device, precision),
    )


def _expected(mission: Mission, measured: Measured) -> Times:
    steps = [measured.step_ms(counts) for counts in mission.steps]
    return Times(sum(steps) / len(steps), max(steps), measured.decode_ms(mission.prompt_tokens))


def storage_on(device: Device, precision: str, auto: str) -> Storage:
    """How weights of the precision lie there; what a quantized model does not quantize is in the precision of auto."""
    storage = dataclasses.replace(PRECISIONS[precision], group_bytes=8 if device.kind == "cpu" else 4)
    return dataclasses.replace(storage, dtype_bytes=DTYPES[auto].itemsize) if storage.language_bits else storage


def slower_than_float32(device: Device, precision: str) -> float:
    """How many times slower the device emulates the precision; 0 if it does not."""
    gain = device.arithmetic.gain(precision) if precision in DTYPES else 1.0
    return 1 / gain if gain < SLOW else 0.0


def _memory(
    config: CheckpointConfig,
    storage: Storage,
    mission: Mission,
    device: Device,
    *,
    tokenizer: int,
    libraries_mb: float,
) -> Memory:
    usage = Usage(VISUAL_CACHE_FRAMES, mission.prompt_tokens, graphs=device.kind == "cuda")
    plan = plan_memory(config, storage, usage, tokenizer)
    on_host = float(device.unified)  # beside a GPU with memory of its own the process lies elsewhere
    return Memory(
        vision_tower=plan.vision_tower / 1e6,
        projector=plan.projector / 1e6,
        language_model=plan.language_model / 1e6,
        kv_cache=plan.kv_cache / 1e6,
        visual_cache=plan.visual_cache / 1e6,
        activations=plan.activations / 1e6,
        camera_frames=on_host * HistoryConfig().capacity * IMAGE_BYTES / 1e6,
        tokenizer=on_host * plan.tokenizer / 1e6,
        libraries=on_host * libraries_mb + device.libraries_mb,
    )


def _reason(memory: Memory, mission: Mission, device: Device) -> str:
    left = device.memory_mb - device.other_mb
    if memory.total > left:
        return f"{memory.total:.0f} MB are needed, {left:.0f} MB are left"
    if not mission.is_readable:
        return f"the prompt has up to {mission.prompt_tokens} tokens, the model reads {mission.max_tokens}"
    return ""


def roofline_of(device: Device, storage: Storage) -> Roofline:
    """What the device reaches with weights that are kept so.

    8-bit tower weights are multiplied as such; 4-bit ones on a GPU in half precision, by our CPU kernels in 8 bits.
    """
    plain = device.float32 if storage.dtype_bytes == _FULL.dtype_bytes else device.half
    in_8_bits = storage.language_bits and device.kind == "cpu"
    return Roofline(
        device.bandwidth_gbps,
        tower_tflops=device.int8 if storage.vision_bits else plain,
        language_tflops=device.int8 if in_8_bits else plain,
    )
