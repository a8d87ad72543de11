"""Cases of text: prompts, stop tokens and labels, time tokens, frame indices, NaVILA's actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from vila_core.errors import ConfigError
from vila_core.history.navila_policy import select_frames
from vila_core.history.video_sampling import frames_at_rate, native_frames, serving_frames, uniform_frames
from vila_core.intervals import interval_iou
from vila_core.models.config import TimeTokens
from vila_core.models.time_tokens import decode_times, encode_times, parse_interval, soft_cross_entropy
from vila_core.models.tokenizer import Tokenizer
from vila_core.prompts.conversation import TEMPLATES, render_conversation, stop_token_ids, training_labels
from vila_core.prompts.navigation import navila_text
from vila_tools.parity.case import Case, Check, Limits, equal, near, read_json, read_tensors
from vila_tools.parity.models import ModelStore, template_of, tokenizer_of
from vila_tools.parity.vln import action_checks

_TURN_COUNTS = {"single_turn": 1, "multi_turn": 3}


def prompt_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield a case for each rendered string of prompts.json. "auto" is the tokenizer's template, given there."""
    data = read_json(folder / "prompts.json")
    turns = _turns_said(data["conv"])
    for mode, rows in data["conv"].items():
        template = data["qwen2_template_string"] if mode == "auto" else mode
        for key, wanted in rows.items():
            if isinstance(wanted, str):
                yield Case("prompts", f"{mode}.{key}", partial(_prompt_check, template, turns, key, wanted))
        if mode in TEMPLATES and isinstance(rows.get("template"), dict):
            yield Case("prompts", f"{mode}.template", partial(_template_checks, mode, rows["template"]))
    for key, wanted in data.items():
        if found := re.fullmatch(r"navila_question_(\d+)_frames", key):
            frames = int(found[1])
            yield Case("prompts", key, partial(equal, "question", navila_text("INSTRUCTION", frames), wanted))


def _turns_said(modes: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Read from the strings what was said in the rows of each kind; it is the same for all modes."""
    said: dict[str, list[str]] = {}
    for kind, count in _TURN_COUNTS.items():
        key = f"{kind}.generation_prompt=True"
        for mode, rows in modes.items():
            found = _between(mode, count, rows[key]) if mode in TEMPLATES and key in rows else None
            if found and kind not in said:
                said[kind] = found
    return said


def _between(template: str, count: int, text: str) -> list[str] | None:
    marks = [f"QxQ{number}QxQ" for number in range(count)]
    pattern = re.escape(render_conversation(template, marks))
    for mark in marks:
        pattern = pattern.replace(mark, "(.*?)")
    found = re.fullmatch(pattern, text, re.DOTALL)
    return list(found.groups()) if found else None


def _prompt_check(template: str, turns: Mapping[str, list[str]], key: str, wanted: str) -> Check:
    got = render_conversation(
        template,
        turns[key.partition(".")[0]],
        generation_prompt="generation_prompt=False" not in key,
        system_prompt="no_system_prompt" not in key,
    )
    return equal("text", got, wanted)


def _template_checks(mode: str, row: Mapping[str, Any]) -> Iterator[Check]:
    chat = TEMPLATES[mode]
    yield equal("system", chat.opening[0] + chat.opening[1], row["system"])
    yield equal("separators", chat.seps[0], row["sep"])
    if row["sep_style"] == "TWO":
        yield equal("sep2", chat.seps[1], row["sep2"])


def text_cases(folder: Path, models: ModelStore, limits: Limits) -> Iterator[Case]:
    """Yield the cases of the files in text/ that this package answers for."""
    text = folder / "text"
    if (text / "frame_sampling.json").is_file():
        yield from _sampling_cases(read_json(text / "frame_sampling.json"))
    if (text / "navila_actions.json").is_file():
        for row in read_json(text / "navila_actions.json"):
            yield Case("text", f"action {row['output']!r}", partial(_action_checks, row))
    if (text / "time_tokens.json").is_file():
        yield from _time_cases(read_json(text / "time_tokens.json"))
    if (text / "stop_tokens_and_labels.json").is_file():
        for name, row in read_json(text / "stop_tokens_and_labels.json").items():
            yield Case("text", f"stop tokens {name}", partial(_stop_checks, folder, name, row))
    if (text / "soft_cross_entropy.safetensors").is_file():
        tensors = read_tensors(text / "soft_cross_entropy.safetensors")
        for key in tensors:
            if key.startswith("loss_std_"):
                yield Case("text", f"soft {key}", partial(_loss_check, tensors, key, limits))


def _sampling_cases(data: Any) -> Iterator[Case]:
    for row in data.get("video", ()):
        name = f"frames {row['num_frames']} of {row['frame_count']}"
        if "undecodable" in row:
            yield Case("text", f"{name}, some unreadable", partial(_unreadable_check, row))
        else:
            yield Case("text", name, partial(_video_checks, row))
    if serving := data.get("serving"):
        yield Case("text", "frames of the server", partial(_serving_check, serving))
    for row in data.get("navila", ()):
        picked = row["picked(-1=black pad)"]
        count = row["history_len_including_current"]
        name = f"navila frames {len(picked)} of {count}"
        yield Case("text", name, partial(equal, "frame indices", select_frames(count, len(picked)), picked))


def _video_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    count, frames = row["frame_count"], row["num_frames"]
    for key, wanted in row.items():
        found = re.fullmatch(r"head_fps([\d.]+)", key)
        if key == "dec2024" or (found and float(found[1]) == 0):
            yield equal(key, uniform_frames(count, frames), wanted)
        elif found:
            yield equal(key, frames_at_rate(count, row["video_fps"], float(found[1]), frames), wanted)
        elif key.startswith("vila15") and isinstance(wanted, list):  # else black pictures, which we refuse to make
            yield equal(key, native_frames(count, frames), wanted)


def _unreadable_check(row: Mapping[str, Any]) -> Check:
    """Frames that cannot be read at the end shorten the video, as media.read_video does; others are left out."""
    lost, count = set(row["undecodable"]), row["frame_count"]
    while count - 1 in lost:
        count -= 1
    got = [index for index in uniform_frames(count, row["num_frames"]) if index not in lost]
    return equal("frame indices", got, row["head_fps0"])


def _serving_check(row: Mapping[str, Any]) -> Check:
    return equal("frame indices", serving_frames(row["frame_count"], row["num_frames"]), row["serving_server"])


def _action_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    action = row["action_0stop_1fwd25cm_2left15_3right15"]
    steps = 0 if action is None else 1 + len(row["queued"])
    yield from action_checks(row["output"], action, steps)


def _time_cases(data: Mapping[str, Any]) -> Iterator[Case]:
    tokens = TimeTokens(count=int(data.get("num_time_tokens") or _count_of(data["encode"])))
    code: dict[str, Callable[[str, float], Any]] = {
        "encode": lambda text, duration: encode_times(text, duration, tokens),
        "decode": lambda text, duration: decode_times(text, duration, tokens),
        "parse": lambda text, duration: list(parse_interval(text, duration)),
    }
    for kind, run in code.items():
        for row in data.get(kind, ()):
            name = f"time {kind} {row['text']!r} of {row['duration']}"
            yield Case("text", name, partial(_time_check, run, row))
    for row in data.get("iou", ()):
        yield Case("text", f"time iou {row['a']} {row['b']}", partial(_iou_checks, row))


def _time_check(run: Callable[[str, float], Any], row: Mapping[str, Any]) -> Check:
    return equal("out", run(row["text"], row["duration"]), row["out"])


def _count_of(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many time tokens there were: the one that stands for the whole duration is the last."""
    for row in rows:
        pairs = zip(re.findall(r"<([\d.]+)>", row["text"]), re.findall(r"<t(\d+)>", row["out"]), strict=False)
        for seconds, token in pairs:
            if float(seconds) == row["duration"]:
                return int(token) + 1
    return 100


def _iou_checks(row: Mapping[str, Any]) -> Iterator[Check]:
    iou = interval_iou(tuple(row["a"]), tuple(row["b"]))
    yield Check("iou", abs(iou - row["iou"]), 1e-9)
    if "p@0.5" in row:
        yield equal("p@0.5", float(iou >= 0.5), row["p@0.5"])


def _stop_checks(folder: Path, name: str, row: Mapping[str, Any]) -> Iterator[Check]:
    checkpoint, _, mode = name.partition(":")
    path = folder / "checkpoints" / checkpoint
    template, tokenizer = template_of(path, mode), tokenizer_of(path)
    ids = stop_token_ids(template, tokenizer)
    yield equal("stop ids", sorted(ids), sorted(row["ids"]))
    yield equal("stop tokens", sorted(ids), sorted(tokenizer.id_of(text) or -1 for text in row["stop_tokens"]))
    if "train_input_ids" in row:
        turns = _turns_of(row["train_input_ids"], template, tokenizer)
        got, labels = training_labels(template, turns, tokenizer)
        yield equal("train_input_ids", got, row["train_input_ids"])
        yield equal("train_labels", labels, row["train_labels"])


def _turns_of(ids: Sequence[int], template: str, tokenizer: Tokenizer) -> list[str]:
    """Read the turns back from a conversation's ids: what stands between the texts that the template repeats."""
    seen = tokenizer.decode(ids)
    for count in range(1, 9):
        marks = [f"QxQ{number}QxQ" for number in range(count)]
        frame = render_conversation(template, marks, generation_prompt=False)
        pattern = re.escape(tokenizer.decode(tokenizer.encode(frame, add_bos=True)))
        for mark in marks:
            pattern = pattern.replace(mark, "(.*?)")
        found = re.fullmatch(pattern, seen, re.DOTALL)
        if found:
            turns = list(found.groups())
            if tokenizer.encode(render_conversation(template, turns, generation_prompt=False), True) == list(ids):
                return turns
    raise ConfigError(f"the turns of the conversation cannot be read back from its ids {list(ids)[:8]}...")


def _loss_check(tensors: Mapping[str, Tensor], key: str, limits: Limits) -> Check:
    std = float(key.removeprefix("loss_std_"))
    loss = soft_cross_entropy(tensors["logits"], tensors["labels"], tensors["soft_token_ids"], std)
    return near("loss", loss.reshape(1), tensors[key].reshape(1), limits.embeddings)
