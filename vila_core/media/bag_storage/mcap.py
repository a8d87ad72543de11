"""Image messages of MCAP files, whole or cut, parsed by the library mcap.

The library's SeekingReader.iter_messages unpacks with no bound on memory (lz4.frame.decompress; zstd believes the
frame), so it gives the summary alone here, and chunks are put in order of time by a heap of our own.
"""

from __future__ import annotations

import heapq
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.reader import FOOTER_SIZE, MAGIC_SIZE, SeekingReader
from mcap.records import Channel, Chunk, ChunkIndex, Footer, McapRecord, Message, MessageIndex, Schema, Statistics
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.summary import Summary

from vila_core.media.bag_storage.common import (
    LARGEST_BYTES,
    MCAP_MAGIC,
    BagError,
    BoundedFile,
    CutError,
    Selection,
    StoredMessage,
    Topic,
    shown,
)
from vila_core.media.bag_storage.unpack import unpack


def mcap_messages(path: Path, selection: Selection) -> Iterator[StoredMessage]:
    """Yield the selected messages in order of time; as they were written, if there is no whole index of chunks.

    That is so in a file that is cut, and in one without chunks. Raises BagError, or what the library raises, behind the
    messages in front of what is wrong, for a file that is damaged, cut (CutError), or holds fewer messages than its
    statistics or indexes say.
    """
    with BoundedFile(path) as file:
        reader = _Reader(file, selection)
        chunks = reader.index()
        yield from reader.in_file_order() if chunks is None else reader.in_time_order(chunks)
        reader.check_counts()


@dataclass(slots=True)
class _Reader:
    """What is known of a file."""

    file: BoundedFile
    selection: Selection
    _types: dict[int, str] = field(default_factory=dict)  # by schema
    _channels: dict[int, tuple[str, int, str]] = field(default_factory=dict)  # topic, schema, encoding
    _topics: dict[int, Topic | None] = field(default_factory=dict)  # by channel; None: passed over
    _found: Counter[int] = field(default_factory=Counter)  # messages by channel
    _indexed: Counter[int] = field(default_factory=Counter)
    _promised: dict[int, int] = field(default_factory=dict)  # as the statistics say

    def index(self) -> Sequence[ChunkIndex] | None:
        """The chunks that can hold selected messages; None without a summary that is whole and lists all of them."""
        with suppress(Exception):  # whatever is wrong is met, and told, in the order of the file
            summary = SeekingReader(self.file, record_size_limit=LARGEST_BYTES).get_summary()
            self.file.seek(-FOOTER_SIZE - MAGIC_SIZE, os.SEEK_END)
            is_checked = self._has_checksum(next(_records(self.file, skip_magic=True)))
            if summary and summary.statistics and 0 < summary.statistics.chunk_count == len(summary.chunk_indexes):
                return self._selected(summary, summary.statistics, is_checked=is_checked)
        return None

    def _selected(self, summary: Summary, statistics: Statistics, *, is_checked: bool) -> Sequence[ChunkIndex]:
        """The chunks that can hold selected messages.

        Without a checksum all of them, as a damaged type in the summary can hide a topic: that the chunks define it
        otherwise is told then.
        """
        for definitions in (summary.schemas, summary.channels):
            for record in definitions.values():
                self._define(record)
        self._promised = statistics.channel_message_counts
        passed = {channel for channel, topic in self._topics.items() if topic is None and is_checked}
        chunks = summary.chunk_indexes
        return [one for one in chunks if not one.message_index_offsets or one.message_index_offsets.keys() - passed]

    def _has_checksum(self, footer: McapRecord) -> bool:
        """True if the summary has a checksum, and it is right. Raises BagError if it is wrong."""
        if not isinstance(footer, Footer) or not footer.summary_start or not footer.summary_crc:
            return False
        end = self.file.tell() - 4  # the footer was read, which ends with the checksum
        self.file.seek(footer.summary_start)
        if zlib.crc32(self.file.read(end - footer.summary_start)) != footer.summary_crc:
            raise BagError("the checksum of its summary is wrong")
        return True

    def in_time_order(self, chunks: Sequence[ChunkIndex]) -> Iterator[StoredMessage]:
        """Yield the messages by their times; chunks that overlap in time are in memory together."""
        heap: list[tuple[int, int, int, StoredMessage]] = []  # equal times as they were written
        last_ns = 0
        for index in sorted(chunks, key=lambda index: index.message_start_time):
            while heap and heap[0][0] < index.message_start_time:
                last_ns, *_, stored = heapq.heappop(heap)
                yield stored
            self.file.seek(index.chunk_start_offset)
            chunk = next(_records(self.file, skip_magic=True))
            if not isinstance(chunk, Chunk):
                raise BagError(f"no chunk begins at byte {index.chunk_start_offset}, where its index says so")
            for number, stored in enumerate(self._opened(chunk)):
                if stored.time_ns < last_ns:
                    raise BagError(f"a message at {stored.time_ns} ns, its chunk from {index.message_start_time} ns on")
                heapq.heappush(heap, (stored.time_ns, index.chunk_start_offset, number, stored))
        while heap:
            yield heapq.heappop(heap)[-1]

    def in_file_order(self) -> Iterator[StoredMessage]:
        """Yield the messages as they were written, up to the end or to where the file is cut."""
        self.file.seek(-MAGIC_SIZE, os.SEEK_END)
        has_end = self.file.read(MAGIC_SIZE) == MCAP_MAGIC
        if not has_end:
            self.file.pass_over_zeros()
        begin = self.file.seek(0)
        try:
            for record in _records(self.file):
                begin = self.file.tell()
                yield from self._opened(record) if isinstance(record, Chunk) else self._take(record)
                if isinstance(record, Footer):
                    self._has_checksum(record)
                    self.file.seek(begin)
        except CutError as err:
            if has_end:
                raise BagError(f"a length in it is wrong: {err}") from err
            with suppress(Exception):  # the library's at the cut, which is told
                yield from self._cut_chunk(begin)
            raise

    def _opened(self, chunk: Chunk) -> Iterator[StoredMessage]:
        """The selected messages of a chunk, unpacked within bounds before the library takes its records apart."""
        plain = unpack(chunk.data, chunk.compression, chunk.uncompressed_size)
        if len(plain) != chunk.uncompressed_size:
            raise BagError(f"a chunk unpacks to {len(plain)} bytes instead of {chunk.uncompressed_size}")
        for record in breakup_chunk(replace(chunk, compression="", data=plain), validate_crc=True):
            yield from self._take(record)

    def _cut_chunk(self, begin: int) -> Iterator[StoredMessage]:
        """The selected messages that are whole in the chunk in which the file ends, if it ends in one."""
        self.file.seek(begin)
        rest = ReadDataStream(io.BytesIO(self.file.read(self.file.size - begin)))
        if rest.read1() == Opcode.CHUNK and rest.read8():
            chunk = Chunk.read(rest)
            plain = unpack(chunk.data, chunk.compression, chunk.uncompressed_size, is_cut=True)
            for record in _records(io.BytesIO(plain), skip_magic=True):
                yield from self._take(record)

    def _take(self, record: McapRecord) -> Iterator[StoredMessage]:
        if isinstance(record, Message):
            if record.channel_id not in self._topics:
                raise BagError(f"a message is of channel {record.channel_id}, which is not defined")
            self._found[record.channel_id] += 1
            topic = self._topics[record.channel_id]
            if topic is not None:
                yield StoredMessage(topic, record.log_time, record.data)
        elif isinstance(record, Schema | Channel):
            self._define(record)
        elif isinstance(record, MessageIndex):
            self._indexed[record.channel_id] += len(record.records)
        elif isinstance(record, Statistics):
            self._promised = record.channel_message_counts

    def _define(self, record: Schema | Channel) -> None:
        """Take a schema or channel. Raises BagError for one that differs from what bore the same number before."""
        if isinstance(record, Schema):
            is_known = self._types.setdefault(record.id, record.name) == record.name
        else:
            told = record.topic, record.schema_id, record.message_encoding
            is_known = self._channels.setdefault(record.id, told) == told
            if record.id not in self._topics:
                type_name = self._types.get(record.schema_id, "")
                self._topics[record.id] = self.selection.topic(record.topic, type_name, record.message_encoding)
        if not is_known:
            raise BagError(f"{type(record).__name__.lower()} {record.id} is defined twice, differently")

    def check_counts(self) -> None:
        """Raise BagError if fewer messages were there than the statistics or the indexes behind the chunks say."""
        for source, counts in (("statistics say", self._promised), ("indexes list", self._indexed)):
            for channel, count in counts.items():
                topic = self._topics.get(channel)
                if count and channel not in self._topics:
                    raise BagError(f"its {source} {count} messages of channel {channel}, which is not defined")
                if topic is not None and self._found[channel] < count:
                    told = f"{self._found[channel]} messages on {shown(topic.name)}, its {source} {count}"
                    raise BagError(f"it holds {told}")


def _records(stream: io.BytesIO | io.BufferedReader, *, skip_magic: bool = False) -> Iterator[McapRecord]:
    """The records from here on, chunks in one piece; all checksums are checked."""
    return StreamReader(
        stream, skip_magic, emit_chunks=True, validate_crcs=not skip_magic, record_size_limit=LARGEST_BYTES
    ).records
