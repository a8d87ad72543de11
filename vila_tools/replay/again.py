"""A decision asked again: what the model says to the same prompt, and how that differs from what it said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.backend import Backend, ModelInfo
from vila_core.errors import VilaError
from vila_core.guards.guards import Ruling
from vila_core.navigator import ask_model, begun_prompt, is_choice, prompt_of
from vila_core.types import Decision, FrameKey, Instruction, Visual
from vila_tools.replay.prompts import NO_INSTRUCTION, Rebuilt, is_as_recorded, told_again
from vila_tools.replay.recording import RecordedDecision

IDENTICAL, SAME_CHOICE, OTHER_CHOICE, FAILED = "identical", "same choice", "another choice", "not asked again"


@dataclass(frozen=True, slots=True)
class Again:
    """A recorded decision beside what is said now. now: None if it was not asked again, and `fault` says why.

    has_same_prompt: the prompt's text is the recorded one, letter for letter. told: the instruction in it.
    """

    before: RecordedDecision
    now: Decision | None = None
    fault: str = ""
    has_same_prompt: bool = False
    told: str = ""

    @property
    def outcome(self) -> str:
        """IDENTICAL: the same reply and every bit of its probabilities; else what differs."""
        if self.now is None:
            return FAILED
        if self.now.reply != self.before.reply:
            return OTHER_CHOICE
        return IDENTICAL if self.has_same_prompt and same_bits(self.before, self.now) else SAME_CHOICE

    def without_images(self) -> Again:
        """Return it without the prompt, whose images would stay in memory."""
        return self if self.now is None else dataclasses.replace(self, now=dataclasses.replace(self.now, prompt=None))

    @property
    def difference(self) -> float:
        """The largest difference of a probability, 0 where replies were written."""
        if self.now is None or not self.now.probabilities or not self.before.probabilities:
            return 0.0
        return float(np.abs(_float32(self.now.probabilities) - _float32(self.before.probabilities)).max())


def same_bits(before: RecordedDecision, now: Decision) -> bool:
    """Tell whether all probabilities are those of the record, which holds them as float32."""
    return _float32(before.probabilities).tobytes() == _float32(now.probabilities).tobytes()


def _float32(probabilities: Sequence[float]) -> NDArray[np.float32]:
    return np.array(probabilities, np.float32)


class Prefills(Enum):
    """What a history lets be prefilled before the next frame is there: what that is appended to, or all before it."""

    NOTHING = auto()
    APPENDED = auto()  # where it begins anew, that depends on the next frame
    ALL = auto()


def ask_again(
    backend: Backend, decisions: Iterable[Rebuilt], *, instruction: str = "", prefills: Prefills = Prefills.NOTHING
) -> Iterator[Again]:
    """Ask for each decision again, in order, as the navigator did.

    instruction: other words than the recorded ones. prefills: of what the next prompt began with, which was prefilled
    in between, as idle time allows; bits depend on it.
    """
    last, shown = ("", -1), tuple[FrameKey, ...]()
    for one in decisions:
        fault = one.fault or ("" if instruction or one.decision.instruction else NO_INSTRUCTION)
        if fault:
            yield Again(one.decision, fault=fault)
            continue
        text = told_again(one, backend.info, instruction)
        mission = (text, one.decision.mission_id)
        was_appended = _shown(one.visuals[:-1]) == shown
        was_prefilled = prefills is Prefills.ALL or (prefills is Prefills.APPENDED and was_appended)
        if was_prefilled and mission == last and len(one.visuals) > 1:
            backend.prefill(begun_prompt(backend.info, Instruction(text), one.visuals[:-1]))
        last, shown = mission, _shown(one.visuals)
        yield _asked(backend, one, text)


def _shown(visuals: Sequence[Visual]) -> tuple[FrameKey, ...]:
    return tuple(frame.key for visual in visuals for frame in visual.frames)


def _asked(backend: Backend, one: Rebuilt, told: str) -> Again:
    before = one.decision
    prompt = prompt_of(backend.info, Instruction(told), one.visuals)
    is_same = is_as_recorded(prompt, before)
    ruling = Ruling.of(before.allowed) if before.allowed else Ruling()
    try:
        rule = (lambda: ruling) if _is_choice(before, backend.info) else None
        now = ask_model(backend, prompt, before.stamp_ns, rule)
    except VilaError as err:
        return Again(before, fault=f"{type(err).__name__}: {err}", has_same_prompt=is_same, told=told)
    return Again(before, dataclasses.replace(now, prompt=prompt), has_same_prompt=is_same, told=told)


def _is_choice(before: RecordedDecision, info: ModelInfo) -> bool:
    """Ask as it was asked; a model that writes its replies had none scored."""
    return before.is_choice or is_choice("auto", info)
