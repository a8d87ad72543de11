"""What the readers of all storages share: what is asked for, what is found, what is wrong, and files with an end."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_BYTES = 1 << 28  # of a chunk or message, packed or not; more is taken for a damaged length

_PIECE = 1 << 20  # bytes

MCAP_MAGIC = b"\x89MCAP0\r\n"
ROS1_MAGIC = b"#ROSBAG V"
SQLITE_MAGIC = b"SQLite format 3\0"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

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
    """A topic that is read. kind: as the selection calls its type."""

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
    """Which topics are read: those asked for, or every one of the kinds; and which have been found.

    Shared by all files of a bag. kinds: the types that are read, and what they are called.
    """

    asked: frozenset[str]
    kinds: Mapping[str, str] = field(default_factory=lambda: IMAGE_KINDS)
    found: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)  # of the kinds, but not asked for

    def topic(self, name: str, type_name: str, encoding: str) -> Topic | None:
        """Return the topic if it is read, None if it is passed over.

        Raises RefusedError for one that is asked for by name and holds nothing that can be decoded.
        """
        kind = self.kinds.get(type_name) if encoding in _ENCODINGS else None
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


@contextmanager
def library_faults() -> Iterator[None]:
    """Turn what the libraries raise for bytes that are damaged, which is anything, into a BagError."""
    try:
        yield
    except (BagError, OSError, MemoryError, RecursionError):
        raise
    except Exception as err:  # KeyError, struct.error, AssertionError, ..., as the damage falls
        raise BagError(f"{type(err).__name__}: {shown(str(err), 200)}") from err


class BoundedFile(io.BufferedReader):
    """A file of which no more is asked than it holds, whatever a length in it says; the libraries trust those."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, count: int | None = -1, /) -> bytes:
        """Return count bytes. Raises CutError where the file ends before, BagError for a count that cannot be."""
        begin = self.tell()
        if count is None or not 0 <= count <= LARGEST_BYTES:
            raise BagError(f"{count} bytes in one piece at byte {begin}, of at most {LARGEST_BYTES}")
        if begin + count > self.size:
            raise CutError(f"{count} bytes are due at byte {begin}, and it ends at byte {self.size}")
        return super().read(count)

    def pass_over_zeros(self) -> None:
        """Let the file end in front of the zeros that a loss of power leaves at its end."""
        filled = b""
        while self.size and not filled:
            begin = self.seek(max(self.size - _PIECE, 0))
            filled = self.read(self.size - begin).rstrip(b"\0")
            self.size = begin + len(filled)

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place. Raises CutError for one behind the end."""
        place = target + {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self.size}[whence]
        if not 0 <= place <= self.size:
            raise CutError(f"something is due at byte {place}, and it ends at byte {self.size}")
        return super().seek(place)
