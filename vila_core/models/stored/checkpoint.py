"""Load a checkpoint directory into a model, strictly: every tensor has one place, every place one tensor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from vila_core.errors import CheckpointError
from vila_core.files.writing import written_whole
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.precision import AUTO
from vila_core.models.config import CheckpointConfig, TokenOrder
from vila_core.models.language_model import LanguageModel
from vila_core.models.projector import Projector
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Part, open_layout
from vila_core.models.stored.merging import adapted_tensors, require_whole_adapter
from vila_core.models.stored.quantized_weights import neutral_tensors, stored_group_size
from vila_core.models.stored.relevance_files import load_relevance
from vila_core.models.stored.stored_layers import StoredLayers, WithoutInit, place_tensor
from vila_core.models.stored.weights import AnyTensor
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vision_tower import VisionTower
from vila_core.models.vlm import VisionLanguageModel
from vila_core.models.working_precision import working_precision
from vila_core.quantization.install import install_quantized


def load_checkpoint(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    precision: str = AUTO,
    token_order: TokenOrder | None = None,
    layers: StoredLayers | None = None,
    narrow_table: bool = False,
) -> VisionLanguageModel:
    """Load the checkpoint directory for inference.

    The model is built without memory, on "meta"; its weights go from the memory-mapped files straight into place,
    tensor by tensor. Quantized weights of our own format, TinyChat's or AutoAWQ's are brought to one layout and stay
    quantized; precision is then that of all else. It names a dtype of DTYPES, or is "auto": what the device computes
    well, see models.working_precision; weights stored in another one are converted. token_order: of the projector's
    output, in place of the rule in models.config. layers: takes note of the decoder's, which then stay in their files.
    narrow_table: keep the tokens' embeddings in the 16 bits that they are stored in, unless the head is tied to them.
    An adapter's directory gives its base with the adapter merged in. Raises CheckpointError naming the missing or
    unexpected tensor, wrong shape, unreadable file or unknown precision.
    """
    if precision not in DTYPES:
        precision = working_precision(path, precision, device).name
    layout = open_layout(Path(path))
    require_whole_adapter(layout)
    config = config_of(layout, token_order=token_order)
    model = build_model(config, Tokenizer(layout.tokenizer, slow=config.generation == "native"), device="meta")
    slots = _slots(model)
    group_size = stored_group_size(layout)
    place = _Placer(torch.device(device), DTYPES[precision], layers, narrow_table=narrow_table)
    for folder in dict.fromkeys(part.folder for part in layout.parts.values()):
        inside = {name: part for name, part in layout.parts.items() if part.folder == folder}
        if any(True for name in inside for _ in slots[name].module.parameters()):  # an identity projector has no file
            place.fill(folder, neutral_tensors(adapted_tensors(layout, folder), group_size), inside, slots)
    model.relevance_head = load_relevance(Path(path) if layout.adapter is None else layout.root, config, device)
    return model.eval().requires_grad_(False)


def build_model(
    config: CheckpointConfig, tokenizer: Tokenizer, *, device: torch.device | str = "cpu"
) -> VisionLanguageModel:
    """Return the model with its weights not yet loaded (on "meta": not even allocated)."""
    on_meta = torch.device(device).type == "meta"
    with torch.device(device), WithoutInit() if on_meta else nullcontext():
        tower = VisionTower(config.vision)
        projector = Projector(config.projector)
        language = LanguageModel(config.language)
    return VisionLanguageModel(config, tokenizer, tower, projector, language)


def save_weights(model: VisionLanguageModel, path: Path, dtype: torch.dtype) -> None:
    """Write the three parts' `model.safetensors` under the checkpoint directory, in the official names.

    Parameters are stored in dtype, quantized weights as they are.
    """
    parts = (
        ("vision_tower", model.vision_tower, "vision_model."),
        ("mm_projector", model.projector, ""),
        ("llm", model.language_model, "model."),
    )
    for folder, module, prefix in parts:
        weights = {name for name, _ in module.named_parameters()}
        tensors = {
            name if name.startswith("lm_head.") else prefix + name: tensor.detach()
            .to("cpu", dtype if name in weights else tensor.dtype)
            .contiguous()
            for name, tensor in module.state_dict().items()
        }
        with written_whole(path / folder / "model.safetensors") as made:
            save_file(tensors, made, metadata={"format": "pt"})


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """A part of the model; name_of: a file's tensor name -> the parameter's, or None for one that is not needed."""

    module: nn.Module
    name_of: Callable[[str], str | None]


def _slots(model: VisionLanguageModel) -> dict[str, _Slot]:
    return {
        "vision_tower": _Slot(model.vision_tower, _vision_name(model.config)),
        "mm_projector": _Slot(model.projector, lambda name: name),
        "llm": _Slot(model.language_model, _language_name(model.config)),
    }


class _Placer:
    """Moves tensors from files into parameters."""

    def __init__(
        self, device: torch.device, dtype: torch.dtype, layers: StoredLayers | None, *, narrow_table: bool
    ) -> None:
        self.device, self.dtype, self.layers, self.narrow_table = device, dtype, layers, narrow_table

    def fill(self, folder: Path, tensors: Sequence[AnyTensor], parts: dict[str, Part], slots: dict[str, _Slot]) -> None:
        """Give every parameter and quantized weight of the parts that lie in the folder its tensor."""
        found: dict[tuple[str, str], AnyTensor] = {}
        for stored in tensors:
            key = _destination(stored, parts, slots)
            if key in found:
                raise CheckpointError(f"{stored.file}: tensor {stored.name!r} is there twice")
            if key is not None:
                found[key] = stored
        for part in parts:
            _prepare_quantized(slots[part].module, {name: found[of, name].shape for of, name in found if of == part})
        wanted = {(part, name) for part in parts for name in slots[part].module.state_dict()}
        for key, stored in found.items():
            if key not in wanted:
                raise CheckpointError(f"{stored.file}: unexpected tensor {stored.name!r}")
        missing = sorted(wanted - set(found))
        if missing:
            part, name = missing[0]
            raise CheckpointError(f"{folder}: {len(missing)} tensors are missing, the first is {name!r} of {part}")
        for (part, name), stored in found.items():
            if self.layers is None or not self.layers.take(part, name, stored):
                place_tensor(
                    slots[part].module, name, stored, self.device, self._dtype_of(slots[part].module, name, stored)
                )

    def _dtype_of(self, module: nn.Module, name: str, stored: AnyTensor) -> torch.dtype:
        """The model's, or the file's for the tokens' table if that is narrower and nothing multiplies by it."""
        if not (self.narrow_table and isinstance(module, LanguageModel) and name == "embed_tokens.weight"):
            return self.dtype
        narrower = stored.dtype in (torch.bfloat16, torch.float16) and stored.dtype.itemsize < self.dtype.itemsize
        if module.lm_head is None or not narrower:
            return self.dtype
        module.embed_tokens.given_in = self.dtype
        return stored.dtype


def _prepare_quantized(module: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make room for quantized tensors; a tied head that was quantized is one of its own."""
    if (
        isinstance(module, LanguageModel)
        and module.lm_head is None
        and any(n.startswith(_QUANTIZED_HEAD) for n in shapes)
    ):
        with torch.device("meta"):
            module.lm_head = nn.Linear(module.config.hidden_size, module.config.vocab_size, bias=False)
    install_quantized(module, shapes)


_QUANTIZED_HEAD = "lm_head.weight_int"


def _destination(stored: AnyTensor, parts: dict[str, Part], slots: dict[str, _Slot]) -> tuple[str, str] | None:
    """The part and parameter that a tensor is for, None if it is not needed."""
    for part, place in parts.items():
        if stored.name.startswith(place.prefix):
            name = slots[part].name_of(stored.name.removeprefix(place.prefix))
            return None if name is None else (part, name)
    raise CheckpointError(f"{stored.file}: unexpected tensor {stored.name!r}")


_BEHIND = re.compile(r"post_layernorm\.(weight|bias)|head\.(probe|(attention|layernorm|mlp)\..+)")
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(layer_norm[12]|self_attn\.(q|k|v|out)_proj|mlp\.fc[12])\.(weight|bias)")


def _vision_name(config: CheckpointConfig) -> Callable[[str], str | None]:
    """Names below `vision_model.`; layers behind the selected one, post layernorm and head are not needed."""
    running, stored = config.vision.layers, config.vision.stored_layers

    def name_of(key: str) -> str | None:
        if not key.startswith("vision_model."):
            return key
        name = key.removeprefix("vision_model.")
        layer = _LAYER.fullmatch(name)
        unused = layer is not None and running <= int(layer[1]) < stored
        return None if unused or _BEHIND.fullmatch(name) else name

    return name_of


def _language_name(config: CheckpointConfig) -> Callable[[str], str | None]:
    """Names below `model.`, and the head's, which is not needed if it is tied to the embedding."""

    def name_of(key: str) -> str | None:
        if key.endswith("rotary_emb.inv_freq") or (key == "lm_head.weight" and config.language.tied):
            return None
        return key.removeprefix("model.")

    return name_of
