"""`vila explain BAG --at T`: what a recorded decision depends on, as one picture and one paragraph.

Images and words are left out in turn, pictures changed, patches of the current image covered: each time the ten
probabilities are computed anew. That is evidence by leaving out, not the model's reason. The last line is a JSON
object.
"""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import Backend
from vila_core.errors import ConfigError
from vila_core.prompts.navigation import navigation_style
from vila_tools.explain.evidence import Evidence, Occlusion, asker, evidence, occlusion
from vila_tools.explain.paragraph import paragraph
from vila_tools.explain.picture import write_picture
from vila_tools.explain.subject import Subject, find_subject, tokens_of
from vila_tools.options import tell_precision
from vila_tools.replay.deciding import Wanted, told_instruction
from vila_tools.replay.model import load_model_of
from vila_tools.replay.run import add_replay_options, asked_of, checked_every, checked_instruction
from vila_tools.replay.source import open_source
from vila_tools.report import tell

_MOST_COLUMNS = 32
_LINE_CHARACTERS = 110


def main(argv: Sequence[str] | None = None) -> int:
    """Explain; the picture is written last, whole or not at all."""
    args = _parser().parse_args(argv)
    if not 1 <= args.patches <= _MOST_COLUMNS:
        raise ConfigError(f"--patches {args.patches}: must be 1 to {_MOST_COLUMNS}")
    wanted = Wanted(checked_instruction(args.instruction), every_s=checked_every(args.every))
    source = open_source(args.bag, topic=args.topic, odometry=args.odometry, takes_cut=args.cut)
    if not any(one.reply for one in source.recording.decisions):
        told_instruction(source, wanted.instruction)  # what is missing is told before a model is loaded
    backend = load_model_of(source.recording, asked_of(args))
    tell_precision(backend.info)
    try:
        subject = _scored(find_subject(source, backend, wanted, at_s=args.at, number=args.decision), backend)
        found, covered = _evidence(subject, backend, args.patches)
        info = backend.info
    finally:
        backend.close()
    text = paragraph(subject, info, found, covered, source.recording)
    write_picture(args.out, subject, info.visual_tokens, found, covered, text)
    form = navigation_style(info.prompt_style).form(subject.instruction)
    report: dict[str, Any] = {
        "bag": str(args.bag),
        "picture": str(args.out),
        "checkpoint": info.name,
        "precision": info.precision,
    }
    report |= {"instruction": form, "tokens": tokens_of(subject.visuals, info.visual_tokens)}
    report |= _values(subject, found, covered)
    tell(report, textwrap.wrap(text, _LINE_CHARACTERS), None)
    return 0


def _scored(subject: Subject, backend: Backend) -> Subject:
    """Return it with the ten probabilities, also of a model that writes its replies."""
    if subject.now.probabilities:
        return subject
    choice = asker(backend)(subject.visuals, subject.instruction)
    return dataclasses.replace(subject, now=dataclasses.replace(subject.now, probabilities=choice.probabilities))


def _evidence(subject: Subject, backend: Backend, columns: int) -> tuple[list[Evidence], Occlusion]:
    ask, visuals, text = asker(backend), subject.visuals, subject.instruction
    explained = subject.explained
    found = list(tqdm(evidence(ask, visuals, text, explained), "left out", disable=None, leave=False))
    maps = list(tqdm(occlusion(ask, visuals, text, explained, columns), "covered", disable=None, leave=False))
    return found, maps[-1]


def _values(subject: Subject, found: Sequence[Evidence], covered: Occlusion) -> dict[str, Any]:
    probabilities = dict(zip(SENTENCES, subject.now.probabilities, strict=True))
    return {
        "at_s": round(subject.at_s, 3),
        "decision": None if subject.before is None else subject.before.number,
        "reply": subject.reply,
        "recorded": None if subject.before is None else subject.before.reply,
        "explained": subject.answer,
        "probabilities": {sentence: round(share, 6) for sentence, share in probabilities.items()},
        "ruled_out": [sentence for sentence, may in zip(SENTENCES, subject.allowed, strict=True) if not may],
        "evidence": [
            {
                "kind": one.kind,
                "name": one.name,
                "drop": round(one.drop, 6),
                "moved": round(one.moved, 6),
                "reply": one.reply,
                "probabilities": [round(share, 6) for share in one.probabilities],
            }
            for one in found
        ],
        "occlusion": [[round(float(drop), 6) for drop in row] for row in covered.drops],
        "meaning": "evidence by leaving out, not the model's reason",
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila explain", description=__doc__)
    add_replay_options(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--at", type=float, metavar="T", help="seconds from the bag's beginning; default: the first decision"
    )
    which.add_argument("--decision", type=int, metavar="N", help="the decision of this number")
    parser.add_argument("--out", type=Path, default=Path("explanation.png"), help="the picture (default: %(default)s)")
    parser.add_argument(
        "--patches", type=int, default=8, help="that are covered beside each other (default: %(default)s)"
    )
    return parser
