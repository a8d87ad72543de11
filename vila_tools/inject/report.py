"""What a drill found: how long and how far the robot still moved, how its mission ended, and whether that passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vila_tools.inject.rows import TOP_MPS, Row


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a row. Times are seconds of a steady clock.

    commands: when the base heard a command, and whether it was to stand, from the last one before the fault on.
    begun_s, gone_s, until_s: the fault began, was taken back, the watching ended. late_s: what the machine may have
    added by running programs late, until the robot stood. driven_m: furthest from where it was
    as the fault began. ended: the error code's name, empty if no mission ended. words: what the governor or the
    navigator says. undrivable: why the robot did not even drive before, empty if it did.
    """

    commands: tuple[tuple[float, bool], ...] = ()
    begun_s: float = 0.0
    gone_s: float = 0.0
    until_s: float = 0.0
    late_s: float = 0.0
    driven_m: float = 0.0
    ended: str = ""
    words: str = ""
    undrivable: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A row's verdict. zero_s: until the robot stood, inf if it did not. late_s: what may be the machine's part of it.
    stood: the robot drove, stood within any time, and for good.

    wrong, exceeded: why the row does not pass; what should not happen at all, and limits.
    """

    row: str
    about: str
    zero_s: float
    limit_s: float
    driven_m: float
    limit_m: float
    late_s: float
    stood: bool
    ended: str
    words: str
    wrong: tuple[str, ...]
    exceeded: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True if nothing is wrong and no limit is exceeded."""
        return not (self.wrong or self.exceeded)

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.passed and (self.zero_s > self.limit_s or self.driven_m > self.limit_m):
            return f"pass: over the limit by no more than the machine was late, {self.late_s:.2f} s"
        return "pass" if self.passed else "FAIL: " + "; ".join((*self.wrong, *self.exceeded))


def judge(row: Row, seen: Seen) -> Result:
    """Hold what was seen against the row's limits."""
    zero_s = math.inf if seen.undrivable else standstill_s(seen.commands, seen.begun_s, seen.gone_s)
    return Result(
        row=row.name,
        about=row.about,
        zero_s=zero_s,
        limit_s=row.limits.seconds,
        driven_m=seen.driven_m,
        limit_m=row.limits.metres,
        late_s=seen.late_s,
        stood=math.isfinite(zero_s) and not _moved_again(seen),
        ended=seen.ended,
        words=seen.words,
        wrong=tuple(_wrong(row, seen, zero_s)),
        exceeded=tuple(_exceeded(row, seen, zero_s)),
    )


def standstill_s(commands: Sequence[tuple[float, bool]], begun_s: float, gone_s: float) -> float:
    """Return the time from the beginning to the first zero after which only zeros came; inf if the last was none."""
    zero_s = begun_s
    for at_s, is_zero in commands:
        if at_s > gone_s:
            break
        if not is_zero:
            zero_s = math.inf
        elif math.isinf(zero_s):
            zero_s = at_s
    return max(0.0, zero_s - begun_s)


def _wrong(row: Row, seen: Seen, zero_s: float) -> Iterator[str]:
    if seen.undrivable:
        yield f"the robot did not drive before: {seen.undrivable}"
        return
    if math.isinf(zero_s):
        yield "it never stood"
    if _moved_again(seen):
        yield "it moved again by itself"
    if row.ends and not seen.ended:
        yield "the mission did not end"
    elif row.ends and seen.ended not in row.ends:
        yield f"the mission ended as {seen.ended}, not as {' or '.join(sorted(row.ends))}"


def _moved_again(seen: Seen) -> bool:
    return any(at_s > seen.gone_s and not is_zero for at_s, is_zero in seen.commands)


def _exceeded(row: Row, seen: Seen, zero_s: float) -> Iterator[str]:
    if row.limits.seconds + seen.late_s < zero_s < math.inf:
        yield f"{zero_s:.2f} s until it stood"
    if seen.driven_m > row.limits.metres + TOP_MPS * seen.late_s:
        yield f"{seen.driven_m:.2f} m driven"


def table(results: Sequence[Result]) -> list[str]:
    """Return the report as lines, one a row."""
    header = f"{'row':<20} {'zero, s':>15} {'driven, m':>15} {'late, s':>7}  {'mission ended':<16} verdict"
    lines = [header, "-" * len(header)]
    for result in results:
        stood = f"{result.zero_s:.2f}" if math.isfinite(result.zero_s) else "never"
        lines.append(
            f"{result.row:<20} {stood:>6} of {result.limit_s:>5.2f} {result.driven_m:>6.2f} of {result.limit_m:>5.2f}"
            f" {result.late_s:>7.2f}  {result.ended or '-':<16} {result.verdict}"
        )
    failed = sum(not result.passed for result in results)
    lines.append(f"{len(results) - failed} of {len(results)} rows passed")
    return lines


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """Return the report as one JSON object; a robot that never stood has zero_s null."""
    rows = [asdict(r) | {"passed": r.passed, "zero_s": round(r.zero_s, 3) if math.isfinite(r.zero_s) else None,
                         "driven_m": round(r.driven_m, 3), "late_s": round(r.late_s, 3)} for r in results]  # fmt: skip
    return {"passed": all(r.passed for r in results), "rows": rows}
