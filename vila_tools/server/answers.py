"""OpenAI's objects: completions, their chunks, and cards of models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vila_core.engine.backend import ModelInfo
from vila_tools.server.tasks import Finished, TokenText


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The model that is served. fingerprint: of its files. created_s: when it was loaded, seconds since 1970."""

    name: str
    info: ModelInfo
    fingerprint: str
    created_s: int

    def card(self) -> dict[str, Any]:
        """Return what /v1/models tells of it; `vila` has what a navigator elsewhere must know."""
        info = asdict(self.info)
        return {
            "id": self.name,
            "object": "model",
            "created": self.created_s,
            "owned_by": "vila_nav",
            "max_model_len": self.info.max_tokens,
            "vila": info | {"fingerprint": self.fingerprint},
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """What the answers to one request have in common."""

    id: str
    model: ServedModel
    created_s: int

    def whole(self, text: str, tokens: Sequence[TokenText] | None, end: Finished) -> dict[str, Any]:
        """Return a chat.completion. tokens: None if their probabilities were not asked for."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": logprobs(tokens),
            "finish_reason": end.reason,
        }
        return self._object("chat.completion", [choice | chosen(end)]) | {"usage": usage(end)}

    def chunk(
        self, text: str, tokens: Sequence[TokenText] | None, end: Finished | None, role: str = ""
    ) -> dict[str, Any]:
        """Return a chat.completion.chunk with some text, or the end."""
        delta = ({"role": role} if role else {}) | ({"content": text} if end is None else {})
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": logprobs(tokens or None),
            "finish_reason": None if end is None else end.reason,
        }
        return self._object("chat.completion.chunk", [choice | ({} if end is None else chosen(end))])

    def usage_chunk(self, end: Finished) -> dict[str, Any]:
        """Return the last chunk, if usage was asked for."""
        return self._object("chat.completion.chunk", []) | {"usage": usage(end)}

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created_s,
            "model": self.model.name,
            "system_fingerprint": self.model.fingerprint,
            "choices": choices,
        }


def usage(end: Finished) -> dict[str, Any]:
    """Return the counts of tokens."""
    return {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.reply_tokens,
        "total_tokens": end.prompt_tokens + end.reply_tokens,
        "prompt_tokens_details": {"cached_tokens": max(0, end.cached_tokens)},
    }


def chosen(end: Finished) -> dict[str, Any]:
    """Return the probability of each choice, in their order; beyond OpenAI's form."""
    return {"choice_probabilities": list(end.probabilities)} if end.probabilities else {}


def logprobs(tokens: Sequence[TokenText] | None) -> dict[str, Any] | None:
    """Return the tokens' logarithmic probabilities."""
    if tokens is None:
        return None
    rows = [
        _row(one.text, one.logprob) | {"top_logprobs": [_row(*other) for other in one.alternatives]} for one in tokens
    ]
    return {"content": rows, "refusal": None}


def event(data: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def _row(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}
