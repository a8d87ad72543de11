"""The simulator: a furnished flat with a robot, on the topics that a real robot has.

One thread owns the world: physics, camera (an OpenGL context belongs to one thread) and the publishing
of what they give. Callbacks only leave notes for it.
"""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence

from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from vila_core.errors import WorldError
from vila_core.types import Frame, VelocityCommand
from vila_ros.common.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_type
from vila_ros.simulator.lasers import cloud_message, scan_message
from vila_ros.simulator.world import SimulatorNodeConfig, make_world
from vila_sim.mujoco.simulator import Simulator
from vila_sim.robot import SCAN_MAX_M, CameraConfig, RobotConfig
from vila_sim.route import follow
from vila_sim.stage import Playback
from vila_sim.truth import GLIMPSED_PIXELS, PLAIN_PIXELS, Truth

TICK_NS = 20_000_000
_ORDER_TIMEOUT_S = 5.0
_MAX_LAG_S = 0.25  # further behind, time is given up instead of caught up


class SimulatorNode(Node):
    """Publishes camera, odometry, scan, points and clock; drives by cmd_vel, or along its patrol."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulation", daemon=True)
        super().__init__("simulator", parameter_overrides=list(parameter_overrides))
        names = declare(self, SimulatorNodeConfig)
        names += declare(self, CameraConfig, "camera") + declare(self, RobotConfig, "robot")
        refuse_unknown(self, names)
        self._config = read(self, SimulatorNodeConfig)
        self._camera = read(self, CameraConfig, "camera")
        self._robot = read(self, RobotConfig, "robot")
        self._world = make_world(self._config)
        self._playback: Playback | None = None
        self._begun_ns: int | None = None  # simulated time at which the script was begun
        self._lock = threading.Lock()
        self._command = VelocityCommand()
        self._command_ns: int | None = None  # simulated time of its receipt
        self._time_ns = 0
        self._reset, self._begin = _Order(), _Order()
        self._publish_topics()
        velocity = velocity_type(is_stamped(self._config.velocity_type))
        self.create_subscription(velocity, "cmd_vel", self._on_velocity, reliable_qos(1))
        self.create_service(Trigger, "~/reset", self._on_reset)
        if self._config.scripted_events:
            self.create_service(Trigger, "~/begin", self._on_begin)
        self.create_timer(0.2, self._check_thread, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._failure = "the simulation thread has ended"
        self._thread.start()

    def close(self) -> None:
        """End the simulation thread, which frees the OpenGL context."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    def _publish_topics(self) -> None:
        image_qos = sensor_qos(self._config.image_reliability)
        self._images = self.create_publisher(Image, "camera/image_raw", image_qos)
        self._camera_infos = self.create_publisher(CameraInfo, "camera/camera_info", image_qos)
        self._odometries = self.create_publisher(OdometryMsg, "odom", reliable_qos(5))
        self._scans = self.create_publisher(LaserScan, "scan", sensor_qos())
        self._clouds = self.create_publisher(PointCloud2, "points", sensor_qos())
        self._clocks = self.create_publisher(ClockMsg, "/clock", sensor_qos())
        if self._config.scripted_events:
            self._scripted_events = self.create_publisher(String, "~/scripted_events", reliable_qos(100))

    # --- executor --------------------------------------------------------------------------------

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        with self._lock:
            self._command = velocity_from_message(message)
            self._command_ns = self._time_ns

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._reset.give(response, "the robot is at its start")

    def _on_begin(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._begin.give(response, "the patrol has begun")

    def _check_thread(self) -> None:
        if not self._thread.is_alive() and not self._stopping.is_set():
            raise WorldError(self._failure)

    # --- simulation thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            simulator = Simulator(
                self._world.flat, self._camera, self._robot, movable=bool(self._config.scripted_events)
            )
            simulator.reset(self._world.start)
            if self._config.scripted_events:
                self._playback = Playback(simulator, self._world.script)
            try:
                self._loop(simulator)
            finally:
                simulator.close()
        except WorldError as err:
            self._failure = str(err)

    def _loop(self, simulator: Simulator) -> None:
        """Step, publish what is due, keep to the wall clock."""
        schedule = (
            _Due(self._config.odometry_rate_hz, self._publish_odometry),
            _Due(self._config.image_rate_hz, self._publish_image),
            _Due(self._config.scan_rate_hz, self._publish_scan),
            _Due(self._config.cloud_rate_hz, self._publish_cloud),
        )
        wall_s = time.monotonic()
        while not self._stopping.is_set():
            self._obey(simulator)
            simulator.step(self._current_command(simulator), TICK_NS / 1e9)
            with self._lock:
                self._time_ns = simulator.time_ns
            if self._playback is not None:
                self._playback.advance(self._script_s)
            self._clocks.publish(ClockMsg(clock=stamp_from_ns(simulator.time_ns)))
            for due in schedule:
                if due.is_due(simulator.time_ns):
                    due.publish(simulator)
            wall_s = self._wait(wall_s)

    def _wait(self, wall_s: float) -> float:
        """Sleep until the next tick is due; returns when that was to be."""
        wall_s += TICK_NS / 1e9 / self._config.realtime_factor
        now_s = time.monotonic()
        if wall_s < now_s:
            return max(wall_s, now_s - _MAX_LAG_S)
        self._stopping.wait(wall_s - now_s)
        return wall_s

    def _obey(self, simulator: Simulator) -> None:
        if self._reset.is_given():
            simulator.teleport(self._world.start)  # time goes on, so that nobody's clock jumps
            with self._lock:
                self._command, self._command_ns = VelocityCommand(), None
            self._begun_ns = None
            self._reset.report()
        if self._begin.is_given():
            self._begun_ns = simulator.time_ns
            self._begin.report()

    @property
    def _script_s(self) -> float:
        """The time of the script; before it is begun, infinitely long before its start."""
        return -math.inf if self._begun_ns is None else (self._time_ns - self._begun_ns) / 1e9

    def _current_command(self, simulator: Simulator) -> VelocityCommand:
        """Return the patrol's command while it lasts, else the last that came, zero once its life is over."""
        route = self._world.route
        if route is not None and 0.0 <= self._script_s < route.duration_s:
            return follow(route, self._script_s, simulator.odometry().pose)
        with self._lock:
            if self._command_ns is None or self._time_ns - self._command_ns > self._robot.command_life_s * 1e9:
                return VelocityCommand()
            return self._command

    def _publish_odometry(self, simulator: Simulator) -> None:
        odometry = simulator.odometry()
        self._odometries.publish(message_from_odometry(odometry, self._config.odometry_frame, self._config.base_frame))

    def _publish_image(self, simulator: Simulator) -> None:
        frame = Frame(simulator.render(), simulator.time_ns)
        image = image_from_frame(frame, self._config.camera_frame)
        self._images.publish(image)
        info = camera_info(self._camera)
        info.header = image.header
        self._camera_infos.publish(info)
        if self._playback is not None:
            script_s = None if self._begun_ns is None else self._script_s
            told = {"stamp_ns": frame.stamp_ns, "script_s": script_s} | _going_on(self._playback.truth())
            self._scripted_events.publish(String(data=json.dumps(told)))

    def _publish_scan(self, simulator: Simulator) -> None:
        ranges = simulator.scan(self._config.scan_rays, 2 * math.pi, SCAN_MAX_M)
        self._scans.publish(scan_message(ranges, self._laser_header(simulator), self._config.scan_rate_hz))

    def _publish_cloud(self, simulator: Simulator) -> None:
        self._clouds.publish(cloud_message(simulator.cloud(), self._laser_header(simulator)))

    def _laser_header(self, simulator: Simulator) -> Header:
        return Header(stamp=stamp_from_ns(simulator.time_ns), frame_id=self._config.scan_frame)


class _Order:
    """Something that a callback asks of the simulation thread, and waits for."""

    def __init__(self) -> None:
        self._given, self._done = threading.Event(), threading.Event()

    def give(self, response: Trigger.Response, success: str) -> Trigger.Response:
        """Ask for it and wait until it is done; fill in the response."""
        self._done.clear()
        self._given.set()
        response.success = self._done.wait(_ORDER_TIMEOUT_S)
        response.message = success if response.success else "the simulation does not answer"
        return response

    def is_given(self) -> bool:
        """Return True while it is to be done."""
        return self._given.is_set()

    def report(self) -> None:
        """Say that it is done."""
        self._given.clear()
        self._done.set()


class _Due:
    """Something to be published at a rate of simulated time."""

    def __init__(self, rate_hz: float, publish: Callable[[Simulator], None]) -> None:
        self._period_ns = round(1e9 / rate_hz)
        self._next_ns = 0
        self.publish = publish

    def is_due(self, time_ns: int) -> bool:
        """Return True once a period."""
        if time_ns < self._next_ns:
            return False
        self._next_ns = max(self._next_ns + self._period_ns, time_ns - self._period_ns)
        return True


def _going_on(truth: Truth) -> dict[str, list[list[str]]]:
    """What goes on in view, as [verb, colour, kind]: plainly, and at least glimpsed."""
    least = {"goes_on": PLAIN_PIXELS, "glimpsed": GLIMPSED_PIXELS}
    return {key: [[verb, *pair] for verb, pair in truth.goes_on(pixels)] for key, pixels in least.items()}


def camera_info(camera: CameraConfig) -> CameraInfo:
    """Return the intrinsics of the simulated pinhole camera: no distortion, centre in the middle."""
    focal, cx, cy = camera.focal_px, camera.width_px / 2, camera.height_px / 2
    return CameraInfo(
        height=camera.height_px,
        width=camera.width_px,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def main() -> int:
    """Run the simulator until it is told to end."""
    return run_node(SimulatorNode, "simulator")


if __name__ == "__main__":
    sys.exit(main())
