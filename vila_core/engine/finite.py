"""Results that are not finite: refused where they are read, and traced to the stage where they began.

Reading looks at the few numbers that decide, each time. The trace runs behind a refusal alone: everything anew, layer
by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn

from vila_core.errors import NotFiniteError
from vila_core.models.language_model import LanguageModel
from vila_core.models.vision_tower import VisionEncoder, VisionTower
from vila_core.models.vlm import VisionLanguageModel


def require_finite(values: Tensor, what: str) -> None:
    """Raise NotFiniteError if any of the values is NaN or infinite. what: they are called in the message."""
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError(f"{what} are not finite")


@contextmanager
def traced(
    model: VisionLanguageModel, precision: str, compute: Callable[[], object], otherwise: str = ""
) -> Iterator[None]:
    """Have a NotFiniteError from within name the stage where it began, and what to do.

    compute: does all that was done within anew, nothing reused; may raise NotFiniteError too. otherwise: the stage if
    no layer is the one.
    """
    try:
        yield
    except NotFiniteError as err:
        stage = first_stage(model, compute) or otherwise
        where = f"first behind {stage}" if stage else "which began in no single layer"
        if "float16" in precision and "bfloat16" not in precision:
            remedy = "float16 may overflow: try precision bfloat16 or float32"
        else:
            remedy = "weights may be damaged: `vila info --check CHECKPOINT` looks for them"
        raise NotFiniteError(f"the model computes NaN or infinity, {where}: {err}; {remedy}") from err


def first_stage(model: VisionLanguageModel, compute: Callable[[], object]) -> str:
    """Return the name of the first stage whose output is not finite, "" if none is; layers run one by one for it."""
    found: list[str] = []

    def note(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
                found.append(name)

        return look

    hooks = [module.register_forward_hook(note(name)) for name, module in _stages(model)]
    joined = [part for part in _joinable(model) if part.split_layers()]
    try:
        with suppress(NotFiniteError):
            compute()
    finally:
        for part in joined:
            part.join_layers()
        for hook in hooks:
            hook.remove()
    return found[0] if found else ""


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
    yield "the last norm of the language model", language.norm
    if language.lm_head is not None:
        yield "the language head", language.lm_head
