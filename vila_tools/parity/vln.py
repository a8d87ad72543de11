"""Cases of a directory like test/reference/vln: prompts, token ids, frame indices, replies, times, metrics."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vila_core.actions.parser import official_action
from vila_core.errors import ConfigError
from vila_core.history.navila_policy import select_frames
from vila_core.intervals import interval_iou
from vila_core.models.config import TimeTokens
from vila_core.models.time_tokens import decode_times, encode_times, parse_interval
from vila_core.models.tokenizer import Tokenizer
from vila_core.prompts.conversation import render
from vila_core.prompts.instruction import normalise
from vila_core.prompts.navigation import navila_text
from vila_core.types import IMAGE_TOKEN, MoveForward, Turn
from vila_tools.evaluation.temporal import macro_score, score_interval
from vila_tools.parity.case import Case, Check, equal, read_json
from vila_tools.parity.llama3_bpe import installed_ranks, write_tokenizer

_NO_TOKENIZER = (
    "needs Llama-3's BPE, which is not part of the reference data: give it with --tokenizer "
    "(llama_models/llama3/tokenizer.model of the PyPI package llama-models, or a tokenizer.json)"
)
_EPSILON = 1e-9  # of lengths, angles and ratios that went through JSON


def vln_cases(folder: Path, tokenizer: Path | None = None) -> Iterator[Case]:
    """Yield a case for every row of the files that this package answers for.

    tokenizer: Llama-3's BPE file; without it the token rows are skipped.
    """
    makers: dict[str, Callable[[Any], Iterator[Case]]] = {
        "navila_prompt.json": _prompt_cases,
        "navila_frame_sampling.json": _sampling_cases,
        "action_parsers.json": _action_cases,
        "temporal.json": _temporal_cases,
    }
    for name, make in makers.items():
        if (folder / name).is_file():
            yield from make(read_json(folder / name))
    if (folder / "navila_tokens.json").is_file():
        yield from _token_cases(read_json(folder / "navila_tokens.json"), tokenizer)


def _prompt_cases(data: Any) -> Iterator[Case]:
    for number, row in enumerate(data["rows"]):
        yield Case("vln prompts", f"{number} {row['instruction'][:40]!r}", partial(_prompt_checks, row))


def _prompt_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    question = navila_text(row["instruction"], row["num_frames"])
    yield equal("question", question, row["question"])
    for key, value in row.items():
        if key.startswith("full_prompt_"):
            yield equal(key, render(key.removeprefix("full_prompt_"), question), value)
    if "train_normalised_instruction" in row:
        yield equal("normalised instruction", normalise(row["instruction"]), row["train_normalised_instruction"])


def _sampling_cases(data: Any) -> Iterator[Case]:
    for row in data["rows"]:
        count = row["n_frames_available"]
        yield Case("vln frames", f"of {count}", partial(_sampling_checks, row, count))
    if zero := data.get("zero_frames", {}).get("eval"):
        wanted = zero["indices"]
        yield Case("vln frames", "of 0", partial(equal, "k", select_frames(0, len(wanted)), wanted))
    if example := data.get("float_vs_integer_floor", {}).get("k64_example"):
        count, many = example["n"], example["numpy_indices"]
        yield Case("vln frames", f"rounding of {count}", partial(equal, "k", select_frames(count, len(many)), many))


def _sampling_checks(row: Mapping[str, Any], count: int) -> Iterator[Check]:
    for key, wanted in row.items():
        if found := re.match(r"k(\d+)_", key):
            yield equal(key, select_frames(count, int(found[1])), wanted)


def _action_cases(data: Any) -> Iterator[Case]:
    for number, row in enumerate(data["rows"]):
        yield Case("vln actions", f"{number} {row['text'][:40]!r}", partial(_action_row_checks, row))


def _action_row_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    wanted = row["navila_vlnce"]
    sequence = wanted["low_level_sequence"]
    steps = sequence["len"] if isinstance(sequence, dict) else len(sequence)
    yield from action_checks(row["text"], wanted["action"], 0 if wanted["action"] is None else steps)
    action = official_action(row["text"]).action
    if "distance_cm" in wanted and isinstance(action, MoveForward):
        yield Check("distance", abs(action.distance_m - wanted["distance_cm"] / 100), _EPSILON)
    if "degree" in wanted and isinstance(action, Turn):
        yield Check("angle", abs(abs(math.degrees(action.angle_rad)) - wanted["degree"]), _EPSILON)


def action_checks(reply: str, action: int | None, steps: int) -> Iterator[Check]:
    """Compare what NaVILA's evaluation makes of a reply: 0 stop, 1 forward, 2 left, 3 right, None nothing."""
    got = official_action(reply)
    kind: int | None = 0
    if got.action is None:
        kind = None
    elif isinstance(got.action, MoveForward):
        kind = 1
    elif isinstance(got.action, Turn):
        kind = 2 if got.action.angle_rad > 0 else 3
        if got.action.angle_rad == 0 and action in (2, 3):  # no turn at all has no side
            kind = action
    yield equal("action", kind, action)
    yield equal("steps", got.steps, steps)


def _temporal_cases(data: Any) -> Iterator[Case]:
    rule = data.get("rule", {})
    tokens = TimeTokens(int(rule.get("num_time_tokens", 100)), str(rule.get("template", "<t{t}>")))
    rows: list[tuple[str, Callable[[], list[Check] | Check]]] = []
    for duration, number, _, wanted in data.get("decode", ()):
        rows.append((f"decode {number} of {duration}", partial(_decode, number, duration, tokens, wanted)))
    for duration, seconds, wanted in data.get("encode", ()):
        rows.append((f"encode {seconds} of {duration}", partial(_encode, seconds, duration, tokens, wanted)))
    for count, duration, number, wanted in data.get("decode_other_N", ()):
        other = TimeTokens(count, tokens.format)
        rows.append((f"decode {number} of {duration}, {count}", partial(_decode, number, duration, other, wanted)))
    for row in data.get("sentences", ()):
        rows.append((f"sentence {row['text']!r} of {row['duration']}", partial(_sentence, row, tokens)))
    for row in data.get("parse", ()):
        rows.append((f"parse {row['text']!r} of {row['duration']}", partial(_parsed, row)))
    for row in data.get("iou", ()):
        rows.append((f"iou {row['pred']} {row['gt']}", partial(_iou, row)))
    if "aggregate" in data:
        rows.append(("aggregate", partial(_aggregate, data["aggregate"])))
    yield from (Case("vln times", name, run) for name, run in rows)


def _decode(number: int, duration_s: float, tokens: TimeTokens, wanted: str) -> Check:
    return equal("text", decode_times(tokens.format.format(t=number), duration_s, tokens), wanted)


def _encode(seconds: float, duration_s: float, tokens: TimeTokens, wanted: str) -> Check:
    return equal("text", encode_times(f"<{seconds}>", duration_s, tokens), wanted)


def _sentence(row: Mapping[str, Any], tokens: TimeTokens) -> list[Check]:
    text = decode_times(row["text"], row["duration"], tokens)
    interval = list(parse_interval(text, row["duration"]))
    return [equal("text", text, row["vila_decoded"]), equal("interval", interval, row["vila_interval"])]


def _parsed(row: Mapping[str, Any]) -> Check:
    return equal("interval", list(parse_interval(row["text"], row["duration"])), row["vila"])


def _iou(row: Mapping[str, Any]) -> Check:
    return Check("iou", abs(interval_iou(tuple(row["pred"]), tuple(row["gt"])) - row["vila_iou"]), _EPSILON)


def _aggregate(data: Mapping[str, Any]) -> list[Check]:
    score = macro_score((video, score_interval(tuple(said), tuple(true))) for video, said, true in data["rows"])
    wanted = data["macro_over_videos"]
    return [
        Check("iou", abs(score.iou - wanted["iou"]), _EPSILON),
        Check("precision", abs(score.precision - wanted["precision@0.5"]), _EPSILON),
    ]


def _token_cases(data: Any, file: Path | None) -> Iterator[Case]:
    file = file or installed_ranks()
    skip = "" if file else _NO_TOKENIZER
    for number, row in enumerate(data["prompt_rows"]):
        name = f"{number} {row['instruction'][:40]!r}"
        yield Case("vln tokens", name, partial(_token_checks, row, file), skip)
    for row in data["action_strings"]:
        yield Case("vln tokens", repr(row["text"]), partial(_string_check, row, file), skip)


@cache
def _llama3(file: Path | None) -> Tokenizer:
    """Open a tokenizer.json, or make one of Llama-3's ranks."""
    if file is None:
        raise ConfigError(_NO_TOKENIZER)
    if file.is_dir() or file.suffix == ".json":
        return Tokenizer(file)
    with TemporaryDirectory() as folder:
        write_tokenizer(file, Path(folder))
        return Tokenizer(Path(folder))


def _string_check(row: Mapping[str, Any], file: Path | None) -> Check:
    return equal("ids", _llama3(file).encode(row["text"]), row["ids"])


def _token_checks(row: Mapping[str, Any], file: Path | None) -> Iterator[Check]:
    frames = row["n_image"] - row["instruction"].count(IMAGE_TOKEN)
    ids = _llama3(file).encode_native(render("llama_3", navila_text(row["instruction"], frames)))
    yield equal("count", len(ids), row["n_ids_bos_tokenizer"])
    yield equal("bos", ids[:3].count(ids[0]), row["bos_count_bos_tokenizer"])
    yield equal("hash", hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16], row["sha256_ids_bos"])
    if row.get("ids_bos_tokenizer"):
        yield equal("ids", ids, row["ids_bos_tokenizer"])
