"""`vila play`: a bag's images on a topic, at their own pace, as if a camera took them now."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.node import Node
from sensor_msgs.msg import Image

from vila_core.errors import ConfigError, MediaError
from vila_core.media.bags import BagImage, bag_images
from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame
from vila_ros.common.qos import sensor_qos
from vila_ros.common.topics import CAMERA_FRAME
from vila_tools.command_line import option, parse_options
from vila_tools.session.session import on_graph

DEFAULT_TOPIC = "image_raw"
_TICK_S = 0.005


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """What to play. source: the topic in the bag, empty if it has one of images. rate: of the bag's time.

    duration_s: when to end; inf: with the bag, or never if it is played in a loop.
    """

    bag: Path = field(metadata=option("a bag: a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag"))
    topic: str = field(default=DEFAULT_TOPIC, metadata=option("to publish on (%(default)s)"))
    source: str = field(default="", metadata=option("topic in the bag, if several hold images"))
    rate: float = field(default=1.0, metadata=option("times the bag's own pace (%(default)s)"))
    loop: bool = field(default=False, metadata=option("begin again at the end"))
    duration_s: float = field(default=math.inf, metadata=option("seconds, then end", flag="--duration"))

    def __post_init__(self) -> None:
        if not 0.01 <= self.rate <= 100.0:
            raise ConfigError(f"rate = {self.rate!r}: must be from 0.01 to 100")
        if not self.duration_s > 0:
            raise ConfigError(f"duration = {self.duration_s!r}: must be above 0")


class BagPlayer(Node):
    """Publishes a bag's images; each is stamped with the time of its publication, so that a loop is no clock jump.

    Raises MediaError for a bag that cannot be read or holds images of no topic, or of several where none is named.
    """

    def __init__(self, options: PlayOptions) -> None:
        super().__init__("bag_player")
        self._options = options
        self._publisher = self.create_publisher(Image, options.topic, sensor_qos())
        self._images = self._all_images()
        self._next: tuple[float, BagImage] | None = next(self._images)
        self.published = 0
        self.loops = 0  # times that the bag was played to its end
        self._begun_s = time.monotonic()
        self.create_timer(_TICK_S, self._on_timer)

    @property
    def is_over(self) -> bool:
        """True if the last image has been published."""
        return self._next is None

    def listeners(self) -> int:
        """Return how many subscribers of the images are known."""
        return self._publisher.get_subscription_count()

    def _on_timer(self) -> None:
        """Publish what is due; of several images the newest, as a camera would whose reader is late."""
        elapsed_s = time.monotonic() - self._begun_s
        due: BagImage | None = None
        while self._next is not None and self._next[0] <= elapsed_s:
            due = self._next[1]
            self._next = next(self._images, None)
        if due is not None:
            stamp_ns = self.get_clock().now().nanoseconds
            self._publisher.publish(image_from_frame(Frame(due.image, stamp_ns), CAMERA_FRAME))
            self.published += 1

    def _all_images(self) -> Iterator[tuple[float, BagImage]]:
        """Yield the images with the seconds after the beginning at which they are due."""
        begun_s = 0.0
        while True:
            first_ns, last_s, step_s, count = 0, 0.0, 0.0, 0
            for seen in self._bag():
                first_ns = first_ns if count else seen.time_ns
                at_s = (seen.time_ns - first_ns) / 1e9 / self._options.rate
                step_s, last_s, count = at_s - last_s, at_s, count + 1
                if begun_s + at_s >= self._options.duration_s:
                    return
                yield begun_s + at_s, seen
            self.loops += 1
            if not self._options.loop:
                return
            begun_s += last_s + max(step_s, _TICK_S)  # the first image again, as long after the last as that came

    def _bag(self) -> Iterator[BagImage]:
        source, count = self._options.source, 0
        for seen in bag_images(self._options.bag, (source,) if source else ()):
            source = source or seen.topic
            if seen.topic != source:
                raise MediaError(
                    f"{self._options.bag} holds images on {source} and {seen.topic}; name one of them by --source"
                )
            count += 1
            yield seen
        if not count:
            raise MediaError(f"{self._options.bag} holds no images{f' on {source}' if source else ''}")


def main(argv: Sequence[str] | None = None) -> int:
    """Play a bag's images on a topic, at their own pace, stamped as if they were taken now."""
    options = parse_options(PlayOptions, argv, prog="vila play", description=main.__doc__)
    with on_graph() as session:
        player = session.add(BagPlayer(options))
        session.spin_until(lambda: player.is_over, math.inf)
    print(json.dumps({"published": player.published, "loops": player.loops}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
