"""Image messages of ROS 1 bags, whole or cut (http://wiki.ros.org/Bags/Format/2.0).

As with MCAP the records are walked from the beginning, chunks unopened, and the index at the end is only held against
what was found.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vila_core.media.bag_storage.common import (
    BagError,
    CutError,
    FileBytes,
    Part,
    RefusedError,
    Selection,
    StoredMessage,
    Topic,
    in_file_order,
    in_time_order,
    parts_with,
    shown,
)
from vila_core.media.bag_storage.unpack import unpack, unpack_begin

MAGIC = b"#ROSBAG V"
_VERSION = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _INDEX, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 4, 5, 6, 7
_LENGTH = struct.Struct("<I")
_LONGEST_HEADER = 1 << 20
_LONGEST_DEFINITION = 1 << 24

_Header = dict[bytes, bytes]


def ros1_messages(file: FileBytes, selection: Selection) -> Iterator[StoredMessage]:
    """Yield the selected messages in order of time; as they were written, if the file is cut.

    Raises BagError, behind the messages in front of what is wrong, for a file that is damaged, cut (CutError), or holds
    fewer messages than its index says; RefusedError for another version or encryption.
    """
    reader = _Reader(file, selection)
    fault: BagError | None = None
    try:
        reader.walk()
    except RefusedError:
        raise
    except BagError as err:
        fault = err
    if fault is None:
        yield from in_time_order(reader.wanted_parts(), reader.messages)
        return
    yield from in_file_order(reader.parts, reader.messages)
    raise fault


@dataclass(slots=True)
class _Reader:
    """What is known of a file."""

    file: FileBytes
    selection: Selection
    parts: list[Part] = field(default_factory=list)
    _topics: dict[int, tuple[str, str]] = field(default_factory=dict)  # name and type, by connection
    _chunks: dict[int, tuple[str, int]] = field(default_factory=dict)  # codec and size, by where the data begins
    _listed: set[int] = field(default_factory=set)  # connections at the end of the file
    _chunk_infos: int = 0
    _promised: Counter[int] = field(default_factory=Counter)  # messages by connection, as the list at the end says

    def walk(self) -> None:
        """Find chunks, connections and the index. Raises BagError where the file is cut or damaged."""
        if self.file.read(0, len(_VERSION)) != _VERSION:
            raise RefusedError("it is not of version 2.0; convert it with `rosbag fix` first")
        offset, bag = self._record_at(len(_VERSION), self._bag_header)
        while offset < self.file.size:
            offset, _ = self._record_at(offset, self._take)
        self._check_index(bag)

    def _record_at(self, offset: int, take: Callable[[_Header, int, int], None]) -> tuple[int, _Header]:
        """Take the record at an offset; returns the offset behind it and its header."""
        (size,) = _LENGTH.unpack(self.file.read(offset, 4))
        if size > _LONGEST_HEADER:
            raise BagError(f"a header of {size} bytes at byte {offset}")
        header = _fields(self.file.read(offset + 4, size))
        data = offset + 8 + size
        (length,) = _LENGTH.unpack(self.file.read(data - 4, 4))
        if data + length > self.file.size:
            if header.get(b"op") == bytes([_CHUNK]):
                self._take_chunk(header, data, self.file.size - data, is_cut=True)
            raise CutError(f"{length} bytes are due at byte {data}, and it ends at byte {self.file.size}")
        take(header, data, length)
        return data + length, header

    def _bag_header(self, header: _Header, data: int, length: int) -> None:
        if _number(header, b"op") != _BAG:
            raise BagError("its first record is not that of a bag")
        if header.get(b"encryptor"):
            raise RefusedError(f"it is encrypted by {shown(header[b'encryptor'].decode(errors='replace'))!r}")

    def _take(self, header: _Header, data: int, length: int) -> None:
        kind = _number(header, b"op")
        if kind == _CHUNK:
            self._take_chunk(header, data, length)
        elif kind == _INDEX:
            self._take_index(header, data, length)
        elif kind == _CONNECTION:
            self._listed.add(self._define(header, self.file.read(data, min(length, _LONGEST_DEFINITION))))
        elif kind == _CHUNK_INFO:
            self._chunk_infos += 1
            pairs = self.file.read(data, length)
            if length % 8 or length != 8 * _number(header, b"count"):
                raise BagError("the list of its chunks is damaged")
            for connection, count in struct.iter_unpack("<II", pairs):
                self._promised[connection] += count
        else:
            raise BagError(f"a record of kind {kind} at byte {data}")

    def _take_chunk(self, header: _Header, data: int, length: int, *, is_cut: bool = False) -> None:
        codec = header.get(b"compression", b"").decode(errors="replace")
        self._chunks[data] = codec, _number(header, b"size")
        self.parts.append(Part(-1, data, length, is_cut=is_cut))

    def _take_index(self, header: _Header, data: int, length: int) -> None:
        """Note how many messages of a connection the last chunk holds, and when the first was recorded."""
        count = _number(header, b"count")
        if not self.parts or length != 12 * count:
            raise BagError(f"an index at byte {data} belongs to no chunk, or is damaged")
        times = (second * 10**9 + ns for second, ns, _ in struct.iter_unpack("<III", self.file.read(data, length)))
        part, first_ns = self.parts[-1], min(times, default=0)
        part.start_ns = first_ns if not part.counts else min(part.start_ns, first_ns)
        part.counts[_number(header, b"conn")] = count

    def _define(self, header: _Header, data: bytes) -> int:
        connection, more = _number(header, b"conn"), _fields(data)
        if b"topic" not in header or b"type" not in more:
            raise BagError(f"the record of connection {connection} is damaged")
        topic = header[b"topic"].decode(errors="replace"), more[b"type"].decode(errors="replace")
        if self._topics.setdefault(connection, topic) != topic:
            raise BagError(f"connection {connection} is defined twice, differently")
        return connection

    def _check_index(self, bag: _Header) -> None:
        """Raise CutError if the file does not hold the index that its first record promises."""
        if not _number(bag, b"index_pos"):
            raise CutError("its recording was not ended, so it has no index; `rosbag reindex` mends that")
        found = {b"conn_count": len(self._listed), b"chunk_count": len(self.parts)}
        for name, count in (*found.items(), (b"chunk_count", self._chunk_infos)):
            if count < _number(bag, name):
                what = name.decode().removesuffix("_count").replace("conn", "connection")
                raise CutError(f"it holds {count} {what}s in full, and says {_number(bag, name)}")
        indexed = Counter[int]()
        for part in self.parts:
            indexed.update(part.counts)
        for connection, count in self._promised.items():
            if indexed[connection] < count:
                raise BagError(f"its index lists {indexed[connection]} of {count} messages of connection {connection}")

    def wanted_parts(self) -> list[Part]:
        """The chunks that can hold selected messages, as parts_with tells."""
        return parts_with(self.parts, {one for one in self._topics if self._topic(one) is None})

    def _topic(self, connection: int) -> Topic | None:
        """The topic of a connection if it is read. Raises BagError for one that was not defined."""
        if connection not in self._topics:
            raise BagError(f"a message is of connection {connection}, which is not defined")
        name, type_name = self._topics[connection]
        return self.selection.topic(name, type_name, "ros1")

    def messages(self, part: Part) -> list[StoredMessage]:
        """Return the selected messages of a chunk. Raises BagError if it is damaged or holds fewer than its index."""
        codec, size = self._chunks[part.offset]
        data = (unpack_begin if part.is_cut else unpack)(self.file.read(part.offset, part.length), codec, size)
        found: list[StoredMessage] = []
        counts = Counter[int]()
        for head, body in _records(memoryview(data), part.is_cut):
            kind = _number(head, b"op")
            if kind == _CONNECTION:
                self._define(head, bytes(body))
            elif kind != _MESSAGE:
                raise BagError(f"a record of kind {kind} in a chunk")
            else:
                connection = _number(head, b"conn")
                counts[connection] += 1
                topic = self._topic(connection)
                if topic is not None:
                    found.append(StoredMessage(topic, _time_ns(head), bytes(body)))
        for connection, promised in part.counts.items():
            if counts[connection] < promised and self._topic(connection) is not None:
                raise BagError(f"a chunk holds {counts[connection]} messages of {promised} that its index lists")
        return found


def _records(data: memoryview, is_cut: bool) -> Iterator[tuple[_Header, memoryview]]:
    """Yield header and data of the records in a chunk; of a cut one those that are whole."""
    offset = 0
    while offset < len(data):
        try:
            header, offset = _sized(data, offset)
            body, offset = _sized(data, offset)
        except BagError:
            if is_cut:
                return
            raise
        yield _fields(bytes(header)), body


def _sized(data: memoryview, offset: int) -> tuple[memoryview, int]:
    """What lies behind its length, and the offset behind it."""
    if offset + 4 > len(data):
        raise BagError("the last record of a chunk is cut short")
    (size,) = _LENGTH.unpack_from(data, offset)
    if offset + 4 + size > len(data):
        raise BagError(f"{size} bytes in a chunk do not fit in it")
    return data[offset + 4 : offset + 4 + size], offset + 4 + size


def _fields(data: bytes) -> _Header:
    """The fields of a header: a length, then name=value."""
    found: _Header = {}
    offset = 0
    while offset < len(data):
        size = int.from_bytes(data[offset : offset + 4], "little")
        name, equals, value = data[offset + 4 : offset + 4 + size].partition(b"=")
        offset += 4 + size
        if not equals or offset > len(data):
            raise BagError("the header of a record is damaged")
        found[name] = value
    return found


_SIZES = {b"op": 1, b"index_pos": 8}  # of numbers; others have four bytes


def _number(header: _Header, name: bytes) -> int:
    value = header.get(name, b"")
    if len(value) != _SIZES.get(name, 4):
        raise BagError(f"the number {name.decode()!r} of a record is missing or damaged")
    return int.from_bytes(value, "little")


def _time_ns(header: _Header) -> int:
    value = header.get(b"time", b"")
    if len(value) != 8:
        raise BagError("the time of a message is missing or damaged")
    second, ns = struct.unpack("<II", value)
    return int(second) * 10**9 + int(ns)
