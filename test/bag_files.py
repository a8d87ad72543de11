"""Bags for tests, written by the library rosbags and, for what it does not write, by mcap."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("mcap")
pytest.importorskip("rosbags")

from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
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


def write_mcap(file: Path, messages: Iterable[Timed], *, foreign: bool = False, chunk_size: int = 1 << 20) -> Path:
    """One MCAP file; foreign: with topics of JSON and of no schema beside."""
    with file.open("wb") as stream:
        writer = McapWriter(stream, chunk_size=chunk_size)
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
