"""Training samples of the policy: a frame of a rollout, an object of its room, and what the oracle would do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.actions.grammar import ACTIONS, SENTENCES, action_index
from vila_core.history.navila_policy import BLANK, select_frames
from vila_core.models.vlm import VisionLanguageModel
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, Instruction, Turn, Visual
from vila_tools.training.ranks import Share
from vila_tools.training.recipe import Recipe
from vila_tools.training.shards import Rollouts, grid_objects

VISUAL = -1  # stands for a visual token in a row of ids
GROUNDING_SHARE = 0.06  # of a visual token's cell, that the named object must cover


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch, padded on the right. B samples, L tokens, F frames, N visual tokens of the current frame."""

    ids: Tensor  # [B, L] int64; VISUAL where a visual token stands
    targets: Tensor  # [B, L] int64: the token that follows; -100 where it is not asked
    weights: Tensor  # [B, L] float32: loss weight of that token
    ask: Tensor  # [B] int64: position of the prompt's last token
    frames: Tensor  # [B, F] int64 row of rollouts.images; BLANK for a black one; see `mirrored_row`
    grounding: Tensor  # [B, N] float32: 1 where the current frame's visual token shows the named object
    aim: Tensor  # [B, 3] float32: sine, cosine of the bearing, log of 1 + distance
    aim_known: Tensor  # [B] bool: the object is in the image
    labels: Tensor  # [B] int64 index of the sentence

    def to(self, device: torch.device) -> Batch:
        """The same batch on the device."""
        moved = {field.name: getattr(self, field.name).to(device) for field in dataclasses.fields(self)}
        return Batch(**moved)

    def part(self, share: Share) -> Batch:
        """Some of its samples."""
        return Batch(**{field.name: getattr(self, field.name)[share.rows] for field in dataclasses.fields(self)})


_MIRRORED = np.array(
    [action_index(Turn(-action.angle_rad)) if isinstance(action, Turn) else n for n, action in enumerate(ACTIONS)]
)


def mirrored_row(rows: NDArray[np.int64], mirrored: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Return the rows of mirrored frames, which follow those of the `count` frames and the black one; BLANK stays."""
    return np.where(mirrored & (rows != BLANK), rows + count + 1, rows)


class Sampler:
    """Draws batches; labels that come up rarely are drawn more often (weight 1 / sqrt(frequency))."""

    def __init__(self, model: VisionLanguageModel, rollouts: Rollouts, recipe: Recipe, rows: range) -> None:
        if rollouts.sentences != SENTENCES:
            raise ValueError("the data's sentences are not those of actions.grammar; make the data again")
        self.model, self.rollouts, self.recipe = model, rollouts, recipe
        self.grid = model.config.vision.grid // model.projector.rate
        own = np.zeros(rollouts.labels.shape, dtype=bool)
        own[np.arange(len(rollouts)), rollouts.target_slot] = True
        self.frame_of, self.slot_of = np.nonzero(rollouts.labels[rows.start : rows.stop] >= 0)
        self.frame_of += rows.start
        labels = rollouts.labels[self.frame_of, self.slot_of]
        counts = np.bincount(labels, minlength=len(SENTENCES)).clip(1)
        share = recipe.own_target_share
        is_own = own[self.frame_of, self.slot_of]
        weight = np.where(is_own, share / is_own.sum(), (1 - share) / (~is_own).sum()) / np.sqrt(counts[labels])
        self.cumulative = np.cumsum(weight) / weight.sum()
        self.replies = [(*model.tokenizer.encode(text), model.config.language.eos_token_ids[0]) for text in SENTENCES]
        self.branches = [_branch_steps(reply, self.replies) for reply in self.replies]

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Draw a batch at random."""
        picks = np.searchsorted(self.cumulative, rng.random(count)).clip(max=len(self.frame_of) - 1)
        rows, slots = self.frame_of[picks], self.slot_of[picks]
        mirrored = self.rollouts.visible[rows, slots] & (rng.random(count) < self.recipe.mirrored_share)
        return self.batch(rows, slots, rng, mirrored)

    def batch(
        self,
        rows: NDArray[np.int64],
        slots: NDArray[np.int64],
        rng: np.random.Generator,
        mirrored: NDArray[np.bool_] | None = None,
    ) -> Batch:
        """The batch of the given frames and object slots; those that are mirrored have left and right exchanged."""
        rollouts = self.rollouts
        mirrored = np.zeros(len(rows), bool) if mirrored is None else mirrored
        labels = rollouts.labels[rows, slots].astype(np.int64)
        labels = np.where(mirrored, _MIRRORED[labels], labels)
        objects = rollouts.slots[rows, slots]
        prompts = [self._prompt_ids(row, item, rng) for row, item in zip(rows, objects, strict=True)]
        ids, targets, weights, ask = self._rows(prompts, labels)
        cells = grid_objects(rollouts.seg[rows], self.grid, GROUNDING_SHARE)
        cells = np.where(mirrored[:, None], _in_a_mirror(cells, self.grid), cells)
        bearing = rollouts.bearing_rad[rows, slots] * np.where(mirrored, -1, 1)
        aim = np.stack([np.sin(bearing), np.cos(bearing), np.log1p(rollouts.distance_m[rows, slots])], axis=-1)
        return Batch(
            ids=ids,
            targets=targets,
            weights=weights,
            ask=ask,
            frames=torch.from_numpy(mirrored_row(self._frames(rows), mirrored[:, None], len(rollouts))),
            grounding=torch.from_numpy((cells == objects[:, None]).astype(np.float32)),
            aim=torch.from_numpy(np.nan_to_num(aim, posinf=0.0).astype(np.float32)),
            aim_known=torch.from_numpy(rollouts.visible[rows, slots]),
            labels=torch.from_numpy(labels),
        )

    def _prompt_ids(self, row: int, item: int, rng: np.random.Generator) -> list[int]:
        rollouts = self.rollouts
        colour = rollouts.colour_names[rollouts.colours[row, item]]
        kind = rollouts.kind_names[rollouts.kinds[row, item]].replace("_", " ")
        template = (
            rollouts.templates[0] if rng.random() < 0.4 else rollouts.templates[rng.integers(len(rollouts.templates))]
        )
        if rng.random() < self.recipe.nonsense_share:
            template = _nonsense(template, rng)
        return prompt_ids(self.model, template.format(colour=colour, kind=kind))

    def _frames(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        first = self.rollouts.first[rows]
        picked = [
            [
                index if index == BLANK else start + index
                for index in select_frames(int(row - start) + 1, self._frames_n)
            ]
            for row, start in zip(rows, first, strict=True)
        ]
        return np.array(picked, dtype=np.int64)

    @property
    def _frames_n(self) -> int:
        return self.model.config.navigation.num_frames

    def _rows(self, prompts: list[list[int]], labels: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        length = max(len(prompt) + len(self.replies[label]) for prompt, label in zip(prompts, labels, strict=True))
        ids = np.zeros((len(prompts), length), dtype=np.int64)
        targets = np.full_like(ids, -100)
        weights = np.zeros(ids.shape, dtype=np.float32)
        for row, (prompt, label) in enumerate(zip(prompts, labels, strict=True)):
            reply, start = self.replies[label], len(prompt)
            ids[row, : start + len(reply)] = (*prompt, *reply)
            targets[row, start - 1 : start - 1 + len(reply)] = reply
            weights[row, start - 1 : start - 1 + len(reply)] = np.where(
                self.branches[label], 1.0, self.recipe.forced_token_weight
            )
        ask = np.array([len(prompt) - 1 for prompt in prompts])
        return torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(weights), torch.from_numpy(ask)


def prompt_ids(model: VisionLanguageModel, instruction: str) -> list[int]:
    """Token ids of the model's own navigation prompt, VISUAL once for each visual token."""
    navigation = model.config.navigation
    tokens = (model.config.vision.grid // model.projector.rate) ** 2
    blank = Frame(np.zeros((1, 1, 3), dtype=np.uint8), 0)
    counts = [navigation.history_tokens or tokens] * (navigation.num_frames - 1) + [tokens]
    visuals = [Visual(blank, count) for count in counts]
    prompt = navigation_prompt(navigation.prompt_style, navigation.chat_template, Instruction(instruction), visuals)
    ids: list[int] = []
    for run in model.segments(prompt.text):
        ids += run.ids if run.visual is None else [VISUAL] * counts[run.visual]
    return ids


def _in_a_mirror(cells: NDArray[np.int64], grid: int) -> NDArray[np.int64]:
    """The same of the mirrored picture. cells: [B, N], row by row."""
    return cells.reshape(-1, grid, grid)[:, :, ::-1].reshape(cells.shape)


def _branch_steps(reply: tuple[int, ...], replies: list[tuple[int, ...]]) -> list[bool]:
    """For each token of the reply: True if another reply continues differently there."""
    return [
        len({other[step] for other in replies if other[:step] == reply[:step] and len(other) > step}) > 1
        for step in range(len(reply))
    ]


def _nonsense(template: str, rng: np.random.Generator) -> str:
    """Replace up to two of the template's words, but not the slots: colour and kind are what to listen to."""
    words = template.split()
    others = [place for place, word in enumerate(words) if "{" not in word]
    for place in rng.permutation(others)[: int(rng.integers(1, 3))]:
        words[place] = made_up_word(rng)
    return " ".join(words)


def made_up_word(rng: np.random.Generator) -> str:
    """Three letters that mean nothing, most likely."""
    return "".join(rng.choice(list("aeioudlmnrst"), 3))
