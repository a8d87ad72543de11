"""How the simulator that runs is told where the robot begins: by simulation_interfaces, or parameters and a reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from vila_core.errors import ConfigError, MissingDependencyError, WorldError
from vila_core.types import Pose
from vila_ros.common.conversions import quaternion_from_yaw

CONTROLS = ("auto", "standard", "parameters")
Call = Callable[[Any, Any], Any]  # (client, request) -> response, waited for
_FOUND_S = 5.0  # of looking for the standard's services before the others are taken


class SimulatorControl(Protocol):
    """Puts the robot of a simulator that runs into a flat, at a pose. name: of the way that is taken."""

    name: str

    def place(self, world: str, start: Pose) -> None:
        """Have the robot stand at the start, in the world of this name. WorldError if the simulator refuses."""
        ...


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """Which simulator, and how it names things.

    uri: of a world, with {name}, such as flat/12?red:chair, and {seed}, its number. loaded: the one world that is
    there, where none can be loaded. services: what stands before the names of the standard's services, such as "/".
    """

    control: str = "auto"
    simulator: str = "simulator"
    entity: str = "robot"
    uri: str = "{name}"
    loaded: str = ""
    services: str = ""

    def __post_init__(self) -> None:
        if self.control not in CONTROLS:
            raise ConfigError(f"control = {self.control!r}: must be one of {', '.join(CONTROLS)}")
        try:
            self.uri_of("flat/1")
        except (KeyError, IndexError, ValueError) as err:
            raise ConfigError(f"world = {self.uri!r}: may hold {{name}} and {{seed}} ({err})") from err

    def uri_of(self, world: str) -> str:
        """Return the simulator's own name of a world."""
        return self.uri.format(name=world, seed=world.partition("/")[2].partition("?")[0])


def make_control(node: Node, options: ControlOptions, call: Call, wait: Callable[..., bool]) -> SimulatorControl:
    """Return the way that the options name, or that the simulator offers.

    wait: wait(condition, seconds) spins the node, and tells if it came true. Raises MissingDependencyError without
    simulation_interfaces if they are asked for.
    """
    services = _standard_services()
    if services is None and options.control == "standard":
        raise MissingDependencyError("control = standard needs simulation_interfaces: install that ROS package")
    if services is not None and options.control != "parameters":
        control = StandardControl(node, options, call, services)
        if options.control == "standard" or wait(control.is_there, _FOUND_S):
            return control
    return ParameterControl(node, options, call)


class ParameterControl:
    """Our own simulator: sets its parameters `world` and `start_*`, then calls `~/reset`."""

    name = "parameters"

    def __init__(self, node: Node, options: ControlOptions, call: Call) -> None:
        self._call, self._options = call, options
        self._set: Any = node.create_client(SetParametersAtomically, f"{options.simulator}/set_parameters_atomically")
        self._reset: Any = node.create_client(Trigger, f"{options.simulator}/reset")

    def place(self, world: str, start: Pose) -> None:
        """Set and reset."""
        values: dict[str, str | float] = {"world": self._options.uri_of(world), "instruction": ""}
        values |= {"start_x_m": start.x_m, "start_y_m": start.y_m, "start_yaw_rad": start.yaw_rad}
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        done = self._call(self._set, SetParametersAtomically.Request(parameters=parameters)).result
        if not done.successful:
            raise WorldError(f"{self._set.srv_name}: {done.reason}")
        reset = self._call(self._reset, Trigger.Request())
        if not reset.success:
            raise WorldError(f"{self._reset.srv_name}: {reset.message}")


class StandardControl:
    """Any simulator that serves simulation_interfaces: LoadWorld where the world is another, then SetEntityState."""

    name = "simulation_interfaces"

    def __init__(self, node: Any, options: ControlOptions, call: Call, services: Any) -> None:
        self._call, self._options, self._services = call, options, services
        self._world, at = options.loaded, options.services
        self._features = node.create_client(services.GetSimulatorFeatures, f"{at}get_simulator_features")
        self._load = node.create_client(services.LoadWorld, f"{at}load_world")
        self._put = node.create_client(services.SetEntityState, f"{at}set_entity_state")
        self._state = node.create_client(services.SetSimulationState, f"{at}set_simulation_state")
        self._known: frozenset[int] | None = None

    def is_there(self) -> bool:
        """Return True if the simulator tells its features."""
        return bool(self._features.service_is_ready())

    def place(self, world: str, start: Pose) -> None:
        """Load the world if it is another, put the robot, and let time go on."""
        if world != self._world:
            self._load_world(world)
        request = self._services.SetEntityState.Request(entity=self._options.entity, set_pose=True, set_twist=True)
        pose = request.state.pose
        pose.position.x, pose.position.y = start.x_m, start.y_m
        pose.orientation = quaternion_from_yaw(start.yaw_rad)
        self._do(self._put, request)
        if self._can("SIMULATION_STATE_SETTING"):
            kind = self._services.SetSimulationState
            request = kind.Request()
            request.state.state = request.state.STATE_PLAYING
            self._do(self._state, request, kind.Response.ALREADY_IN_TARGET_STATE)

    def _load_world(self, world: str) -> None:
        if not self._can("WORLD_LOADING"):
            raise WorldError(
                f"the simulator loads no worlds, and {world!r} is not the one that --loaded names: {self._world!r}"
            )
        request = self._services.LoadWorld.Request()
        request.world_resource.uri = self._options.uri_of(world)
        self._do(self._load, request)
        self._world = world

    def _can(self, feature: str) -> bool:
        if self._known is None:
            answer = self._call(self._features, self._services.GetSimulatorFeatures.Request())
            self._known = frozenset(answer.features.features)
        messages = import_module("simulation_interfaces.msg")
        return getattr(messages.SimulatorFeatures, feature) in self._known

    def _do(self, client: Any, request: Any, *also: int) -> None:
        """Call; WorldError with the simulator's words if the result is neither OK nor one of these."""
        result = self._call(client, request).result
        if result.result not in (result.RESULT_OK, *also):
            raise WorldError(f"{client.srv_name}: result {result.result}, {result.error_message}")


def _standard_services() -> Any:
    try:
        return import_module("simulation_interfaces.srv")
    except ImportError:
        return None
