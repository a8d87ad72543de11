"""`vila replay BAG`: the same core over a recorded run again: does it decide as it did, and where does it differ first?

BAG is what `record:=true` wrote, any other bag with images, or a folder of pictures; without one it is a short run in
the flat that comes with the package. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.config import HISTORY_POLICIES, NavigatorConfig
from vila_core.engine.backend import BACKENDS, Backend
from vila_core.errors import ConfigError
from vila_core.machine.precision import PRECISIONS
from vila_core.prompts.instruction import sanitize
from vila_tools.options import tell_precision
from vila_tools.replay.deciding import Wanted, decide_again, decide_along, told_instruction, uses_prompts
from vila_tools.replay.model import Asked, load_model_of
from vila_tools.replay.report import (
    Machine,
    agreement,
    agreement_values,
    along_lines,
    along_values,
    summary,
    table,
)
from vila_tools.replay.source import SAMPLE, Source, open_source
from vila_tools.report import tell


@dataclasses.dataclass(frozen=True, slots=True)
class _Told:
    """A result: for JSON, for people, and whether a decision is another one now."""

    values: dict[str, Any]
    lines: tuple[str, ...]
    differs: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Replay; returns 1 if nothing else was asked for and a decision is another one now."""
    args, begun_s = _parser().parse_args(argv), time.monotonic()
    wanted = Wanted(checked_instruction(args.instruction), args.policy, checked_every(args.every))
    source = open_source(args.bag, topic=args.topic, odometry=args.odometry, takes_cut=args.cut)
    is_compared = any(one.reply for one in source.recording.decisions)
    if not is_compared:
        wanted = dataclasses.replace(wanted, instruction=told_instruction(source, wanted.instruction))
    backend = load_model_of(source.recording, asked_of(args))
    tell_precision(backend.info)
    try:
        told = (_compare if is_compared else _run_along)(source, backend, wanted)
        info = backend.info
    finally:
        backend.close()
    report = {"bag": str(args.bag), "checkpoint": info.name, "precision": info.precision, **told.values}
    report |= {"machine": dataclasses.asdict(Machine.of(info)), "cut": source.cut}
    report |= {"seconds": round(time.monotonic() - begun_s, 2)}
    cut = (f"The bag is cut, and what is missing was not replayed: {source.cut}",) if source.cut else ()
    tell(report, (*told.lines, *cut), args.json)
    return int(told.differs and not _asks_otherwise(args))


def checked_instruction(text: str) -> str:
    """Return an instruction that was given, "" for none. Raises InstructionError as the navigator does."""
    return sanitize(text, NavigatorConfig().max_instruction_chars) if text else ""


def asked_of(args: argparse.Namespace) -> Asked:
    """Return which model is asked for, by the options of `add_replay_options`."""
    return Asked(args.checkpoint, args.backend, args.device, args.precision)


def _compare(source: Source, backend: Backend, wanted: Wanted) -> _Told:
    decisions, begin_ns = source.recording.decisions, source.recording.begin_ns
    bar = tqdm(decide_again(source, backend, wanted), "decisions", len(decisions), disable=None, leave=False)
    rows = [row.without_images() for row in bar]
    found, here, there = agreement(rows), Machine.of(backend.info), Machine.told(source.recording.facts)
    values = {
        "mode": "prompts" if uses_prompts(source, wanted) else "stream",
        "instruction": wanted.instruction or "; ".join(source.recording.instructions),
        "history_policy": wanted.policy or source.recording.facts.get("history_policy", ""),
        **agreement_values(found, begin_ns),
        "same_machine": here.is_same(there),
        "recorded_machine": dataclasses.asdict(there),
    }
    lines = (*table(rows, begin_ns), *summary(found, begin_ns, here, there))
    return _Told(values, lines, found.same_choice < found.asked)


def _run_along(source: Source, backend: Backend, wanted: Wanted) -> _Told:
    bar = tqdm(decide_along(source, backend, wanted), "decisions", disable=None, leave=False)
    rows = [(moment, dataclasses.replace(decision, prompt=None)) for moment, decision in bar]
    values = {
        "mode": "stream",
        "instruction": wanted.instruction,
        "history_policy": wanted.history.policy,
        **along_values(rows),
    }
    return _Told(values, tuple(along_lines(rows)))


def _asks_otherwise(args: argparse.Namespace) -> bool:
    """True if another decision is no fault: something else was asked for."""
    given = (args.instruction, args.policy, args.checkpoint, args.backend, args.precision)
    return any(given) or args.device != "cpu"


def checked_every(every_s: float) -> float:
    """Return a time between decisions. Raises ConfigError for one that is none."""
    if not 0 <= every_s < 1e6:
        raise ConfigError(f"--every {every_s:g}: must be a time in seconds")
    return every_s


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    """Add the bag and the model: what replaying and explaining share."""
    parser.add_argument("bag", type=Path, nargs="?", default=SAMPLE, help="a bag, or a folder of pictures")
    parser.add_argument("--instruction", default="", help="ask for something else than the robot was told")
    parser.add_argument("--checkpoint", type=Path, help="another model's directory")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="", help="what runs it, if not what ran it then")
    parser.add_argument("--device", default="cpu", help="where to compute, as torch names it (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default="", help="another than the recorded one")
    parser.add_argument("--topic", default="", help="of the images, if the bag has several cameras")
    parser.add_argument("--odometry", default="", metavar="TOPIC", help="of odometry, if the bag has several")
    parser.add_argument("--every", type=float, default=0.0, metavar="S", help="decide so often where none is recorded")
    parser.add_argument("--cut", action="store_true", help="take what is in front of where a bag is cut")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila replay", description=__doc__)
    add_replay_options(parser)
    parser.add_argument(
        "--policy", choices=HISTORY_POLICIES, default="", help="another history: which frames are shown"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the last line there too")
    return parser
