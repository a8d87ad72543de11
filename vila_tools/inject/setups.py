"""The three robots that a drill may have: its own base, the simulator, and one that runs already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from std_srvs.srv import Trigger

from vila_core.errors import VilaError
from vila_core.types import Pose
from vila_ros.common.resources import share_file
from vila_sim.episodes.scenario import make_scenario
from vila_tools.inject.base import SENSORS, SIMULATED_CLOCK, base_spec
from vila_tools.inject.recorder import recorder_spec
from vila_tools.inject.relay import RELAYED, relay_spec
from vila_tools.inject.relay_link import RelayLink
from vila_tools.inject.rig import NODES, FoundProcesses, OwnProcesses, Rig
from vila_tools.inject.witness import Witness
from vila_tools.session.processes import NodeSpec
from vila_tools.session.robot import robot_recipe, robot_specs
from vila_tools.session.session import READY_TIMEOUT_S, on_graph, running

INSTRUCTION = "go to the red chair"
_NAVIGATOR = "vila_tools.inject.navigator"
_SIMULATED = {"image": "/camera/image_raw", "odom": "/odom", "scan": "/scan", "clock": "/clock"}
_ROOM_M, _SIDE_M = 2.0, 0.3  # free ahead of the simulated robot's start, and to both sides of its middle there
_SEEDS = 200
_CALL_S = 10.0


@contextmanager
def own_base(out: Path | None, *, simulated: bool) -> Iterator[Rig]:
    """Run the nodes with the drill's own base; simulated: on its clock instead of wall time."""
    specs = node_specs(simulated=simulated)
    topics = SENSORS | ({"clock": SIMULATED_CLOCK} if simulated else {})
    with running((base_spec(simulated=simulated), *_own_specs(topics), *specs.values()), out) as session:
        witness, relay = session.add(Witness()), session.add(RelayLink())
        rig = Rig(session, witness, relay, OwnProcesses(session, specs), INSTRUCTION)
        _await(rig, set(topics))
        yield rig


@contextmanager
def simulator(out: Path | None) -> Iterator[Rig]:
    """Run the nodes with the simulator, on its clock; its base obeys its last command for ever."""
    specs = node_specs(simulated=True, governor={"obstacles.scan_mount": "0 0 0.2 0 0"})
    world = {"seed": roomy_seed(), "instruction": INSTRUCTION, "robot.command_life_s": 1e6}
    base = NodeSpec("simulator", "vila_ros.simulator.node", share_file("config/simulation.yaml"), world)
    with running((base, *_own_specs(_SIMULATED), *specs.values()), out) as session:
        witness, relay = session.add(Witness()), session.add(RelayLink())
        reset: Any = witness.create_client(Trigger, "simulator/reset")

        def restart() -> None:
            session.require(reset.service_is_ready, _CALL_S, "the simulator's reset was not there")
            done = reset.call_async(Trigger.Request())
            session.require(done.done, _CALL_S, "the simulator did not put the robot back")

        rig = Rig(session, witness, relay, OwnProcesses(session, specs), INSTRUCTION, restart)
        _await(rig, set(_SIMULATED))
        yield rig


@contextmanager
def running_system(topics: Mapping[str, str], instruction: str) -> Iterator[Rig]:
    """Join the nodes that run in this environment's ROS domain; topics: the sensors' own, by stream."""
    with on_graph(_own_specs(topics)) as session:
        witness, relay = session.add(Witness()), session.add(RelayLink())
        session.require(lambda: witness.heard_s, READY_TIMEOUT_S, "the drill's recorder was not there")
        yield Rig(session, witness, relay, FoundProcesses(os.environ.get("ROS_DOMAIN_ID", "0")), instruction)


def _own_specs(topics: Mapping[str, str]) -> tuple[NodeSpec, NodeSpec]:
    return recorder_spec(topics["odom"]), relay_spec(topics)


def node_specs(*, simulated: bool, governor: Mapping[str, object] | None = None) -> dict[str, NodeSpec]:
    """Return the nodes to start by name, with a robot's parameters and their sensors' topics from the relay."""
    topics = {"image_raw": f"/{RELAYED['image']}"} | {name: f"/{RELAYED[name]}" for name in ("odom", "scan")}
    topics |= {"/clock": f"/{RELAYED['clock']}"} if simulated else {}
    common: dict[str, object] = {"use_sim_time": simulated}
    own: dict[str, Mapping[str, object]] = {"navigator": {"navigator.reply": "free"}, "governor": governor or {}}
    parameters = {name: common | dict(own.get(name, {})) for name in NODES}
    return robot_specs(robot_recipe(), parameters, modules={"navigator": _NAVIGATOR}, topics=topics)


def roomy_seed() -> int:
    """Return the seed of a flat in which the robot starts with free floor ahead. Raises VilaError if none has."""
    for seed in range(_SEEDS):
        scenario = make_scenario(INSTRUCTION, seed)
        ways = (scenario.start.compose(Pose(y_m=side_m)) for side_m in (-_SIDE_M, 0.0, _SIDE_M))
        ends = ((way, way.advanced(_ROOM_M)) for way in ways)
        if all(scenario.distance.grid.line_is_free(a.x_m, a.y_m, b.x_m, b.y_m) for a, b in ends):
            return seed
    raise VilaError(f"no flat of {_SEEDS} seeds has {_ROOM_M} m of free floor ahead of the robot")


def _await(rig: Rig, streams: set[str]) -> None:
    witness = rig.witness

    def is_ready() -> bool:
        is_there = witness.state is not None and witness.mission is not None and witness.heard_s > 0
        return is_there and rig.relay.fed == streams and witness.count_publishers("controller/execution") > 0

    rig.session.require(is_ready, READY_TIMEOUT_S, "the nodes were not ready")
