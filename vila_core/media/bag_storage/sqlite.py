"""Image messages of rosbag2's SQLite files, whole or cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from vila_core.media.bag_storage.common import (
    BagError,
    CutError,
    RefusedError,
    Selection,
    StoredMessage,
    Topic,
)

_STEPS = 1_000_000  # of SQLite's machine between two looks at how many there were
_STEPS_PER_BYTE = 100  # of a file that is healthy; a row has more than ten bytes and takes some twenty steps


def sqlite_messages(path: Path, selection: Selection) -> Iterator[StoredMessage]:
    """Yield the selected messages in order of time; of a cut file in order of writing, up to what is missing.

    Nothing is written beside the file, but for a log that SQLite left there (NAME-wal), which is read with it. Raises
    CutError for a file that is shorter than it says, BagError, or what SQLite raises, for one that is damaged,
    RefusedError for one that holds no bag.
    """
    missing = _missing_bytes(path)
    log = path.with_name(path.name + "-wal")
    mode = "mode=ro" if log.is_file() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True)) as base:
            _guard(base, path.stat().st_size, is_cut=missing > 0)
            topics = _topics(base, selection)
            if missing:
                yield from _messages(base, topics, "NOT INDEXED", "")
            else:
                yield from _whole(base, topics)
    except (BagError, sqlite3.Error, UnicodeDecodeError):  # the latter: for what SQLite says of damaged names
        if not missing:
            raise
    if missing:
        raise CutError(f"{missing} bytes are missing of those that its first page tells of")


def _missing_bytes(path: Path) -> int:
    """How many bytes a file is shorter than the number of pages in its head says; SQLite calls it malformed alone."""
    with path.open("rb") as stream:
        head = stream.read(100)
    if len(head) < 100:
        raise CutError(f"it holds {len(head)} bytes, less than a head of SQLite")
    page = int.from_bytes(head[16:18], "big")
    count = int.from_bytes(head[28:32], "big")
    is_valid = head[24:28] == head[92:96]  # else an old writer left the number behind
    return max((65536 if page == 1 else page) * count - path.stat().st_size, 0) if is_valid else 0


def _guard(base: sqlite3.Connection, size: int, *, is_cut: bool) -> None:
    """Trust nothing that the file says to do, and bound how long it can take."""
    base.text_factory = lambda data: data.decode("utf-8", "replace")
    base.execute("PRAGMA trusted_schema = OFF")
    base.execute("PRAGMA mmap_size = 0")
    if is_cut:
        base.execute("PRAGMA writable_schema = ON")  # SQLite opens a file with missing pages with this alone
    left = 100 + size * _STEPS_PER_BYTE // _STEPS

    def is_over() -> int:
        nonlocal left
        left -= 1
        return left < 0

    base.set_progress_handler(is_over, _STEPS)


def _topics(base: sqlite3.Connection, selection: Selection) -> dict[int, Topic]:
    """The selected topics by their numbers. Raises RefusedError if the file has not the tables of a bag."""
    tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise RefusedError("it holds not both of the tables messages and topics, so it is no bag of ROS 2")
    found: dict[int, Topic] = {}
    for number, name, type_name, encoding in base.execute("SELECT id, name, type, serialization_format FROM topics"):
        if not isinstance(number, int) or not all(isinstance(text, str) for text in (name, type_name, encoding)):
            raise BagError("its table of topics is damaged")
        topic = selection.topic(name, type_name, encoding)
        if topic is not None:
            found[number] = topic
    return found


def _whole(base: sqlite3.Connection, topics: dict[int, Topic]) -> Iterator[StoredMessage]:
    """The messages in order of time. Raises BagError if they are fewer than the table's rows, or of no known topic."""
    rows: dict[object, int] = dict(
        base.execute("SELECT topic_id, count(*) FROM messages NOT INDEXED GROUP BY topic_id").fetchall()
    )
    known = {number for (number,) in base.execute("SELECT id FROM topics")}
    promised = sum(rows.get(number, 0) for number in topics)
    count = 0
    for stored in _messages(base, topics, "", "ORDER BY timestamp"):
        yield stored
        count += 1
    if count < promised:
        raise BagError(f"its index leads to {count} of {promised} messages")
    if rows.keys() - known:
        lost = sum(number for topic, number in rows.items() if topic not in known)
        raise BagError(f"{lost} messages are of a topic that is not listed")


def _messages(base: sqlite3.Connection, topics: dict[int, Topic], index: str, order: str) -> Iterator[StoredMessage]:
    """The rows of the topics; index and order are parts of the query."""
    marks = ", ".join("?" * len(topics))
    query = f"SELECT topic_id, timestamp, data FROM messages {index} WHERE topic_id IN ({marks}) {order}"
    for number, time_ns, data in base.execute(query, tuple(topics)):
        if number not in topics or not isinstance(time_ns, int) or not isinstance(data, bytes):
            raise BagError("a row of its messages is damaged")
        yield StoredMessage(topics[number], time_ns, data)
