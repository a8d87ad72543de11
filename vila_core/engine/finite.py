"""Results that are not finite: refused where they are read, and traced to the stage where they began.

Reading looks at the few numbers that decide, each time. The trace runs behind a refusal alone: everything anew, layer
by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vila_core.errors import NotFiniteError
from vila_core.models.language_model import LanguageModel
from vila_core.models.packed_linear import PackedLinear
from vila_core.models.vision_tower import VisionEncoder, VisionTower
from vila_core.models.vlm import VisionLanguageModel


def require_finite(values: Tensor, what: str) -> None:
    """Raise NotFiniteError if any of the values is NaN or infinite. what: they are called in the message."""
    if not is_finite(values):
        raise NotFiniteError(f"{what} are not finite")


def is_finite(values: Tensor) -> bool:
    """Tell whether no value is NaN or infinite."""
    return bool(torch.isfinite(values).all())


@contextmanager
def traced(model: VisionLanguageModel, compute: Callable[[], object], otherwise: str = "") -> Iterator[None]:
    """Have a NotFiniteError from within name the stage where it began, and what to do.

    compute: does all that was done within anew, nothing reused; may raise StageError. otherwise: names the stage if a
    second pass finds none.
    """
    try:
        yield
    except NotFiniteError as err:
        stage = first_stage(model, compute) or (Stage(otherwise) if otherwise else None)
        where = "a second pass finds it nowhere" if stage is None else f"it began in {stage}"
        raise NotFiniteError(f"{err}: {where}; {_remedy(stage, model.dtype)}") from err


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the model, and the first of its weights that is not finite itself; "" if all are, or not known."""

    name: str
    weight: str = ""

    def __str__(self) -> str:
        return f"{self.name}, whose {self.weight} is not finite" if self.weight else self.name


class StageError(NotFiniteError):
    """Ends a trace: the stage is found."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(str(stage))
        self.stage = stage


def _remedy(stage: Stage | None, dtype: torch.dtype) -> str:
    check = "`vila info --check CHECKPOINT` names all weights that are not finite"
    if stage is not None and stage.weight:
        return f"the checkpoint is damaged: {check}"
    if dtype == torch.float16:
        return f"float16 overflows above 65504: try precision bfloat16 or float32, and if that is no help, {check}"
    return f"the checkpoint may be damaged: {check}"


def first_stage(model: VisionLanguageModel, compute: Callable[[], object]) -> Stage | None:
    """Return the first stage whose output is not finite, None if none is; layers run one by one for it."""
    hooks = [module.register_forward_hook(partial(_look, name)) for name, module in _stages(model)]
    joined = [part for part in _joinable(model) if part.split_layers()]
    try:
        compute()
    except StageError as found:
        return found.stage
    finally:
        for part in joined:
            part.join_layers()
        for hook in hooks:
            hook.remove()
    return None


def _look(name: str, module: nn.Module, _inputs: object, output: object) -> None:
    if isinstance(output, Tensor) and not is_finite(output):
        raise StageError(Stage(name, _damaged_weight(module)))


def require_stage(values: Tensor, name: str) -> None:
    """End a trace by a StageError if any of the values that the named stage gives is not finite."""
    if not is_finite(values):
        raise StageError(Stage(name))


def _damaged_weight(module: nn.Module) -> str:
    """The first weight of a module that is not finite, by its name below it."""
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not is_finite(value):
            return name
    for name, child in module.named_modules():
        if isinstance(child, PackedLinear) and not is_finite(child.weight.to_dense()):
            return f"{name}.weight"
    return ""


def _joinable(model: VisionLanguageModel) -> Iterator[VisionEncoder | LanguageModel]:
    if isinstance(model.vision_tower, VisionTower):
        yield model.vision_tower.encoder
    if isinstance(model.language_model, LanguageModel):
        yield model.language_model


def _stages(model: VisionLanguageModel) -> Iterator[tuple[str, nn.Module]]:
    """Parts whose output is looked at, in the order in which they run."""
    tower, language = model.vision_tower, model.language_model
    if isinstance(tower, VisionTower):
        yield "the patch embedding of the vision tower", tower.embeddings
        for number, layer in enumerate(tower.encoder.layers):
            yield f"layer {number} of the vision tower", layer
        yield "the projector", model.projector
    yield "the token table", language.embed_tokens
    for number, layer in enumerate(language.layers):
        yield f"layer {number} of the language model", layer
    if language.layers:  # an engine holds them, and this norm
        yield "the last norm of the language model", language.norm
    if language.lm_head is not None:
        yield "the language head", language.lm_head
