"""Read the words of a model that knows some alone: key `vocabulary` of `vila_nav` in config.json."""

from __future__ import annotations

from vila_core.files.json_object import JsonObject
from vila_core.types import Vocabulary


def read_vocabulary(own: JsonObject) -> Vocabulary | None:
    """Return what `vila_nav` says of its words, None if it says nothing. Raises the object's error."""
    if not own.has("vocabulary"):
        return None
    told = own.object("vocabulary")

    def words(key: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        table = told.object(key)
        return tuple((name, table.texts(name)) for name in table.raw)

    try:
        return Vocabulary(told.text("form"), words("colours"), words("kinds"))
    except ValueError as err:
        raise told.wrong("form", "a sentence with {thing} once") from err
