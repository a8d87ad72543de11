"""What is known now, handed from the thread that hears ROS to the one that serves browsers: newest wins."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from typing import Any, NamedTuple

_MOST_GONE, _MOST_CHARS = 1000, 2000
Change = tuple[str, Any]  # key and value; the value None: it is gone


class _Entry(NamedTuple):
    """A value, and the numbers of its last change and its first appearance."""

    changed: int
    first: int
    value: Any


_NOTHING, _ANY = _Entry(0, 0, None), _Entry(0, 0, True)


class Board:
    """Holds one value a key, and tells which have changed since any earlier moment. Thread-safe.

    Values go to browsers as JSON. Keys with a slash, such as decision/7, are one of many of a kind: of each kind the
    newest are kept.
    """

    def __init__(self, most_of_a_kind: int = 200) -> None:
        self._most = most_of_a_kind
        self._lock = threading.Lock()
        self._number = 0
        self._values: OrderedDict[str, _Entry] = OrderedDict()  # in order of change
        self._kinds: dict[str, OrderedDict[str, None]] = {}  # keys in order of their first appearance
        self._gone: deque[str] = deque()  # keys whose browsers are still told that they are gone

    def put(self, key: str, value: Any) -> None:
        """Set a value; one that is the same as before is no change."""
        value = _plain(value)
        with self._lock:
            before = self._values.get(key)
            if before is not None and before.value == value:
                return
            self._set(key, value)
            kind, slash, _ = key.partition("/")
            if slash:
                self._limit(kind, key)

    def get(self, key: str) -> Any:
        """Return the value, None if there is none."""
        with self._lock:
            return self._values.get(key, _NOTHING).value

    def drop(self, key: str) -> None:
        """Take a value away; browsers are told that it is gone."""
        with self._lock:
            self._drop(key)

    def drop_kind(self, kind: str) -> None:
        """Take away all values of a kind."""
        with self._lock:
            for key in list(self._kinds.get(kind, ())):
                self._drop(key)

    def since(self, number: int) -> tuple[list[Change], int]:
        """Return what has changed since the moment of this number, 0 for ever, and the number of this moment.

        In the order in which the keys came first.
        """
        with self._lock:
            changed: list[tuple[int, Change]] = []
            for key, entry in reversed(self._values.items()):
                if entry.changed <= number:
                    break
                changed.append((entry.first, (key, entry.value)))
            return [change for _, change in sorted(changed, key=lambda one: one[0])], self._number

    def _set(self, key: str, value: Any) -> None:
        self._number += 1
        before = self._values.get(key, _NOTHING)
        first = self._number if before.value is None else before.first
        self._values[key] = _Entry(self._number, first, value)
        self._values.move_to_end(key)

    def _limit(self, kind: str, key: str) -> None:
        keys = self._kinds.setdefault(kind, OrderedDict())
        keys[key] = None
        if len(keys) > self._most:
            oldest, _ = keys.popitem(last=False)
            del self._values[oldest]  # browsers keep as few

    def _drop(self, key: str) -> None:
        if self._values.get(key, _NOTHING).value is not None:
            self._set(key, None)
            self._kinds.get(key.partition("/")[0], OrderedDict()).pop(key, None)
            self._gone.append(key)
            is_full = len(self._gone) > _MOST_GONE
            if is_full and self._values.get(oldest := self._gone.popleft(), _ANY).value is None:
                del self._values[oldest]


def _plain(value: Any) -> Any:
    """The value as every browser reads it: a number that is not finite becomes None, a text that is too long is cut."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= _MOST_CHARS else f"{value[:_MOST_CHARS]}…"
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
