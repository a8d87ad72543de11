"""The recorder: keeps what the robot saw, decided and did, in bags that a full disk or a `kill -9` does not spoil.

It only subscribes, takes messages as they come, without reading them, and has a thread of its own write them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy as Durability
from rclpy.qos import QoSHistoryPolicy as History
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy as Reliability

from vila_core.config import check_fields
from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.fields import Bounds
from vila_ros.common.diagnostics import status_of
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.common.topics import (
    ACTIONS,
    CMD_VEL,
    COMMANDS,
    COMPRESSED_SUFFIX,
    EXECUTION,
    FRAMES,
    GOVERNOR_STATE,
    IMAGE,
    MISSIONS,
)
from vila_ros.recorder.bag_file import Channel
from vila_ros.recorder.bag_writer import BagWriter, Heard
from vila_ros.recorder.definitions import message_definition
from vila_ros.recorder.pictures import jpeg_from_image, png_from_image
from vila_ros.recorder.run_folder import MB, DiskLimits, RunFolder

TOPICS = (  # beside images
    *(ACTIONS, MISSIONS, "navigator/stats", "navigator/status", "navigator/events"),
    *(EXECUTION, GOVERNOR_STATE, COMMANDS, CMD_VEL),
    *("odom", "scan", "camera/camera_info", "/tf", "/tf_static", "/diagnostics"),
)
_RAW, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_LOOK_S = 0.5  # between two looks for topics that nobody published yet
_DEPTH, _IMAGE_DEPTH = 200, 8


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """The parameters of the recorder."""

    # where runs are kept, a folder each; empty: vila_nav in ROS's own folder, ~/.ros, there in that of the namespace
    folder: str = ""
    more_topics: str = ""  # topics to keep beside the usual ones, with spaces between them
    frames: bool = True  # keep the images that decisions were made of, every bit of them
    video_rate_hz: Annotated[float, Bounds(least=0, most=120)] = 5.0  # of the camera's images, to look at; 0: none
    video_quality: Annotated[int, Bounds(least=1, most=100)] = 80  # as JPEG; what comes compressed is kept as it is
    max_total_mb: Annotated[float, Bounds(least=4, most=1e7)] = 2000.0  # of all runs; the oldest make place
    max_file_mb: Annotated[float, Bounds(least=2, most=1e6)] = 100.0  # after which the next file begins
    # a file's time, after which the next one begins as well
    max_file_s: Annotated[float, Bounds(least=1, most=86400)] = 300.0
    flush_s: Annotated[float, Bounds(least=0.05, most=60)] = 0.5  # at most so much is lost with the process
    max_waiting_mb: Annotated[float, Bounds(least=1, most=10000)] = 64.0  # for a slow disk; more is lost, and told

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_total_mb < 2 * self.max_file_mb:
            raise ConfigError(f"max_total_mb = {self.max_total_mb:g}: must be twice max_file_mb = {self.max_file_mb:g}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Topics of which the first that somebody publishes is kept.

    pack: what is kept of an image that comes raw. period_s: messages that come sooner behind another are not kept.
    """

    topics: tuple[str, ...]
    pack: Callable[[bytes], bytes] | None = None
    period_s: float = 0.0


class RecorderNode(Node):
    """Subscribes to what is there of the topics, as it is published, and keeps it.

    arguments: of ROS, such as remappings, beside those of the process. writer: None before there is one.
    """

    def __init__(self, parameter_overrides: Sequence[Parameter] = (), arguments: Sequence[str] = ()) -> None:
        self.writer: BagWriter | None = None
        super().__init__("recorder", parameter_overrides=list(parameter_overrides), cli_args=list(arguments))
        refuse_unknown(self, declare(self, RecorderConfig))
        config = read(self, RecorderConfig)
        folder = _folder(config.folder, self.get_namespace())
        open_run = partial(RunFolder, folder, _limits(config))
        self.writer = BagWriter(open_run, round(config.max_waiting_mb * MB), config.flush_s)
        self._missing = _wanted(config)
        self._told = ""  # the fault that was logged last
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", reliable_qos())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_LOOK_S, self._look, clock=steady)
        self.create_timer(1.0, self._on_diagnostics, clock=steady)
        self.get_logger().info(f"what is published is kept in {folder}")

    def destroy_node(self) -> None:
        """Write what was heard, end the file, leave the graph."""
        if (writer := self.writer) is not None:
            writer.close()
            self.get_logger().info(
                f"{writer.written} messages kept" + ("" if writer.run is None else f" in {writer.run.run}")
            )
        super().destroy_node()

    def _look(self) -> None:
        """Subscribe to what has come to be published."""
        for wanted in list(self._missing):
            for topic in wanted.topics:
                if infos := self.get_publishers_info_by_topic(self.resolve_topic_name(topic)):
                    self._missing.remove(wanted)
                    self._hear(topic, wanted, infos)
                    break

    def _hear(self, topic: str, wanted: Wanted, infos: Sequence[Any]) -> None:
        name, kind = self.resolve_topic_name(topic), infos[0].topic_type
        is_packed = wanted.pack is not None and kind == _RAW
        kept_kind = _COMPRESSED if is_packed else kind
        try:
            message_definition(kept_kind)
            message = _message(kind)
        except MissingDependencyError as err:
            self.get_logger().warning(f"{name} is not recorded: {err}")
            return
        qos = _fitting(infos, _IMAGE_DEPTH if kind in (_RAW, _COMPRESSED) else _DEPTH)
        offered = tuple(info.qos_profile for info in infos)
        is_latched = qos.durability == Durability.TRANSIENT_LOCAL
        channel = Channel(name + COMPRESSED_SUFFIX if is_packed else name, kept_kind, offered)
        heard_s = -wanted.period_s

        def keep(data: bytes) -> None:
            nonlocal heard_s
            now_s = time.monotonic()
            if self.writer is None or now_s - heard_s < wanted.period_s:
                return
            heard_s = now_s
            pack = wanted.pack if is_packed else None
            self.writer.put(Heard(channel, self.get_clock().now().nanoseconds, data, is_latched, pack))

        self.create_subscription(message, topic, keep, qos, raw=True)

    def _on_diagnostics(self) -> None:
        writer = self.writer
        if writer is None:
            return
        if writer.fault and writer.fault != self._told:
            self.get_logger().error(f"recording has ended: {writer.fault}")
            self._told = writer.fault
        values = {
            "file": "" if writer.run is None else str(writer.run.path),
            "messages": writer.written,
            "lost_messages": writer.lost,
            "last_refused": writer.refusal,
            "removed_files": 0 if writer.run is None else writer.run.removed_files,
        }
        name = self.get_fully_qualified_name()
        message = DiagnosticArray(status=[status_of(name, writer.fault, "recording", values)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _wanted(config: RecorderConfig) -> list[Wanted]:
    wanted = [Wanted((topic,)) for topic in dict.fromkeys((*TOPICS, *config.more_topics.split()))]
    if config.frames:
        wanted.append(Wanted((FRAMES,), png_from_image))
    if config.video_rate_hz > 0:
        jpeg = partial(jpeg_from_image, quality=config.video_quality)
        wanted.append(Wanted((IMAGE + COMPRESSED_SUFFIX, IMAGE), jpeg, 0.9 / config.video_rate_hz))
    return wanted


def _limits(config: RecorderConfig) -> DiskLimits:
    return DiskLimits(round(config.max_total_mb * MB), round(config.max_file_mb * MB), config.max_file_s)


def _folder(given: str, namespace: str) -> Path:
    """Return where runs are kept: of each robot in a place of its own, as its runs are bounded together.

    Raises ConfigError if nothing can be made there.
    """
    ours = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "vila_nav" / namespace.strip("/")
    folder = Path(given).expanduser().absolute() if given else ours
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"folder = {given!r}: {there} is no folder that can be written to")
    return folder


def _message(kind: str) -> Any:
    """Return the class of a message "package/msg/Name". Raises MissingDependencyError if it is not installed."""
    package, _, name = kind.split("/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as err:
        raise MissingDependencyError(f"{kind} is not installed: {err}") from err


def _fitting(infos: Sequence[Any], depth: int) -> QoSProfile:
    """Return the strongest profile that all publishers fit."""
    profiles = [info.qos_profile for info in infos]
    is_reliable = all(profile.reliability == Reliability.RELIABLE for profile in profiles)
    is_latched = is_reliable and all(profile.durability == Durability.TRANSIENT_LOCAL for profile in profiles)
    return QoSProfile(
        history=History.KEEP_LAST,
        depth=depth,
        reliability=Reliability.RELIABLE if is_reliable else Reliability.BEST_EFFORT,
        durability=Durability.TRANSIENT_LOCAL if is_latched else Durability.VOLATILE,
    )


def main() -> int:
    """Run the recorder until it is told to end."""
    return run_node(RecorderNode, "recorder")


if __name__ == "__main__":
    sys.exit(main())
