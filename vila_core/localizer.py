"""Asks a model when something goes on in some frames, in the best of the methods that it knows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from vila_core.config import EventsConfig
from vila_core.engine.backend import Backend, ModelInfo
from vila_core.errors import UnsupportedQueryError, VilaError
from vila_core.events.distribution import likely_starts, pair_intervals
from vila_core.events.memory import Kept, thinned
from vila_core.events.segments import joined, lasting, segments
from vila_core.events.window import AppendedWindow
from vila_core.prompts.localization import (
    in_seconds,
    localization_prompt,
    pair_replies,
    start_replies,
    time_marks,
    video_prompt,
)
from vila_core.types import Choice, Frame, Interval, LocalizationMethod, Prompt, Visual

Answer = tuple[Interval, ...] | VilaError  # what was found for a query, or why nothing could be
Progress = Callable[[float], None]  # is told the share of the work that is done, 0..1

_STANDING, _ONCE = "events", "question"  # slots of the prefix cache; a camera's own have its name behind
_TEXT_STEP_S = 1.0  # between two frames whose times are written out: whole seconds are few tokens
_WORDS = 0.25  # of a model's positions, for all that is no picture
_SLACK = 0.5  # of a period by which a frame may be early
_AT_ONCE = 16  # frames that a head looks at between two words on progress: about a second on two cores


def untold(_share: float) -> None:
    """Take a word on progress that nobody asked for."""


def method_of(info: ModelInfo) -> LocalizationMethod:
    """Return the best method of telling time that the model has."""
    if info.relevance_period_s is not None:
        return LocalizationMethod.RELEVANCE
    return LocalizationMethod.TIME_TOKENS if len(info.time_tokens) > 1 else LocalizationMethod.TIMESTAMPS


class Localizer:
    """Find the intervals in which queries hold.

    camera: which of several it is for; each has prompts of its own that repeat one another. Not thread-safe: call
    `window`, `has_news` and `forget` under one lock.
    """

    def __init__(self, backend: Backend, config: EventsConfig, camera: str = "") -> None:
        self._backend = backend
        self._standing, self._once = (f"{slot} {camera}".strip() for slot in (_STANDING, _ONCE))
        self._config = config
        self.method = method_of(backend.info)
        self._most = _most_frames(backend.info, config, self.method)
        self._window = AppendedWindow(self._most, round(config.window_s * 1e9), self._step_ns())
        self._evaluated_ns: int | None = None  # newest frame of the last window

    def reconfigure(self, config: EventsConfig) -> None:
        """Take another configuration of the same window."""
        self._config = config

    def has_news(self, kept: Sequence[Kept], *, again: bool) -> bool:
        """Return True if a window of these would show something new.

        again: some query has not been asked about any window yet.
        """
        again = again or self._evaluated_ns is None
        if self.method == LocalizationMethod.RELEVANCE:
            recent = self._recent(kept)
            return bool(recent) and (again or recent[-1].stamp_ns != self._evaluated_ns)
        return len(kept) > 1 and (again or self._window.awaits(kept[-1].frame))

    def window(self, kept: Sequence[Kept]) -> tuple[Frame, ...]:
        """Choose the frames that standing queries are asked about now."""
        if self.method == LocalizationMethod.RELEVANCE:
            frames = self._recent(kept)
        else:
            frames = self._appended(kept) if len(kept) > 1 else ()
        self._evaluated_ns = frames[-1].stamp_ns if frames else None
        return frames

    def can_answer(self, frames: Sequence[Frame]) -> bool:
        """Tell whether there are enough frames to tell a time."""
        return len(frames) >= (1 if self.method == LocalizationMethod.RELEVANCE else 2)

    def forget(self) -> None:
        """Begin a new window: the clock was reset."""
        self._window.clear()
        self._evaluated_ns = None

    def locate_each(self, texts: Sequence[str], frames: tuple[Frame, ...]) -> list[Answer]:
        """Answer all standing queries on the same frames; one that fails does not touch the others."""
        if self.method == LocalizationMethod.RELEVANCE:
            return [_tried(self._by_relevance, text, frames) for text in texts]
        try:
            return list(self._by_pairs(texts, frames, self._standing))
        except VilaError as err:
            if len(texts) == 1:
                return [err]
        slot = self._standing
        return [_tried(lambda text, shown: self._by_pairs([text], shown, slot)[0], text, frames) for text in texts]

    def locate(self, text: str, frames: tuple[Frame, ...], progress: Progress = untold) -> tuple[Interval, ...]:
        """Answer one question, as finely as the model can tell. Raises the backend's VilaError.

        progress: is told the share of the frames that was looked at, if there are many.
        """
        if self.method == LocalizationMethod.RELEVANCE:
            for count in range(_AT_ONCE, len(frames), _AT_ONCE):  # the head keeps what it saw in them
                self._backend.relevance(text, frames[:count])
                progress(count / len(frames))
            found = self._by_relevance(text, frames)
        else:
            found = self._by_pairs([text], thinned(frames, self._most), self._once)[0]
        found = joined(found, round(self._config.merge_gap_s * 1e9))
        return lasting(found, round(self._config.min_duration_s * 1e9))

    def describe(self, text: str, frames: tuple[Frame, ...]) -> str:
        """Answer freely. Raises the backend's VilaError."""
        info = self._backend.info
        method = LocalizationMethod.TIME_TOKENS if len(info.time_tokens) > 1 else LocalizationMethod.TIMESTAMPS
        frames = thinned(frames, _most_frames(info, self._config, method))
        visuals, marks = self._visuals(frames), self._marks(method, frames)
        prompt = video_prompt(method, info.chat_template, text, visuals, marks, cache_slot=self._once)
        reply = self._backend.generate(prompt, self._config.max_reply_tokens)
        return in_seconds(reply, info.time_tokens, (frames[-1].stamp_ns - frames[0].stamp_ns) / 1e9).strip()

    def require_speech(self) -> None:
        """Raise QueryError for a model that knows only its own sentences."""
        if not self._backend.info.describes:
            raise UnsupportedQueryError(
                f"{self._backend.info.name} cannot describe what it sees; load a VILA or NVILA checkpoint"
            )

    def _by_relevance(self, text: str, frames: tuple[Frame, ...]) -> tuple[Interval, ...]:
        stamps_ns = [frame.stamp_ns for frame in frames]
        step_ns = round((self._backend.info.relevance_period_s or 0.0) * 1e9)
        return segments(self._backend.relevance(text, frames), stamps_ns, self._config.min_probability, step_ns)

    def _by_pairs(self, texts: Sequence[str], frames: tuple[Frame, ...], cache_slot: str) -> list[tuple[Interval, ...]]:
        """One pass scores the starts for all texts, and another the ends, for those that may have been seen."""
        least, choose_each = self._config.min_probability, self._backend.choose_each
        marks = self._marks(self.method, frames)
        prompts = [self._prompt(text, frames, marks, cache_slot) for text in texts]
        starts = [
            choice.probabilities for choice in choose_each(prompts, [start_replies(self.method, marks)] * len(texts))
        ]
        likely = {number: likely_starts(row, least) for number, row in enumerate(starts)}
        seen = [number for number, found in likely.items() if found]
        replies = [pair_replies(self.method, marks, likely[number]) for number in seen]
        choices = choose_each([prompts[number] for number in seen], replies) if seen else ()
        ends = {
            number: _ends(choice, likely[number], len(frames)) for number, choice in zip(seen, choices, strict=True)
        }
        stamps_ns = [frame.stamp_ns for frame in frames]
        return [pair_intervals(row, ends.get(number, {}), stamps_ns, least) for number, row in enumerate(starts)]

    def _prompt(self, text: str, frames: Sequence[Frame], marks: Sequence[str], cache_slot: str) -> Prompt:
        template = self._backend.info.chat_template
        return localization_prompt(self.method, template, text, self._visuals(frames), marks, cache_slot=cache_slot)

    def _visuals(self, frames: Sequence[Frame]) -> tuple[Visual, ...]:
        return tuple(Visual(frame, self._backend.info.history_tokens) for frame in frames)

    def _marks(self, method: LocalizationMethod, frames: Sequence[Frame]) -> tuple[str, ...]:
        return time_marks(method, self._backend.info.time_tokens, [frame.stamp_ns / 1e9 for frame in frames])

    def _appended(self, kept: Sequence[Kept]) -> tuple[Frame, ...]:
        """The window with the newest frame; an empty one begins a step before it, or with the frame before it."""
        newest = kept[-1].frame
        before = [one.frame for one in kept[:-1] if newest.stamp_ns - one.frame.stamp_ns >= self._step_ns()]
        return self._window.extend(before[-1] if before else kept[-2].frame, newest)

    def _recent(self, kept: Sequence[Kept]) -> tuple[Frame, ...]:
        """The last window_s, every n-th frame: as far apart as the model was trained to see them."""
        period_s = self._backend.info.relevance_period_s or self._config.period_s
        stride = max(1, round(period_s / self._config.period_s))
        first_ns = (kept[-1].frame.stamp_ns if kept else 0) - round(self._config.window_s * 1e9)
        return tuple(one.frame for one in kept if one.number % stride == 0 and one.frame.stamp_ns >= first_ns)

    def _step_ns(self) -> int:
        step_s = max(self._config.period_s, self._config.window_s / self._most)
        if self.method == LocalizationMethod.TIMESTAMPS:
            step_s = max(step_s, _TEXT_STEP_S)
        return round((step_s - _SLACK * self._config.period_s) * 1e9)


def _ends(choice: Choice, starts: Sequence[int], count: int) -> dict[int, list[float]]:
    """Return for each start the probabilities of its ends, which sum to 1, from a choice among `pair_replies`."""
    ends, at = dict[int, list[float]](), 0
    for start in starts:
        row = choice.probabilities[at : at + count - start]
        at += count - start
        if (total := math.fsum(row)) > 0:
            ends[start] = [value / total for value in row]
    return ends


def _tried(
    ask: Callable[[str, tuple[Frame, ...]], tuple[Interval, ...]], text: str, frames: tuple[Frame, ...]
) -> Answer:
    try:
        return ask(text, frames)
    except VilaError as err:
        return err


def _most_frames(info: ModelInfo, config: EventsConfig, method: LocalizationMethod) -> int:
    """Return how many frames a prompt may show, as configured and as the model can read and tell apart."""
    room = int(info.max_tokens * (1 - _WORDS)) // ((info.history_tokens or info.visual_tokens) + 8)
    limits = [config.max_frames, room]
    if method == LocalizationMethod.TIME_TOKENS:
        limits.append(len(info.time_tokens))
    return max(2, min(limits))
