"""JSON schemas that a finite set of texts fits: each text is a reply to choose from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from vila_core.actions.grammar import SENTENCES
from vila_core.actions.parser import parse_action
from vila_core.types import Action, MoveForward, Stop
from vila_tools.server.errors import BAD_REQUEST, RefusedError

MOST_CHOICES = 256
_DEEPEST = 8
_IGNORED = {"title", "description", "type", "default", "examples", "$schema", "additionalProperties", "required"}


def choices_of_schema(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the JSON texts that fit, in the schema's order.

    Known are enum, const, oneOf and anyOf, boolean, null, and objects of these with all properties required. Raises
    RefusedError for another schema, and for one that more than MOST_CHOICES texts fit.
    """
    texts = [json.dumps(value) for value in itertools.islice(_instances(schema, 0), MOST_CHOICES + 1)]
    if len(texts) > MOST_CHOICES:
        raise _refused(f"more than {MOST_CHOICES} texts fit it")
    if not texts or len(set(texts)) != len(texts):
        raise _refused("no text fits it" if not texts else f"{_repeated(texts)} fits it twice")
    return tuple(texts)


def action_object(action: Action) -> dict[str, Any]:
    """Return an action as JSON: {"action": "turn_left", "angle_deg": 15} and the like."""
    if isinstance(action, Stop):
        return {"action": "stop"}
    if isinstance(action, MoveForward):
        return {"action": "move_forward", "distance_cm": round(action.distance_m * 100)}
    degrees = round(action.angle_rad * 57.29577951308232)
    return {"action": "turn_left" if degrees > 0 else "turn_right", "angle_deg": abs(degrees)}


SENTENCE_OF_ACTION = {json.dumps(action_object(parse_action(text)), sort_keys=True): text for text in SENTENCES}
ACTIONS_SCHEMA = {"enum": [action_object(parse_action(text)) for text in SENTENCES]}


def sentences_of_actions(texts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the sentences that a model says for the actions that the texts are; None if one is no action."""
    found = [SENTENCE_OF_ACTION.get(json.dumps(json.loads(text), sort_keys=True)) for text in texts]
    known = tuple(text for text in found if text is not None)
    return known if len(known) == len(found) else None


def _instances(schema: object, depth: int) -> Iterator[Any]:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        raise _refused("a part of it is no object, or lies too deep")
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        _require_alone(schema, "const" if "const" in schema else "enum")
        if not isinstance(values, list):
            raise _refused("an enum is no list")
        yield from values
    elif "oneOf" in schema or "anyOf" in schema:
        kind = "oneOf" if "oneOf" in schema else "anyOf"
        _require_alone(schema, kind)
        if not isinstance(schema[kind], list):
            raise _refused(f"{kind} is no list")
        for one in schema[kind]:
            yield from _instances(one, depth + 1)
    elif schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping):
        yield from _objects(schema, depth)
    elif schema.get("type") in ("boolean", "null"):
        _require_alone(schema, "type")
        yield from ([False, True] if schema["type"] == "boolean" else [None])
    else:
        raise _refused("use enum, const, oneOf, anyOf, boolean, null, and objects of these")


def _objects(schema: Mapping[str, Any], depth: int) -> Iterator[Any]:
    _require_alone(schema, "properties")
    properties, required = schema["properties"], schema.get("required", [])
    if not isinstance(required, list) or set(map(str, required)) != set(properties):
        raise _refused("each property of an object must stand in required, and no other")
    parts = [list(itertools.islice(_instances(part, depth + 1), MOST_CHOICES + 1)) for part in properties.values()]
    for values in itertools.product(*parts):
        yield dict(zip(properties, values, strict=True))


def _require_alone(schema: Mapping[str, Any], kind: str) -> None:
    more = set(schema) - _IGNORED - {kind}
    if more:
        raise _refused(f"{', '.join(sorted(map(str, more)))} beside {kind} is not known")


def _repeated(texts: list[str]) -> str:
    return next(text for text in texts if texts.count(text) > 1)


def _refused(why: str) -> RefusedError:
    return RefusedError(BAD_REQUEST, f"only a schema that a finite set of texts fits can be kept to: {why}", "schema")
