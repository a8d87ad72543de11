"""How long a checkpoint's parts take on this CPU: a few of its layers with random weights, run as the engine runs them.

What does not grow with the layers is measured by decisions of the same model without any.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from vila_core.config import NavigatorConfig
from vila_core.engine.cached_decoder import CHUNK
from vila_core.engine.torch_backend import TorchBackend, prepare_eyes, prepare_for_device
from vila_core.machine.arithmetic import DTYPES
from vila_core.machine.speeds import clock_s
from vila_core.models.config import CheckpointConfig, LanguageConfig
from vila_core.models.costs import Storage, decoder_bytes, tiles_of_frame, tower_bytes
from vila_core.models.kv_cache import KVCache, append
from vila_core.models.language_model import LanguageModel
from vila_core.models.roofline import StepCounts
from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout
from vila_core.models.stored.relevance_files import load_relevance
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vlm import VisionLanguageModel
from vila_core.quantization.runtime import convert_for_cpu
from vila_core.random_checkpoints.model import fill_random, with_int4, with_int8
from vila_tools.decision_speed import measure_decide
from vila_tools.fit.steps import Mission

_CPU = torch.device("cpu")
_NEW, _PAST = (1, 32, 256), 1024  # tokens of the passes that are timed
_LEAST, _MOST, _ENOUGH_S = 3, 30, 0.1  # runs of what is timed, and seconds that they need not exceed
_CACHE_BYTES = 16 << 20  # a processor's caches: smaller models stay in them between two decisions
_FLUSH_BYTES = 256 << 20  # read before a layer of a larger one, whose weights come from memory each time
_HEAD_ROWS = 16384  # of the head that are timed
_FEW, _MANY, _WIDTH, _HEIGHT = 8, 64, 640, 480  # decisions that are timed, and the size of their pictures


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass of `new` tokens through all layers of the decoder: milliseconds, and more for each token before it."""

    new: int
    ms: float
    ms_a_past_token: float

    def behind(self, past: float) -> float:
        """Milliseconds behind so many tokens."""
        return self.ms + past * self.ms_a_past_token


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of a model's parts: a decision without layers, the tower's layers, passes, and the whole head."""

    decision_ms: float
    encode_ms: float
    passes: tuple[Pass, ...]
    head_ms: float

    def step_ms(self, counts: StepCounts) -> float:
        """A step: what each decision takes, its frames, and its new tokens chunk by chunk."""
        read_ms = sum(self.pass_ms(new, past) for new, past in counts.passes(CHUNK))
        return self.decision_ms + counts.encodes * self.encode_ms + read_ms

    def decode_ms(self, past: int) -> float:
        """A token of a free reply."""
        return self.pass_ms(1, past) + self.head_ms

    def pass_ms(self, new: float, past: float) -> float:
        """A pass through the decoder, on a line between the two that were timed next to it."""
        lower, upper = next(
            (pair for pair in zip(self.passes, self.passes[1:], strict=False) if new <= pair[1].new), self.passes[-2:]
        )
        share = (new - lower.new) / (upper.new - lower.new)
        return lower.behind(past) + share * (upper.behind(past) - lower.behind(past))

    def slower(self, factor: float) -> Measured:
        """The same where layers take so many times as long."""
        passes = tuple(Pass(each.new, each.ms * factor, each.ms_a_past_token * factor) for each in self.passes)
        return Measured(self.decision_ms, self.encode_ms * factor, passes, self.head_ms * factor)


def measure_decision(layout: Layout, precision: str) -> float:
    """Milliseconds of a decision of the checkpoint's model without layers, so whatever its linears are."""
    storage = Storage(DTYPES[precision].itemsize)
    return _decide_ms(layout, config_of(layout), storage, precision, (0, 0), _FEW)


@torch.inference_mode()
def measure_parts(layout: Layout, precision: str, storage: Storage, decision_ms: float) -> Measured:
    """Time a checkpoint's layers and head; only its JSON files are read.

    precision: of what the storage does not quantize. decision_ms: from measure_decision.
    """
    config, dtype = config_of(layout), DTYPES[precision]
    tower = _kept(config.vision.layers, tower_bytes(config.vision, storage))
    decoder = _kept(config.language.layers, decoder_bytes(config.language, storage))
    model = _model(layout, config, storage, dtype, (tower, decoder))
    empty = _model(layout, config, storage, dtype, (0, 0))
    tokens = torch.randn(1, config.vision.grid**2, config.vision.hidden_size).to(dtype)
    encode_ms = _clock_ms(partial(model.vision_tower.encoder, tokens), flush=tower < config.vision.layers)
    times = config.language.layers / decoder
    return Measured(
        decision_ms,
        encode_ms * tiles_of_frame(config.vision, config.images) * config.vision.layers / tower,
        tuple(_timed_pass(model, empty, new, times) for new in _NEW),
        _head_ms(config.language, storage, dtype),
    )


def stays_in_caches(config: CheckpointConfig, storage: Storage) -> bool:
    """Whether a model is so small that decisions of the whole of it can be timed here in a second."""
    return tower_bytes(config.vision, storage) + decoder_bytes(config.language, storage) <= _CACHE_BYTES


def with_whole_decisions(
    measured: Measured, layout: Layout, precision: str, storage: Storage, mission: Mission
) -> Measured:
    """Correct what was measured of a model that stays in the caches by decisions of the whole of it.

    Such layers take other times one by one than in a row. mission: of the checkpoint's own frames, under the default
    history policy. The difference goes to what each decision takes.
    """
    config = config_of(layout)
    whole_ms = _decide_ms(layout, config, storage, precision, (config.vision.layers, config.language.layers), _MANY)
    return dataclasses.replace(measured, decision_ms=measured.decision_ms + whole_ms - measured.step_ms(mission.mean))


def _kept(layers: int, all_bytes: int) -> int:
    """How many layers are made: as many as fit the caches, at least one. all_bytes: of the weights of all."""
    return max(1, min(layers, int(_CACHE_BYTES / all_bytes * layers)))


def _decide_ms(
    layout: Layout,
    config: CheckpointConfig,
    storage: Storage,
    precision: str,
    layers: tuple[int, int],
    decisions: int,
) -> float:
    model = _model(layout, config, storage, DTYPES[precision], layers)
    model.relevance_head = load_relevance(layout.root, config, _CPU)  # with one, frames are kept in its size
    prepare_eyes(model)
    backend, scored = TorchBackend(model, precision), NavigatorConfig(reply="choice")
    return measure_decide(backend, decisions=decisions, width=_WIDTH, height=_HEIGHT, config=scored).decide_ms


def _model(
    layout: Layout, config: CheckpointConfig, storage: Storage, dtype: torch.dtype, layers: tuple[int, int]
) -> VisionLanguageModel:
    """The checkpoint's model with so many layers of tower and decoder; its embeddings are zeros, which take no room."""
    vision = dataclasses.replace(config.vision, layers=layers[0])
    language = dataclasses.replace(config.language, layers=layers[1])
    shorter = dataclasses.replace(config, vision=vision, language=language)
    model = build_model(shorter, Tokenizer(layout.tokenizer, slow=config.generation == "native"), device="meta")
    for owner in (model.language_model.embed_tokens, model.language_model.lm_head):
        if isinstance(owner, nn.Embedding | nn.Linear):
            owner.weight = nn.Parameter(torch.zeros(owner.weight.shape, dtype=dtype), requires_grad=False)
    if storage.language_bits:
        with_int4(model.language_model.layers, _CPU, dtype)
    fill_random(model, _CPU, dtype)
    if storage.vision_bits:
        with_int8(model.vision_tower)
    model.eval().requires_grad_(False)
    whole = config.vision.layers, config.language.layers
    prepare_for_device(model, times=(whole[0] / max(1, layers[0]), whole[1] / max(1, layers[1])))
    return model


def _timed_pass(model: VisionLanguageModel, empty: VisionLanguageModel, new: int, times: float) -> Pass:
    """Time a pass behind nothing and behind a prompt. times: how many such models make up all layers."""
    near, far = (
        times * (_pass_ms(model, new, past, flush=times > 1) - _pass_ms(empty, new, past, flush=False))
        for past in (0, _PAST)
    )
    return Pass(new, max(0.0, near), max(0.0, far - near) / _PAST)


def _pass_ms(model: VisionLanguageModel, new: int, past: int, *, flush: bool) -> float:
    language: LanguageModel = model.language_model
    cache = KVCache(language.config, past + new, dtype=model.dtype, device=_CPU)
    embeddings = torch.randn(1, new, language.config.hidden_size).to(model.dtype)
    run = partial(language, embeddings, torch.arange(past, past + new), context=append(cache, past, new))
    return _clock_ms(run, flush=flush)


def _head_ms(language: LanguageConfig, storage: Storage, dtype: torch.dtype) -> float:
    """The logits of one token, from a part of the head."""
    rows = min(_HEAD_ROWS, language.vocab_size)
    with torch.device("meta"):
        head: nn.Module = nn.Sequential(nn.Linear(language.hidden_size, rows, bias=False))
    if storage.language_bits:
        with_int4(head, _CPU, dtype)
    fill_random(head, _CPU, dtype)
    convert_for_cpu(head)
    hidden = torch.randn(1, language.hidden_size).to(dtype)
    return _clock_ms(partial(head, hidden), flush=True) * language.vocab_size / rows


def _clock_ms(run: Callable[[], object], *, flush: bool) -> float:
    """Median of the runs after one that does not count. flush: push the weights out of the caches before each."""
    elsewhere = torch.ones(_FLUSH_BYTES // 4 if flush else 0)
    run()
    times: list[float] = []
    while len(times) < _LEAST or (sum(times) < _ENOUGH_S and len(times) < _MOST):
        elsewhere.sum()
        times.append(clock_s(run, _CPU))
    return 1e3 * statistics.median(times)
