"""Image messages out of their bytes, as ROS 2 (CDR) and ROS 1 serialize them; nothing of a message is copied.

Definitions: sensor_msgs Image.msg and CompressedImage.msg, std_msgs Header.msg. CDR: OMG DDSI-RTPS 2.2, chapter 10.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from vila_core.errors import FrameError

_HEAD = 4  # bytes of CDR before the message: 0, the order of bytes, two options


@dataclass(frozen=True, slots=True, eq=False)
class SerializedImage:
    """The fields of sensor_msgs/Image; data as it lies in the message."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True, slots=True, eq=False)
class SerializedCompressed:
    """The fields of sensor_msgs/CompressedImage; data as it lies in the message."""

    format: str
    data: memoryview


def parse_image(data: bytes, *, is_ros1: bool = False) -> SerializedImage:
    """Return the fields of an Image. Raises FrameError for bytes that are none."""
    fields = _Fields(data, is_ros1, "sensor_msgs/msg/Image")
    fields.skip_header()
    height, width = fields.number("height"), fields.number("width")
    encoding, is_bigendian = fields.text("encoding"), fields.byte("is_bigendian")
    return SerializedImage(height, width, encoding, is_bigendian, fields.number("step"), fields.last("data"))


def parse_compressed(data: bytes, *, is_ros1: bool = False) -> SerializedCompressed:
    """Return the fields of a CompressedImage. Raises FrameError for bytes that are none."""
    fields = _Fields(data, is_ros1, "sensor_msgs/msg/CompressedImage")
    fields.skip_header()
    return SerializedCompressed(fields.text("format"), fields.last("data"))


class _Fields:
    """The fields of a message one after the other, each held against the length of the whole."""

    def __init__(self, data: bytes, is_ros1: bool, kind: str) -> None:
        self._is_ros1, self._kind = is_ros1, kind
        self._order = "<"
        self._data = memoryview(data)
        self._offset = 0
        if is_ros1:
            return
        if len(data) < _HEAD:
            raise FrameError(f"a message of {len(data)} bytes is no {kind}")
        if data[0] != 0 or data[1] > 1:
            raise FrameError(f"a message that begins with the bytes {data[:2].hex(' ')} is no {kind} in CDR")
        self._order = "<" if data[1] else ">"
        self._data = self._data[_HEAD:]  # what alignment counts from

    def skip_header(self) -> None:
        if self._is_ros1:
            self.number("header.seq")
        self.number("header.stamp.sec")
        self.number("header.stamp.nanosec")
        self._bytes(self.number("header.frame_id"), "header.frame_id")

    def number(self, name: str) -> int:
        """An unsigned number of four bytes."""
        if not self._is_ros1:
            self._offset = (self._offset + 3) // 4 * 4
        (value,) = struct.unpack(f"{self._order}I", self._bytes(4, name))
        return int(value)

    def byte(self, name: str) -> int:
        return self._bytes(1, name)[0]

    def text(self, name: str) -> str:
        data = bytes(self._bytes(self.number(name), name))
        return (data if self._is_ros1 else data.removesuffix(b"\0")).decode("utf-8", "replace")

    def last(self, name: str) -> memoryview:
        """The bytes of the last field, which the message ends with, but for padding."""
        found = self._bytes(self.number(name), name)
        left = len(self._data) - self._offset
        if left >= _HEAD:
            raise FrameError(f"{left} bytes follow behind the last field of a {self._kind}")
        return found

    def _bytes(self, count: int, name: str) -> memoryview:
        end = self._offset + count
        if end > len(self._data):
            raise FrameError(
                f"a message of {len(self._data)} bytes is no whole {self._kind}: {name} would end at byte {end}"
            )
        found = self._data[self._offset : end]
        self._offset = end
        return found
