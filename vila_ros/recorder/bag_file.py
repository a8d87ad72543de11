"""One MCAP file of the ROS 2 profile, with the messages' definitions inside: Foxglove and `ros2 bag` open it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import yaml
from mcap.writer import Writer
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from vila_ros.recorder.definitions import message_definition


@dataclass(frozen=True, slots=True)
class Channel:
    """A topic of a bag: its name, its message as "package/msg/Name", what its publishers offered."""

    topic: str
    kind: str
    qos: tuple[QoSProfile, ...] = ()


class BagFile:
    """Writes messages to an open binary file, which stays the caller's to close.

    What is in the file after `flush` can be read even if nothing more ever comes; `finish` writes the index.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._writer = Writer(file)
        self._writer.start(profile="ros2", library="vila_nav")
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._count = 0

    def add(self, channel: Channel, time_ns: int, data: bytes) -> None:
        """Write a serialized message. Raises MissingDependencyError if its definition is not installed."""
        number = self._channels.get(channel.topic)
        if number is None:
            number = self._channels[channel.topic] = self._register(channel)
        self._writer.add_message(
            channel_id=number, log_time=time_ns, publish_time=time_ns, sequence=self._count, data=data
        )
        self._count += 1

    def flush(self) -> None:
        """Hand what was written to the operating system: from then on it outlives this process."""
        self._writer.flush()

    def finish(self) -> None:
        """Write the index."""
        self._writer.finish()

    def _register(self, channel: Channel) -> int:
        if channel.kind not in self._schemas:
            text = message_definition(channel.kind).encode()
            self._schemas[channel.kind] = self._writer.register_schema(channel.kind, encoding="ros2msg", data=text)
        offered = {"offered_qos_profiles": offered_qos(channel.qos)} if channel.qos else {}
        schema = self._schemas[channel.kind]
        return self._writer.register_channel(channel.topic, message_encoding="cdr", schema_id=schema, metadata=offered)


def kind_of(message: Any) -> str:
    """Return the name "package/msg/Name" of a message or of its class."""
    made = message if isinstance(message, type) else type(message)
    return f"{made.__module__.split('.')[0]}/msg/{made.__name__}"


def offered_qos(profiles: Sequence[QoSProfile]) -> str:
    """Return the profiles as rosbag2 stores them with a channel: YAML, policies by the numbers of rmw.

    It reads numbers in every release, and words from Jazzy on only where the file tells its own version.
    """
    return yaml.safe_dump(
        [
            {
                "history": int(profile.history),
                "depth": profile.depth,
                "reliability": int(profile.reliability),
                "durability": int(profile.durability),
                "deadline": _seconds(profile.deadline),
                "lifespan": _seconds(profile.lifespan),
                "liveliness": int(profile.liveliness),
                "liveliness_lease_duration": _seconds(profile.liveliness_lease_duration),
                "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
            }
            for profile in profiles
        ],
        sort_keys=False,
    )


def _seconds(duration: Duration) -> dict[str, int]:
    seconds, nanoseconds = divmod(duration.nanoseconds, 10**9)
    return {"sec": seconds, "nsec": nanoseconds}
