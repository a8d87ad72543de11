"""Write an adapter in peft's layout: adapter_config.json, adapter_model.safetensors, and what it was made of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from vila_core.files.json_object import Json
from vila_core.files.writing import written_whole
from vila_core.models.stored.adapters import ABOUT, CONFIG, PEFT_PREFIX, PREFIXES, WEIGHTS, Adapter, Key, LowRank
from vila_core.models.stored.weights import MadeTensor
from vila_core.version import package_version


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What training changed: pairs (down [r, K], up [N, r]) by matrix, and tensors that were trained whole."""

    rank: int
    alpha: float
    low_rank: Mapping[Key, tuple[Tensor, Tensor]] = field(default_factory=dict)
    replaced: Mapping[Key, Tensor] = field(default_factory=dict)

    def adapter(self, folder: Path, base: Path) -> Adapter:
        """Return it as an adapter that is in memory, to be merged."""
        scale = self.alpha / self.rank
        pairs = {
            key: LowRank(_made(folder, key, down), _made(folder, key, up), scale)
            for key, (down, up) in self.low_rank.items()
        }
        return Adapter(folder, base, pairs, {key: _made(folder, key, value) for key, value in self.replaced.items()})


def _made(folder: Path, key: Key, value: Tensor) -> MadeTensor:
    return MadeTensor(folder, key[1], value.dtype, tuple(value.shape), lambda: value)


def save_adapter(folder: Path, base: Path, trained: Trained, *, digest: str, dropout: float, about: Json) -> None:
    """Write the adapter, whole or not at all.

    base: named as seen from the folder if both stand in one folder, else by its whole path. digest: of its weights.
    about: what else to tell, for people. Raises OutputError where it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for key, (down, up) in trained.low_rank.items():
        layer = _peft_name(key).removesuffix(".weight")
        tensors[f"{layer}.lora_A.weight"], tensors[f"{layer}.lora_B.weight"] = down, up
    tensors |= {_peft_name(key): value for key, value in trained.replaced.items()}
    config = _config(folder, base, trained, dropout)
    told = {"base_digest": digest, "made_with": {"vila-nav": package_version(), "torch": torch.__version__}, **about}
    with written_whole(folder) as made:
        made.mkdir()
        kept = {name: value.detach().to("cpu", torch.float32).contiguous() for name, value in tensors.items()}
        save_file(kept, made / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
        (made / ABOUT).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        (made / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _peft_name(key: Key) -> str:
    return PEFT_PREFIX + PREFIXES[key[0]] + key[1]


def _config(folder: Path, base: Path, trained: Trained, dropout: float) -> Json:
    own, other = folder.resolve(), base.resolve()
    is_near = own.parent == other.parent
    layers = sorted((PREFIXES[part] + name).removesuffix(".weight") for part, name in trained.low_rank)
    whole = sorted({(PREFIXES[part] + name).rpartition(".")[0] for part, name in trained.replaced})
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": os.path.relpath(other, own) if is_near else str(other),
        "r": trained.rank,
        "lora_alpha": trained.alpha,
        "lora_dropout": dropout,
        "target_modules": layers,
        "modules_to_save": whole or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "task_type": None,
    }
