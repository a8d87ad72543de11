"""What waits, in turn by client: who sends much waits for himself."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Gives out one item of each client in turn, a client's own in order. Not thread-safe."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[T]] = OrderedDict()

    def put(self, client: str, item: T) -> None:
        """Put an item at the end of its client's line."""
        self._lines.setdefault(client, deque()).append(item)

    def get(self) -> T | None:
        """Take the first item of the client whose turn it is; None if nothing waits."""
        if not self._lines:
            return None
        client, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[client] = line
        return item

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))


class Admission:
    """Counts the requests that are there, of each client and of all. Not thread-safe."""

    def __init__(self, most: int, most_each: int) -> None:
        self._most, self._most_each = most, most_each
        self._counts: dict[str, int] = {}
        self.count = 0

    def enter(self, client: str) -> str:
        """Count a request and return "", or say why there is no room for it."""
        if self.count >= self._most:
            return f"{self.count} requests are waiting or being answered"
        if self._counts.get(client, 0) >= self._most_each:
            return f"{self._most_each} of your requests are waiting or being answered"
        self._counts[client] = self._counts.get(client, 0) + 1
        self.count += 1
        return ""

    def leave(self, client: str) -> None:
        """Count a request no longer."""
        self.count -= 1
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
