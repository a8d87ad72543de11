"""`vila chat CHECKPOINT --image a.jpg "question"`: ask a checkpoint about images and videos; the reply streams.

Media and --text stand in the prompt in the order given, the question last. Written `<image>` or `<video>` in a text
puts the media there instead, in order. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from vila_core.engine.decode import greedy_ids, read_through, room_for
from vila_core.engine.finite import traced
from vila_core.errors import ConfigError, MediaError
from vila_core.history.video_sampling import frames_at_rate, native_frames, uniform_frames
from vila_core.media.films import read_video
from vila_core.media.pictures import read_image
from vila_core.models.config import CheckpointConfig, TokenOrder
from vila_core.models.media_prompt import VARIANTS, Part, Picture, Video
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.time_tokens import decode_times
from vila_core.models.vlm import Prepared, VisionLanguageModel
from vila_core.prompts.conversation import render, stop_token_ids
from vila_core.prompts.instruction import require_unicode
from vila_tools.options import add_model_options, told_precision

_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are still to come
_MAX_UNFINISHED = 4  # tokens that a character's bytes can take


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are seen. frames: how many at most; fps: how many a second, 0 for evenly spread."""

    frames: int
    fps: float
    native: bool

    def choose(self, frame_count: int, video_fps: float) -> list[int]:
        """Return indices as the official code of the checkpoint's time does."""
        if self.fps > 0 and video_fps > 0:
            return frames_at_rate(frame_count, video_fps, self.fps, self.frames)
        return native_frames(frame_count, self.frames) if self.native else uniform_frames(frame_count, self.frames)


@dataclass(frozen=True, slots=True)
class Question:
    """The parts of the prompt. duration_s: of its only video, 0 if there is none or its time is not known.

    problems: sentences about videos that could not be read whole.
    """

    parts: tuple[Part, ...]
    duration_s: float = 0.0
    problems: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Stream the reply, then print a JSON object with it, its tokens and times."""
    args = _parser().parse_args(argv)
    later = args.variant in ("head", "videotoken")
    order: TokenOrder | None = args.token_order or ("row" if later else None)
    sampling = _sampling(args, read_checkpoint_config(args.checkpoint))
    question = read_question([*(args.items or ()), ("text", args.question)], sampling)
    for problem in question.problems:
        print(problem, file=sys.stderr)
    precision = told_precision(args.checkpoint, args.precision, args.device)
    model = load_checkpoint(args.checkpoint, device=args.device, precision=precision, token_order=order)
    began = time.perf_counter()
    with torch.inference_mode(), traced(model, lambda: _read_anew(model, question, args.variant)):
        prepared = _prepare(model, question, args.variant)
        reply = _Noted(_reply_ids(model, prepared, args.max_new_tokens))
        for text in stream_text(model.tokenizer, reply):
            print(text, end="", flush=True)
    print()
    print(json.dumps(_report(model, question, prepared, reply.ids) | {"precision": precision} | reply.times_ms(began)))
    return 0


def read_question(items: Sequence[tuple[str, str]], sampling: Sampling) -> Question:
    """Read the media of the items, ("text" | "image" | "video", value) in the order of the command line.

    Raises MediaError for a file that cannot be read, ConfigError if the media do not fit the marks in the texts,
    InstructionError for a text that is not UTF-8.
    """
    texts = [value for kind, value in items if kind == "text"]
    for text in texts:
        require_unicode(text, "text")
    is_marked = any(mark in text for text in texts for mark in _MARKS.values())
    ordered = _at_marks(items) if is_marked else items
    parts: list[Part] = []
    durations: list[float] = []
    problems: list[str] = []
    for kind, value in ordered:
        if kind == "text":
            parts.append(value)
        elif kind == "image":
            parts.append(Picture(read_image(Path(value))))
        else:
            video = read_video(Path(value), sampling.choose)
            durations.append(video.duration_s)
            problems += video.problems
            parts.append(Video(video.images))
    return Question(tuple(parts), durations[0] if len(durations) == 1 else 0.0, tuple(problems))


_MARKS = {"image": "<image>", "video": "<video>"}


def _at_marks(items: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put the media where the texts are marked."""
    waiting = {kind: [value for other, value in items if other == kind] for kind in _MARKS}
    text = "".join(value for kind, value in items if kind == "text")
    for kind, mark in _MARKS.items():
        if text.count(mark) != len(waiting[kind]):
            raise ConfigError(f"the text has {text.count(mark)} {mark} for {len(waiting[kind])} --{kind}")
    ordered: list[tuple[str, str]] = []
    while text:
        at, kind = min((text.find(mark) if mark in text else len(text), kind) for kind, mark in _MARKS.items())
        ordered += [("text", text[:at])] if at else []
        if at < len(text):
            ordered.append((kind, waiting[kind].pop(0)))
        text = text[at + len(_MARKS[kind]) :]
    return ordered


def stream_text(tokenizer: TextDecoder, ids: Iterable[int]) -> Iterator[str]:
    """Yield the reply's text piece by piece, a character only when all its bytes have come, or the reply has ended."""
    seen: list[int] = []
    text, told, unfinished = "", 0, 0
    for token in ids:
        seen.append(token)
        text = tokenizer.decode(seen)
        unfinished = unfinished + 1 if text.endswith(_UNFINISHED) else 0
        if not 0 < unfinished < _MAX_UNFINISHED:
            yield text[told:]
            told = max(told, len(text))
    yield text[told:]


class TextDecoder(Protocol):
    """What of a tokenizer streaming needs."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids."""
        ...


class _Noted:
    """Hands ids on and notes them with the time of the first."""

    def __init__(self, source: Iterator[int]) -> None:
        self.ids: list[int] = []
        self._source = source
        self._first_s = 0.0

    def __iter__(self) -> Iterator[int]:
        for token in self._source:
            self._first_s = self._first_s or time.perf_counter()
            self.ids.append(token)
            yield token

    def times_ms(self, began_s: float) -> dict[str, float | None]:
        """Until the first token, and until now."""
        first = round((self._first_s - began_s) * 1e3, 1) if self.ids else None
        return {"ttft_ms": first, "total_ms": round((time.perf_counter() - began_s) * 1e3, 1)}


def _prepare(model: VisionLanguageModel, question: Question, variant: Any) -> Prepared:
    try:
        return model.prepare(question.parts, partial(render, model.config.chat_template), variant)
    except ValueError as err:  # the media do not fit what the checkpoint's encoders pool
        raise MediaError(f"these media cannot be shown to this checkpoint: {err}") from err


def _read_anew(model: VisionLanguageModel, question: Question, variant: Any) -> None:
    """What a trace of engine.finite does."""
    read_through(model, _prepare(model, question, variant).embeddings)


def _reply_ids(model: VisionLanguageModel, prepared: Prepared, max_new_tokens: int) -> Iterator[int]:
    room = model.config.decoding.max_length - len(prepared.embeddings)
    if room < 1:
        raise ConfigError(f"the prompt has {len(prepared.embeddings)} tokens, this checkpoint reads {room} fewer")
    count = min(max_new_tokens, room)
    kv = room_for(model, len(prepared.embeddings) + count)
    stop = model.config.decoding.eos_ids or stop_token_ids(model.config.chat_template, model.tokenizer)
    return greedy_ids(model, prepared.embeddings, kv, max_new_tokens=count, stop_ids=stop)


def _sampling(args: argparse.Namespace, config: CheckpointConfig) -> Sampling:
    fps = config.fps if args.fps is None else args.fps
    frames = config.num_video_frames if args.frames is None else args.frames
    if frames < 1 or fps < 0:
        raise ConfigError(f"--frames {frames} must be at least 1 and --fps {fps} at least 0")
    return Sampling(frames, fps if args.frames is None or args.fps else 0.0, config.generation == "native")


def _report(
    model: VisionLanguageModel,
    question: Question,
    prepared: Prepared,
    ids: Sequence[int],
) -> dict[str, Any]:
    reply = model.tokenizer.decode(ids).strip()
    report: dict[str, Any] = {
        "reply": reply,
        "prompt_tokens": len(prepared.embeddings),
        "visual_tokens": sum(map(len, (*prepared.media.pictures, *prepared.media.videos))),
        "reply_tokens": len(ids),
    }
    if question.problems:
        report["problems"] = question.problems
    if model.config.time_tokens.count > 1 and question.duration_s > 0:
        report["reply_in_seconds"] = decode_times(reply, question.duration_s, model.config.time_tokens)
    return report


class _Ordered(argparse.Action):
    """Collects options in the order of the command line."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.items = [*(namespace.items or ()), (str(option_string).lstrip("-"), values)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila chat", description=__doc__, allow_abbrev=False)
    add_model_options(parser)
    parser.add_argument("question", help="the user's text")
    for name, what in (("image", "an image file"), ("video", "a video file or a folder of images"), ("text", "text")):
        help_ = f"{what} at this place of the prompt; may be given several times"
        parser.add_argument(f"--{name}", action=_Ordered, dest="items", metavar=name.upper(), help=help_)
    parser.add_argument("--frames", type=int, help="frames of a video (default: the checkpoint's num_video_frames)")
    parser.add_argument("--fps", type=float, help="frames a second of a video, at most --frames of them")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="default: %(default)s")
    parser.add_argument("--variant", choices=VARIANTS, help="prompt as this code does (default: what trained it)")
    parser.add_argument("--token-order", choices=("row", "column"), help="of mlp_downsample, where the rule is wrong")
    return parser
