"""`vila fit --train`: what finetuning a checkpoint will occupy, for each way to do it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.machine.arithmetic import DTYPES
from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import (
    Linears,
    count_parameters,
    decoder_linears,
    tiles_of_frame,
    tower_linears,
)
from vila_core.models.encoders import frame_tokens
from vila_tools.finetune.plan import Plan
from vila_tools.finetune.precision import FLOAT8

PRECISIONS = ("float32", "bfloat16", FLOAT8)
WAYS = {
    "lora": Plan(decoder="lora", tower="norm"),
    "lora, tower frozen": Plan(decoder="lora", tower="frozen"),
    "full, tower norm": Plan(decoder="full", tower="norm"),
    "full": Plan(decoder="full", tower="full"),
}
_FULL = 4  # bytes of float32: of what is trained, its gradient, and each of Adam's two means
_TEXT, _REPLY = 160, 12  # tokens of a prompt without its pictures, and of an answer


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Megabytes by what they are for, at the moment when there is most."""

    frozen_weights: float
    trained_weights: float
    gradients: float
    optimizer: float
    activations: float
    libraries: float

    @property
    def total(self) -> float:
        """All of it."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True, slots=True)
class Batch:
    """What is read at a time. frames: of a prompt, the current one among them."""

    samples: int
    frames: int
    prompt_tokens: int


def usual_batch(config: CheckpointConfig, samples: int, frames: int | None = None) -> Batch:
    """Return a batch of navigation prompts."""
    navigation, tokens = config.navigation, frame_tokens(config)
    count = frames or navigation.num_frames
    older = tokens if navigation.history_tokens is None else min(tokens, navigation.history_tokens)
    return Batch(samples, count, (count - 1) * older + tokens + _TEXT + _REPLY)


def training_memory(
    config: CheckpointConfig, plan: Plan, precision: str, batch: Batch, *, stored_bytes: int, libraries_mb: float
) -> TrainingMemory:
    """Predict what a step of finetuning occupies.

    precision: one of PRECISIONS. stored_bytes: of a weight in the checkpoint's files; in it stays what is not trained,
    unless all is multiplied in float32. libraries_mb: what is there before any model.
    """
    width = _FULL if precision == "float32" else stored_bytes
    counts, trained = count_parameters(config), trained_counts(config, plan)
    added = lora_counts(config, plan)
    frozen = {part: counts[part] - (trained[part] - added[part]) for part in counts}
    frozen_bytes = float(sum(frozen.values()) * width)
    if precision == FLOAT8 and plan.decoder != "full":
        frozen_bytes -= (width - 1) * sum(each.weights for each in decoder_linears(config.language))
    changed = float(sum(trained.values()) * _FULL)
    return TrainingMemory(
        frozen_weights=frozen_bytes / 1e6,
        trained_weights=changed / 1e6,
        gradients=changed / 1e6,
        optimizer=2 * changed / 1e6,
        activations=activation_bytes(config, plan, precision, batch) / 1e6,
        libraries=libraries_mb,
    )


def lora_counts(config: CheckpointConfig, plan: Plan) -> dict[str, int]:
    """Return how many weights LoRA adds to each part."""
    decoder = _lora(decoder_linears(config.language), plan.rank) if plan.decoder == "lora" else 0
    tower = _lora(tower_linears(config.vision), plan.rank) if plan.tower == "lora" else 0
    return {"vision_tower": tower, "projector": 0, "language_model": decoder}


def trained_counts(config: CheckpointConfig, plan: Plan) -> dict[str, int]:
    """Return how many weights of each part are trained, LoRA's among them."""
    whole, added, vision = count_parameters(config), lora_counts(config, plan), config.vision
    norms = 4 * vision.layers * vision.hidden_size
    tower = {"full": whole["vision_tower"], "norm": norms}.get(plan.tower, added["vision_tower"])
    return {
        "vision_tower": tower,
        "projector": whole["projector"] if plan.projector == "full" else 0,
        "language_model": whole["language_model"] if plan.decoder == "full" else added["language_model"],
    }


def _lora(linears: Sequence[Linears], rank: int) -> int:
    return sum(each.count * rank * (each.inputs + each.outputs) for each in linears)


def activation_bytes(config: CheckpointConfig, plan: Plan, precision: str, batch: Batch) -> float:
    """Bytes that are kept for the gradients.

    Counted as autograd keeps them: what goes into each product, norm and activation. With saves_memory each layer keeps
    what goes into it, and one at a time all. Attention is taken to keep no scores, as torch's own does not.
    """
    narrow = _FULL if precision == "float32" else DTYPES["bfloat16"].itemsize
    tower = _tower_bytes(config, plan, narrow, batch) if plan.tower != "frozen" else 0.0
    return tower + _decoder_bytes(config, plan, narrow, batch) + _logit_bytes(config, narrow, batch)


def _decoder_bytes(config: CheckpointConfig, plan: Plan, narrow: int, batch: Batch) -> float:
    language = config.language
    heads, kv = language.heads * language.head_dim, 2 * language.kv_heads * language.head_dim
    residual, inner = language.hidden_size * _FULL, language.intermediate_size
    norms = 2 * (3 * residual + language.hidden_size * narrow)
    attention = (heads + kv) * (narrow + _FULL) + 2 * heads * narrow
    token = norms + attention + inner * 5 * narrow
    if plan.decoder == "lora":
        token += 7 * plan.rank * _FULL + (2 * language.hidden_size + heads + inner) * (_FULL - narrow)
    rows = batch.samples * batch.prompt_tokens
    if plan.saves_memory:
        return float(rows * (language.layers * residual + token))
    return float(rows * language.layers * token)


def _tower_bytes(config: CheckpointConfig, plan: Plan, narrow: int, batch: Batch) -> float:
    vision = config.vision
    residual = vision.hidden_size * _FULL
    token = 2 * (2 * residual) + 5 * vision.hidden_size * narrow + vision.hidden_size * narrow
    token += vision.intermediate_size * 2 * narrow
    rows = batch.samples * batch.frames * tiles_of_frame(vision, config.images) * vision.grid**2
    if plan.saves_memory:
        return float(rows * (vision.layers * residual + token))
    return float(rows * vision.layers * token)


def _logit_bytes(config: CheckpointConfig, narrow: int, batch: Batch) -> float:
    """Logits of the answers' tokens, once as they come and twice in float32."""
    return float(batch.samples * _REPLY * config.language.vocab_size * (narrow + 2 * _FULL))


def rows_of(
    config: CheckpointConfig, batch: Batch, *, stored_bytes: int, libraries_mb: float
) -> list[tuple[str, str, bool, TrainingMemory]]:
    """Return way, precision, whether memory is saved by running layers twice, and the memory of each row."""
    return [
        (
            name,
            precision,
            saves,
            training_memory(
                config,
                dataclasses.replace(plan, saves_memory=saves),
                precision,
                batch,
                stored_bytes=stored_bytes,
                libraries_mb=libraries_mb,
            ),
        )
        for name, plan in WAYS.items()
        for precision in PRECISIONS
        for saves in (False, True)
        if precision != FLOAT8 or plan.decoder == "lora"
    ]
