"""The two ways to decide again: the recorded prompts once more, or the navigator over the stream of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.config import HistoryConfig
from vila_core.engine.backend import Backend
from vila_core.errors import ConfigError
from vila_core.guards.repetition_guard import best_allowed
from vila_core.types import Decision, Frame
from vila_tools.replay.again import Again, Prefills, ask_again
from vila_tools.replay.prompts import is_as_recorded, is_known, rebuilt
from vila_tools.replay.recording import RecordedDecision
from vila_tools.replay.source import Source
from vila_tools.replay.stream import (
    REORDER_S,
    Moment,
    Pace,
    StreamedNavigator,
    frames_of_bag,
    frames_of_folder,
)

NO_IMAGE = "no image is in the bag behind it"
_PREFILLED = {"streaming": Prefills.ALL, "window": Prefills.APPENDED}  # by policy
_PICTURE_S = 1.0  # between two pictures of a folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """What else than what was recorded is asked for; "" for that. every_s: of a bag without decisions; 0: usual."""

    instruction: str = ""
    policy: str = ""
    every_s: float = 0.0

    @property
    def history(self) -> HistoryConfig:
        """The history of a stream."""
        return HistoryConfig(policy=self.policy) if self.policy else HistoryConfig()


def uses_prompts(source: Source, wanted: Wanted) -> bool:
    """Tell whether the recorded prompts are asked again; otherwise all is made anew of the stream of images."""
    recorded = source.recording.facts.get("history_policy", "")
    is_asked = any(one.was_asked for one in source.recording.decisions)
    return bool(source.frames) and is_asked and wanted.policy in ("", recorded)


def decide_again(source: Source, backend: Backend, wanted: Wanted) -> Iterator[Again]:
    """Yield each recorded decision beside what is said now. Raises MediaError as the bag's images are read."""
    recording = source.recording
    if not uses_prompts(source, wanted):
        yield from _streamed(source, backend, wanted)
        return
    prefills = _PREFILLED.get(recording.facts.get("history_policy", ""), Prefills.NOTHING)
    decisions = rebuilt(recording.decisions, source.images(source.frames))
    yield from ask_again(backend, decisions, instruction=wanted.instruction, prefills=prefills)


def decide_along(source: Source, backend: Backend, wanted: Wanted) -> Iterator[tuple[Moment, Decision]]:
    """Yield what is decided on the way through a bag that holds no decisions, or through a folder of pictures.

    Raises ConfigError if nothing tells the instruction.
    """
    instruction = told_instruction(source, wanted.instruction)
    if source.is_folder:
        period_s = wanted.every_s or _PICTURE_S
        frames, pace = frames_of_folder(source.path, period_s), Pace(every_s=period_s)
    else:
        frames, pace = frames_of_bag(source.images(source.camera or source.frames)), Pace(every_s=wanted.every_s)
    yield from StreamedNavigator(backend, wanted.history, source.recording.odometry).along(frames, instruction, pace)


def told_instruction(source: Source, given: str) -> str:
    """Return the instruction given, or the only one of the bag. Raises ConfigError if there is none, or several."""
    told = source.recording.instructions
    if given:
        return given
    if not told:
        raise ConfigError(f"{source.path} does not tell what the robot was told; give --instruction")
    if len(told) > 1:
        raise ConfigError(f"{source.path} tells {len(told)} instructions; give one with --instruction")
    return told[0]


def _streamed(source: Source, backend: Backend, wanted: Wanted) -> Iterator[Again]:
    """Run the navigator up to each recorded decision."""
    decisions = [one for one in source.recording.decisions if one.reply]
    texts = [wanted.instruction or one.instruction or told_instruction(source, "") for one in decisions]
    moments = [Moment(one.stamp_ns, text, one.mission_id) for one, text in zip(decisions, texts, strict=True)]
    frames: Iterator[Frame] = frames_of_bag(source.images(source.camera, source.frames), REORDER_S)
    wording = "auto" if wanted.instruction or all(is_known(backend.info, text) for text in texts) else "verbatim"
    navigator = StreamedNavigator(backend, wanted.history, source.recording.odometry, wording)
    count = 0
    for before, (_, now) in zip(decisions, navigator.at_moments(frames, moments), strict=False):
        count += 1
        yield _beside(before, now)
    for before in decisions[count:]:
        yield Again(before, fault=NO_IMAGE)


def _beside(before: RecordedDecision, now: Decision) -> Again:
    has_same = now.prompt is not None and is_as_recorded(now.prompt, before)
    return Again(before, _guarded(now, before.allowed), has_same_prompt=has_same)


def _guarded(now: Decision, allowed: Sequence[bool]) -> Decision:
    """Rule out what was for the robot: the navigator of the stream does not know what had led nowhere."""
    if not allowed or not now.probabilities or now.action is None:
        return now
    index = best_allowed(now.probabilities, allowed, SENTENCES.index(now.reply))
    return dataclasses.replace(
        now,
        action=ACTIONS[index],
        reply=SENTENCES[index],
        probability=now.probabilities[index],
        allowed=tuple(allowed),
    )
