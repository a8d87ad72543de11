"""A backend that lets a decision go first: event queries ask the model through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vila_core.engine.backend import Backend, CacheCounts
from vila_core.errors import BackendError, VilaError
from vila_core.types import Choice, Frame, FrameKey, Prompt

T = TypeVar("T")


class PostponedError(BackendError):
    """An evaluation that was given up for the sake of decisions; the next one begins anew."""


class YieldingBackend:
    """Calls `give_way` before each call of a backend; whatever that raises becomes a VilaError.

    Ten queries may be ten calls, and new frames are encoded one by one before; a decision that becomes due meanwhile
    waits for one of those.
    """

    def __init__(self, backend: Backend, give_way: Callable[[], None]) -> None:
        self._backend = backend
        self._give_way = give_way
        self._encoded: frozenset[FrameKey] = frozenset()  # of the last relevances
        self.info = backend.info

    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """As the backend's."""
        return self._call(lambda: self._backend.choose(prompt, replies))

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """As the backend's."""
        return self._call(lambda: self._backend.choose_each(prompts, replies))

    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """As the backend's."""
        return self._call(lambda: self._backend.generate(prompt, max_new_tokens))

    def encode(self, frame: Frame) -> bool:
        """As the backend's."""
        return self._call(lambda: self._backend.encode(frame))

    def prefill(self, prompt: Prompt) -> None:
        """As the backend's."""
        self._call(lambda: self._backend.prefill(prompt))

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """As the backend's."""
        for frame in frames:
            if frame.key not in self._encoded:
                self.encode(frame)
        self._encoded = frozenset(frame.key for frame in frames)
        return self._call(lambda: self._backend.relevance(question, frames))

    def cache_counts(self) -> CacheCounts:
        """As the backend's, at once."""
        return self._backend.cache_counts()

    def close(self) -> None:
        """As the backend's."""
        self._call(self._backend.close)

    def _call(self, work: Callable[[], T]) -> T:
        self._give_way()
        try:
            return work()
        except VilaError:
            raise
        except Exception as err:  # torch raises what it likes; the queries beside this one must be answered
            raise BackendError(f"{type(err).__name__}: {err}") from err
