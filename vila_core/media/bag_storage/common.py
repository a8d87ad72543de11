"""What the readers of all storages share: what is asked for, what is found, what is wrong, and how bytes are read."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

LARGEST_BYTES = 1 << 28  # of a chunk or message, packed or not; more is taken for a damaged length
_OPEN_BYTES = 1 << 28  # of chunks that are unpacked at the same time, where their times overlap

IMAGE_KINDS = {
    "sensor_msgs/msg/Image": "Image",
    "sensor_msgs/msg/CompressedImage": "CompressedImage",
    "sensor_msgs/Image": "Image",
    "sensor_msgs/CompressedImage": "CompressedImage",
}
_ENCODINGS = ("cdr", "ros1")


class BagError(Exception):
    """What is wrong with a bag's file, in words; who reads the bag adds the file and how far it was read."""


class CutError(BagError):
    """The file ends too early."""


class RefusedError(BagError):
    """The file is none that can be read, whole or not."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is read. kind: Image or CompressedImage."""

    name: str
    kind: str
    is_ros1: bool


@dataclass(frozen=True, slots=True, eq=False)
class StoredMessage:
    """A message as it lies in a bag: CDR, or the serialization of ROS 1."""

    topic: Topic
    time_ns: int
    data: bytes


@dataclass(slots=True)
class Selection:
    """Which topics are read: those asked for, or every one of images; and which have been found.

    Shared by all files of a bag.
    """

    asked: frozenset[str]
    found: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)  # of images, but not asked for

    def topic(self, name: str, type_name: str, encoding: str) -> Topic | None:
        """Return the topic if it is read, None if it is passed over.

        Raises RefusedError for one that is asked for by name and holds no images that can be decoded.
        """
        kind = IMAGE_KINDS.get(type_name) if encoding in _ENCODINGS else None
        if self.asked and name not in self.asked:
            if kind is not None:
                self.others.add(name)
            return None
        if kind is None:
            if self.asked:
                raise RefusedError(
                    f"topic {shown(name)} holds {shown(type_name or 'messages of no type')} in the encoding "
                    f"{shown(encoding)}, neither sensor_msgs/msg/Image nor CompressedImage in CDR"
                )
            return None
        self.found.add(name)
        return Topic(name, kind, encoding == "ros1")


def shown(text: str, limit: int = 80) -> str:
    """Return text out of a file so that it fits in a message: printable, one line, at most limit characters."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text[: limit + 1])
    return plain if len(plain) <= limit else plain[:limit] + "..."


class FileBytes:
    """A file that is read at any place, and never behind its end, whatever a length in it says."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = os.fstat(stream.fileno()).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Return count bytes from offset on. Raises CutError where the file ends before."""
        if offset + count > self.size:
            raise CutError(f"it ends at byte {self.size}, in the midst of what begins at byte {offset}")
        if count > LARGEST_BYTES:
            raise BagError(f"{count} bytes in one piece at byte {offset} are above the limit of {LARGEST_BYTES}")
        self._stream.seek(offset)
        data = self._stream.read(count)
        if len(data) != count:
            raise CutError(f"it ended at byte {offset + len(data)} while it was read")
        return data


@dataclass(slots=True)
class Part:
    """What is read at once of a file: a chunk of messages, or one message that lies in none.

    start_ns: not after its first message. counts: its messages by channel, as an index tells; empty where none does.
    """

    start_ns: int
    offset: int  # of its record's body
    length: int
    is_chunk: bool = True
    is_cut: bool = False  # the file ends in it
    counts: dict[int, int] = field(default_factory=dict)


def parts_with(parts: Iterable[Part], passed: set[int]) -> list[Part]:
    """Return the parts but those whose index names passed channels alone.

    The first part of each channel stays even so: it defines the channel, so a type that was damaged in the one or the
    other place is found.
    """
    found: list[Part] = []
    seen: set[int] = set()
    for part in parts:
        if not part.counts or not part.counts.keys() <= passed & seen:
            found.append(part)
        seen |= part.counts.keys()
    return found


Unpack = Callable[[Part], Sequence[StoredMessage]]
_Item = TypeVar("_Item")


def in_file_order(parts: Iterable[Part], unpack: Unpack) -> Iterator[StoredMessage]:
    """Yield the messages as they were written."""
    for part in parts:
        yield from unpack(part)


def in_time_order(parts: Sequence[Part], unpack: Unpack) -> Iterator[StoredMessage]:
    """Yield the messages by their times; those of equal times as they were written.

    Chunks that overlap are open together up to a limit of memory, behind which they are unpacked again when they are
    due. Raises BagError for a part that holds a message from before its own beginning, if its turn is over.
    """
    # 1. (time, number of the part, number of the message in it; -1 for the part itself)
    heap = [(part.start_ns, number, -1) for number, part in enumerate(parts)]
    heapq.heapify(heap)
    opened = _OpenParts(parts, unpack)
    last_ns = -1
    while heap:
        time_ns, number, message = heapq.heappop(heap)
        # 2. a part is unpacked when it can hold the next message
        if message < 0:
            for index, stored in enumerate(opened.messages(number)):
                heapq.heappush(heap, (stored.time_ns, number, index))
            continue
        # 3. the next message
        if time_ns < last_ns:
            raise BagError(f"a message at {time_ns} ns lies in a chunk that says to begin at {parts[number].start_ns}")
        last_ns = time_ns
        yield opened.messages(number)[message]
        opened.count_out(number)


class _OpenParts:
    """The unpacked parts of which messages are still due, the least lately used closed first."""

    def __init__(self, parts: Sequence[Part], unpack: Unpack) -> None:
        self._parts, self._unpack = parts, unpack
        self._open: dict[int, Sequence[StoredMessage]] = {}
        self._due: dict[int, int] = {}
        self._sizes: dict[int, int] = {}

    def messages(self, number: int) -> Sequence[StoredMessage]:
        messages = self._open.pop(number, None)
        if messages is None:
            messages = self._unpack(self._parts[number])
            self._due.setdefault(number, len(messages))
            self._sizes[number] = sum(len(one.data) for one in messages)
        self._open[number] = messages  # the last of the dictionary is the latest used
        while sum(self._sizes.values()) > _OPEN_BYTES and len(self._open) > 1:
            self._close(next(iter(self._open)))
        if not messages:
            self._close(number)
        return messages

    def count_out(self, number: int) -> None:
        self._due[number] -= 1
        if not self._due[number]:
            self._close(number)

    def _close(self, number: int) -> None:
        del self._open[number], self._sizes[number]
