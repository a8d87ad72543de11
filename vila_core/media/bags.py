"""Images in bags, and other messages, without ROS: rosbag2 folders and files, MCAP or SQLite, packed; ROS 1 bags."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import CutMediaError, FrameError, MediaError
from vila_core.media.bag_storage.common import (
    MCAP_MAGIC,
    ROS1_MAGIC,
    SQLITE_MAGIC,
    ZSTD_MAGIC,
    BagError,
    CutError,
    RefusedError,
    Selection,
    StoredMessage,
    library_faults,
    shown,
)
from vila_core.media.bag_storage.folder import bag_plan
from vila_core.media.bag_storage.sqlite import sqlite_messages
from vila_core.media.messages import decode_compressed, decode_image

_MAGIC_BYTES = 16  # of the longest
_FREE_SHARE = 0.9  # of the free space that an unpacked bag may take


@dataclass(frozen=True, slots=True, eq=False)
class BagImage:
    """An image of a bag: [H, W, 3] uint8 RGB, its topic, when it was recorded, and when it was taken by its header."""

    topic: str
    time_ns: int
    image: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ""


def bag_images(path: Path, topics: Sequence[str] = ()) -> Iterator[BagImage]:
    """Yield the images of a bag in order of time; one is in memory at a time, and the chunk of the file it lies in.

    What lies in an MCAP file without an index of its chunks, or in a file that is cut, comes as it was written.

    path: a bag's directory, or one file of it (.mcap, .db3, .bag, packed by zstd or not). topics: which to read, those
    of images without any named; messages of other topics are never decoded. Nothing is passed over in silence: the
    first message that cannot be decoded stops the reading, as does the first place where the bag is cut, is damaged or
    holds less than its own tables say. The images before it have been yielded then, and MediaError names the file, the
    topic, the number of the message in its topic (from 1) and the time. Raises it too for a topic that is not there.
    """
    progress = _Progress(path)
    selection = Selection(frozenset(topics))
    with _told(progress):
        plan = bag_plan(path)
        for file in plan.files:
            progress.file = file
            for stored in _stored_messages(file, selection):
                progress.take(stored)
                yield _decoded(stored, progress)
    _check_topics(path, selection)
    for topic in sorted(selection.asked & plan.promised.keys() if topics else plan.promised):
        if progress.counts[topic] < plan.promised[topic]:
            raise MediaError(
                f"{path} is cut or damaged: it holds {progress.counts[topic]} messages on {shown(topic)}, its "
                f"metadata.yaml says {plan.promised[topic]}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class BagRecord:
    """A message of a bag that is no image, its topic, its type (nav_msgs/msg/Odometry), and when it was recorded."""

    topic: str
    kind: str
    time_ns: int
    message: Any


def bag_records(path: Path, kinds: Sequence[str], definitions: Mapping[str, str] | None = None) -> Iterator[BagRecord]:
    """Yield the messages of some types in order of time, as `bag_images` yields images; it raises MediaError likewise.

    kinds: names of types, PACKAGE/msg/NAME. definitions: texts of those that are not among ROS's own.
    """
    progress = _Progress(path)
    names = {name: kind for kind in kinds for name in (kind, kind.replace("/msg/", "/"))}
    selection = Selection(frozenset(), names)
    with _told(progress):
        for file in bag_plan(path).files:
            progress.file = file
            for stored in _stored_messages(file, selection):
                progress.take(stored)
                try:
                    message = _deserialized(stored, stored.topic.kind, definitions or {})
                except (FrameError, BagError) as err:
                    raise MediaError(f"{progress.file}: {progress.of_last()}: {err}") from err
                yield BagRecord(stored.topic.name, stored.topic.kind, stored.time_ns, message)


def stamp_ns(stamp: Any) -> int:
    """Return a time of a message, sec and nanosec, in nanoseconds."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def image_topics(path: Path) -> Iterator[str]:
    """Yield the topic of each image, in order of time; nothing is decoded. Raises MediaError as `bag_images`."""
    progress, selection = _Progress(path), Selection(frozenset())
    with _told(progress):
        for file in bag_plan(path).files:
            progress.file = file
            for stored in _stored_messages(file, selection):
                progress.take(stored)
                yield stored.topic.name


def only_topic(path: Path, images: Iterable[BagImage]) -> Iterator[BagImage]:
    """Pass on images of one topic; MediaError, naming both, where a second one comes."""
    topic = ""
    for image in images:
        topic = topic or image.topic
        if image.topic != topic:
            raise MediaError(f"{path} holds images on {shown(topic)} and {shown(image.topic)}; name one with --topic")
        yield image


@dataclass(slots=True)
class _Progress:
    """How far a bag has been read."""

    file: Path
    counts: Counter[str] = field(default_factory=Counter)  # messages by topic
    last: StoredMessage | None = None

    def take(self, stored: StoredMessage) -> None:
        self.last = stored
        self.counts[stored.topic.name] += 1

    def __str__(self) -> str:
        if self.last is None:
            return "before its first image"
        return f"behind {self.of_last()} ({self.counts.total()} images were read)"

    def of_last(self) -> str:
        """Name the message that was read last."""
        assert self.last is not None
        name = self.last.topic.name
        return f"message {self.counts[name]} of {shown(name)} at {self.last.time_ns} ns"


@contextmanager
def _told(progress: _Progress) -> Iterator[None]:
    """Turn what is wrong with a bag into a MediaError of one line."""
    try:
        yield
    except MediaError:
        raise
    except CutError as err:
        raise CutMediaError(f"{progress.file} is cut {progress}: {err}") from err
    except RefusedError as err:
        raise MediaError(f"{progress.file} cannot be read as a bag: {err}") from err
    except BagError as err:
        raise MediaError(f"{progress.file} is damaged {progress}: {err}") from err
    except OSError as err:
        raise MediaError(f"{progress.file} cannot be read {progress}: {err.strerror or err}") from err
    except (MemoryError, RecursionError) as err:
        raise MediaError(f"{progress.file} is damaged {progress}: {type(err).__name__}") from err


def _stored_messages(file: Path, selection: Selection) -> Iterator[StoredMessage]:
    """The messages of a file, whose first bytes tell what it is, whatever its name."""
    with file.open("rb") as stream:
        head = stream.read(_MAGIC_BYTES)
    reader: Callable[[Path, Selection], Iterator[StoredMessage]]
    if head.startswith(ZSTD_MAGIC):
        reader = _packed_messages
    elif head.startswith(MCAP_MAGIC):
        from vila_core.media.bag_storage.mcap import mcap_messages

        reader = mcap_messages
    elif head.startswith(ROS1_MAGIC):
        from vila_core.media.bag_storage.ros1 import ros1_messages

        reader = ros1_messages
    elif head.startswith(SQLITE_MAGIC):
        reader = sqlite_messages
    elif any(magic.startswith(head) for magic in (MCAP_MAGIC, ROS1_MAGIC, SQLITE_MAGIC, ZSTD_MAGIC)):
        raise CutError(f"it holds {len(head)} bytes" if head else "it is empty")
    else:
        raise RefusedError(f"its first bytes, {head[:8].hex(' ')}, are not those of MCAP, SQLite or a ROS 1 bag")
    with library_faults():
        yield from reader(file, selection)


def _packed_messages(file: Path, selection: Selection) -> Iterator[StoredMessage]:
    """The messages of a file that rosbag2 packed as a whole; it is unpacked into a temporary file."""
    from vila_core.media.bag_storage.unpack import unpack_file

    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / file.stem
        limit = int(shutil.disk_usage(folder).free * _FREE_SHARE)
        try:
            with file.open("rb") as source, plain.open("wb") as target:
                unpack_file(source, target, limit)
        except BagError:
            with suppress(BagError):  # of the reader, that the file is cut; who calls tells the cause
                yield from _stored_messages(plain, selection)
            raise
        yield from _stored_messages(plain, selection)


def _decoded(stored: StoredMessage, progress: _Progress) -> BagImage:
    topic = stored.topic
    try:
        message = _deserialized(stored, f"sensor_msgs/msg/{topic.kind}")
        image = decode_image(message, topic.name) if topic.kind == "Image" else decode_compressed(message)
        header = message.header
        return BagImage(topic.name, stored.time_ns, image, stamp_ns(header.stamp), str(header.frame_id))
    except (FrameError, BagError) as err:
        others = "; to pass this topic over, name those to read" if len(progress.counts) > 1 else ""
        raise MediaError(f"{progress.file}: {progress.of_last()}: {err}{others}") from err


def _deserialized(stored: StoredMessage, kind: str, definitions: Mapping[str, str] = MappingProxyType({})) -> Any:
    """The message, which rosbag2 may have packed for itself. Raises BagError for bytes that are none."""
    from vila_core.media.bag_storage.unpack import unpacked_message

    data = unpacked_message(stored.data)
    try:
        if stored.topic.is_ros1:
            return _types("ROS1_NOETIC").deserialize_ros1(data, kind)
        return _types("ROS2_HUMBLE", *definitions.items()).deserialize_cdr(data, kind)
    except Exception as err:  # generated code that meets any bytes
        raise FrameError(f"{len(data)} bytes are no {kind}: {shown(str(err), 200)}") from err


@functools.cache
def _types(store: str, *definitions: tuple[str, str]) -> Any:
    """The types of a release of ROS, and those defined besides: (name, text) each."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    known = get_typestore(Stores[store])
    for name, text in definitions:
        known.register(get_types_from_msg(text, name))
    return known


def _check_topics(path: Path, selection: Selection) -> None:
    """Raise MediaError for a topic that was asked for and is not there."""
    missing = sorted(selection.asked - selection.found)
    if missing:
        absent = ", ".join(shown(name) for name in missing)
        there = ", ".join(shown(name) for name in sorted(selection.found | selection.others))
        raise MediaError(f"{path} holds no images on {absent}; it holds them on {there or 'none'}")
