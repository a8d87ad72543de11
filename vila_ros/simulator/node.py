"""The simulator: a furnished flat with a robot, on the topics that a real robot has.

A thread of its own simulates and publishes, see Simulation; callbacks only order something of it.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool, Trigger

from vila_core.config import from_mapping
from vila_core.errors import VilaError, WorldError
from vila_ros.common.node_main import run_node
from vila_ros.common.parameters import declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.common.velocity import is_stamped, velocity_from_message, velocity_type
from vila_ros.simulator.outputs import Outputs
from vila_ros.simulator.pace import FollowedPace, Pace, WallPace
from vila_ros.simulator.simulation import RunState, Simulation
from vila_ros.simulator.standard_services import StandardServices
from vila_ros.simulator.world import SimulatorNodeConfig, World, make_world
from vila_sim.robot import CameraConfig, RobotConfig

RESTART_TIMEOUT_S = 30.0  # another flat may have to be built
_WARN_EVERY_S = 5.0


class SimulatorNode(Node):
    """Publishes camera, odometry, scan, points and clock; drives by cmd_vel, or along its patrol."""

    def __init__(self, parameter_overrides: Sequence[Parameter] = ()) -> None:
        super().__init__("simulator", parameter_overrides=list(parameter_overrides))
        self._simulation: Simulation | None = None
        names = declare(self, SimulatorNodeConfig)
        names += declare(self, CameraConfig, "camera") + declare(self, RobotConfig, "robot")
        refuse_unknown(self, names)
        self._config = read(self, SimulatorNodeConfig)
        camera, robot = read(self, CameraConfig, "camera"), read(self, RobotConfig, "robot")
        self._pace = self._make_pace()
        outputs = Outputs(self, self._config, camera, robot)
        simulation = Simulation(make_world(self._config), camera, robot, self._pace, outputs)
        velocity = velocity_type(is_stamped(self._config.velocity_type))
        self.create_subscription(
            velocity, "cmd_vel", lambda m: simulation.command(velocity_from_message(m)), reliable_qos(1)
        )
        self._serve(simulation)
        self.add_on_set_parameters_callback(self._on_parameters)
        self.create_timer(0.2, self._check_thread, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._simulation = simulation
        simulation.start()

    def _make_pace(self) -> Pace:
        return WallPace(self, self._config.realtime_factor) if self._config.publish_clock else FollowedPace(self)

    def _serve(self, simulation: Simulation) -> None:
        """Offer what may be asked of the simulation, by std_srvs and, where installed, by simulation_interfaces."""
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self.create_service(Trigger, "~/step", self._on_step)
        if self._config.scripted_events:
            self.create_service(Trigger, "~/begin", self._on_begin)
        self._standard = StandardServices.make(self, simulation, self._config)

    def close(self) -> None:
        """End the simulation thread, which frees the OpenGL context."""
        if self._simulation is not None:
            self._simulation.close()

    def destroy_node(self) -> None:
        """Close, then leave the graph."""
        self.close()
        super().destroy_node()

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse what cannot be; what is accepted counts from the next reset on."""
        values = {field.name: self.get_parameter(field.name).value for field in dataclasses.fields(SimulatorNodeConfig)}
        values |= {parameter.name: parameter.value for parameter in parameters if parameter.name in values}
        try:
            from_mapping(SimulatorNodeConfig, values)
        except VilaError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def restart() -> None:
            world = self._world_asked_for()
            self._order(lambda simulation: simulation.restart(world), RESTART_TIMEOUT_S)

        return _answer(response, restart, "the robot is at its start")

    def _world_asked_for(self) -> World:
        """Return the world of the parameters, the present one if they have not changed: a patrol takes seconds."""
        assert self._simulation is not None
        config, present = read(self, SimulatorNodeConfig), self._simulation.world
        return present if str(config) == str(present.config) else make_world(config)  # NaN does not equal itself

    def _on_begin(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, lambda: self._order(Simulation.begin_script), "the patrol has begun")

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        state = RunState.PAUSED if request.data else RunState.PLAYING
        return _answer(response, lambda: self._order(lambda s: s.set_state(state)), f"the simulation is {state.value}")

    def _on_step(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return _answer(response, lambda: self._order(lambda s: s.step(1)), "20 ms went by")

    def _order(self, order: Callable[[Simulation], None], timeout_s: float = 5.0) -> None:
        assert self._simulation is not None
        self._simulation.order(order, timeout_s)

    def _check_thread(self) -> None:
        if self._simulation is not None and self._simulation.has_failed:
            raise WorldError(self._simulation.failure)
        if complaint := self._pace.complaint():
            self.get_logger().warning(complaint, throttle_duration_sec=_WARN_EVERY_S)


def _answer(response: Trigger.Response, do: Callable[[], None], success: str) -> Trigger.Response:
    """Do it and tell how it went; the response of SetBool has the same fields."""
    try:
        do()
        response.success, response.message = True, success
    except (VilaError, ValueError) as err:
        response.success, response.message = False, str(err)
    return response


def main() -> int:
    """Run the simulator until it is told to end."""
    return run_node(SimulatorNode, "simulator")


if __name__ == "__main__":
    sys.exit(main())
