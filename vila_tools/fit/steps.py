"""How much of a step is new under each history policy: the policies run on made-up frames, counted as the engine does.

Nothing is computed: prompts are only cut into pieces and compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.backend import ModelInfo
from vila_core.engine.prefix_cache import Piece, common_tokens, pieces_of
from vila_core.engine.reply_trie import build_trie
from vila_core.engine.torch_backend import model_info
from vila_core.errors import ConfigError
from vila_core.history.policies import make_policy
from vila_core.models.roofline import StepCounts
from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import Layout
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vlm import VisionLanguageModel
from vila_core.prompts.navigation import navigation_prompt
from vila_core.types import Frame, FrameKey, Instruction, Prompt

_WARM_UP, _COUNTED = 64, 96  # steps of a mission, one kept frame each: windows have been rebuilt a few times by then
_INSTRUCTION = Instruction("Walk past the sofa, turn left at the door and stop beside the table.")


@dataclass(frozen=True, slots=True)
class Mission:
    """The steps of a mission under one policy. prompt_tokens: of the longest prompt, the replies' tree included."""

    policy: str
    prompt_tokens: int
    max_tokens: int
    steps: tuple[StepCounts, ...]

    @property
    def mean(self) -> StepCounts:
        """The average step."""
        parts = np.array([dataclasses.astuple(step) for step in self.steps]).mean(0)
        return StepCounts(*map(float, parts))

    @property
    def is_readable(self) -> bool:
        """Whether the model has positions for the longest prompt."""
        return self.prompt_tokens <= self.max_tokens


def missions(
    layout: Layout, policies: Sequence[str] = HISTORY_POLICIES, num_frames: int | None = None
) -> list[Mission]:
    """Count a mission under each policy. num_frames: in a prompt of `navila`, None for the checkpoint's own.

    Raises ConfigError for num_frames below 1, CheckpointError for an unreadable configuration.
    """
    if num_frames is not None and num_frames < 1:
        raise ConfigError(f"--frames {num_frames}: must be at least 1")
    config = config_of(layout)
    model = build_model(config, Tokenizer(layout.tokenizer, slow=config.generation == "native"), device="meta")
    info = model_info(model, "none")
    info = dataclasses.replace(info, num_frames=num_frames or info.num_frames)
    return [_mission(model, info, policy) for policy in policies]


def _mission(model: VisionLanguageModel, info: ModelInfo, policy: str) -> Mission:
    tree = _tree_tokens(model)
    prompts = list(_prompts(info, policy))
    segments = lru_cache(maxsize=None)(model.segments)
    steps, longest = [], 0
    before: tuple[Piece, ...] = ()
    known: set[FrameKey] = set()
    for prompt in prompts:
        pieces = pieces_of(segments(prompt.text), prompt.visuals, info.visual_tokens)
        length = sum(piece.count for piece in pieces)
        shared = min(common_tokens(before, pieces), length - 1)
        shown = {frame.key for visual in prompt.visuals for frame in visual.frames}
        steps.append(StepCounts(len(shown - known), length - shared + tree, shared))
        longest, before = max(longest, length + tree), pieces
        known |= shown
    return Mission(policy, longest, info.max_tokens, tuple(steps[_WARM_UP:]))


def _prompts(info: ModelInfo, policy: str) -> Iterator[Prompt]:
    history = make_policy(HistoryConfig(policy=policy), info)
    image = np.zeros((2, 2, 3), np.uint8)
    frames = [Frame(image, number + 1, "camera") for number in range(_WARM_UP + _COUNTED)]
    for count in range(1, len(frames) + 1):
        visuals = history.select(frames[:count])
        yield navigation_prompt(info.prompt_style, info.chat_template, _INSTRUCTION, visuals, SENTENCES)


def _tree_tokens(model: VisionLanguageModel) -> int:
    """Tokens of the ten replies that one pass reads behind the prompt."""
    stop = model.config.language.eos_token_ids[:1]
    return build_trie([(*model.tokenizer.encode(reply), *stop) for reply in SENTENCES]).read
