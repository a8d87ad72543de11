"""The simulator: a furnished flat with a robot, on the topics that a real robot has.

One thread owns the world: physics, camera (an OpenGL context belongs to one thread) and the publishing
of what they give. Callbacks only leave notes for it.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable, Sequence

from geometry_msgs.msg import Twist, TwistStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vila_core.errors import WorldError
from vila_core.types import VelocityCommand
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_type
from vila_ros.simulator.orders import Orders
from vila_ros.simulator.outputs import RobotOutputs
from vila_ros.simulator.pace import TICK_NS, FollowedPace, Pace, WallPace
from vila_ros.simulator.world import SimulatorNodeConfig, make_world
from vila_sim.mujoco.simulator import CameraConfig, RobotConfig, Simulator
from vila_sim.route import follow
from vila_sim.stage import Playback
from vila_sim.truth import GLIMPSED_PIXELS, PLAIN_PIXELS, Truth

_WARN_EVERY_S = 5.0


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
        self._orders = Orders()
        self._pace = self._make_pace()
        self._outputs = RobotOutputs(self, self._config, self._camera, self._publish_truth)
        velocity = velocity_type(is_stamped(self._config.velocity_type))
        self.create_subscription(velocity, "cmd_vel", self._on_velocity, reliable_qos(1))
        self.create_service(Trigger, "~/reset", self._on_reset)
        if self._config.scripted_events:
            self._scripted_events = self.create_publisher(String, "~/scripted_events", reliable_qos(100))
            self.create_service(Trigger, "~/begin", self._on_begin)
        self.create_timer(0.2, self._check_thread, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._failure = "the simulation thread has ended"
        self._thread.start()

    def _make_pace(self) -> Pace:
        if self._config.publish_clock:
            return WallPace(self, self._config.realtime_factor, self._stopping)
        return FollowedPace(self)

    def close(self) -> None:
        """End the simulation thread, which frees the OpenGL context."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    # --- executor --------------------------------------------------------------------------------

    def _on_velocity(self, message: Twist | TwistStamped) -> None:
        with self._lock:
            self._command = velocity_from_message(message)
            self._command_ns = self._time_ns

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._reset, "the robot is at its start")

    def _on_begin(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._begin, "the patrol has begun")

    def _answer(self, response: Trigger.Response, order: Callable[[Simulator], None], success: str) -> Trigger.Response:
        """Have an order done and tell how it went."""
        try:
            self._orders.give(order)
            response.success, response.message = True, success
        except (WorldError, ValueError) as err:
            response.success, response.message = False, str(err)
        return response

    def _check_thread(self) -> None:
        if not self._thread.is_alive() and not self._stopping.is_set():
            raise WorldError(self._failure)
        if complaint := self._pace.complaint():
            self.get_logger().warning(complaint, throttle_duration_sec=_WARN_EVERY_S)

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
        """Do what was ordered; when a tick is due, step and publish."""
        while not self._stopping.is_set():
            self._orders.obey(simulator)
            if self._pace.wait(simulator):
                self._tick(simulator)

    def _tick(self, simulator: Simulator) -> None:
        if simulator.time_ns < self._time_ns:  # as the clock that is followed
            self._forget_command()
        simulator.step(self._current_command(simulator), TICK_NS / 1e9)
        with self._lock:
            self._time_ns = simulator.time_ns
        if self._playback is not None:
            self._playback.advance(self._script_s)
        self._pace.tell(simulator)
        self._outputs.publish(simulator)

    def _reset(self, simulator: Simulator) -> None:
        """Put the robot at its start; time goes on, so that nobody's clock jumps."""
        simulator.teleport(self._world.start)
        self._forget_command()
        self._begun_ns = None

    def _begin(self, simulator: Simulator) -> None:
        self._begun_ns = simulator.time_ns

    def _forget_command(self) -> None:
        with self._lock:
            self._command, self._command_ns = VelocityCommand(), None

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

    def _publish_truth(self, simulator: Simulator, stamp_ns: int) -> None:
        """Publish what goes on in an image that was just published."""
        if self._playback is None:
            return
        script_s = None if self._begun_ns is None else self._script_s
        told = {"stamp_ns": stamp_ns, "script_s": script_s} | _going_on(self._playback.truth())
        self._scripted_events.publish(String(data=json.dumps(told)))


def _going_on(truth: Truth) -> dict[str, list[list[str]]]:
    """What goes on in view, as [verb, colour, kind]: plainly, and at least glimpsed."""
    least = {"goes_on": PLAIN_PIXELS, "glimpsed": GLIMPSED_PIXELS}
    return {key: [[verb, *pair] for verb, pair in truth.goes_on(pixels)] for key, pixels in least.items()}


def main() -> int:
    """Run the simulator until it is told to end."""
    return run_node(SimulatorNode, "simulator")


if __name__ == "__main__":
    sys.exit(main())
