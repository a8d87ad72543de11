"""What `vila bench nav` reports: every policy's metrics with 95 % intervals, by kind and by failure; as text too."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from vila_sim.episodes.splits import SUCCESS_RADIUS_M
from vila_tools.evaluation.episode_run import MOTION, EpisodeResult
from vila_tools.evaluation.failures import failure_counts, success_by
from vila_tools.evaluation.metrics import bootstrap_interval, mean, wilson_interval

Row = dict[str, Any]

_RATES: dict[str, Callable[[EpisodeResult], float]] = {
    "sr": lambda r: r.metrics.success,
    "os": lambda r: r.metrics.oracle_success,
}
_MEANS: dict[str, tuple[Callable[[EpisodeResult], float], int]] = {  # and digits
    "spl": (lambda r: r.metrics.spl, 4),
    "soft_spl": (lambda r: r.metrics.soft_spl, 4),
    "ne_m": (lambda r: r.metrics.navigation_error_m, 3),
    "path_length_m": (lambda r: r.metrics.path_length_m, 3),
    "ndtw": (lambda r: r.metrics.ndtw, 4),
    "sdtw": (lambda r: r.metrics.sdtw, 4),
    "steps": (lambda r: r.metrics.steps, 2),
    "decisions": (lambda r: float(len(r.decision_ms)), 2),
    "collisions": (lambda r: float(r.collisions), 3),
    "contact_s": (lambda r: r.contact_s, 3),
    "waiting_ratio": (lambda r: waiting_ratio(r), 4),
}
_GROUPS = ("kind", "corruption", "sign")


def make_report(names: Sequence[str], split: str, results: Sequence[EpisodeResult], *, motion: str = MOTION) -> Row:
    """Sum up: the first policy's row at the top, the others under "baselines" by name.

    Rates are fractions. NAME_low and NAME_high bound 95 % intervals: Wilson's of sr and os, bootstrap ones of means;
    null where a metric does not apply. failures: how many of each kind. kinds, corruptions, signs: SR by what is named
    last, and by what was spoiled. outcomes: a 1 for each success, in the order of the results. Decision times, and
    waiting_ratio with them, are those of the workers' machines; all else is the same however parallel it runs.
    """
    rows = {name: summary([result for result in results if result.policy == name]) for name in names}
    first = names[0]
    others = {name: row for name, row in rows.items() if name != first}
    return {"policy": first, "split": split, "motion": motion, **rows[first], "baselines": others}


def summary(results: Sequence[EpisodeResult]) -> Row:
    """Sum up one policy's results, of which there is at least one."""
    row: Row = {"episodes": len(results)}
    for name, rate in _RATES.items():
        _add_rate(row, name, [rate(result) for result in results])
    for name, (value, digits) in _MEANS.items():
        values = [value(result) for result in results]
        low, high = bootstrap_interval(values)
        row |= {
            name: _told(mean(values), digits),
            f"{name}_low": _told(low, digits),
            f"{name}_high": _told(high, digits),
        }
    times = [ms for result in results for ms in result.decision_ms]
    row |= {
        "held": sum(result.held for result in results),
        "decisions_per_s": round(1e3 * len(times) / max(sum(times), 1e-9), 1),
        "decision_ms": round(statistics.median(times), 2),
        "failures": failure_counts(results),
        "outcomes": "".join(str(int(result.metrics.success > 0)) for result in results),
    }
    groups = {f"{what}s": success_by(results, what) for what in _GROUPS}
    return row | {name: found for name, found in groups.items() if found}


def waiting_ratio(result: EpisodeResult) -> float:
    """Return the share of the time that the robot stood and waited for decisions, if it waits for each."""
    waited_s = sum(result.decision_ms) / 1e3
    return waited_s / max(waited_s + result.motion_s, 1e-9)


def _add_rate(row: Row, name: str, values: Sequence[float]) -> None:
    known = [value for value in values if not math.isnan(value)]
    low, high = wilson_interval(sum(known), len(known)) if known else (math.nan, math.nan)
    row |= {name: _told(mean(values), 4), f"{name}_low": _told(low, 4), f"{name}_high": _told(high, 4)}


def _told(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)


_COLUMNS = (
    *(("sr", "SR", 3), ("os", "OS", 3), ("spl", "SPL", 3), ("ne_m", "NE m", 2), ("ndtw", "nDTW", 2)),
    *(("sdtw", "SDTW", 2), ("decisions", "dec.", 1), ("collisions", "coll.", 2), ("contact_s", "contact s", 2)),
    *(("waiting_ratio", "waiting", 3), ("decision_ms", "ms", 1)),
)


def make_table(report: Row) -> str:
    """The report as text, a line for each policy."""
    lines = [_headline(report), f"{'policy':<18} " + " ".join(f"{title:>9}" for _, title, _ in _COLUMNS)]
    for name, row in _rows(report).items():
        cells = " ".join(f"{_shown(row, key, digits):>9}" for key, _, digits in _COLUMNS)
        lines.append(f"{name:<18} {cells}")
    lines.append(f"SR 95 %: {_interval(report, 'sr', 3)}; motion: {report['motion']}")
    return "\n".join(lines + [comparison_line(report["against"])] if "against" in report else lines)


def make_markdown(report: Row) -> str:
    """The report as a document with tables."""
    head = f"# {_headline(report)}\n\nMotion: {report['motion']}. In brackets: 95 % intervals.\n"
    titles = ["policy", *(title for _, title, _ in _COLUMNS)]
    lines = [head, _line(titles), _line(["---"] * len(titles))]
    for name, row in _rows(report).items():
        cells = [f"{_shown(row, key, digits)} {_interval(row, key, digits)}".strip() for key, _, digits in _COLUMNS]
        lines.append(_line([name, *cells]))
    if "against" in report:
        lines.append(f"\n{comparison_line(report['against'])}")
    lines += ["\n## Failures\n", _line(["how", "episodes"]), _line(["---"] * 2)]
    lines += [_line([name, str(count)]) for name, count in report["failures"].items()]
    if report.get("shared"):
        lines += ["", *(f"- {sentence}" for sentence in report["shared"])]
    for what in _GROUPS:
        if f"{what}s" in report:
            lines += [f"\n## By {what}\n", _line([what, "episodes", "SR"]), _line(["---"] * 3)]
            lines += [
                _line([name, str(row["episodes"]), f"{row['sr']:.3f} {_interval(row, 'sr', 2)}"])
                for name, row in report[f"{what}s"].items()
            ]
    return "\n".join(lines) + "\n"


def comparison_line(found: Row) -> str:
    """A paired comparison in a line."""
    return (
        f"against {found['b']}: SR {found['sr_a']:.3f} and {found['sr_b']:.3f} in {found['episodes']} episodes, "
        f"difference {found['difference']:+.3f} ({found['difference_low']:+.3f} to {found['difference_high']:+.3f}); "
        f"{found['only_a']} arrive with the first alone, {found['only_b']} with the other alone, exact McNemar p = "
        f"{found['p']:.3g}"
    )


def _rows(report: Row) -> dict[str, Row]:
    return {report["policy"]: report, **report["baselines"]}


def _headline(report: Row) -> str:
    within = f"success within {SUCCESS_RADIUS_M} m, stop called"
    return f"{report['split']}, {report['episodes']} episodes, {within}"


def _shown(row: Row, key: str, digits: int) -> str:
    return "-" if row.get(key) is None else f"{row[key]:.{digits}f}"


def _interval(row: Row, key: str, digits: int) -> str:
    low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
    return "" if low is None or high is None else f"[{low:.{digits}f}, {high:.{digits}f}]"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
