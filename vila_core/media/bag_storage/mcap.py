"""Image messages of MCAP files, whole or cut (https://mcap.dev/spec).

The file's records are first walked from its beginning, chunks unopened, so nothing depends on an index at its end, and
every length is held against the file's size. The library mcap trusts those lengths, and reads files that have no chunks
into memory as a whole.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from vila_core.media.bag_storage.common import (
    BagError,
    CutError,
    FileBytes,
    Part,
    Selection,
    StoredMessage,
    Topic,
    in_file_order,
    in_time_order,
    parts_with,
    shown,
)
from vila_core.media.bag_storage.unpack import unpack, unpack_begin

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _MESSAGE_INDEX, _CHUNK_INDEX = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08
_STATISTICS, _DATA_END = 0x0B, 0x0F
_RECORD = struct.Struct("<BQ")  # opcode, length
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQII")  # first and last time, unpacked size, CRC, length of the compression's name
_STATISTICS_HEAD = struct.Struct("<QHIIIIQQI")  # messages, four counts, chunks, times, length of the counts by channel
_LONGEST_TEXT = 1 << 24  # bytes of a definition
_LONGEST_NAME = 1 << 10  # bytes, of a compression
_CRC_PIECE = 1 << 20


def mcap_messages(file: FileBytes, selection: Selection) -> Iterator[StoredMessage]:
    """Yield the selected messages in order of time; as they were written, if the file is cut or has no summary.

    Raises BagError, behind the messages in front of what is wrong, for a file that is damaged, cut (CutError), or holds
    fewer messages than its index or its statistics say.
    """
    reader = _Reader(file, selection)
    fault: BagError | None = None
    try:
        reader.walk()
    except BagError as err:
        fault = err
    if fault is None and reader.knows_channels():
        yield from in_time_order(reader.wanted_parts(), reader.messages)
    else:
        yield from in_file_order(reader.parts, reader.messages)
    if fault is not None:
        raise fault
    reader.check_counts()
    reader.check_data()


@dataclass(slots=True)
class _Reader:
    """What is known of a file."""

    file: FileBytes
    selection: Selection
    parts: list[Part] = field(default_factory=list)
    _schemas: dict[int, str] = field(default_factory=dict)  # names
    _channels: dict[int, tuple[str, int, str]] = field(default_factory=dict)  # topic, schema, encoding
    _topics: dict[int, Topic | None] = field(default_factory=dict)  # None: passed over
    _promised: dict[int, int] = field(default_factory=dict)  # messages by channel, as the statistics say
    _promised_chunks: int = 0
    _found: Counter[int] = field(default_factory=Counter)
    _data_end: int = 0  # the byte behind the data section
    _data_crc: int = 0
    _is_unchecked: bool = False  # messages lie outside of what the chunks' own CRCs cover

    def walk(self) -> None:
        """Find parts, schemas, channels and statistics. Raises BagError where the file is cut or no longer MCAP."""
        is_whole = self.file.size > 2 * len(MAGIC) and self.file.read(self.file.size - len(MAGIC), len(MAGIC)) == MAGIC
        offset = len(MAGIC)
        while True:
            opcode, length = _RECORD.unpack(self.file.read(offset, _RECORD.size))
            body, end = offset + _RECORD.size, offset + _RECORD.size + length
            if end > self.file.size:
                told = f"a record of {length} bytes at byte {offset} goes beyond its end, byte {self.file.size}"
                if is_whole:
                    raise BagError(told)
                if opcode == _CHUNK:
                    self.parts.append(Part(0, body, self.file.size - body, is_cut=True))
                raise CutError(told)
            self._take(opcode, body, length)
            if opcode == _FOOTER:
                return self._end(body, length, end)
            offset = end

    def _take(self, opcode: int, body: int, length: int) -> None:
        if opcode == _MESSAGE:
            channel, _, time_ns, _ = _MESSAGE_HEAD.unpack(self._head(body, length, _MESSAGE_HEAD.size))
            self._is_unchecked = True
            if self._topic(channel) is not None:
                self.parts.append(Part(time_ns, body, length, is_chunk=False))
        elif opcode == _CHUNK:
            start_ns, *_, crc, _ = _CHUNK_HEAD.unpack(self._head(body, length, _CHUNK_HEAD.size))
            self._is_unchecked |= not crc
            self.parts.append(Part(start_ns, body, length))
        elif opcode == _MESSAGE_INDEX:
            channel, size = struct.unpack("<HI", self._head(body, length, 6))
            if not self.parts or not self.parts[-1].is_chunk or size % 16 or size + 6 > length:
                raise BagError(f"a message index at byte {body} belongs to no chunk, or is damaged")
            self.parts[-1].counts[channel] = size // 16
        elif opcode == _DATA_END:
            self._data_end = body - _RECORD.size
            (self._data_crc,) = struct.unpack("<I", self._head(body, length, 4))
        elif opcode == _STATISTICS:
            self._take_statistics(self._head(body, length, min(length, _LONGEST_TEXT)))
        elif opcode in (_SCHEMA, _CHANNEL):
            self._define(opcode, memoryview(self._head(body, length, length)))
        elif opcode == 0:
            raise BagError(f"what lies at byte {body - _RECORD.size} is no record")

    def _head(self, body: int, length: int, size: int) -> bytes:
        if length < size:
            raise BagError(f"a record of {length} bytes at byte {body} is too short for its kind")
        return self.file.read(body, size)

    def _define(self, opcode: int, body: memoryview) -> None:
        """Take a schema or channel. Raises BagError for one that differs from what bore the same number before."""
        try:
            if opcode == _SCHEMA:
                (number,), (name, _) = struct.unpack_from("<H", body), _text(body, 2)
                known = self._schemas.setdefault(number, name) == name
            else:
                number, schema = struct.unpack_from("<HH", body)
                topic, offset = _text(body, 4)
                channel = topic, schema, _text(body, offset)[0]
                known = self._channels.setdefault(number, channel) == channel
        except struct.error as err:
            raise BagError("the record of a topic or type is too short") from err
        if not known:
            raise BagError(f"{'schema' if opcode == _SCHEMA else 'channel'} {number} is defined twice, differently")

    def _take_statistics(self, body: bytes) -> None:
        try:
            *_, chunks, _, _, size = _STATISTICS_HEAD.unpack_from(body)
            head = _STATISTICS_HEAD.size
            if size % 10 or head + size > len(body):
                raise BagError("its statistics are damaged")
            self._promised = dict(struct.iter_unpack("<HQ", body[head : head + size]))
        except struct.error as err:
            raise BagError("its statistics are damaged") from err
        self._promised_chunks = chunks

    def _end(self, body: int, length: int, end: int) -> None:
        """Check what lies behind the last record, and the summary's checksum."""
        summary, _, crc = struct.unpack("<QQI", self._head(body, length, 20))
        if self.file.size - end < len(MAGIC):
            raise CutError("its last bytes are missing")
        if self.file.read(end, len(MAGIC)) != MAGIC or end + len(MAGIC) != self.file.size:
            raise BagError(f"what lies behind the footer at byte {end} is not the end of an MCAP file")
        if not self._data_end:
            raise BagError("the record that ends its data is missing")
        if not summary:
            return
        if not self._data_end < summary <= body - _RECORD.size:
            raise BagError(f"its footer says that the summary begins at byte {summary}")
        if crc and crc != self._crc(summary, body + 16):
            raise BagError("the checksum of its summary is wrong")

    def knows_channels(self) -> bool:
        """True if every channel was defined outside of chunks, so that these can be opened in any order."""
        return bool(self._channels) and all(part.counts.keys() <= self._channels.keys() for part in self.parts)

    def wanted_parts(self) -> list[Part]:
        """The parts that can hold selected messages, as parts_with tells."""
        return parts_with(self.parts, {channel for channel in self._channels if self._topic(channel) is None})

    def _topic(self, channel: int) -> Topic | None:
        """The topic of a channel if it is read. Raises BagError for a channel that was not defined."""
        if channel not in self._topics:
            if channel not in self._channels:
                raise BagError(f"a message is of channel {channel}, which is not defined")
            name, schema, encoding = self._channels[channel]
            self._topics[channel] = self.selection.topic(name, self._schemas.get(schema, ""), encoding)
        return self._topics[channel]

    def messages(self, part: Part) -> list[StoredMessage]:
        """Return the selected messages of a part. Raises BagError if it is damaged or holds fewer than its index."""
        if not part.is_chunk:
            return list(self._message(memoryview(self.file.read(part.offset, part.length))))
        found: list[StoredMessage] = []
        before = self._found.copy()
        for opcode, body in _records(self._unpacked(part), part.is_cut):
            if opcode == _MESSAGE:
                found.extend(self._message(body))
            elif opcode in (_SCHEMA, _CHANNEL):
                self._define(opcode, body)
        for channel, promised in part.counts.items():
            count = self._found[channel] - before[channel]
            if promised > count and self._topics.get(channel) is not None:
                raise BagError(f"a chunk holds {count} messages of channel {channel}, its index says {promised}")
        return found

    def _unpacked(self, part: Part) -> memoryview:
        """The records of a chunk, after its size and checksum were compared; of a cut one those that are there."""
        end = part.offset + part.length
        head = self._head(part.offset, part.length, _CHUNK_HEAD.size)
        *_, size, crc, name_size = _CHUNK_HEAD.unpack(head)
        begin = part.offset + _CHUNK_HEAD.size + name_size + 8
        if begin > end or name_size > _LONGEST_NAME:
            raise BagError(f"the head of a chunk at byte {part.offset} is damaged, or cut")
        name = self.file.read(part.offset + _CHUNK_HEAD.size, name_size + 8)
        codec, packed_size = name[:-8].decode(errors="replace"), int.from_bytes(name[-8:], "little")
        if part.is_cut:
            return memoryview(unpack_begin(self.file.read(begin, end - begin), codec, size))
        if begin + packed_size > end:
            raise BagError(f"a chunk says that it holds {packed_size} bytes, of {end - begin}")
        found = unpack(self.file.read(begin, packed_size), codec, size)
        if crc and zlib.crc32(found) != crc:
            raise BagError("the checksum of a chunk is wrong")
        return memoryview(found)

    def _message(self, body: memoryview) -> Iterator[StoredMessage]:
        if len(body) < _MESSAGE_HEAD.size:
            raise BagError(f"a message of {len(body)} bytes is too short")
        channel, _, time_ns, _ = _MESSAGE_HEAD.unpack_from(body)
        topic = self._topic(channel)
        if topic is not None:
            self._found[channel] += 1
            yield StoredMessage(topic, time_ns, bytes(body[_MESSAGE_HEAD.size :]))

    def check_counts(self) -> None:
        """Raise BagError if fewer chunks or messages were there than the statistics say."""
        chunks = sum(part.is_chunk for part in self.parts)
        if chunks < self._promised_chunks:
            raise BagError(f"it holds {chunks} chunks, its statistics say {self._promised_chunks}")
        for channel, promised in self._promised.items():
            if not promised:
                continue
            topic = self._topic(channel)
            if topic is not None and self._found[channel] < promised:
                raise BagError(
                    f"it holds {self._found[channel]} messages on {shown(topic.name)}, its statistics say {promised}"
                )

    def check_data(self) -> None:
        """Raise BagError if the checksum of the data section is wrong, where the chunks have none of their own."""
        if self._is_unchecked and self._data_crc and self._crc(0, self._data_end) != self._data_crc:
            raise BagError("the checksum of its data is wrong, so an image that was read may be too")

    def _crc(self, begin: int, end: int) -> int:
        crc = 0
        for offset in range(begin, end, _CRC_PIECE):
            crc = zlib.crc32(self.file.read(offset, min(_CRC_PIECE, end - offset)), crc)
        return crc


def _records(data: memoryview, is_cut: bool) -> Iterator[tuple[int, memoryview]]:
    """Yield opcode and body of the records in a chunk; of a cut one those that are whole."""
    offset = 0
    while offset < len(data):
        if offset + _RECORD.size > len(data):
            if is_cut:
                return
            raise BagError("the last record of a chunk is cut short")
        opcode, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size
        if is_cut and offset + length > len(data):
            return
        if not opcode or offset + length > len(data):
            raise BagError(f"a record of kind {opcode} and {length} bytes does not fit in its chunk")
        yield opcode, data[offset : offset + length]
        offset += length


def _text(body: memoryview, offset: int) -> tuple[str, int]:
    """A text behind its length, and the offset behind it. Raises BagError where it does not fit."""
    (size,) = struct.unpack_from("<I", body, offset)
    begin = offset + 4
    if begin + size > len(body):
        raise BagError(f"a name of {size} bytes does not fit in its record")
    return str(body[begin : begin + size], "utf-8", "replace"), begin + size
