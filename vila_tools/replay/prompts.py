"""The prompts of recorded decisions, made again of the images in the bag, in the order in which they were asked."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from vila_core.engine.backend import ModelInfo
from vila_core.errors import InstructionError
from vila_core.history.policy import blank_like
from vila_core.media.bags import BagImage
from vila_core.navigator import prompt_of
from vila_core.prompts.wording import in_words_of
from vila_core.types import Frame, Instruction, Prompt, Visual
from vila_tools.replay.recording import RecordedDecision

NOT_ASKED = "the model was not asked"
NO_FRAME = "an image that it was made of is not in the bag"
TWO_FRAMES = "two images of one stamp: the clock was reset"
NO_INSTRUCTION = "what the robot was told is not in the bag"
_LATE_NS = 10_000_000_000  # an image may be recorded so long after the decision that it was for


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A decision and what it showed, oldest first; without visuals `fault` says why it cannot be asked again."""

    decision: RecordedDecision
    visuals: tuple[Visual, ...] = ()
    fault: str = ""


def rebuilt(decisions: Sequence[RecordedDecision], images: Iterable[BagImage]) -> Iterator[Rebuilt]:
    """Yield each decision with its visuals, in order; images that none needs any more are dropped.

    images: of `navigator/frames`, in the order in which they were recorded.
    """
    waiting, frames = deque(decisions), _Frames(Counter(stamp for one in decisions for stamp in set(_stamps(one))))
    for image in images:
        frames.add(image)
        while waiting and (frames.hold(waiting[0]) or image.time_ns - waiting[0].time_ns > _LATE_NS):
            yield frames.take(waiting.popleft())
    while waiting:
        yield frames.take(waiting.popleft())


def told_again(one: Rebuilt, info: ModelInfo, instruction: str) -> str:
    """Return what a model is told for a decision: the instruction, or the recorded one if that is "".

    A model that knows some words alone is told in those: of the recorded instruction the step that was asked about.
    Raises InstructionError for an instruction that it does not know.
    """
    text = instruction or one.decision.instruction
    if info.vocabulary is None or not text:
        return text
    try:
        steps = in_words_of(info.vocabulary, text)
    except InstructionError:
        if instruction:
            raise
        return text  # the robot was told so
    told = () if instruction else (text, *steps)
    prompts = ((words, prompt_of(info, Instruction(words), one.visuals)) for words in told)
    return next((words for words, prompt in prompts if is_as_recorded(prompt, one.decision)), steps[0])


def is_known(info: ModelInfo, text: str) -> bool:
    """Tell whether a model may be told this in its own words."""
    with suppress(InstructionError):
        return info.vocabulary is None or bool(in_words_of(info.vocabulary, text))
    return False


def is_as_recorded(prompt: Prompt, decision: RecordedDecision) -> bool:
    """True if the text is that which the decision's prompt had, letter for letter."""
    return hashlib.sha256(prompt.text.encode()).hexdigest() == decision.prompt_sha256


@dataclass(slots=True)
class _Frames:
    """Images that decisions to come may need. left: how many decisions show each stamp."""

    left: Counter[int]
    known: dict[int, Frame] = field(default_factory=dict)
    twice: set[int] = field(default_factory=set)

    def add(self, image: BagImage) -> None:
        if not self.left[image.stamp_ns]:
            return
        before = self.known.get(image.stamp_ns)
        if before is not None and not np.array_equal(before.image, image.image):
            self.twice.add(image.stamp_ns)
        self.known[image.stamp_ns] = Frame(image.image, image.stamp_ns, image.frame_id or "camera")

    def hold(self, decision: RecordedDecision) -> bool:
        return all(stamp in self.known for stamp in _stamps(decision))

    def take(self, decision: RecordedDecision) -> Rebuilt:
        fault = self._fault(decision)
        visuals = () if fault else self._visuals(decision)
        for stamp in set(_stamps(decision)):
            self.left[stamp] -= 1
            if not self.left[stamp]:
                self.known.pop(stamp, None)
        return Rebuilt(decision, visuals, fault)

    def _fault(self, decision: RecordedDecision) -> str:
        stamps = _stamps(decision)
        if not decision.was_asked or not stamps:
            return NOT_ASKED
        if not self.hold(decision):
            return NO_FRAME
        return TWO_FRAMES if self.twice.intersection(stamps) else ""

    def _visuals(self, decision: RecordedDecision) -> tuple[Visual, ...]:
        blank = blank_like(self.known[_stamps(decision)[-1]])
        groups = [
            (tuple(self.known[stamp] if stamp else blank for stamp in one.stamps_ns), one.tokens)
            for one in decision.shown
        ]
        return tuple(Visual(frames[-1], tokens, frames[:-1]) for frames, tokens in groups)


def _stamps(decision: RecordedDecision) -> list[int]:
    """The images that a decision showed, black ones left out."""
    return [stamp for visual in decision.shown for stamp in visual.stamps_ns if stamp]
