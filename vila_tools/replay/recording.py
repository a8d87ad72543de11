"""What a bag tells of a run: its decisions and what they were made of, what became of them, and who computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import MediaError
from vila_core.media.bags import BagRecord, bag_records, stamp_ns
from vila_core.types import HoldReason, Odometry
from vila_tools.label.recording import MISSION, ODOMETRY, pose_of
from vila_tools.replay.definitions import ACTION, DEFINITIONS, GOVERNOR, STATS

DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
COMMANDED = 0  # state of an action as the navigator publishes it; others are reports of who carries it out
Whole = Callable[[Iterable[BagRecord]], Iterable[BagRecord]]
_FACTS = ("checkpoint", "backend", "precision", "kernels", "computed_on", "threads", "history_policy")


@dataclass(frozen=True, slots=True)
class Shown:
    """A visual of a prompt: the stamps of its frames, oldest first, 0 for a black one, and its tokens, None for all."""

    stamps_ns: tuple[int, ...]
    tokens: int | None


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision as it was published.

    time_ns: when it was recorded; stamp_ns: of the image that it answers. reply: the sentence, "" if none came.
    probabilities: as float32 of the message, empty if a reply was written. prompt_sha256: "" if the
    model was not asked.
    """

    number: int
    mission_id: int
    time_ns: int
    stamp_ns: int
    instruction: str
    reply: str
    hold: HoldReason
    detail: str
    probabilities: tuple[float, ...] = ()
    allowed: tuple[bool, ...] = ()
    prompt_sha256: str = ""
    shown: tuple[Shown, ...] = ()
    backend: str = ""
    precision: str = ""

    @property
    def was_asked(self) -> bool:
        """True if the model was asked, so that it can be asked again."""
        return bool(self.prompt_sha256 and self.shown)

    @property
    def is_choice(self) -> bool:
        """True if the ten sentences were scored."""
        return bool(self.probabilities)


@dataclass(frozen=True, slots=True)
class GovernorTold:
    """What the governor told at a time; codes as in GovernorState."""

    time_ns: int
    state: int
    reason: int
    detail: str


@dataclass(frozen=True, slots=True)
class Executed:
    """A report on an action: number, state and fault as in NavAction, what odometry measured, what was commanded."""

    time_ns: int
    number: int
    state: int
    executed_m: float
    executed_rad: float
    detail: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A run, read from a bag. facts: of the navigator, as it told them in /diagnostics; empty if it did not.

    begin_ns: of the first of these messages, 0 if there is none. instructions: that were told, in order.
    """

    decisions: tuple[RecordedDecision, ...] = ()
    odometry: tuple[Odometry, ...] = ()
    governor: tuple[GovernorTold, ...] = ()
    reports: tuple[Executed, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)
    instructions: tuple[str, ...] = ()
    begin_ns: int = 0


def read_recording(bag: Path, odometry_topic: str, whole: Whole) -> Recording:
    """Read all of a run but its images. Raises MediaError for a bag that cannot be read, or is of several robots.

    odometry_topic: where there are several; "": the first. whole: passes on what is read, up to where the bag is cut
    if that will do.
    """
    heard = _Heard()
    for record in whole(bag_records(bag, (ACTION, STATS, MISSION, GOVERNOR, ODOMETRY, DIAGNOSTICS), DEFINITIONS)):
        heard.take(record)
    topics = sorted({row.topic for row in heard.actions})
    if len(topics) > 1:
        raise MediaError(f"{bag} holds decisions of several robots: {', '.join(topics)}; record each by itself")
    tracks = heard.odometry
    if odometry_topic and odometry_topic not in tracks:
        raise MediaError(f"{bag} holds no odometry on {odometry_topic}; it holds it on {', '.join(tracks) or 'none'}")
    track = tracks[odometry_topic] if odometry_topic else next(iter(tracks.values()), [])
    return Recording(
        decisions=tuple(_decisions(heard.actions, heard.stats, heard.told)),
        odometry=tuple(track),
        governor=tuple(heard.governor),
        reports=tuple(heard.reports),
        facts=heard.facts,
        instructions=tuple(dict.fromkeys(text for text in heard.told.values() if text)),
        begin_ns=heard.begin_ns,
    )


@dataclass(slots=True)
class _Heard:
    """What is read of a bag; what comes many times a second is made small at once. odometry: by topic."""

    begin_ns: int = 0
    actions: list[BagRecord] = field(default_factory=list)
    stats: list[BagRecord] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)  # instructions by mission
    odometry: dict[str, list[Odometry]] = field(default_factory=dict)
    governor: list[GovernorTold] = field(default_factory=list)
    reports: list[Executed] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    def take(self, row: BagRecord) -> None:
        self.begin_ns = self.begin_ns or row.time_ns
        message = row.message
        if row.kind == ODOMETRY:
            self.odometry.setdefault(row.topic, []).extend(_odometry(row))
        elif row.kind == GOVERNOR:
            state, reason = int(message.state), int(message.reason)
            self.governor.append(GovernorTold(row.time_ns, state, reason, str(message.detail)))
        elif row.kind == MISSION:
            self.told[int(message.id)] = str(message.instruction)
        elif row.kind == DIAGNOSTICS:
            self.facts = _facts(message) or self.facts
        elif row.kind == STATS:
            self.stats.append(row)
        elif message.state == COMMANDED:
            self.actions.append(row)
        else:
            self.reports.append(_report(row))


def _decisions(
    actions: Sequence[BagRecord], stats: Sequence[BagRecord], told: dict[int, str]
) -> Iterable[RecordedDecision]:
    """Join each action with the numbers that were published with it: of the same number, image and navigator."""
    numbers = {(int(row.message.id), stamp_ns(row.message.header.stamp)): row for row in stats}
    for row in actions:
        message, stamp = row.message, stamp_ns(row.message.header.stamp)
        found = numbers.get((int(message.id), stamp))
        decision = RecordedDecision(
            number=int(message.id),
            mission_id=int(message.mission_id),
            time_ns=row.time_ns,
            stamp_ns=stamp,
            instruction=told.get(int(message.mission_id), ""),
            reply=str(message.reply),
            hold=_hold(int(message.hold_reason)),
            detail=str(message.detail),
        )
        yield decision if found is None else dataclasses.replace(decision, **_asked(found.message))


def _asked(stats: Any) -> dict[str, Any]:
    """What the model was asked, as fields of a RecordedDecision."""
    visuals: dict[int, list[int]] = {}
    for index, stamp in zip(stats.frame_visuals, stats.frames, strict=False):
        visuals.setdefault(int(index), []).append(stamp_ns(stamp))
    tokens = [None if count < 0 else int(count) for count in stats.visual_tokens]
    is_whole = len(stats.frame_visuals) == len(stats.frames) and sorted(visuals) == list(range(len(tokens)))
    shown = [Shown(tuple(visuals[index]), count) for index, count in enumerate(tokens)] if is_whole else []
    probabilities = tuple(float(value) for value in stats.probabilities)
    allowed = tuple(bool(value) for value in stats.allowed)
    return {
        "probabilities": probabilities if len(probabilities) == len(SENTENCES) else (),
        "allowed": allowed if len(allowed) == len(SENTENCES) else (),
        "prompt_sha256": str(stats.prompt_sha256),
        "shown": tuple(shown),
        "backend": str(stats.backend),
        "precision": str(stats.precision),
    }


def _hold(code: int) -> HoldReason:
    known = {int(reason): reason for reason in HoldReason}
    return known.get(code, HoldReason.BACKEND_ERROR)


def _odometry(row: BagRecord) -> Iterator[Odometry]:
    """Yield it, if it is finite and was ever set."""
    twist, pose = row.message.twist.twist, pose_of(row.message)
    if pose is not None:
        time_ns = stamp_ns(row.message.header.stamp) or row.time_ns
        yield Odometry(time_ns, pose, float(twist.linear.x), float(twist.angular.z))


def _report(row: BagRecord) -> Executed:
    m = row.message
    return Executed(row.time_ns, int(m.id), int(m.state), float(m.executed_m), float(m.executed_rad), str(m.detail))


def _facts(message: Any) -> dict[str, str]:
    """What a navigator tells of its model and of who computes; empty for what others tell."""
    for status in message.status:
        values = {str(pair.key): str(pair.value) for pair in status.values}
        if {"checkpoint", "backend", "precision"} <= values.keys():
            return {name: values[name] for name in _FACTS if name in values}
    return {}
