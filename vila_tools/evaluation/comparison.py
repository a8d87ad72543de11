"""Two checkpoints on the same episodes: how many arrive with one alone, and whether that is more than chance."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vila_core.errors import ConfigError
from vila_core.files.json_object import JsonObject, read_object
from vila_tools.evaluation.metrics import mcnemar, paired_interval


def compare(a: str, b: str) -> dict[str, Any]:
    """Compare outcomes, a 1 for each success, of the same episodes in the same order.

    only_a, only_b: successes of the one alone. difference: SR of b less that of a; difference_low and difference_high
    bound its 95 % interval. p: of McNemar's exact test, two-sided.
    """
    both = list(zip(a, b, strict=True))
    only_a, only_b = both.count(("1", "0")), both.count(("0", "1"))
    low, high = paired_interval(only_a, only_b, len(both))
    return {
        "episodes": len(both),
        "sr_a": round(a.count("1") / len(both), 4),
        "sr_b": round(b.count("1") / len(both), 4),
        "both": both.count(("1", "1")),
        "only_a": only_a,
        "only_b": only_b,
        "neither": both.count(("0", "0")),
        "difference": round((only_b - only_a) / len(both), 4),
        "difference_low": round(low, 4),
        "difference_high": round(high, 4),
        "p": float(f"{mcnemar(only_a, only_b):.4g}"),
    }


def compare_reports(a: JsonObject, b: JsonObject) -> dict[str, Any]:
    """Compare the first policies of two reports. Raises ConfigError if they are not of the same episodes."""
    outcomes = [outcomes_of(report, a.object("episode_set").text("fingerprint")) for report in (a, b)]
    return {"a": str(a.file), "b": str(b.file), **compare(*outcomes)}


def outcomes_of(report: JsonObject, fingerprint: str) -> str:
    """Return a report's outcomes. Raises ConfigError if it is of other episodes than those of the fingerprint."""
    if report.object("episode_set").text("fingerprint") != fingerprint:
        raise ConfigError(f"{report.file} is of other episodes: nothing to compare in pairs; see its episode_set")
    return report.text("outcomes")


def read_report(file: Path) -> JsonObject:
    """Read a report of `vila bench nav`. Raises ConfigError for anything else."""
    report = read_object(file, error=ConfigError)
    report.object("episode_set").text("fingerprint")
    if not re.fullmatch("[01]+", report.text("outcomes")):
        raise report.wrong("outcomes", "a 0 or a 1 for each episode")
    return report
