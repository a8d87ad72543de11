"""A model asked for the answers of samples, as the navigator asks it: logits where it must say the right tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.frame_encoder import embed_visual
from vila_core.engine.torch_backend import model_info
from vila_core.errors import ConfigError
from vila_core.history.navila_policy import BLANK, plan_tokens, select_frames
from vila_core.models.preprocess import input_size
from vila_core.models.vlm import Segment, VisionLanguageModel
from vila_core.prompts.conversation import render_conversation, stop_texts
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, FrameKey, Instruction, Visual
from vila_tools.finetune.samples import Sample
from vila_tools.training.ranks import Share
from vila_tools.training.vision_stage import augment

_REPLY_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A sample as the decoder reads it. reply: token ids of the answer and of what ends it."""

    segments: tuple[Segment, ...]
    visuals: tuple[Visual, ...]
    reply: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Replies:
    """What the model says where the answers' T tokens are due."""

    logits: Tensor  # [T, V]
    targets: Tensor  # [T] int64
    samples: Tensor  # [T] int64: which sample each token is of
    count: int

    def losses(self) -> Tensor:
        """Cross entropy of each token, [T] float32."""
        return F.cross_entropy(self.logits.float(), self.targets, reduction="none")

    def sample_losses(self) -> Tensor:
        """Mean of each sample's tokens, [count]."""
        sums = torch.zeros(self.count, device=self.logits.device).index_add(0, self.samples, self.losses())
        return sums / torch.bincount(self.samples, minlength=self.count)

    def right(self) -> Tensor:
        """Whether all of a sample's tokens were the likeliest ones, [count] bool."""
        wrong = (self.logits.argmax(-1) != self.targets).long()
        return torch.zeros(self.count, dtype=torch.long, device=wrong.device).index_add(0, self.samples, wrong) == 0


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Changes in light and noise, drawn for all frames of a whole batch, of which one may ask a part."""

    rng: np.random.Generator
    batch: Sequence[Asked]


class Examiner:
    """Asks one model."""

    def __init__(self, model: VisionLanguageModel) -> None:
        self.model, self.info = model, model_info(model, "float32")
        self._reply = lru_cache(maxsize=256)(self._reply_ids)
        self._pooled = plan_tokens(self.info.num_frames, self.info.history_tokens).tokens

    def ask(self, sample: Sample) -> Asked:
        """Read a sample's frames and write its prompt. Raises MediaError for a frame that cannot be read.

        The frames are those that NaVILA's history takes; black ones stand in front of too few.
        """
        indices = select_frames(len(sample.frames), self.info.num_frames)
        pictures = {index: sample.image(index) for index in set(indices) if index != BLANK}
        black = np.zeros_like(next(iter(pictures.values())))
        shown = [Frame(pictures.get(index, black), index, _camera(sample, index, black)) for index in indices]
        visuals = [Visual(frame, tokens) for frame, tokens in zip(shown, self._pooled, strict=True)]
        info = self.info
        prompt = navigation_prompt(
            info.prompt_style, info.chat_template, Instruction(sample.instruction), visuals, SENTENCES
        )
        return Asked(tuple(self.model.segments(prompt.text)), prompt.visuals, self._reply(sample.answer))

    def _reply_ids(self, answer: str) -> tuple[int, ...]:
        """Token ids of an answer, and of the first token that the chat template puts behind it."""
        tokenizer, language, template = self.model.tokenizer, self.model.config.language, self.info.chat_template
        text = render_conversation(template, ["", _REPLY_MARK], generation_prompt=False).rpartition(_REPLY_MARK)[2]
        stops = (tokenizer.id_of(stop) for stop in stop_texts(template) if text.startswith(stop))
        ending = next((stop for stop in stops if stop is not None), language.eos_token_ids[0])
        ids = (*tokenizer.encode(answer), ending)
        if max(ids) >= language.vocab_size:
            raise ConfigError(f"the answer {answer!r} has tokens that the checkpoint has no embedding for")
        return ids

    def replies(self, asked: Sequence[Asked], changes: Changes | None = None) -> Replies:
        """Run tower, projector and decoder on a batch."""
        seen = self._see(asked, changes)
        rows, places, targets, owners = [], list[int](), list[int](), list[int]()
        for number, one in enumerate(asked):
            tokens = [embed_visual(visual, lambda frame: seen[frame.key]) for visual in one.visuals]
            prompt = self.model.embed(one.segments, tokens)
            rows.append(torch.cat([prompt, self.model.embed_ids(one.reply[:-1])]).float())
            places += range(len(prompt) - 1, len(prompt) - 1 + len(one.reply))
            targets += one.reply
            owners += [number] * len(one.reply)
        batch = pad_sequence(rows, batch_first=True)  # what follows a prompt does not change it: attention is causal
        where = self.model.device
        owner = torch.tensor(owners, device=where)
        language = self.model.language_model
        hidden = language(batch, torch.arange(batch.shape[1], device=where))
        logits = language.logits(hidden[owner, torch.tensor(places, device=where)])
        return Replies(logits, torch.tensor(targets, device=where), owner, len(asked))

    def _see(self, asked: Sequence[Asked], changes: Changes | None) -> dict[FrameKey, Tensor]:
        """Visual tokens [N, D] of all frames of a batch; those that samples share are seen once."""
        frames = _frames(asked)
        model = self.model
        pixels = model.squares(list(frames.values()), input_size(model.config.vision, model.config.images))
        if changes is not None:
            number = {key: at for at, key in enumerate(_frames(changes.batch))}
            share = Share([number[key] for key in frames], len(number))
            is_black = torch.tensor([frame.stamp_ns == BLANK for frame in frames.values()], device=pixels.device)
            changed = augment(pixels.cpu(), changes.rng, share).to(pixels.device)
            pixels = torch.where(is_black[:, None, None, None], pixels.float(), changed)
        return dict(zip(frames, model.encode_squares(pixels), strict=True))


def _frames(asked: Sequence[Asked]) -> dict[FrameKey, Frame]:
    return {frame.key: frame for one in asked for visual in one.visuals for frame in visual.frames}


def _camera(sample: Sample, index: int, black: NDArray[np.uint8]) -> str:
    """What tells a frame from those of other samples with the same index."""
    if index == BLANK:
        return f"black {black.shape[:2]}"
    frame = sample.frames[index]
    return str(frame) if isinstance(frame, Path) else sample.group
