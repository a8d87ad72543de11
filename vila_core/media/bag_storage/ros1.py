"""Image messages of ROS 1 bags, whole or cut, parsed by the library rosbags.

Its Reader believes the numbers of chunks and connections that a bag begins with, and would pass messages over where a
damaged one is smaller; so all records' headers are walked first, by its parser, which also finds where a file is cut.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rosbags.rosbag1 import Reader
from rosbags.rosbag1.reader import Header, RecordType, normalize, read_bytes, read_uint32
from rosbags.typesys.msg import normalize_msgtype

from vila_core.media.bag_storage.common import (
    BagError,
    BoundedFile,
    CutError,
    RefusedError,
    Selection,
    StoredMessage,
    Topic,
    shown,
)
from vila_core.media.bag_storage.unpack import unpack

_VERSION = b"#ROSBAG V2.0\n"


class _Chunk(NamedTuple):
    """Where the data of a chunk begins, and how it is packed. size: of what it unpacks to."""

    begin: int
    length: int
    codec: str
    size: int


def ros1_messages(path: Path, selection: Selection) -> Iterator[StoredMessage]:
    """Yield the selected messages in order of time; of a cut file as they were written, up to the cut.

    Raises BagError, or what the library raises, for a file that is damaged, cut (CutError), or holds fewer messages
    than its index says; RefusedError for another version or encryption.
    """
    chunks: list[_Chunk] = []
    with BoundedFile(path) as file:
        try:
            counts = _walk(file, chunks)
        except CutError:
            with suppress(Exception):  # of the library at the cut, which is told
                yield from _in_front(file, chunks, selection)
            raise
        with Reader(path) as reader:
            _bound(reader, chunks)
            _check_connections(file, reader)
            yield from _whole(reader, counts, selection)


def _walk(file: BoundedFile, chunks: list[_Chunk]) -> Counter[int]:
    """Return the messages by connection that the indexes tell of, and note the chunks, up to the cut if there is one.

    Raises CutError for a file that is cut, BagError for one that is damaged, RefusedError for one that cannot be read.
    """
    if file.readline(len(_VERSION)) != _VERSION:
        raise RefusedError("it is not of version 2.0; convert it with `rosbag fix` first")
    bag, kinds, counts = Header(), Counter[int](), Counter[int]()
    while not bag or file.tell() < file.size:
        header = Header.read(file)
        length, begin = read_uint32(file), file.tell()
        bag = bag or header
        kind = header.get_uint8("op")
        kinds[kind] += 1
        if kind == RecordType.CHUNK:
            chunks.append(_Chunk(begin, length, header.get_string("compression"), header.get_uint32("size")))
        elif kind == RecordType.IDXDATA:
            counts[header.get_uint32("conn")] += header.get_uint32("count")
        file.seek(begin + length)
    if bag.get("encryptor"):
        raise RefusedError(f"it is encrypted by {shown(bag.get_string('encryptor'))!r}")
    if not bag.get_uint64("index_pos"):
        raise CutError("its recording was not ended, so it has no index; `rosbag reindex` mends that")
    for name, kind in (("chunk", RecordType.CHUNK_INFO), ("conn", RecordType.CONNECTION)):
        promised, found = bag.get_uint32(f"{name}_count"), kinds[kind]
        if found != promised:
            fault = CutError if found < promised else BagError
            raise fault(f"its index holds {found} records of kind {kind.name}, and its beginning says {promised}")
    return counts


def _bound(reader: Reader, chunks: Iterable[_Chunk]) -> None:
    """Let chunks unpack to what they say alone; the library's own decompressors know no limit."""
    found = {chunk.begin: chunk for chunk in chunks}
    for place, chunk in reader.chunks.items():
        _, _, codec, size = found[chunk.datapos]
        reader.chunks[place] = chunk._replace(decompressor=partial(unpack, codec=codec, limit=size))


def _whole(reader: Reader, counts: Mapping[int, int], selection: Selection) -> Iterator[StoredMessage]:
    """The messages in order of time. Raises BagError if they are fewer than the indexes of the chunks say."""
    topics = {one.id: selection.topic(one.topic, one.msgtype, "ros1") for one in reader.connections}
    wanted = [one for one in reader.connections if topics[one.id] is not None]
    found = Counter[int]()
    for connection, time_ns, data in reader.messages(wanted) if wanted else ():
        topic = topics[connection.id]
        assert topic is not None
        found[connection.id] += 1
        yield StoredMessage(topic, time_ns, data)
    for number, count in counts.items():
        if number not in topics or (topics[number] is not None and found[number] < count):
            raise BagError(f"its index leads to {found[number]} of {count} messages of connection {number}")


def _check_connections(file: BoundedFile, reader: Reader) -> None:
    """Raise BagError if a topic's name or type differs in the index and in the first chunk of it.

    The library reads the index alone, so a damaged type there would silently hide a topic of images.
    """
    listed = {one.id: (one.topic, one.msgtype) for one in reader.connections}
    met: set[int] = set()
    for info in reader.chunk_infos:
        if info.connection_counts.keys() - met:
            chunk = reader.chunks[info.pos]
            file.seek(chunk.datapos)
            for header, body in _chunk_records(chunk.decompressor(file.read(chunk.datasize))):
                number, is_connection = header.get_uint32("conn"), header.get_uint8("op") == RecordType.CONNECTION
                if is_connection and listed.get(number) != _topic_and_type(header, body):
                    raise BagError(f"connection {number} is defined twice, differently")
        met |= info.connection_counts.keys()


def _in_front(file: BoundedFile, chunks: Iterable[_Chunk], selection: Selection) -> Iterator[StoredMessage]:
    """The messages in front of a cut, which the library's Reader does not open."""
    topics: dict[int, Topic | None] = {}
    for begin, length, codec, size in chunks:
        file.seek(begin)
        data = file.read(min(length, file.size - begin))
        for header, body in _chunk_records(unpack(data, codec, size, is_cut=len(data) < length)):
            number = header.get_uint32("conn")
            if header.get_uint8("op") == RecordType.CONNECTION:
                topics[number] = selection.topic(*_topic_and_type(header, body), "ros1")
            elif topic := topics[number]:
                yield StoredMessage(topic, header.get_time("time"), read_bytes(body, read_uint32(body)))


def _chunk_records(data: bytes) -> Iterator[tuple[Header, io.BytesIO]]:
    """Headers of the records in a chunk, and their bodies behind their lengths."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        header, begin = Header.read(stream), stream.tell()
        length = read_uint32(stream) + 4
        stream.seek(begin)
        yield header, io.BytesIO(read_bytes(stream, length))


def _topic_and_type(header: Header, body: io.BytesIO) -> tuple[str, str]:
    """What a connection's record tells, as the library's Reader changes it."""
    return normalize(header.get_string("topic")), normalize_msgtype(Header.read(body).get_string("type"))
