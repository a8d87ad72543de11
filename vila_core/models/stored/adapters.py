"""Adapters in peft's layout: LoRA, DoRA and retrained tensors, joined with their base's tensors as these are read.

A robot needs none of peft for this, nor what peft needs. What VILA's own training writes, `non_lora_trainables.bin`
beside the adapter, is read too.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject, read_object, show
from vila_core.files.reading import is_file, is_folder, is_there
from vila_core.models.stored.weights import AnyTensor, MadeTensor, pickled_tensors, read_tensor, stored_tensors

CONFIG, WEIGHTS, ABOUT, OTHERS = "adapter_config.json", "adapter_model", "vila_nav.json", "non_lora_trainables.bin"
PREFIXES = {"llm": "llm.", "vision_tower": "vision_tower.vision_tower.", "mm_projector": "mm_projector."}
PEFT_PREFIX = "base_model.model."
_LOOSE = ("base_model.", "model.")  # what wrappers put before a name, once or twice
_LEAF = re.compile(r"(.+)\.(lora_A|lora_B|lora_magnitude_vector)(?:\.default)?(?:\.weight)?")
_MOST_RANK, _MOST_ALPHA = 1 << 16, 1e6
_DIGEST_PIECES, _DIGEST_BYTES = 16, 4096

_Name = TypeVar("_Name")
Key = tuple[str, str]  # a part of the checkpoint, and the tensor's official name in it


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What is added to a matrix [N, K]: scale * up [N, r] @ down [r, K].

    magnitude: [N], the lengths that rows then get (DoRA, arXiv:2402.09353); None for LoRA (arXiv:2106.09685).
    """

    down: AnyTensor
    up: AnyTensor
    scale: float
    magnitude: AnyTensor | None = None

    def applied(self, weight: Tensor) -> Tensor:
        """Return the matrix with what is added, float32."""
        changed = weight.float() + self.scale * (_read(self.up) @ _read(self.down))
        if self.magnitude is None:
            return changed
        return changed * (_read(self.magnitude).view(-1, 1) / changed.norm(dim=1, keepdim=True))


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What fine-tuning changed of a base. replaced: tensors that were trained whole."""

    folder: Path
    base: Path
    low_rank: Mapping[Key, LowRank]
    replaced: Mapping[Key, AnyTensor]


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter."""
    return is_there(folder / CONFIG)


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter's names and shapes, and find its base.

    Raises CheckpointError for a base that is no local directory, a kind that is not supported, and tensors that do not
    belong together.
    """
    given = read_object(folder / CONFIG)
    _require_supported(given)
    halves: dict[Key, dict[str, AnyTensor]] = {}
    replaced: dict[Key, AnyTensor] = {}
    for tensor in _tensors(folder):
        leaf = _LEAF.fullmatch(tensor.name)
        if leaf is not None:
            _add(halves.setdefault(_key(tensor, leaf[1] + ".weight"), {}), leaf[2], tensor)
        elif "lora_" in tensor.name:
            raise CheckpointError(f"{tensor.file}: {tensor.name!r} is of a kind of LoRA that is not supported")
        else:
            _add(replaced, _key(tensor, tensor.name), tensor)
    low_rank = {key: _low_rank(key, parts, given) for key, parts in halves.items()}
    return Adapter(folder, _base(folder, given), low_rank, replaced)


def _add(found: dict[_Name, AnyTensor], name: _Name, tensor: AnyTensor) -> None:
    if name in found:
        raise CheckpointError(f"{tensor.file}: {tensor.name!r} is there twice, under two names")
    found[name] = tensor


def _require_supported(given: JsonObject) -> None:
    given.choice("peft_type", ("LORA",))
    if given.flag("fan_in_fan_out", False):
        raise given.wrong("fan_in_fan_out", "false, as for linear layers")
    for key in ("use_qalora", "layer_replication", "target_parameters", "trainable_token_indices", "use_bdlora"):
        if given.raw.get(key):
            raise CheckpointError(f"{given.file}: {key} {show(given.raw[key])} is not supported; merge it with peft")


def _tensors(folder: Path) -> list[AnyTensor]:
    """Those of the adapter, and what VILA's training wrote beside it."""
    weights, pickled, others = folder / f"{WEIGHTS}.safetensors", folder / f"{WEIGHTS}.bin", folder / OTHERS
    found: list[AnyTensor] = []
    if is_there(weights) or not is_there(pickled):
        found.extend(stored_tensors(weights))
    else:
        found.extend(pickled_tensors(pickled))
    return found + list(pickled_tensors(others)) if is_there(others) else found


def _key(tensor: AnyTensor, name: str) -> Key:
    """Part and official name of a tensor; wrappers' prefixes are taken off."""
    rest = name
    while True:
        for part in PREFIXES:
            if rest.startswith(f"{part}."):
                inside = rest.removeprefix(f"{part}.")
                return part, inside.removeprefix("vision_tower.") if part == "vision_tower" else inside
        shorter = next((rest.removeprefix(loose) for loose in _LOOSE if rest.startswith(loose)), None)
        if shorter is None:
            raise CheckpointError(
                f"{tensor.file}: {tensor.name!r} is of none of the parts {', '.join(PREFIXES)} of a checkpoint"
            )
        rest = shorter


def _low_rank(key: Key, parts: Mapping[str, AnyTensor], given: JsonObject) -> LowRank:
    down, up, magnitude = (parts.get(leaf) for leaf in ("lora_A", "lora_B", "lora_magnitude_vector"))
    some = next(iter(parts.values()))
    if down is None or up is None:
        raise CheckpointError(f"{some.file}: {key[1]!r} of {key[0]} has not both of lora_A and lora_B")
    if len(down.shape) != 2 or len(up.shape) != 2 or down.shape[0] != up.shape[1] or not down.shape[0]:
        shapes = f"{list(down.shape)} and {list(up.shape)}"
        raise CheckpointError(f"{some.file}: {key[1]!r} of {key[0]}: lora_A and lora_B of {shapes} do not fit")
    if given.flag("use_dora", False) and magnitude is None:
        raise CheckpointError(f"{some.file}: {key[1]!r} of {key[0]} lacks its lora_magnitude_vector")
    rank = down.shape[0]
    alpha = _of_pattern(given, "alpha_pattern", key) or given.number("lora_alpha", 8.0, above=0.0, most=_MOST_ALPHA)
    return LowRank(down, up, alpha / (math.sqrt(rank) if given.flag("use_rslora", False) else rank), magnitude)


def _of_pattern(given: JsonObject, key: str, of: Key) -> float | None:
    """The value whose pattern matches the end of a layer's name, as peft matches it."""
    layer = (PREFIXES[of[0]] + of[1]).removesuffix(".weight")
    patterns = given.object(key, {})
    for pattern in patterns.raw:
        try:
            matches = re.match(rf"(.*\.)?({pattern})$", layer)
        except re.error as err:
            raise CheckpointError(f"{given.file}: {patterns.path(pattern)} is no pattern: {err}") from err
        if matches:
            return patterns.number(pattern, above=0.0, most=_MOST_ALPHA)
    return None


def _base(folder: Path, given: JsonObject) -> Path:
    """The base's directory: as the adapter names it, or a directory of that name beside the adapter."""
    named = Path(given.text("base_model_name_or_path"))
    for place in (folder / named, named, folder.parent / named.name):
        if is_adapter(place):
            raise CheckpointError(f"{folder}: its base {place} is an adapter itself; merge that one first")
        if is_file(place / "config.json") or is_file(place / "model" / "config.json"):
            return place
    raise CheckpointError(
        f"{folder} is an adapter of {show(str(named))}, which is no local directory; put its base there or beside the "
        f"adapter, or name it in {CONFIG} as base_model_name_or_path"
    )


def require_base(adapter: Adapter, digest: str) -> None:
    """Raise CheckpointError if the adapter tells that it was made for a base of another digest."""
    file = adapter.folder / ABOUT
    if not is_there(file):
        return
    told = read_object(file).text("base_digest", "")
    if told and told != digest:
        raise CheckpointError(f"{adapter.folder} was made for other weights than those of {adapter.base}")


def base_digest(folders: Iterable[Path]) -> str:
    """Name the weights of a checkpoint by samples of their files; a large one is not read whole."""
    digest = hashlib.sha256()
    for folder in sorted(set(folders)):
        for file in sorted(folder.glob("*.safetensors")) if is_folder(folder) else ():
            size = file.stat().st_size
            with file.open("rb") as stream:
                for piece in range(_DIGEST_PIECES):
                    stream.seek(max(0, size - _DIGEST_BYTES) * piece // (_DIGEST_PIECES - 1))
                    digest.update(stream.read(_DIGEST_BYTES))
            digest.update(f"{file.name} {size}".encode())
    return digest.hexdigest()[:16]


def adapted(adapter: Adapter, tensors: Sequence[AnyTensor], prefixes: Mapping[str, str]) -> list[AnyTensor]:
    """Return a base's tensors, those that the adapter changes made when they are read.

    prefixes: by part, what its tensors' names begin with in these files. Raises CheckpointError for shapes that do not
    fit.
    """
    return [_adapted(adapter, tensor, prefixes) for tensor in tensors]


def _adapted(adapter: Adapter, stored: AnyTensor, prefixes: Mapping[str, str]) -> AnyTensor:
    key = tensor_key(stored.name, prefixes)
    replaced, low_rank = adapter.replaced.get(key), adapter.low_rank.get(key)
    if replaced is not None:
        _require_shape(adapter, stored, replaced.shape)
        return MadeTensor(replaced.file, stored.name, stored.dtype, stored.shape, lambda: _read(replaced))
    if low_rank is None:
        return stored
    _require_shape(adapter, stored, (low_rank.up.shape[0], low_rank.down.shape[1]))
    return MadeTensor(stored.file, stored.name, stored.dtype, stored.shape, lambda: low_rank.applied(_read(stored)))


def tensor_key(name: str, prefixes: Mapping[str, str]) -> Key:
    """Return part and official name of a tensor of a base's file."""
    for part, prefix in prefixes.items():
        if name.startswith(prefix):
            return part, name.removeprefix(prefix)
    return "", name


def require_places(adapter: Adapter, present: Iterable[Key]) -> None:
    """Raise CheckpointError for a tensor of the adapter that has no place in its base. present: those of the base."""
    lost = sorted({*adapter.low_rank, *adapter.replaced} - set(present))
    if lost:
        part, name = lost[0]
        raise CheckpointError(f"{adapter.folder}: {name!r} of {part} has no place in its base {adapter.base}")


def _require_shape(adapter: Adapter, stored: AnyTensor, shape: tuple[int, ...]) -> None:
    if tuple(stored.shape) != tuple(shape):
        raise CheckpointError(
            f"{adapter.folder}: what it has for {stored.name!r} is of shape {list(shape)}, its base's "
            f"{list(stored.shape)}; it is of another base"
        )


def _read(stored: AnyTensor) -> Tensor:
    return read_tensor(stored, torch.device("cpu"), torch.float32)
