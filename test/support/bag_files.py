"""Bags for tests, written by the library rosbags and, for what it does not write, by mcap."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from fuzzing.mutations import mutated
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)
Timed = tuple[int, str, Any]  # time_ns, topic, message


def header(frame_id: str = "camera") -> Any:
    stamp = TYPES.types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)
    return TYPES.types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def padded_image(pixels: np.ndarray, encoding: str = "rgb8") -> Any:
    """An Image whose rows have eight bytes more than they need."""
    height, width, channels = pixels.shape
    padded = np.pad(pixels.reshape(height, -1), ((0, 0), (0, 8)))
    kind = TYPES.types["sensor_msgs/msg/Image"]
    step = width * channels + 8
    return kind(header(), height, width, encoding, is_bigendian=0, step=step, data=padded.ravel())


def png_image(pixels: np.ndarray) -> Any:
    data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
    return TYPES.types["sensor_msgs/msg/CompressedImage"](header(), format="png", data=data.ravel())


def serialized(message: Any) -> bytes:
    return bytes(TYPES.serialize_cdr(message, message.__msgtype__))


def write_folder(folder: Path, messages: Iterable[Timed], *, storage: str = "MCAP", compression: Any = None) -> Path:
    """A rosbag2 directory; compression: a CompressionMode of rosbags, by zstd."""
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin[storage])
    if compression is not None:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, Any] = {}
        for time_ns, topic, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=TYPES)
            writer.write(connections[topic], time_ns, serialized(message))
    return folder


def write_mcap(file: Path, messages: Iterable[Timed], *, foreign: bool = False, **options: Any) -> Path:
    """One MCAP file; foreign: with topics of JSON and of no schema beside; options: of mcap's Writer."""
    with file.open("wb") as stream:
        writer = McapWriter(stream, enable_data_crcs=True, **options)
        writer.start(profile="ros2", library="test")
        if foreign:
            json = writer.register_schema("Status", "jsonschema", b'{"type": "object"}')
            for topic, schema in (("/status", json), ("/words", 0)):
                channel = writer.register_channel(topic, "json", schema)
                writer.add_message(channel, log_time=1, publish_time=1, data=b'{"a": 1}')
        channels: dict[str, int] = {}
        for time_ns, topic, message in messages:
            if topic not in channels:
                text = TYPES.generate_msgdef(message.__msgtype__, ros_version=2)[0]
                schema = writer.register_schema(message.__msgtype__, "ros2msg", text.encode())
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], log_time=time_ns, publish_time=time_ns, data=serialized(message))
        writer.finish()
    return file


# Small healthy bags of each kind: a function writes one below a folder and returns its path. What reads bags is tried
# on `mutated` copies of them, here and by whoever fuzzes all readers.


def small_images(count: int = 6, seed: int = 0) -> list[Timed]:
    """Raw images on /raw and one compressed on /c/compressed, 100 ms apart."""
    rng = np.random.default_rng(seed)
    pixels = [rng.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(count)]
    raw = [(10**9 + number * 10**8, "/raw", padded_image(one)) for number, one in enumerate(pixels)]
    return [*raw, (10**9 + count * 10**8, "/c/compressed", png_image(pixels[0]))]


def write_ros1(file: Path, messages: Iterable[Timed], compression: str = "none") -> Path:
    """A ROS 1 bag of raw and compressed images, one chunk for a few; compression: none, bz2 or lz4."""
    from rosbags import rosbag1

    types = get_typestore(Stores.ROS1_NOETIC)
    writer = rosbag1.Writer(file)
    if compression != "none":
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression.upper()])
    writer.chunk_threshold = 600  # bytes
    stamp = types.types["builtin_interfaces/msg/Time"](0, 0)
    head = types.types["std_msgs/msg/Header"](0, stamp, "camera")
    with writer:
        connections: dict[str, Any] = {}
        for time_ns, topic, message in messages:
            name = message.__msgtype__
            fields = {key: getattr(message, key) for key in message.__dataclass_fields__ if key != "__msgtype__"}
            old = types.types[name](**{**fields, "header": head})
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, name, typestore=types)
            writer.write(connections[topic], time_ns, bytes(types.serialize_ros1(old, name)))
    return file


def _mcap(compression: str, *, chunk_size: int = 600, use_chunking: bool = True) -> Callable[[Path], Path]:
    options = {"compression": CompressionType[compression], "chunk_size": chunk_size, "use_chunking": use_chunking}
    return lambda folder: write_mcap(folder / "a.mcap", small_images(), foreign=True, **options)


def _folder(storage: str, compression: str | None) -> Callable[[Path], Path]:
    mode = compression and CompressionMode[compression]
    return lambda folder: write_folder(folder / "bag", small_images(), storage=storage, compression=mode)


BAG_KINDS: dict[str, Callable[[Path], Path]] = {
    "mcap none": _mcap("NONE"),
    "mcap zstd": _mcap("ZSTD"),
    "mcap lz4": _mcap("LZ4"),
    "mcap unchunked": _mcap("NONE", use_chunking=False),
    "mcap folder": _folder("MCAP", None),
    "mcap folder, zstd file": _folder("MCAP", "FILE"),
    "mcap folder, zstd messages": _folder("MCAP", "MESSAGE"),
    "sqlite folder": _folder("SQLITE3", None),
    "sqlite folder, zstd file": _folder("SQLITE3", "FILE"),
    "sqlite folder, zstd messages": _folder("SQLITE3", "MESSAGE"),
    "ros1 none": lambda folder: write_ros1(folder / "a.bag", small_images()),
    "ros1 bz2": lambda folder: write_ros1(folder / "a.bag", small_images(), "bz2"),
    "ros1 lz4": lambda folder: write_ros1(folder / "a.bag", small_images(), "lz4"),
}


def mutate_bag(bag: Path, rng: random.Random) -> None:
    """Change one file of a bag in place."""
    file = rng.choice(sorted(bag.iterdir()) if bag.is_dir() else [bag])
    file.write_bytes(mutated(file.read_bytes(), rng))
