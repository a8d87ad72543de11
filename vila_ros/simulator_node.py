"""The simulator: a furnished flat with a robot, on the topics that a real robot has.

One thread owns the world: physics, camera (an OpenGL context belongs to one thread) and the publishing
of what they give. Callbacks only leave notes for it.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_srvs.srv import Trigger

from vila_core.errors import ConfigError, WorldError
from vila_core.types import Frame, Pose, VelocityCommand
from vila_ros.conversions import image_from_frame, message_from_odometry, stamp_from_ns
from vila_ros.node_main import run_node
from vila_ros.parameters import declare, read, refuse_unknown
from vila_ros.qos import reliable_qos, sensor_qos
from vila_sim.episodes import layout_seed, split_flat
from vila_sim.scenario import SPLIT, make_scenario
from vila_sim.scene import Flat
from vila_sim.simulator import CameraConfig, RobotConfig, Simulator

TICK_NS = 20_000_000
_RESET_TIMEOUT_S = 5.0
_MAX_LAG_S = 0.25  # further behind, time is given up instead of caught up


@dataclass(frozen=True, slots=True)
class SimulatorNodeConfig:
    """The parameters of the node itself; the camera's are `camera.*`, the robot's `robot.*`."""

    seed: int = 0
    instruction: str = ""  # the flat will hold what it names, the robot starts in that room; empty: anything
    start_x_m: float = math.nan  # NaN: chosen by the seed
    start_y_m: float = math.nan
    start_yaw_rad: float = math.nan
    realtime_factor: float = 1.0
    image_rate_hz: float = 10.0
    odometry_rate_hz: float = 30.0
    scan_rate_hz: float = 5.0
    scan_rays: int = 180
    image_reliability: str = "best_effort"
    stamped_velocity: bool = False  # TwistStamped instead of Twist
    odometry_frame: str = "odom"
    base_frame: str = "base_link"
    camera_frame: str = "camera_optical"
    scan_frame: str = "laser"

    def __post_init__(self) -> None:
        for name in ("realtime_factor", "image_rate_hz", "odometry_rate_hz", "scan_rate_hz", "scan_rays"):
            value = getattr(self, name)
            if not 0 < value <= 1000:
                raise ConfigError(f"{name} = {value!r}: must be above 0 and at most 1000")


class SimulatorNode(Node):
    """Publishes camera, odometry, scan and clock; drives by cmd_vel."""

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
        self._flat, start = _world(self._config)
        self._start = _overridden(start, self._config)
        self._lock = threading.Lock()
        self._command = VelocityCommand()
        self._command_ns: int | None = None  # simulated time of its receipt
        self._time_ns = 0
        self._reset_asked, self._reset_done = threading.Event(), threading.Event()
        self._publish_topics()
        velocity = TwistStamped if self._config.stamped_velocity else Twist
        self.create_subscription(velocity, "cmd_vel", self._on_velocity, reliable_qos(1))
        self.create_service(Trigger, "~/reset", self._on_reset)
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
        self._clocks = self.create_publisher(ClockMsg, "/clock", sensor_qos())

    # --- executor --------------------------------------------------------------------------------

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if isinstance(message, TwistStamped) else message
        with self._lock:
            self._command = VelocityCommand(twist.linear.x, twist.angular.z)
            self._command_ns = self._time_ns

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_done.clear()
        self._reset_asked.set()
        response.success = self._reset_done.wait(_RESET_TIMEOUT_S)
        response.message = "the robot is at its start" if response.success else "the simulation does not answer"
        return response

    def _check_thread(self) -> None:
        if not self._thread.is_alive() and not self._stopping.is_set():
            raise WorldError(self._failure)

    # --- simulation thread -----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            simulator = Simulator(self._flat, self._camera, self._robot)
            simulator.reset(self._start)
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
        )
        wall_s = time.monotonic()
        while not self._stopping.is_set():
            self._obey_reset(simulator)
            simulator.step(self._current_command(), TICK_NS / 1e9)
            with self._lock:
                self._time_ns = simulator.time_ns
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

    def _obey_reset(self, simulator: Simulator) -> None:
        if not self._reset_asked.is_set():
            return
        simulator.teleport(self._start)  # time goes on, so that nobody's clock jumps
        with self._lock:
            self._command, self._command_ns = VelocityCommand(), None
        self._reset_asked.clear()
        self._reset_done.set()

    def _current_command(self) -> VelocityCommand:
        """Return the last command, zero once its life is over."""
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

    def _publish_scan(self, simulator: Simulator) -> None:
        rays, range_max_m = self._config.scan_rays, 8.0
        ranges = simulator.scan(rays, 2 * math.pi, range_max_m)
        message = LaserScan(
            angle_min=-math.pi,
            angle_max=math.pi - 2 * math.pi / rays,
            angle_increment=2 * math.pi / rays,
            scan_time=1.0 / self._config.scan_rate_hz,
            range_min=0.05,
            range_max=range_max_m,
            ranges=np.asarray(ranges, np.float32).tolist(),
        )
        message.header.stamp = stamp_from_ns(simulator.time_ns)
        message.header.frame_id = self._config.scan_frame
        self._scans.publish(message)


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


def _world(config: SimulatorNodeConfig) -> tuple[Flat, Pose]:
    """Return the flat and where the robot starts unless parameters say otherwise."""
    if config.instruction:
        scenario = make_scenario(config.instruction, config.seed)
        return scenario.flat, scenario.start
    flat = split_flat(layout_seed(SPLIT, config.seed))
    corridor = flat.rooms[0]
    return flat, Pose((corridor.x_min_m + corridor.x_max_m) / 2, (corridor.y_min_m + corridor.y_max_m) / 2)


def _overridden(pose: Pose, config: SimulatorNodeConfig) -> Pose:
    given = {"x_m": config.start_x_m, "y_m": config.start_y_m, "yaw_rad": config.start_yaw_rad}
    return dataclasses.replace(pose, **{name: value for name, value in given.items() if math.isfinite(value)})


def main() -> int:
    """Run the simulator until it is told to end."""
    return run_node(SimulatorNode, "simulator")


if __name__ == "__main__":
    sys.exit(main())
