"""What a checkpoint will occupy once it is loaded and has run, and the refusal of one for which there is no room."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from vila_core.engine.cached_decoder import CHUNK, cache_rows
from vila_core.engine.static_decoder import LENGTHS
from vila_core.errors import BackendError
from vila_core.machine.memory import available_bytes
from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import (
    Storage,
    kv_row_bytes,
    language_bytes,
    projector_bytes,
    tiles_of_frame,
    tower_bytes,
)
from vila_core.models.encoders import frame_tokens
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout, Part, open_layout
from vila_core.models.stored.weights import folder_tensors

_TREE = 64  # tokens of a reply trie; the ten actions have about as many
_TOKENIZER_GROWTH = 12  # bytes in memory for each of its files: 10.1 seen for Llama 3's, 12.8 for one of Qwen2's size
_INT4, _INT8 = (".weight_int4", ".qweight"), (".weight_int8",)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes by what they are for; the process itself, Python and its libraries, is not in it."""

    vision_tower: int
    projector: int
    language_model: int
    tokenizer: int
    kv_cache: int
    visual_cache: int
    activations: int

    @property
    def weights(self) -> int:
        """Those of the three parts."""
        return self.vision_tower + self.projector + self.language_model

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in dataclasses.fields(self))


@dataclass(frozen=True, slots=True)
class Usage:
    """How a model is used. prompt_tokens: of the longest prompt, its reply included; 0 for what is usual.

    frames: whose visual tokens are kept. graphs: whether passes are recorded, as on a GPU.
    """

    frames: int
    prompt_tokens: int = 0
    graphs: bool = False


def plan_memory(config: CheckpointConfig, storage: Storage, usage: Usage, tokenizer: int = 0) -> MemoryPlan:
    """Predict what a loaded model occupies. tokenizer: bytes of its files."""
    language = config.language
    rows = cache_rows(usage.prompt_tokens, language.max_positions) + 1
    return MemoryPlan(
        vision_tower=tower_bytes(config.vision, storage),
        projector=projector_bytes(config.projector, storage),
        language_model=language_bytes(language, storage),
        tokenizer=_TOKENIZER_GROWTH * tokenizer,
        kv_cache=rows * kv_row_bytes(language, storage.dtype_bytes),
        visual_cache=usage.frames * frame_tokens(config) * language.hidden_size * storage.dtype_bytes,
        activations=activation_bytes(config, storage, rows, graphs=usage.graphs),
    )


def activation_bytes(config: CheckpointConfig, storage: Storage, rows: int, *, graphs: bool) -> int:
    """Bytes of the larger of the two passes: a frame through the tower, a chunk of a prompt through the decoder.

    graphs: each recorded length keeps buffers of its own.
    """
    vision, language, size = config.vision, config.language, storage.dtype_bytes
    tiles = tiles_of_frame(vision, config.images)
    pixels = 3 * vision.image_size**2 * (3 * 4 + size)  # three float32 steps of normalisation, and the result
    patches = vision.grid**2 * (6 * vision.hidden_size + 2 * vision.intermediate_size) * size
    heads = (language.heads + 2 * language.kv_heads) * language.head_dim
    token = (6 * language.hidden_size + 2 * heads + 3 * language.intermediate_size) * size
    masked = token + rows * (4 + size)
    decoder = sum(LENGTHS) * masked if graphs else (CHUNK + _TREE) * masked
    return max(tiles * (pixels + patches), decoder)


def tokenizer_bytes(layout: Layout) -> int:
    """Bytes of the tokenizer's files."""
    names = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model")
    whole = layout.tokenizer / names[0]
    files = [whole] if whole.is_file() else [layout.tokenizer / name for name in names]
    return sum(file.stat().st_size for file in files if file.is_file())


def stored_as(layout: Layout, storage: Storage) -> Storage:
    """Add to the storage what the weight files say is quantized. Raises CheckpointError as loading would."""
    language, vision = layout.parts["llm"], layout.parts["vision_tower"]
    return dataclasses.replace(storage, language_bits=_bits(language), vision_bits=_bits(vision))


def _bits(part: Part) -> int:
    return 4 if _holds(part, _INT4) else 8 if _holds(part, _INT8) else 0


def _holds(part: Part, endings: tuple[str, ...]) -> bool:
    names = (tensor.name for tensor in folder_tensors(part.folder))
    return any(name.startswith(part.prefix) and name.endswith(endings) for name in names)


def require_memory(checkpoint: Path, *, device: str, precision: str, frames: int) -> None:
    """Raise BackendError, with the numbers and what would fit, if the device has no room for the checkpoint.

    frames: whose visual tokens will be kept. Says nothing of a device whose memory nobody tells, nor of a precision
    that is not known: loading will. Raises CheckpointError as loading would.
    """
    available = available_on(torch.device(device))
    if available is None or precision not in DTYPES:
        return
    layout = open_layout(checkpoint)
    config, files = config_of(layout), tokenizer_bytes(layout)
    on_cpu = torch.device(device).type == "cpu"
    usage = Usage(frames, graphs=not on_cpu)
    stored = stored_as(layout, Storage(1, group_bytes=8 if on_cpu else 4))
    plans = {
        name: plan_memory(config, dataclasses.replace(stored, dtype_bytes=dtype.itemsize), usage, files)
        for name, dtype in DTYPES.items()
    }
    if plans[precision].total <= available:
        return
    raise BackendError(_refusal(config.name, precision, device, available, plans))


def available_on(device: torch.device) -> int | None:
    """Bytes that can still be taken on the device; None if nobody tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes() if device.type == "cpu" else None


def _refusal(name: str, precision: str, device: str, available: int, plans: dict[str, MemoryPlan]) -> str:
    plan = plans[precision]
    fitting = [f"{other} ({_mb(p.total)})" for other, p in plans.items() if p.total <= available]
    advice = f"{' or '.join(fitting)} would fit" if fitting else "no precision fits; quantize it, `vila fit` tells more"
    return (
        f"{name} in {precision} would come to {_mb(plan.total)} on {device}: weights {_mb(plan.weights)}, keys and "
        f"values {_mb(plan.kv_cache)}, visual tokens {_mb(plan.visual_cache)}, activations {_mb(plan.activations)}; "
        f"{_mb(available)} are available. {advice[0].upper() + advice[1:]}; check_memory=False loads it all the same"
    )


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
