"""Where calibration comes from: folders of images, a file of episodes, a bag. Each becomes drives with instructions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.errors import MediaError
from vila_core.evaluation.drives import Drive, oracle_drive
from vila_core.media import list_images, read_image
from vila_core.types import Frame

INSTRUCTIONS = (
    "go to the door and stop",
    "walk past the table, turn left and wait at the sofa",
    "leave the room and stop in front of the stairs",
    "turn around and go to the kitchen",
    "find the chair next to the window",
)  # of images that come without words
_BAG_FRAMES = 400  # of a topic, at most


def image_drives(folder: Path, instruction: str | None) -> Iterator[Drive]:
    """Yield a drive for the folder's images, sorted by name, or for those of each folder in it.

    Raises MediaError if there are none.
    """
    below = sorted(sub for sub in folder.iterdir() if sub.is_dir()) if folder.is_dir() else []
    for number, sub in enumerate(below or [folder]):
        images = [read_image(file) for file in list_images(sub)]
        yield _drive(images, instruction or INSTRUCTIONS[number % len(INSTRUCTIONS)], sub.name)


def episode_drives(file: Path, limit: int) -> Iterator[Drive]:
    """Yield the oracle's drives of the first episodes in a file of the VLN-CE form."""
    from vila_sim.environment import FlatEnv
    from vila_sim.episodes import read_episodes

    if not file.is_file():
        raise MediaError(f"episode file {file} does not exist")
    env = FlatEnv()
    try:
        for episode in islice(read_episodes(file), limit):
            yield oracle_drive(env, episode)
    finally:
        env.close()


def bag_drives(file: Path, instruction: str | None) -> Iterator[Drive]:
    """Yield a drive for each image topic of an MCAP bag; no ROS is needed to read it.

    Raises MediaError for a file that is no MCAP bag or holds no images.
    """
    topics: dict[str, _Thinned] = {}
    for topic, image in _bag_images(file):
        topics.setdefault(topic, _Thinned()).add(image)
    if not topics:
        raise MediaError(f"{file} holds no sensor_msgs/Image or sensor_msgs/CompressedImage")
    for number, (topic, seen) in enumerate(sorted(topics.items())):
        yield _drive(seen.images, instruction or INSTRUCTIONS[number % len(INSTRUCTIONS)], topic)


class _Thinned:
    """The images of a topic at even distances, few enough to be kept."""

    def __init__(self) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self._stride, self._count = 1, 0

    def add(self, image: NDArray[np.uint8]) -> None:
        if self._count % self._stride == 0:
            self.images.append(image)
        self._count += 1
        if len(self.images) > _BAG_FRAMES:
            self.images = self.images[::2]
            self._stride *= 2


_IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TO_RGB = {
    "rgb8": None,
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


def _bag_images(file: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    from mcap.exceptions import McapError
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    try:
        with file.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            for schema, channel, _, message in reader.iter_decoded_messages():
                if schema is not None and schema.name in _IMAGE_TYPES:
                    yield channel.topic, _pixels(message, file)
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


def _drive(images: list[NDArray[np.uint8]], instruction: str, name: str) -> Drive:
    frames = tuple(Frame(image, stamp, name) for stamp, image in enumerate(images))
    return Drive(instruction, frames, tuple(range(1, len(frames) + 1)))
