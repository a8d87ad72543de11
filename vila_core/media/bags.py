"""Images in bags, read without ROS: rosbag2 directories and files, MCAP or SQLite, compressed or not; ROS 1 bags."""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from vila_core.errors import FrameError, MediaError
from vila_core.media.messages import decode_compressed, decode_image

_DECODERS: dict[str, Callable[[Any], NDArray[np.uint8]]] = {
    "sensor_msgs/msg/Image": decode_image,
    "sensor_msgs/msg/CompressedImage": decode_compressed,
}
_SUFFIXES = (".mcap", ".db3")
_CDR_HEADER = 4  # bytes


@dataclass(frozen=True, slots=True, eq=False)
class BagImage:
    """An image of a bag: [H, W, 3] uint8 RGB, its topic and when it was recorded."""

    topic: str
    time_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Stored:
    """An image message as it lies in a bag: CDR, or the serialization of ROS 1."""

    topic: str
    kind: str  # of _DECODERS
    time_ns: int
    data: bytes
    is_ros1: bool = False


def bag_images(path: Path) -> Iterator[BagImage]:
    """Yield the images of a bag, of all topics, in order of time; one is in memory at a time.

    path: a bag's directory, or one file of it (.mcap, .db3, .bag). Messages of other types are never decoded. Raises
    MediaError, naming file and topic, for an image that cannot be decoded; and for a bag that cannot be read, a cut
    one after the images in front of the cut.
    """
    for stored in _messages(path):
        try:
            yield BagImage(stored.topic, stored.time_ns, _DECODERS[stored.kind](_deserialized(stored)))
        except FrameError as err:
            raise MediaError(f"{path}: {stored.topic} at {stored.time_ns} ns: {err}") from err


def _messages(path: Path) -> Iterator[_Stored]:
    """The image messages, each topic's in order of time. Raises MediaError, which names the file."""
    if not path.exists():
        raise MediaError(f"{path} cannot be read as a bag: there is no such file")
    file, count = path, 0
    try:
        for file in _files(path):
            count = 0
            for stored in _mcap_messages(file) if file.suffix == ".mcap" else _rosbag_messages(file):
                yield stored
                count += 1
    except MediaError:
        raise
    except Exception as err:  # of either library: what they raise for damaged bytes is not theirs alone
        told = f"is cut or damaged behind {count} images" if count else "cannot be read as a bag"
        raise MediaError(f"{file} {told}: {type(err).__name__}: {' '.join(str(err).split())}") from err


def _files(path: Path) -> list[Path]:
    """The files of a bag in their order; itself if it is a file, or compressed by rosbag2 around the storage."""
    if not path.is_dir():
        return [path]
    description = path / "metadata.yaml"
    if not description.is_file():
        return _unlisted_files(path)
    told = yaml.safe_load(description.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
    files = [path / Path(name).name for name in told["relative_file_paths"]]
    is_plain = str(told.get("compression_mode") or "none").lower() == "none"
    return files if is_plain and all(file.suffix in _SUFFIXES for file in files) else [path]


def _unlisted_files(folder: Path) -> list[Path]:
    """The files of a bag whose recording was ended before it could list them, by their numbers: NAME_0, NAME_1, ..."""
    files = [file for file in folder.iterdir() if file.suffix in _SUFFIXES]
    if not files:
        raise MediaError(f"{folder} cannot be read as a bag: it holds no metadata.yaml, and no .mcap or .db3 file")
    return sorted(files, key=lambda file: ([int(part) for part in re.findall(r"\d+", file.stem)[-1:]], file.name))


def _rosbag_messages(path: Path) -> Iterator[_Stored]:
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

    is_ros1 = path.suffix == ".bag"
    with (Reader1 if is_ros1 else Reader2)(path) as reader:
        wanted = [connection for connection in reader.connections if connection.msgtype in _DECODERS]
        if not wanted:
            return
        for connection, time_ns, data in reader.messages(connections=wanted):
            yield _Stored(connection.topic, connection.msgtype, time_ns, data, is_ros1)


def _mcap_messages(path: Path) -> Iterator[_Stored]:
    """By the library of the format: unlike rosbags it reads up to a cut, and beside schemas that are not ROS's."""
    from mcap.exceptions import McapError
    from mcap.reader import SeekingReader

    with path.open("rb") as stream:
        reader = SeekingReader(stream)
        try:
            summary = reader.get_summary()
        except (McapError, struct.error):
            summary = None
        if summary is None:  # cut, or written by somebody who keeps none
            stream.seek(0)
            yield from _in_file_order(stream)
            return
        wanted = {
            channel.topic
            for channel in summary.channels.values()
            if channel.schema_id in summary.schemas and summary.schemas[channel.schema_id].name in _DECODERS
        }
        for schema, channel, message in reader.iter_messages(topics=wanted) if wanted else ():
            if schema is not None and schema.name in _DECODERS:
                yield _Stored(channel.topic, schema.name, message.log_time, message.data)


def _in_file_order(stream: IO[bytes]) -> Iterator[_Stored]:
    """As they were written, up to the end of the file, or to the error of the library where it was cut."""
    from mcap.records import Channel, Message, Schema
    from mcap.stream_reader import StreamReader

    schemas: dict[int, str] = {}
    channels: dict[int, tuple[str, str]] = {}
    for record in StreamReader(stream).records:
        if isinstance(record, Schema):
            schemas[record.id] = record.name
        elif isinstance(record, Channel):
            channels[record.id] = record.topic, schemas.get(record.schema_id, "")
        elif isinstance(record, Message) and channels.get(record.channel_id, ("", ""))[1] in _DECODERS:
            yield _Stored(*channels[record.channel_id], record.log_time, record.data)


def _deserialized(stored: _Stored) -> Any:
    """The message. Raises FrameError for bytes that are none."""
    try:
        if stored.is_ros1:
            return _types("ROS1_NOETIC").deserialize_ros1(stored.data, stored.kind)
        if len(stored.data) < _CDR_HEADER:
            raise FrameError(f"a message of {len(stored.data)} bytes")
        return _types("ROS2_HUMBLE").deserialize_cdr(stored.data, stored.kind)
    except FrameError:
        raise
    except Exception as err:  # generated code that meets any bytes
        raise FrameError(f"not a {stored.kind}: {type(err).__name__}: {err}") from err


@functools.cache
def _types(store: str) -> Any:
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores[store])
