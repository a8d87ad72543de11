"""The services of simulation_interfaces 2.1, by which any client handles any simulator; where they are installed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.errors import VilaError, WorldError
from vila_core.types import Odometry, Pose
from vila_ros.common.conversions import message_from_odometry, yaw_from_quaternion
from vila_ros.common.parameters import read
from vila_ros.simulator.orders import TIMEOUT_S
from vila_ros.simulator.simulation import RunState, Simulation
from vila_ros.simulator.world import SimulatorNodeConfig, World, make_world
from vila_sim.flats.scene import SceneObject

ROBOT = "robot"  # the one entity whose state may be set
WORLD_FRAMES = ("", "world", "map")  # and the odometry's: they are one here
STARTS = ("start_x_m", "start_y_m", "start_yaw_rad")
MAX_STEPS = 100_000  # of 20 ms, in one call
LOAD_TIMEOUT_S, STEP_TIMEOUT_S = 30.0, 0.2
SERVICES = {  # by their types
    "GetSimulatorFeatures": "get_simulator_features",
    "ResetSimulation": "reset_simulation",
    "GetSimulationState": "get_simulation_state",
    "SetSimulationState": "set_simulation_state",
    "StepSimulation": "step_simulation",
    "GetEntities": "get_entities",
    "GetEntityState": "get_entity_state",
    "SetEntityState": "set_entity_state",
    "LoadWorld": "load_world",
    "GetCurrentWorld": "get_current_world",
}
FEATURES = (
    *("ENTITY_STATE_GETTING", "ENTITY_STATE_SETTING"),
    *("SIMULATION_RESET", "SIMULATION_RESET_STATE", "SIMULATION_RESET_SPAWNED"),
    *("SIMULATION_STATE_GETTING", "WORLD_LOADING", "WORLD_INFO_GETTING"),
)
OF_ITS_OWN_CLOCK = (
    *("SIMULATION_RESET_TIME", "SIMULATION_STATE_SETTING", "SIMULATION_STATE_PAUSE"),
    *("STEP_SIMULATION_SINGLE", "STEP_SIMULATION_MULTIPLE"),
)


class RefusedError(VilaError):
    """A call that is answered with a result other than OK. code: the result's name in Result, or its number."""

    def __init__(self, code: str | int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StandardServices:
    """Serves what is meaningful for a flat with one robot; `get_simulator_features` tells what that is.

    Entities: "robot", and the things of the flat, which stay where they are. Worlds: flats by their names in episode
    files, such as flat/12.
    """

    @classmethod
    def make(cls, node: Node, simulation: Simulation, config: SimulatorNodeConfig) -> StandardServices | None:
        """Return the services, None where simulation_interfaces is not installed."""
        try:
            services, messages = import_module("simulation_interfaces.srv"), import_module("simulation_interfaces.msg")
        except ImportError:
            return None
        return cls(node, simulation, config, services, messages)

    def __init__(
        self, node: Node, simulation: Simulation, config: SimulatorNodeConfig, services: Any, messages: Any
    ) -> None:
        self._node, self._simulation, self._config = node, simulation, config
        self._messages, self._services = messages, services
        answers = {
            "GetSimulatorFeatures": self._features,
            "ResetSimulation": self._reset,
            "GetSimulationState": self._get_state,
            "SetSimulationState": self._set_state,
            "StepSimulation": self._step,
            "GetEntities": self._get_entities,
            "GetEntityState": self._get_entity,
            "SetEntityState": self._set_entity,
            "LoadWorld": self._load_world,
            "GetCurrentWorld": self._get_world,
        }
        for kind, name in SERVICES.items():
            node.create_service(getattr(services, kind), name, self._answering(answers[kind]))

    def _answering(self, answer: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """Return a callback that has the response filled in, and says OK or why not."""

        def callback(request: Any, response: Any) -> Any:
            code: str | int = "RESULT_OK"
            message = ""
            try:
                answer(request, response)
            except RefusedError as err:
                code, message = err.code, str(err)
            except (VilaError, ValueError) as err:
                code, message = "RESULT_OPERATION_FAILED", str(err)
            if hasattr(response, "result"):
                kind = self._messages.Result
                response.result.result = getattr(kind, code) if isinstance(code, str) else code
                response.result.error_message = message
            return response

        return callback

    def _features(self, request: Any, response: Any) -> None:
        names = FEATURES + (OF_ITS_OWN_CLOCK if self._config.publish_clock else ())
        kind = self._messages.SimulatorFeatures
        response.features.features = [getattr(kind, name) for name in names]
        response.features.custom_info = f"vila_nav: entity {ROBOT!r}; worlds such as flat/12; a step is 20 ms"

    def _reset(self, request: Any, response: Any) -> None:
        kind = self._services.ResetSimulation.Request
        scope = request.scope or kind.SCOPE_ALL
        if scope & kind.SCOPE_TIME and not self._config.publish_clock:
            raise RefusedError("RESULT_FEATURE_UNSUPPORTED", "the clock is another simulator's: reset that one")

        def reset(simulation: Simulation) -> None:
            if scope & kind.SCOPE_STATE:
                simulation.restart(simulation.world)
            if scope & kind.SCOPE_TIME:
                simulation.reset_time()

        self._simulation.order(reset)

    def _get_state(self, request: Any, response: Any) -> None:
        kind = self._messages.SimulationState
        numbers = {
            RunState.STOPPED: kind.STATE_STOPPED,
            RunState.PLAYING: kind.STATE_PLAYING,
            RunState.PAUSED: kind.STATE_PAUSED,
        }
        response.state.state = numbers[self._simulation.state]

    def _set_state(self, request: Any, response: Any) -> None:
        kind = self._messages.SimulationState
        states = {
            kind.STATE_STOPPED: RunState.STOPPED,
            kind.STATE_PLAYING: RunState.PLAYING,
            kind.STATE_PAUSED: RunState.PAUSED,
        }
        wanted = states.get(request.state.state)
        if wanted is None:
            words = (
                f"state {request.state.state}: only stopped, playing and paused can be set; to quit, end the process"
            )
            raise RefusedError("RESULT_FEATURE_UNSUPPORTED", words)
        if wanted is self._simulation.state:
            code = self._services.SetSimulationState.Response.ALREADY_IN_TARGET_STATE
            raise RefusedError(code, f"the simulation is {wanted.value} already")
        self._simulation.order(lambda simulation: simulation.set_state(wanted))

    def _step(self, request: Any, response: Any) -> None:
        if not 1 <= request.steps <= MAX_STEPS:
            raise WorldError(f"steps = {request.steps}: must be 1 to {MAX_STEPS}")
        timeout_s = TIMEOUT_S + request.steps * STEP_TIMEOUT_S
        self._simulation.order(lambda simulation: simulation.step(request.steps), timeout_s)

    def _get_entities(self, request: Any, response: Any) -> None:
        filters = request.filters
        if filters.categories or filters.tags.tags or filters.bounds.type != filters.bounds.TYPE_EMPTY:
            raise RefusedError("RESULT_FEATURE_UNSUPPORTED", "entities are filtered by their names alone")
        try:
            wanted = re.compile(filters.filter)
        except re.error as err:
            raise WorldError(f"filter {filters.filter!r}: {err}") from err
        response.entities = [name for name in (ROBOT, *self._things()) if wanted.search(name)]

    def _things(self) -> dict[str, SceneObject]:
        """Things by their names; none where a script moves them."""
        world = self._simulation.world
        return {thing.name: thing for thing in world.flat.objects} if world.script is None else {}

    def _get_entity(self, request: Any, response: Any) -> None:
        if (thing := self._things().get(request.entity)) is not None:
            self._tell_thing(thing, response.state)
            return
        if request.entity != ROBOT:
            raise RefusedError("RESULT_NOT_FOUND", f"entity {request.entity!r}: get_entities tells which there are")
        odometry: Odometry = self._simulation.order(Simulation.odometry)
        message = message_from_odometry(odometry, self._config.odometry_frame)
        response.state.header, response.state.pose = message.header, message.pose.pose
        yaw, twist = odometry.pose.yaw_rad, response.state.twist  # told in the world, not in the robot
        twist.linear.x, twist.linear.y = odometry.linear_mps * math.cos(yaw), odometry.linear_mps * math.sin(yaw)
        twist.angular.z = odometry.angular_rps

    def _tell_thing(self, thing: SceneObject, state: Any) -> None:
        stamp_ns = self._simulation.order(Simulation.odometry).stamp_ns
        pose = Odometry(stamp_ns, Pose(thing.x_m, thing.y_m, thing.yaw_rad))
        message = message_from_odometry(pose, self._config.odometry_frame)
        state.header, state.pose = message.header, message.pose.pose

    def _set_entity(self, request: Any, response: Any) -> None:
        if request.entity in self._things():
            raise WorldError(f"entity {request.entity!r}: only {ROBOT!r} can be moved")
        if request.entity != ROBOT:
            raise RefusedError("RESULT_NOT_FOUND", f"entity {request.entity!r}: get_entities tells which there are")
        frame, twist = request.state.header.frame_id, request.state.twist
        if frame not in (*WORLD_FRAMES, self._config.odometry_frame):
            raise WorldError(f"frame {frame!r}: poses are told in {self._config.odometry_frame!r} or 'world'")
        speeds = (twist.linear.x, twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y, twist.angular.z)
        if (request.set_twist and any(speeds)) or request.set_acceleration:
            raise RefusedError("RESULT_FEATURE_UNSUPPORTED", "the robot moves by cmd_vel: only its pose can be set")
        if request.set_pose:
            pose = self._checked(request.state.pose)
            self._simulation.order(lambda simulation: simulation.put(pose))

    def _checked(self, message: Any) -> Pose:
        pose = Pose(message.position.x, message.position.y, yaw_from_quaternion(message.orientation))
        flat = self._simulation.world.flat
        if not (0 <= pose.x_m <= flat.width_m and 0 <= pose.y_m <= flat.depth_m and math.isfinite(pose.yaw_rad)):
            words = (
                f"{pose}: must lie in the flat, {flat.width_m:g} x {flat.depth_m:g} m, with a quaternion of some length"
            )
            raise RefusedError(self._services.SetEntityState.Response.INVALID_POSE, words)
        return pose

    def _load_world(self, request: Any, response: Any) -> None:
        kind, resource = self._services.LoadWorld.Response, request.world_resource
        if not resource.uri:
            code = kind.UNSUPPORTED_FORMAT if resource.resource_string else kind.NO_RESOURCE
            raise RefusedError(code, "worlds are named by uri, such as flat/12")
        values = {"world": resource.uri, "instruction": ""} | dict.fromkeys(STARTS, math.nan)
        parameters = [Parameter(name, value=value) for name, value in values.items()]
        if not (done := self._node.set_parameters_atomically(parameters)).successful:
            raise RefusedError(kind.RESOURCE_PARSE_ERROR, done.reason)
        world = make_world(read(self._node, SimulatorNodeConfig))

        def load(simulation: Simulation) -> None:
            simulation.restart(world)
            if self._config.publish_clock:
                simulation.set_state(RunState.STOPPED)  # as the standard has it; one that follows a clock cannot stop

        self._simulation.order(load, LOAD_TIMEOUT_S)
        self._tell_world(world, response)

    def _get_world(self, request: Any, response: Any) -> None:
        self._tell_world(self._simulation.world, response)

    def _tell_world(self, world: World, response: Any) -> None:
        response.world.name = response.world.world_resource.uri = world.name
