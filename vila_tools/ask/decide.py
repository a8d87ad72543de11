"""`vila decide CHECKPOINT --images DIR "instruction"`: what the robot would do next, and how sure the model is.

DIR holds what the camera saw, oldest first by name. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from vila_core.actions.grammar import SENTENCES
from vila_core.config import NavigatorConfig
from vila_core.engine.backend import BACKENDS, load_backend
from vila_core.history.navila_policy import BLANK, select_frames
from vila_core.media.pictures import list_images, read_image
from vila_core.navigator import decision_prompt
from vila_core.prompts.instruction import sanitize
from vila_core.types import Choice, Frame, Instruction
from vila_tools.options import add_model_options, tell_precision


def main(argv: Sequence[str] | None = None) -> int:
    """Print the ten sentences with their probabilities, the best one marked, and last a JSON object."""
    args = _parser().parse_args(argv)
    text = sanitize(args.instruction, NavigatorConfig().max_instruction_chars)
    files = list_images(args.images)
    backend = load_backend(args.backend, args.checkpoint, device=args.device, precision=args.precision)
    tell_precision(backend.info)
    try:
        frames = read_frames(files, backend.info.num_frames)
        choice = backend.choose(decision_prompt(backend.info, Instruction(text), frames), SENTENCES)
    finally:
        backend.close()
    print(make_table(choice))
    report = {
        "action": SENTENCES[choice.index],
        "probability": choice.probabilities[choice.index],
        "probabilities": dict(zip(SENTENCES, choice.probabilities, strict=True)),
        "frames": len(files),
        "frames_used": len(frames),
        "precision": backend.info.precision,
    }
    print(json.dumps(report))
    return 0


def read_frames(files: Sequence[Path], num_frames: int) -> list[Frame]:
    """Read those images, oldest first, that a prompt of num_frames shows; MediaError as media.read_image."""
    shown = [index for index in select_frames(len(files), num_frames) if index != BLANK]
    return [Frame(read_image(files[index]), index) for index in shown]


def make_table(choice: Choice) -> str:
    """One line for each sentence: its probability, a bar, and a mark on the one chosen."""
    rows = []
    for index, (sentence, probability) in enumerate(zip(SENTENCES, choice.probabilities, strict=True)):
        mark = ">" if index == choice.index else " "
        rows.append(f"{mark} {probability:6.3f} {'#' * round(20 * probability):<20} {sentence}")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila decide", description=__doc__)
    add_model_options(parser)
    parser.add_argument("instruction", help="where to go")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="what the camera saw, sorted by name")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="torch", help="default: %(default)s")
    return parser
