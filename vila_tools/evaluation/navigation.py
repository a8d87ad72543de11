"""`vila bench nav`: how often the robot arrives, beside the baselines, on episodes of a split.

Every policy drives the same episodes through the same environment: 25 cm and 15 degree steps,
all unit-step frames shown, one decision at a time, 60 decisions at most; a mission also ends by the rules that the
navigator's node has, so that what is absent can be told as not found. Success: stop called
nearer than 1.0 m (geodesic) to where the robot can stand at the object.

With --out FOLDER results are kept as they come: the same command goes on where it was killed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.files.writing import write_text
from vila_core.version import package_version
from vila_sim.corruptions import CORRUPTIONS
from vila_sim.episodes.episode_sets import VERSION, fingerprint
from vila_sim.episodes.splits import SPLITS, Episode
from vila_tools.evaluation.chosen_episodes import chosen_episodes
from vila_tools.evaluation.comparison import compare, compare_reports, outcomes_of, read_report
from vila_tools.evaluation.episode_run import EpisodeResult
from vila_tools.evaluation.episode_workers import Settings, run_jobs
from vila_tools.evaluation.failure_sheet import write_failure_sheet
from vila_tools.evaluation.failures import what_failures_share
from vila_tools.evaluation.navigation_report import comparison_line, make_markdown, make_report, make_table
from vila_tools.evaluation.policies import AGAINST, DEFAULT_POLICIES, MODEL_POLICIES, POLICIES
from vila_tools.evaluation.result_file import ResultFile
from vila_tools.report import tell, with_kernels
from vila_tools.workers.pool import WorkerPool, add_pool_options, cost_lines, cost_rows, pool_of

RESULTS, REPORT, DOCUMENT, SHEET = "results.jsonl", "report.json", "report.md", "failures.png"
_OF_TORCH = ("torch", "torch-naive")  # backends whose checkpoint is of the family's own layout


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; print a table and, as the last line, a JSON object."""
    args = _parser().parse_args(argv)
    if args.compare:
        found = compare_reports(*(read_report(file) for file in args.compare))
        tell(found, [comparison_line(found)], args.json)
        return 0
    rival = read_report(args.against) if args.against and not args.against.is_dir() else None
    pool = pool_of(args)
    settings = _settings(args, args.against if rival is None else None)
    episodes = chosen_episodes(args)
    told = episode_set(episodes, args.episode_file)
    expected = None if rival is None else outcomes_of(rival, told["fingerprint"])
    results = _drive(args, settings, episodes, pool)
    report = with_kernels(make_report(settings.policies, episodes[0].split, results))
    report["checkpoint"] = str(args.checkpoint) if MODEL_POLICIES & set(settings.policies) else ""
    report |= {"precision": settings.precision, "seed": args.seed, "history": args.history}
    report |= {"corruption": args.corruption, "episode_set": told, "workers": cost_rows(pool, "episodes")}
    first = [result for result in results if result.policy == settings.policies[0]]
    report["shared"] = what_failures_share(first, episodes)
    if args.against:
        outcomes = expected or report["baselines"][AGAINST]["outcomes"]
        report["against"] = {"b": str(args.against), **compare(report["outcomes"], outcomes)}
    for line in cost_lines(pool, "episodes"):
        print(line)
    tell_report(report, args.json, args.out)
    if args.out:
        write_failure_sheet(args.out / SHEET, first, episodes, report["shared"])
    return 0


def _settings(args: argparse.Namespace, against: Path | None) -> Settings:
    names = tuple(name for name in args.policies.split(",") if name)
    both = names if against is None else (*names, AGAINST)
    settings = Settings(
        policies=both,
        checkpoint=args.checkpoint,
        backend=args.backend,
        device=args.device,
        precision=chosen_precision(args, names),
        seed=args.seed,
        history=HistoryConfig(policy=args.history),
        against=against,
    )
    if against is None:
        return settings
    other = argparse.Namespace(**{**vars(args), "checkpoint": against})
    return dataclasses.replace(settings, against_precision=chosen_precision(other, [AGAINST]))


def chosen_precision(args: argparse.Namespace, names: Sequence[str]) -> str:
    """Return what the model computes in, told here and not by every worker; other backends tell it themselves."""
    if not MODEL_POLICIES & set(names) or args.backend not in _OF_TORCH:
        return str(args.precision)
    from vila_tools.options import told_precision  # imports torch, needed for a model alone

    return told_precision(args.checkpoint, args.precision, args.device)


def _drive(
    args: argparse.Namespace, settings: Settings, episodes: Sequence[Episode], pool: WorkerPool
) -> list[EpisodeResult]:
    """Drive what is not driven yet; return all results, policy by policy, in the order of the episodes."""
    kept = ResultFile(args.out and args.out / RESULTS, _what_counts(settings), episodes)
    ids = [episode.episode_id for episode in episodes]
    jobs = [
        (episode, missing)
        for episode in episodes
        if (missing := tuple(name for name in settings.policies if (name, episode.episode_id) not in kept.results))
    ]
    bar = tqdm(total=len(episodes), initial=len(episodes) - len(jobs), unit="episode")
    with bar:
        for done in run_jobs(settings, jobs, pool):
            kept.add(done)
            bar.update()
    return kept.in_order(settings.policies, ids)


def _what_counts(settings: Settings) -> dict[str, Any]:
    """What results depend on: a run that differs in it is another one. More policies and episodes are driven then."""
    return {
        "version": package_version(),
        "seed": settings.seed,
        "history": settings.history.policy,
        **{"backend": settings.backend, "device": settings.device, "precision": settings.precision},
        "checkpoint": _stored_as(settings.checkpoint),
        "against": None if settings.against is None else _stored_as(settings.against),
    }


def _stored_as(checkpoint: Path) -> list[object]:
    """A checkpoint's folder, with names, sizes and times of its files: two trainings into one folder differ."""
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file()) if checkpoint.is_dir() else []
    facts = [(str(file.relative_to(checkpoint)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [str(checkpoint), hashlib.sha256(repr(facts).encode()).hexdigest()[:16]]


def episode_set(episodes: Sequence[Episode], file: Path | None) -> dict[str, str]:
    """Return which episodes were driven: the package's version of them or the file, and what pairs have in common."""
    return {"version": VERSION if file is None else str(file), "fingerprint": fingerprint(episodes)}


def tell_report(report: dict[str, Any], file: Path | None, folder: Path | None) -> None:
    """Print the report as a table and as the last line; write it to the file, and in both forms to the folder."""
    print(make_table(report))
    print(json.dumps(report))
    for place in filter(None, (file, folder and folder / REPORT)):
        write_text(place, json.dumps(report, indent=1) + "\n")
    if folder:
        write_text(folder / DOCUMENT, make_markdown(report))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench nav", description="Navigate episodes beside the baselines.")
    add_run_options(parser, episodes=200)
    parser.add_argument(
        "--ros", action="store_true", help="drive them by the simulator and navigator that run; see `--ros --help`"
    )
    parser.add_argument(
        "--policies",
        default=",".join(DEFAULT_POLICIES),
        help=f"comma-separated, the first is reported on top; of {', '.join(POLICIES)} (default: %(default)s)",
    )
    parser.add_argument("--history", choices=HISTORY_POLICIES, default="navila", help="of the model's other policies")
    parser.add_argument("--corruption", choices=("", *CORRUPTIONS), default="", help="spoil every episode so")
    parser.add_argument(
        "--against", type=Path, help="a checkpoint, or a report of the same episodes, to compare with in pairs"
    )
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar="REPORT", help="compare two reports in pairs, and drive nothing"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"keep results there, to go on after a kill, and {REPORT}, {DOCUMENT}, {SHEET}",
    )
    return parser


def add_run_options(parser: argparse.ArgumentParser, *, episodes: int) -> None:
    """Add which episodes are driven, by which model, in how many processes, and where the report goes."""
    parser.add_argument("--split", choices=SPLITS, default="val_unseen_layout")
    parser.add_argument("--episodes", type=int, default=episodes, help="default: %(default)s")
    parser.add_argument(
        "--episode-file", type=Path, help="episodes in the JSON form of VLN-CE instead of the package's"
    )
    parser.add_argument("--checkpoint", type=Path, default=EMBEDDED_CHECKPOINT, help="of any family that is known")
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precision", default="auto", help="auto: what the device computes well (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the episodes and of the random baseline")
    add_pool_options(parser)
    parser.add_argument("--json", type=Path, help="also write the report here")


if __name__ == "__main__":
    sys.exit(main())
