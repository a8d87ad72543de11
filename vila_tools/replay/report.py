"""How far a replay agrees with the record: numbers, where it first differs and how, and a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vila_core.actions.grammar import SENTENCES, short_name
from vila_core.actions.parser import parse_action
from vila_core.engine.backend import ModelInfo
from vila_core.errors import ReplyError
from vila_core.types import Decision
from vila_tools.replay.again import FAILED, IDENTICAL, OTHER_CHOICE, SAME_CHOICE, Again
from vila_tools.replay.recording import RecordedDecision
from vila_tools.replay.stream import Moment

_MOST_ROWS = 60
_MARKS = {IDENTICAL: "=", SAME_CHOICE: "~", OTHER_CHOICE: "x", FAILED: "-"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Who computed: the processor or GPU and torch, our kernels' instructions, the threads, the precision."""

    computed_on: str = ""
    kernels: str = ""
    threads: int = 0
    precision: str = ""

    @classmethod
    def of(cls, info: ModelInfo) -> Machine:
        """Return this one, as a loaded model tells it."""
        return cls(info.computed_on, _instructions(info.kernels), info.threads, info.precision)

    @classmethod
    def told(cls, facts: dict[str, str]) -> Machine:
        """Return that of a record, as its navigator told it."""
        threads = facts.get("threads", "")
        precision = facts.get("precision", "").split(": ")[0]  # behind that is why
        count = int(threads) if threads.isdigit() else 0
        return cls(facts.get("computed_on", ""), _instructions(facts.get("kernels", "")), count, precision)

    def is_same(self, other: Machine) -> bool | None:
        """Tell whether bits may be expected to be the same; None if one of the two is not known."""
        if not self.computed_on or not other.computed_on:
            return None
        return self == other


def _instructions(kernels: str) -> str:
    """The set of instructions; behind that is where the kernels came from."""
    return kernels.split(",")[0].split(":")[0]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a replay came to. first: the first decision that is not identical, first_choice: that chose otherwise."""

    decisions: int
    asked: int
    identical: int
    same_choice: int
    same_prompt: int
    largest_difference: float
    not_asked: dict[str, int]
    first: Again | None
    first_choice: Again | None

    @property
    def verdict(self) -> str:
        """In a word or two: identical, same choices, differs, or nothing to compare."""
        if not self.asked:
            return "nothing to compare"
        if self.identical == self.asked:
            return "identical"
        return "same choices" if self.same_choice == self.asked else "differs"


def agreement(rows: Sequence[Again]) -> Agreement:
    """Sum up."""
    asked = [row for row in rows if row.now is not None]
    return Agreement(
        decisions=len(rows),
        asked=len(asked),
        identical=sum(row.outcome == IDENTICAL for row in asked),
        same_choice=sum(row.outcome in (IDENTICAL, SAME_CHOICE) for row in asked),
        same_prompt=sum(row.has_same_prompt for row in asked),
        largest_difference=max((row.difference for row in asked), default=0.0),
        not_asked=dict(Counter(row.fault for row in rows if row.now is None)),
        first=next((row for row in asked if row.outcome != IDENTICAL), None),
        first_choice=next((row for row in asked if row.outcome == OTHER_CHOICE), None),
    )


def agreement_values(found: Agreement, begin_ns: int) -> dict[str, Any]:
    """Return it for JSON."""
    return {
        "verdict": found.verdict,
        "decisions": found.decisions,
        "asked_again": found.asked,
        "identical": found.identical,
        "same_choice": found.same_choice,
        "same_prompt": found.same_prompt,
        "largest_difference": float(f"{found.largest_difference:.3g}"),
        "not_asked_again": found.not_asked,
        "first_difference": None if found.first is None else first_values(found.first, begin_ns),
        "first_other_choice": None if found.first_choice is None else first_values(found.first_choice, begin_ns),
    }


def first_values(row: Again, begin_ns: int) -> dict[str, Any]:
    """Say on which decision a replay differs, and how, for JSON."""
    assert row.now is not None
    values = {
        "decision": row.before.number,
        "at_s": round((row.before.time_ns - begin_ns) / 1e9, 3),
        "differs_in": _what(row),
        "recorded": row.before.reply,
        "now": row.now.reply,
        "largest_difference": float(f"{row.difference:.3g}"),
    }
    if row.before.probabilities and row.now.probabilities:
        values["recorded_probability"] = _probability(row.before.reply, row.before.probabilities)
        values["now_probability"] = _probability(row.before.reply, row.now.probabilities)
    return values


def _what(row: Again) -> str:
    if row.outcome == OTHER_CHOICE:
        return "choice" if row.has_same_prompt else "choice, and prompt"
    if not row.has_same_prompt:
        return "prompt"
    return "probabilities"


def _probability(reply: str, probabilities: Sequence[float]) -> float | None:
    return round(probabilities[SENTENCES.index(reply)], 6) if reply in SENTENCES else None


def table(rows: Sequence[Again], begin_ns: int) -> Iterator[str]:
    """Yield a line for each decision, of a long run for those alone that are not identical, and not all of them."""
    shown = list(rows) if len(rows) <= _MOST_ROWS else [row for row in rows if row.outcome != IDENTICAL]
    if shown:
        yield "        s  decision  recorded               now                    largest difference"
    for row in shown[:_MOST_ROWS]:
        yield _row(row, begin_ns)
    if len(shown) > _MOST_ROWS:
        yield f"  and {len(shown) - _MOST_ROWS} more"


def _row(row: Again, begin_ns: int) -> str:
    before, now = row.before, row.now
    at_s = (before.time_ns - begin_ns) / 1e9
    start = f"{_MARKS[row.outcome]} {at_s:7.2f}  {before.number:8}  {words(before.reply):<13} {_share(before):<7}"
    if now is None:
        return f"{start}  {row.fault}"
    said = words(now.reply) if now.reply else f"hold ({now.hold.name.lower()})"
    end = "" if row.outcome == IDENTICAL else f"  {row.difference:.2g}"
    return f"{start}  {said:<13} {_of(now.reply, now.probabilities):<7}{end}".rstrip()


def _share(before: RecordedDecision) -> str:
    return _of(before.reply, before.probabilities)


def _of(reply: str, probabilities: Sequence[float]) -> str:
    found = _probability(reply, probabilities) if probabilities else None
    return "" if found is None else f"{found:.4f}"


def words(reply: str) -> str:
    """Return a reply in a word or three, "left 15°"; as it is, shortened, if it is none of the ten."""
    try:
        return short_name(parse_action(reply))
    except ReplyError:
        return reply[:13] or "no reply"


def summary(found: Agreement, begin_ns: int, machine: Machine, recorded: Machine) -> Iterator[str]:
    """Yield the result in a few sentences. machine: that computes now; recorded: that of the record."""
    if not found.asked:
        yield "Nothing could be asked again."
    else:
        yield _counted(found)
    for fault, count in found.not_asked.items():
        yield f"{count} not asked again: {fault}."
    row = found.first_choice or found.first
    if row is not None and row.now is not None:
        at_s = (row.before.time_ns - begin_ns) / 1e9
        yield f"First difference: decision {row.before.number} at {at_s:.2f} s, in its {_what(row)}: {_told(row)}."
    is_same = machine.is_same(recorded)
    if is_same is not None:
        yield "Computed as it was recorded: the same kind of machine." if is_same else _other(machine, recorded)
    elif found.asked:
        yield "The bag does not tell what kind of machine it was recorded on."


def _counted(found: Agreement) -> str:
    start = f"{found.asked} of {found.decisions} decisions asked again:"
    if found.identical == found.asked:
        return f"{start} each is the recorded one, bit for bit."
    return (
        f"{start} {found.identical} identical bit for bit, {found.same_choice} with the same choice; "
        f"probabilities differ by {found.largest_difference:.2g} at most."
    )


def _told(row: Again) -> str:
    assert row.now is not None
    if row.outcome == OTHER_CHOICE:
        before, now = f"{words(row.before.reply)} {_share(row.before)}", words(row.now.reply or row.now.hold.name)
        return f"recorded {before.strip()}, now {now} {_of(row.now.reply, row.now.probabilities)}".strip()
    return f"by {row.difference:.2g} at most, {words(row.before.reply)} both times"


def _other(machine: Machine, recorded: Machine) -> str:
    here, there = asdict(machine), asdict(recorded)
    parts = [f"{name}: {there[name]!r} then, {here[name]!r} now" for name in here if here[name] != there[name]]
    return "Computed otherwise than it was recorded: " + "; ".join(parts) + "."


def along_values(rows: Sequence[tuple[Moment, Decision]]) -> dict[str, Any]:
    """Return for JSON what was decided on the way through a recording that holds no decisions."""
    begin_ns = rows[0][0].stamp_ns if rows else 0
    return {
        "decisions": len(rows),
        "holds": sum(decision.action is None for _, decision in rows),
        "replies": dict(Counter(decision.reply for _, decision in rows if decision.reply).most_common()),
        "log": [
            {
                "at_s": round((moment.stamp_ns - begin_ns) / 1e9, 3),
                "reply": decision.reply,
                "hold": decision.hold.name if decision.action is None else "",
                "probability": round(decision.probability, 4),
            }
            for moment, decision in rows
        ],
    }


def along_lines(rows: Sequence[tuple[Moment, Decision]]) -> Iterator[str]:
    """Yield a line for each decision, of a long recording for the first ones."""
    begin_ns = rows[0][0].stamp_ns if rows else 0
    for moment, decision in rows[:_MOST_ROWS]:
        said = (
            words(decision.reply) if decision.action is not None else f"hold: {decision.detail or decision.hold.name}"
        )
        yield f"{(moment.stamp_ns - begin_ns) / 1e9:9.2f}  {said:<13} {_of(decision.reply, decision.probabilities)}"
    if len(rows) > _MOST_ROWS:
        yield f"  and {len(rows) - _MOST_ROWS} more"
    yield f"{len(rows)} decisions; nothing is recorded to compare them with."
