"""Asking when something happens: prompts and the set of replies, for time tokens and for times written out.

The pictures come first, as NVILA was trained to see a video, and the question last: what all questions about the same
pictures have in common is read once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vila_core.errors import InstructionError, QueryError
from vila_core.prompts.conversation import render, stop_texts
from vila_core.prompts.instruction import sanitize
from vila_core.types import IMAGE_TOKEN, LocalizationMethod, Prompt, Visual

NOT_SEEN = "not seen"
_TASKS = {
    LocalizationMethod.TIME_TOKENS: "Tell when it starts and when it ends, as two time marks and nothing else",
    LocalizationMethod.TIMESTAMPS: 'Tell when it starts and when it ends, as "from 1 to 2 seconds" and nothing else',
}
_MOST_DECIMALS = 3


def clean_query(text: str, max_chars: int, noun: str = "query") -> str:
    """Return the text as it may stand in a prompt; see prompts.instruction.sanitize. Raises QueryError."""
    try:
        return sanitize(text, max_chars, noun)
    except InstructionError as err:
        raise QueryError(str(err)) from err


def localization_prompt(
    method: LocalizationMethod,
    chat_template: str,
    query: str,
    visuals: Sequence[Visual],
    marks: Sequence[str],
    *,
    cache_slot: str,
) -> Prompt:
    """Build the prompt that asks when something goes on; see video_prompt.

    Prompts that differ in the query only begin alike up to it.
    """
    words = f"{_TASKS[method]}; if it is not there, reply: {NOT_SEEN}. When is this: {query}"
    return video_prompt(method, chat_template, words, visuals, marks, cache_slot=cache_slot)


def video_prompt(
    method: LocalizationMethod,
    chat_template: str,
    words: str,
    visuals: Sequence[Visual],
    marks: Sequence[str],
    *,
    cache_slot: str,
) -> Prompt:
    """Build a prompt of the pictures and the words behind them.

    marks: of the visuals' times, from `time_marks`; shown for TIMESTAMPS alone. Raises as
    prompts.navigation.navigation_prompt does.
    """
    if method == LocalizationMethod.TIMESTAMPS:
        video = "".join(f"{mark} s: {IMAGE_TOKEN}\n" for mark in marks)
    else:
        video = IMAGE_TOKEN * len(visuals)
    return Prompt(render(chat_template, video + words), tuple(visuals), stop_texts(chat_template), cache_slot)


def time_marks(method: LocalizationMethod, time_tokens: Sequence[str], times_s: Sequence[float]) -> tuple[str, ...]:
    """Name the times of the pictures: time tokens spread over them, or seconds from the first one.

    times_s: ascending, of pictures that are to be told apart; seconds get as few decimals as do that. Raises
    ValueError for more times than there are time tokens.
    """
    count = len(times_s)
    if method == LocalizationMethod.TIME_TOKENS:
        if count > len(time_tokens):
            raise ValueError(f"{count} times cannot be told apart with {len(time_tokens)} time tokens")
        return tuple(time_tokens[round(at * (len(time_tokens) - 1) / max(1, count - 1))] for at in range(count))
    for decimals in range(_MOST_DECIMALS + 1):
        marks = tuple(f"{seconds - times_s[0]:.{decimals}f}" for seconds in times_s)
        if len(set(marks)) == count:
            return marks
    raise ValueError(f"times less than a millisecond apart cannot be told apart: {list(times_s)}")


def start_replies(method: LocalizationMethod, marks: Sequence[str]) -> tuple[str, ...]:
    """How a reply to a localization prompt can begin: with each start, then NOT_SEEN."""
    form = "{}" if method == LocalizationMethod.TIME_TOKENS else "from {} to"
    return (*(form.format(mark) for mark in marks), NOT_SEEN)


def pair_replies(method: LocalizationMethod, marks: Sequence[str], starts: Sequence[int]) -> tuple[str, ...]:
    """Whole replies: the given starts, by number, each with all ends not before it, in order."""
    form = "{} {}" if method == LocalizationMethod.TIME_TOKENS else "from {} to {} seconds"
    return tuple(form.format(marks[at], end) for at in starts for end in marks[at:])


def in_seconds(text: str, time_tokens: Sequence[str], duration_s: float) -> str:
    """Replace the time tokens of a free reply by seconds from the first picture, as "12.5 s"."""
    if len(time_tokens) < 2:
        return text
    seconds = {token: at * duration_s / (len(time_tokens) - 1) for at, token in enumerate(time_tokens)}
    known = re.compile("|".join(re.escape(token) for token in sorted(time_tokens, key=len, reverse=True)))
    return known.sub(lambda match: f"{seconds[match[0]]:.1f} s", text)
