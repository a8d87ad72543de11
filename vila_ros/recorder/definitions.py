"""The text of messages' definitions, from the packages that are installed: a bag that holds them explains itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg

from vila_core.errors import MissingDependencyError
from vila_ros.common.resources import share_folder

_NAME = re.compile(r"[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*", re.ASCII)  # it may come from the network


@lru_cache(maxsize=64)
def message_definition(name: str) -> str:
    """Return the text of a message "package/msg/Name" followed by those of all messages in it.

    Raises MissingDependencyError if one of them is not installed.
    """
    texts: dict[str, str] = {}
    _collect(name, texts)
    own = texts.pop(name)
    others = (f"{'=' * 80}\nMSG: {other.replace('/msg/', '/')}\n{text}" for other, text in texts.items())
    return "\n".join([own, *others])


def _collect(name: str, texts: dict[str, str]) -> None:
    if not _NAME.fullmatch(name):
        raise MissingDependencyError(f"{name!r} is no name of a message, such as std_msgs/msg/String")
    package, _, kind = name.split("/")
    folder = share_folder(package)
    file = None if folder is None else folder / "msg" / f"{kind}.msg"
    if file is None or not file.is_file():
        raise MissingDependencyError(f"the definition of {name} is not installed (share/{package}/msg/{kind}.msg)")
    texts[name] = file.read_text(encoding="utf-8")
    for part in _parts(name, texts[name]):
        if part not in texts:
            _collect(part, texts)


def _parts(name: str, text: str) -> Iterator[str]:
    """Yield the full names of the message types that are fields of a message, or elements of them."""
    _, fields = get_types_from_msg(text, name)[name]
    for _, field in fields:
        kind: Any = field[1][0] if field[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE) else field
        if kind[0] == Nodetype.NAME:
            yield kind[1]
