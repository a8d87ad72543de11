"""Tokens to text, piece by piece: whole characters, and never a part of what ends the reply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_UNFINISHED = "\ufffd"  # what a character decodes to while some of its bytes are still to come
_MOST_UNFINISHED = 4  # tokens that a character's bytes can take


class TextDecoder(Protocol):
    """What of a tokenizer is needed."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids."""
        ...


class ReplyText:
    """Takes tokens and gives out text. stops: texts that end the reply and are not part of it."""

    def __init__(self, decoder: TextDecoder, stops: Sequence[str] = ()) -> None:
        self._decoder, self._stops = decoder, tuple(stops)
        self._ids: list[int] = []
        self._begin = self._told = 0  # of the ids whose text decides how the next ones look, and of those given out
        self._held = ""  # text that may become a stop
        self.is_stopped = False

    def push(self, token: int) -> str:
        """Take a token and return the text that is certain now."""
        self._ids.append(token)
        before = self._decoder.decode(self._ids[self._begin : self._told])
        text = self._decoder.decode(self._ids[self._begin :])
        if text.endswith(_UNFINISHED) and len(self._ids) - self._told < _MOST_UNFINISHED:
            return ""
        self._begin, self._told = self._told, len(self._ids)
        return self._certain(text[len(before) :])

    def end(self) -> str:
        """Return what was held back; the reply is over."""
        rest = self._decoder.decode(self._ids[self._begin :])
        rest = rest[len(self._decoder.decode(self._ids[self._begin : self._told])) :]
        text = self._certain(rest) if rest and not self.is_stopped else ""
        held, self._held = self._held, ""
        return text + held if not self.is_stopped else text

    def _certain(self, more: str) -> str:
        text = self._held + more
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of the text may be the begin of the stop."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
