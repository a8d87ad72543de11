"""Load a checkpoint directory into a model, strictly: every tensor has one place, every place one tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vila_core.errors import CheckpointError
from vila_core.models.config import CheckpointConfig, read_checkpoint_config
from vila_core.models.language_model import LanguageModel
from vila_core.models.projector import Projector
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_checkpoint(
    path: Path, *, device: torch.device | str = "cpu", precision: str = "float32"
) -> VisionLanguageModel:
    """Load the checkpoint directory for inference.

    Weights go from the memory-mapped file straight into place, tensor by tensor. Raises
    CheckpointError naming the missing or unexpected tensor, wrong shape or unreadable file.
    """
    if precision not in DTYPES:
        raise CheckpointError(f"precision {precision!r} is not supported; supported: {', '.join(DTYPES)}")
    path = Path(path)
    config = read_checkpoint_config(path)
    model = build_model(config, Tokenizer(path / "llm" / "tokenizer.json"), device="meta")
    place = _Placer(torch.device(device), DTYPES[precision])
    place.fill(model.vision_tower, path / "vision_tower", _vision_name(config))
    place.fill(model.projector, path / "mm_projector", lambda name: name)
    place.fill(model.language_model, path / "llm", _language_name(config))
    return model.eval().requires_grad_(False)


def build_model(
    config: CheckpointConfig, tokenizer: Tokenizer, *, device: torch.device | str = "cpu"
) -> VisionLanguageModel:
    """Return the model with its weights not yet loaded (on "meta": not even allocated)."""
    with torch.device(device):
        tower = VisionTower(config.vision)
        projector = Projector(config.projector)
        language = LanguageModel(config.language)
    return VisionLanguageModel(config, tokenizer, tower, projector, language)


def save_weights(model: VisionLanguageModel, path: Path, dtype: torch.dtype) -> None:
    """Write the three parts' `model.safetensors` under the checkpoint directory, in the official names."""
    parts = (
        ("vision_tower", model.vision_tower, "vision_model."),
        ("mm_projector", model.projector, ""),
        ("llm", model.language_model, "model."),
    )
    for folder, module, prefix in parts:
        tensors = {
            name if name.startswith("lm_head.") else prefix + name: tensor.detach().to("cpu", dtype).contiguous()
            for name, tensor in module.state_dict().items()
        }
        (path / folder).mkdir(parents=True, exist_ok=True)
        save_file(tensors, path / folder / "model.safetensors", metadata={"format": "pt"})


Rename = Callable[[str], str | None]  # a file's tensor name -> the module's, or None if it is not needed


class _Placer:
    """Moves tensors from files into a module's parameters."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def fill(self, module: nn.Module, folder: Path, rename: Rename) -> None:
        """Give every parameter of the module its tensor from the folder's safetensors files."""
        wanted = dict(module.named_parameters())
        filled: set[str] = set()
        for file in _weight_files(folder):
            try:
                with safe_open(file, framework="pt") as tensors:
                    for key in tensors.keys():  # noqa: SIM118
                        name = rename(key)
                        if name is None:
                            continue
                        if name not in wanted:
                            raise CheckpointError(f"{file}: unexpected tensor {key!r}")
                        self._set(module, name, tensors.get_tensor(key), f"{file}: {key}")
                        filled.add(name)
            except (SafetensorError, OSError) as err:
                raise CheckpointError(f"{file} cannot be read: {err}; download it again") from err
        missing = sorted(set(wanted) - filled)
        if missing:
            raise CheckpointError(f"{folder}: {len(missing)} tensors are missing, the first is {missing[0]!r}")

    def _set(self, module: nn.Module, name: str, tensor: Tensor, source: str) -> None:
        owner_name, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        expected = getattr(owner, leaf).shape
        if tensor.shape != expected:
            raise CheckpointError(f"{source}: expected shape {list(expected)}, got {list(tensor.shape)}")
        setattr(owner, leaf, nn.Parameter(tensor.to(self.device, self.dtype), requires_grad=False))


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [folder / name for name in names]
    file = folder / "model.safetensors"
    if not file.is_file():
        raise CheckpointError(f"{folder} holds no model.safetensors; pickle files (.bin, .pt) are not loaded")
    return [file]


def _vision_name(config: CheckpointConfig) -> Rename:
    layer = re.compile(r"encoder\.layers\.(\d+)\.")

    def rename(key: str) -> str | None:
        name = key.removeprefix("vision_model.")
        found = layer.match(name)
        behind = found is not None and int(found[1]) >= config.vision.layers
        return None if behind or name.startswith(("head.", "post_layernorm.")) else name

    return rename


def _language_name(config: CheckpointConfig) -> Rename:
    def rename(key: str) -> str | None:
        if key.endswith("rotary_emb.inv_freq") or (key == "lm_head.weight" and config.language.tied):
            return None
        return key.removeprefix("model.")

    return rename
