"""Images in bags: MCAP files of ROS 2, read without ROS."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.errors import MediaError

_IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TO_RGB = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True, slots=True, eq=False)
class BagImage:
    """An image of a bag: [H, W, 3] uint8 RGB, its topic and when it was recorded."""

    topic: str
    time_ns: int
    image: NDArray[np.uint8]


def bag_images(file: Path) -> Iterator[BagImage]:
    """Yield the images of a bag, of all topics, in order of time; one is in memory at a time.

    Raises MediaError, naming the file, if it cannot be read or holds an image that nobody can decode.
    """
    from mcap.exceptions import McapError
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    try:
        with file.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            for schema, channel, record, message in reader.iter_decoded_messages():
                if schema is not None and schema.name in _IMAGE_TYPES:
                    yield BagImage(channel.topic, record.log_time, _pixels(message, file))
    except (OSError, McapError, struct.error) as err:
        raise MediaError(f"{file} cannot be read as an MCAP bag: {err}") from err


def _pixels(message: object, file: Path) -> NDArray[np.uint8]:
    data = np.frombuffer(bytes(message.data), np.uint8)  # type: ignore[attr-defined]
    encoding = getattr(message, "encoding", None)
    if encoding is None:  # compressed
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if decoded is None:
            raise MediaError(f"{file} holds a compressed image that cannot be decoded")
        return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if encoding not in _TO_RGB:
        raise MediaError(f"{file} holds images of encoding {encoding!r}; supported: {', '.join(_TO_RGB)}")
    height, width, step = message.height, message.width, message.step  # type: ignore[attr-defined]
    rows = data.reshape(height, step)
    channels = {"mono8": 1, "rgba8": 4, "bgra8": 4}.get(encoding, 3)
    image = rows[:, : width * channels].reshape(height, width, channels)
    code = _TO_RGB[encoding]
    return np.ascontiguousarray(image if code is None else cv2.cvtColor(image, code), dtype=np.uint8)
