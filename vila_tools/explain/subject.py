"""The decision that is explained: what was shown, what was asked, what was said, and what became of it."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import Backend
from vila_core.errors import ConfigError, MediaError
from vila_core.prompts.wording import in_words_of
from vila_core.types import Decision, Visual
from vila_tools.replay.again import Again, ask_again
from vila_tools.replay.deciding import Wanted, decide_again, decide_along, told_instruction, uses_prompts
from vila_tools.replay.prompts import rebuilt
from vila_tools.replay.recording import RecordedDecision, Recording
from vila_tools.replay.source import Source


@dataclass(frozen=True, slots=True)
class Subject:
    """A decision. at_s: from the beginning of the recording.

    before: as it was recorded, None if it was not; of another model, perhaps, or for other words. allowed: which of the
    ten replies were not ruled out. now: what the model says to it now, with probabilities.
    """

    at_s: float
    instruction: str
    visuals: tuple[Visual, ...]
    allowed: tuple[bool, ...]
    now: Decision
    before: RecordedDecision | None = None

    @property
    def reply(self) -> str:
        """The sentence that is said now, the guard heard."""
        return self.now.reply

    @property
    def is_as_recorded(self) -> bool:
        """True if that is what was recorded, so that what followed was its doing."""
        return self.before is not None and self.before.reply == self.now.reply

    @property
    def explained(self) -> int:
        """The index of the sentence that is explained: the likeliest, if the guard put another one in its place."""
        best = max(range(len(SENTENCES)), key=lambda index: self.now.probabilities[index])
        may = self.reply in SENTENCES and self.allowed[best]
        return SENTENCES.index(self.reply) if may else best

    @property
    def answer(self) -> str:
        """The sentence that is explained."""
        return SENTENCES[self.explained]


def find_subject(
    source: Source, backend: Backend, wanted: Wanted, *, at_s: float | None, number: int | None
) -> Subject:
    """Return the decision of a number, or the last one made by at_s; of neither the first that can be explained.

    Raises ConfigError if there is none, MediaError if its images are not in the bag.
    """
    recording = source.recording
    if not any(one.reply for one in recording.decisions):
        if number is not None:
            raise ConfigError(f"--decision {number}: {source.path} holds no decisions; give --at")
        return _along(source, backend, wanted, at_s)
    chosen = _chosen(recording, at_s, number, str(source.path))
    if not uses_prompts(source, wanted):
        again = next(one for one in decide_again(source, backend, wanted) if one.before is chosen)
    else:
        (again,) = ask_again(
            backend, [next(rebuilt([chosen], source.images(source.frames)))], instruction=wanted.instruction
        )
    return _recorded(again, recording, wanted)


def _chosen(recording: Recording, at_s: float | None, number: int | None, name: str) -> RecordedDecision:
    decisions = [one for one in recording.decisions if one.reply]
    if number is not None:
        found = next((one for one in decisions if one.number == number), None)
        if found is None:
            numbers = f"{decisions[0].number} to {decisions[-1].number}"
            raise ConfigError(f"--decision {number}: {name} holds decisions {numbers}, those that only held left out")
        return found
    if at_s is None:
        return decisions[0]
    times = [one.time_ns for one in decisions]
    index = bisect.bisect_right(times, recording.begin_ns + round(at_s * 1e9)) - 1
    if index < 0:
        first_s = (times[0] - recording.begin_ns) / 1e9
        raise ConfigError(f"--at {at_s:g}: the first decision of {name} is at {first_s:.2f} s")
    return decisions[index]


def _recorded(again: Again, recording: Recording, wanted: Wanted) -> Subject:
    before, now = again.before, again.now
    if now is None or now.prompt is None:
        why = again.fault or (now.detail if now is not None else "")
        raise MediaError(f"decision {before.number} cannot be explained: {why}")
    return Subject(
        at_s=(before.time_ns - recording.begin_ns) / 1e9,
        instruction=again.told or wanted.instruction or before.instruction,
        visuals=now.prompt.visuals,
        allowed=before.allowed or (True,) * len(SENTENCES),
        now=now,
        before=before,
    )


def _along(source: Source, backend: Backend, wanted: Wanted, at_s: float | None) -> Subject:
    begin_ns, found = 0, None
    for moment, decision in decide_along(source, backend, wanted):
        begin_ns = begin_ns or moment.stamp_ns
        seconds = (moment.stamp_ns - begin_ns) / 1e9
        if found is not None and (at_s is None or seconds > at_s):
            break
        if decision.prompt is not None:
            found = seconds, decision
    if found is None:
        raise ConfigError(f"{source.path}: nothing was decided by then, as every image had the robot stand")
    seconds, decision = found
    assert decision.prompt is not None
    text, known = told_instruction(source, wanted.instruction), backend.info.vocabulary
    text = text if known is None else in_words_of(known, text)[decision.step]
    return Subject(seconds, text, decision.prompt.visuals, decision.allowed or (True,) * len(SENTENCES), decision)


def tokens_of(visuals: Sequence[Visual], whole: int) -> tuple[int, ...]:
    """Return how many visual tokens each has. whole: of a whole frame."""
    return tuple(whole if visual.tokens is None else min(visual.tokens, whole) for visual in visuals)
