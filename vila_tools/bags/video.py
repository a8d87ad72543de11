"""`vila bag`: a video file as a bag, so that it can be played to a node as a camera's images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from vila_core.errors import ConfigError
from vila_core.media.film_reader import Film
from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame, stamp_from_ns
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import CAMERA_FRAME
from vila_tools.command_line import option, parse_options
from vila_tools.session.recording import Recorded, jpeg_from_image, write_bag

DEFAULT_TOPIC = "/camera/image_raw"
_FIRST_NS = 1_000_000_000  # a stamp of zero means "no time" in ROS


@dataclass(frozen=True, slots=True)
class BagOptions:
    """What to convert. is_raw: pixels as they are instead of JPEG. every: keep each n-th frame."""

    video: Path = field(metadata=option("the file to convert"))
    out: Path = field(metadata=option("the bag to write, *.mcap"))
    topic: str = field(default=DEFAULT_TOPIC, metadata=option("of the images (%(default)s; JPEG: with /compressed)"))
    every: int = field(default=1, metadata=option("keep each n-th frame (%(default)s)"))
    is_raw: bool = field(default=False, metadata=option("pixels as they are; ten times the size", flag="--raw"))

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError(f"every = {self.every!r}: must be at least 1")
        if not self.topic.startswith("/") or self.topic.endswith("/"):
            raise ConfigError(f"topic = {self.topic!r}: must begin with / and name a topic, such as {DEFAULT_TOPIC}")


def main(argv: Sequence[str] | None = None) -> int:
    """Write a video file as an MCAP bag of images, with the video's own times."""
    options = parse_options(BagOptions, argv, prog="vila bag", description=main.__doc__)
    report = {"bag": str(options.out), **convert(options)}
    for problem in report.get("problems", ()):
        print(problem, file=sys.stderr)
    print(json.dumps(report))
    return 0


def convert(options: BagOptions) -> dict[str, Any]:
    """Write the bag; returns its topic, number of images and duration in seconds, and problems if there are any.

    Of a video that is cut or damaged it holds what can be decoded, and the problems are sentences that say what cannot.
    Raises MediaError for a video of which nothing can; no bag is left then.
    """
    written: list[int] = []
    film = Film(options.video)

    def records() -> Iterator[Recorded]:
        for record in film_records(film, options):
            written.append(record.time_ns)
            yield record

    write_bag(options.out, records(), {topic_of(options): (reliable_qos(),)})
    duration_s = (written[-1] - written[0]) / 1e9 if written else 0.0
    report = {"topic": topic_of(options), "images": len(written), "duration_s": round(duration_s, 3)}
    return {**report, "problems": film.problems} if film.problems else report


def film_records(film: Film, options: BagOptions) -> Iterator[Recorded]:
    """Yield a film's frames as messages, one in memory at a time."""
    for number, frame in enumerate(film.frames()):
        if number % options.every == 0:
            stamp_ns = _FIRST_NS + round(frame.time_s * 1e9)
            yield Recorded(topic_of(options), stamp_ns, _message(frame.image(), stamp_ns, is_raw=options.is_raw))


def topic_of(options: BagOptions) -> str:
    """Return the topic as it is in the bag: compressed images have one beside, as image_transport names it."""
    return options.topic if options.is_raw else f"{options.topic}/compressed"


def _message(image: NDArray[np.uint8], stamp_ns: int, *, is_raw: bool) -> Image | CompressedImage:
    if is_raw:
        return image_from_frame(Frame(image, stamp_ns), CAMERA_FRAME)
    message = CompressedImage(format="jpeg", data=jpeg_from_image(image))
    message.header.stamp = stamp_from_ns(stamp_ns)
    message.header.frame_id = CAMERA_FRAME
    return message


if __name__ == "__main__":
    sys.exit(main())
