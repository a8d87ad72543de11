"""What a browser may ask for: a fixed set of requests, read strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields

MOST_CHARS = 1000  # of a text; the navigator has limits of its own


class RequestError(ValueError):
    """A message that is no request; whoever sends one is cut off."""


@dataclass(frozen=True, slots=True)
class Go:
    """Follow an instruction."""

    text: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Follow no instruction any more, whoever told it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Look out for something from now on."""

    text: str


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Look out for it no longer."""

    query_id: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Say when something was."""

    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Show the picture that a decision answered."""

    id: str


@dataclass(frozen=True, slots=True)
class Explain:
    """Tell what a decision depends on."""

    id: str


@dataclass(frozen=True, slots=True)
class Explained:
    """Show the picture of that."""

    id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The update of this number is on the screen; the next may come."""

    number: int


@dataclass(frozen=True, slots=True)
class Press:
    """Press the emergency stop."""


@dataclass(frozen=True, slots=True)
class Release:
    """Release it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The robot may drive as long as this is said again and again."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Hold the robot no longer."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of each connection."""

    token: str = ""


Command = Go | Cancel | Watch | Unwatch | Ask  # what is asked of the robot's nodes
Request = Command | Picture | Explain | Explained | Seen | Press | Release | Hold | LetGo | Hello
VIEW = {"go": Go, "cancel": Cancel, "watch": Watch, "unwatch": Unwatch, "ask": Ask, "picture": Picture, "seen": Seen}
VIEW |= {"explain": Explain, "explained": Explained}
STOP = {"press": Press, "release": Release, "hold": Hold, "let_go": LetGo}
HELLO = {"hello": Hello}


def parse_request(message: str, known: Mapping[str, type]) -> Request:
    """Read a message: {"do": one of known, and the fields of that request, of their types, and nothing else}.

    Raises RequestError for anything else.
    """
    try:
        told = json.loads(message)
    except (TypeError, ValueError, RecursionError) as err:
        raise RequestError("no JSON") from err
    if not isinstance(told, dict) or not isinstance(told.get("do"), str) or told["do"] not in known:
        raise RequestError(f"no request; known: {', '.join(known)}")
    kind = known[told.pop("do")]
    wanted = {field.name: field for field in fields(kind)}
    required = {name for name, field in wanted.items() if field.default is MISSING}
    if not required <= set(told) <= set(wanted):
        raise RequestError(f"{kind.__name__} has {', '.join(wanted) or 'nothing'} and nothing else")
    for name, value in told.items():
        if type(value).__name__ != wanted[name].type or (isinstance(value, str) and len(value) > MOST_CHARS):
            raise RequestError(f"{name} is not {wanted[name].type}, or too long")
    request: Request = kind(**told)
    return request
