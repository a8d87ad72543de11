"""What became of a decision: what was ruled out, how far it got, and what the governor let pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vila_core.actions.grammar import SENTENCES
from vila_core.control.governor.governor import GovernorState
from vila_core.control.reasons import StopReason
from vila_core.types import HoldReason
from vila_tools.explain.subject import Subject
from vila_tools.replay.recording import Executed, GovernorTold, RecordedDecision, Recording
from vila_tools.replay.report import words

DONE, REFUSED, ABORTED = 2, 3, 4  # states of an action
_ENDED = {DONE: "done", REFUSED: "refused", ABORTED: "aborted"}
_USUAL = (StopReason.NONE, StopReason.NO_COMMAND)  # nothing is told to move between two actions


def guard_sentence(subject: Subject) -> str:
    """Say what was ruled out."""
    ruled_out = [words(sentence) for sentence, may in zip(SENTENCES, subject.allowed, strict=True) if not may]
    if not ruled_out:
        return "Nothing was ruled out."
    told = (
        f"Ruled out was {', '.join(ruled_out)}: it had just led nowhere on this spot, or a second look spoke against it"
    )
    if subject.answer != subject.reply:
        return f"{told}. So {words(subject.reply)} was taken instead."
    return f"{told}. That changed nothing here."


def aftermath(subject: Subject, recording: Recording) -> Iterator[str]:
    """Yield sentences about what followed, as far as it was recorded."""
    decision = subject.before
    if decision is None:
        return
    if not subject.is_as_recorded:
        yield f"Recorded was {words(decision.reply)}: of another model, for other words, or on another machine."
        return
    if decision.hold != HoldReason.NONE:
        yield f"The robot held instead: {decision.hold.name.lower()}{_detail(decision.detail)}."
    reports = [one for one in recording.reports if one.number == decision.number and one.time_ns >= decision.time_ns]
    if reports:
        yield _executed(reports[-1])
    yield from _governed(decision, recording, reports)


def _executed(last: Executed) -> str:
    parts = []
    if abs(last.executed_m) >= 0.005:
        parts.append(f"{last.executed_m:.2f} m")
    if abs(last.executed_rad) >= 0.01:
        parts.append(f"{abs(math.degrees(last.executed_rad)):.0f}° {'left' if last.executed_rad > 0 else 'right'}")
    moved = f"the robot moved {' and '.join(parts)}" if parts else "the robot did not move"
    ended = _ENDED.get(last.state, "not ended in this recording")
    return f"By odometry {moved}: {ended}{_detail(last.detail)}."


def _governed(decision: RecordedDecision, recording: Recording, reports: Sequence[Executed]) -> Iterator[str]:
    """Say what the governor let pass until the action's end."""
    later = (one.time_ns for one in recording.decisions if one.time_ns > decision.time_ns)
    end_ns = reports[-1].time_ns if reports else next(later, decision.time_ns)
    told = [one for one in recording.governor if decision.time_ns <= one.time_ns <= end_ns]
    if not told:
        return
    limited = [one for one in told if one.reason not in _USUAL or one.state == GovernorState.LIMITED]
    if not limited:
        yield "The governor let all of it pass."
        return
    yield from (_limit(one, len(limited) / len(told)) for one in limited[:1])


def _limit(one: GovernorTold, share: float) -> str:
    what = "limited the speed" if one.state == GovernorState.LIMITED else "let nothing pass"
    known = {int(reason): reason.name.lower() for reason in StopReason}
    reason = known.get(one.reason, "") if one.reason else ""
    return f"The governor {what} in {share:.0%} of that time: {one.detail or reason or 'no reason was told'}."


def _detail(text: str) -> str:
    return f" ({text})" if text else ""
