"""The standing queries by their names: which are taken, how many may stand, and the numbers of events."""

from __future__ import annotations

import itertools
import threading

from vila_core.errors import QueryError, QueryLimitError
from vila_core.types import EventQuery


class QueryRegistry:
    """Gives each query an id that no other has, over all cameras. Thread-safe.

    numbers: of events, growing, whichever query they are of. most: how many may stand.
    """

    def __init__(self, most: int) -> None:
        self.numbers = itertools.count(1)
        self.most = most
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._ids = itertools.count(1)

    def add(self, text: str, label: str, query_id: str) -> EventQuery:
        """Return the query under its id, or under a free one for an empty id.

        Raises QueryError for an id that is taken, or one query too many; nothing has changed then.
        """
        with self._lock:
            if query_id in self._taken:
                raise QueryError(f"query_id {query_id!r} is taken; unwatch it first or give another")
            count = len(self._taken)
            if count >= self.most:
                raise QueryLimitError(f"{count} queries stand already; at most {self.most} may; unwatch one first")
            query = EventQuery(query_id or self._free_id(), text, label)
            self._taken.add(query.id)
        return query

    def remove(self, query_id: str) -> None:
        """Free an id."""
        with self._lock:
            self._taken.discard(query_id)

    def _free_id(self) -> str:
        return next(name for name in (f"q{number}" for number in self._ids) if name not in self._taken)
