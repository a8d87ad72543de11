"""How servers are told that a reply must be one of a few, and what that makes of the reply."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vila_core.engine.remote.config import AUTO


@dataclass(frozen=True, slots=True)
class Form:
    """body: replies -> fields of the request. written: a reply -> the text that the server sends for it."""

    body: Callable[[Sequence[str]], dict[str, Any]]
    written: Callable[[str], str] = str


def _schema(replies: Sequence[str]) -> dict[str, Any]:
    schema = {"type": "string", "enum": list(replies)}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}}


FORMS: dict[str, Form] = {
    "structured_outputs": Form(lambda replies: {"structured_outputs": {"choice": list(replies)}}),
    "guided_choice": Form(lambda replies: {"guided_choice": list(replies)}),
    "regex": Form(lambda replies: {"regex": f"({'|'.join(map(re.escape, replies))})"}),
    "json_schema": Form(_schema, json.dumps),
    "none": Form(lambda replies: {}),
}
_OF_OWNER = {"vila_nav": "structured_outputs", "vllm": "structured_outputs", "sglang": "regex"}


def form_of(structured: str, owner: str) -> Form:
    """Return the form that is configured, or for "auto" that of who owns the model by its card."""
    return FORMS[_OF_OWNER.get(owner, "none") if structured == AUTO else structured]
