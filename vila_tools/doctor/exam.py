"""`vila doctor --exam`: each check beside mistakes seeded into simulated runs, and beside the runs without any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from vila_core.doctor.checks import CHECKS, Case, examine
from vila_core.doctor.findings import Level
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_tools.doctor.mistakes import MISTAKES
from vila_tools.doctor.simulated import SimulatedRun, healthy_run


@dataclass(slots=True)
class Row:
    """A check and a mistake: in how many runs it was found, and missed; and which other checks spoke too."""

    check: str
    about: str
    found: int = 0
    missed: int = 0
    others: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Exam:
    """All rows, and for each check the healthy runs that it judged, and those that it raised an alarm in."""

    runs: int
    healthy: int
    rows: list[Row]
    judged: dict[str, int]
    false: dict[str, int]
    false_words: list[str]

    @property
    def is_passed(self) -> bool:
        """True if everything was found and nothing else said."""
        return not sum(row.missed for row in self.rows) and not sum(self.false.values())


def take_exam(runs: int, healthy: int = 0) -> Exam:
    """Drive the runs and seed every mistake into each; healthy: more of them, without mistakes."""
    backend = load_backend("torch", EMBEDDED_CHECKPOINT)
    names = [check.name for check in CHECKS]
    exam = Exam(runs, runs + healthy, [Row(mistake.check, mistake.about) for mistake in MISTAKES], {}, {}, [])
    exam.judged, exam.false = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    try:
        for number in tqdm(range(runs + healthy), desc="runs", unit="run"):
            with healthy_run(number, backend) as run:
                plain = Case(run.observed)
                _judge_healthy(exam, number, plain)
                if number < runs:
                    _judge_mistakes(exam, run, plain)
    finally:
        backend.close()
    return exam


def _judge_healthy(exam: Exam, number: int, plain: Case) -> None:
    for name, finding in examine(plain).items():
        exam.judged[name] += finding.level is not Level.UNKNOWN
        exam.false[name] += finding.is_alarm
        if finding.is_alarm:
            exam.false_words.append(f"run {number}: {name}: {finding.text}")


def _judge_mistakes(exam: Exam, run: SimulatedRun, plain: Case) -> None:
    for mistake, row in zip(MISTAKES, exam.rows, strict=True):
        found = examine(Case(mistake.seed(run), plain))
        row.found += found[mistake.check].is_alarm
        row.missed += not found[mistake.check].is_alarm
        for name in (name for name, finding in found.items() if finding.is_alarm and name != mistake.check):
            row.others[name] = row.others.get(name, 0) + 1


def lines(exam: Exam) -> Sequence[str]:
    """Return the table as Markdown."""
    told = [
        f"{exam.healthy} healthy simulated runs, {exam.runs} of them with every mistake too",
        "",
        "| check | seeded mistake | found | missed | false alarms in healthy runs | also told by |",
        "|---|---|---|---|---|---|",
    ]
    named: set[str] = set()
    for row in sorted(exam.rows, key=lambda row: [check.name for check in CHECKS].index(row.check)):
        false = "" if row.check in named else f"{exam.false[row.check]} of {exam.judged[row.check]}"
        named.add(row.check)
        others = ", ".join(f"{name} ({count})" for name, count in sorted(row.others.items(), key=lambda one: -one[1]))
        told.append(f"| {row.check} | {row.about} | {row.found} | {row.missed} | {false} | {others} |")
    return [*told, *exam.false_words]


def as_json(exam: Exam) -> dict[str, Any]:
    """Return it for the last line."""
    return {
        "runs": exam.runs,
        "healthy": exam.healthy,
        "mistakes": len(exam.rows),
        "found": sum(row.found for row in exam.rows),
        "missed": sum(row.missed for row in exam.rows),
        "false": sum(exam.false.values()),
        "judged": sum(exam.judged.values()),
    }
