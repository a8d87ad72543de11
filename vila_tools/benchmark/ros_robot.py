"""A robot without a world, to measure the navigator by: camera, odometry, and a controller that is done at once."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vila_nav.msg import DecisionStats, NavAction

from vila_core.testing import make_frame
from vila_core.types import Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry, ns_from_stamp, stamp_from_ns
from vila_ros.common.qos import reliable_qos, sensor_qos

INSTRUCTION = "go to the red chair"
STEP_M = 0.25  # driven with each action, whichever it is: each answered image joins the history
_TEXTURES = 16
_ODOMETRY_RATE_HZ = 30.0
_KEPT_IMAGES = 1000  # publication times that are remembered
_FINISH_PERIOD_S = 0.02  # how often it is asked whether an action has taken its time
_SILENCE_NS = 1_000_000_000  # without an action for so long, the instruction is given again


@dataclass(frozen=True, slots=True)
class Publication:
    """When an image went out: steady clock, before and after `publish`."""

    begun_ns: int
    done_ns: int


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From an image to the action that answers it. All in milliseconds.

    total_ms: from just before the image's publication to the action's arrival. latency_ms: `decide` alone.
    publish_ms: in the image's publisher. image_age_ms: from the image's stamp to the answer's publication.
    """

    total_ms: float
    latency_ms: float
    publish_ms: float
    image_age_ms: float
    arrived_ns: int  # steady clock

    @property
    def overhead_ms(self) -> float:
        """What is not the decision itself."""
        return self.total_ms - self.latency_ms


class BenchRobot(Node):
    """Publishes made-up images at a rate, and odometry; reports each action as done action_s after it comes.

    The messages are those of the simulator and of the controller. Images are made beforehand, so that only
    their publication costs time. `trips` has one entry for each answered image.
    """

    def __init__(self, *, rate_hz: float, width: int, height: int, action_s: float = 0.0) -> None:
        super().__init__("controller")  # whose reports the navigator takes
        self._action_s = action_s
        self.trips: list[RoundTrip] = []
        self.images = 0
        self.instructions = 0
        self._pose = Pose()
        self._messages = made_up_images(width, height)
        self._published: dict[int, Publication] = {}  # by stamp
        self._arrived: dict[int, int] = {}  # action's id -> steady clock
        self._heard_ns = 0
        self._running: NavAction | None = None
        self._image = self.create_publisher(Image, "camera/image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos(5))
        self._execution = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        self._instruction = self.create_publisher(String, "navigator/instruction", reliable_qos(1))
        self.create_subscription(NavAction, "navigator/action", self._on_action, reliable_qos())
        self.create_subscription(DecisionStats, "navigator/stats", self._on_stats, reliable_qos())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / _ODOMETRY_RATE_HZ, self._on_odometry_timer, clock=steady)
        self.create_timer(1.0 / rate_hz, self._on_image_timer, clock=steady)
        self.create_timer(0.2, self._on_watch, clock=steady)
        if action_s:
            self.create_timer(_FINISH_PERIOD_S, self._on_finish_timer, clock=steady)

    def is_connected(self) -> bool:
        """Return True once a navigator hears us and we hear it."""
        outputs = (self._image, self._odometry, self._execution, self._instruction)
        inputs = ("navigator/action", "navigator/stats")
        return all(p.get_subscription_count() for p in outputs) and all(map(self.count_publishers, inputs))

    def _on_image_timer(self) -> None:
        message = self._messages[self.images % _TEXTURES]
        self.images += 1
        stamp_ns = self.get_clock().now().nanoseconds
        message.header.stamp = stamp_from_ns(stamp_ns)
        begun_ns = time.monotonic_ns()
        self._image.publish(message)
        self._published[stamp_ns] = Publication(begun_ns, time.monotonic_ns())
        if len(self._published) > _KEPT_IMAGES:
            self._published.pop(next(iter(self._published)))

    def _on_odometry_timer(self) -> None:
        self._odometry.publish(message_from_odometry(Odometry(self.get_clock().now().nanoseconds, self._pose)))

    def _on_watch(self) -> None:
        if time.monotonic_ns() - self._heard_ns > _SILENCE_NS + self._action_s * 1e9 and self.is_connected():
            self._instruct()

    def _instruct(self) -> None:
        self._heard_ns = time.monotonic_ns()
        self.instructions += 1
        self._instruction.publish(String(data=INSTRUCTION))

    def _on_action(self, message: NavAction) -> None:
        arrived_ns = time.monotonic_ns()
        if message.kind == NavAction.KIND_HOLD:
            return
        self._heard_ns = self._arrived[message.id] = arrived_ns
        self._running = message
        if not self._action_s:
            self._finish()

    def _on_finish_timer(self) -> None:
        if self._running is not None and (time.monotonic_ns() - self._heard_ns) / 1e9 >= self._action_s:
            self._finish()

    def _finish(self) -> None:
        message, self._running = self._running, None
        if message is None:
            return
        self._pose = self._pose.advanced(STEP_M)
        message.state = NavAction.STATE_DONE
        self._execution.publish(message)
        if message.kind == NavAction.KIND_STOP:
            self._instruct()

    def _on_stats(self, message: DecisionStats) -> None:
        publication = self._published.get(ns_from_stamp(message.header.stamp))
        arrived_ns = self._arrived.pop(message.id, None)
        if publication is None or arrived_ns is None:
            return
        trip = RoundTrip(
            total_ms=(arrived_ns - publication.begun_ns) / 1e6,
            latency_ms=message.latency_ms,
            publish_ms=(publication.done_ns - publication.begun_ns) / 1e6,
            image_age_ms=message.image_age_ms,
            arrived_ns=arrived_ns,
        )
        self.trips.append(trip)


def made_up_images(width: int, height: int) -> list[Image]:
    """Return a few images of random pixels, to be published again and again."""
    frames = [make_frame(height=height, width=width, seed=seed) for seed in range(_TEXTURES)]
    return [image_from_frame(frame, "camera_optical") for frame in frames]
