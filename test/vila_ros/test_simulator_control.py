"""The simulator handled without simulation_interfaces: another flat and start by parameters, pausing, stepping."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from std_srvs.srv import SetBool, Trigger

from vila_core.errors import ConfigError, WorldError
from vila_ros.common.conversions import ns_from_stamp
from vila_ros.common.qos import sensor_qos
from vila_ros.simulator.node import SimulatorNode
from vila_ros.simulator.world import SimulatorNodeConfig, make_world
from vila_sim.episodes.episode_files import parse_world_name, world_name
from vila_sim.episodes.splits import generate_episodes, split_flat
from vila_sim.families.table import FAMILIES

pytestmark = pytest.mark.slow
SMALL = {"camera.width_px": 64, "camera.height_px": 64}


class Handler(Node):
    """Handles a simulator, and hears its clock."""

    def __init__(self) -> None:
        super().__init__("handler")
        self.clock_ns: list[int] = []
        self.create_subscription(Clock, "/clock", lambda m: self.clock_ns.append(ns_from_stamp(m.clock)), sensor_qos())
        self.pause = self.create_client(SetBool, "simulator/pause")
        self.step = self.create_client(Trigger, "simulator/step")
        self.reset = self.create_client(Trigger, "simulator/reset")


@pytest.fixture
def simulated(spinner, wait_until):
    """A simulator and who handles it: node, handler, and call(client, request)."""
    simulator = spinner.add(SimulatorNode([Parameter(name, value=value) for name, value in SMALL.items()]))
    handler = spinner.add(Handler())

    def call(client, request):
        wait_until(client.service_is_ready, "the service")
        future = client.call_async(request)
        wait_until(future.done, "the service's answer")
        return future.result()

    wait_until(lambda: len(handler.clock_ns) > 3, "the clock")
    return simulator, handler, call


def test_parameters_and_a_reset_bring_another_flat_and_start_and_time_goes_on(simulated, wait_until) -> None:
    simulator, handler, call = simulated
    episode = generate_episodes("val_unseen_combo", 1)[0]
    name = world_name(episode.flat_seed, episode.include)
    values = {"world": name, "start_x_m": episode.start.x_m, "start_y_m": episode.start.y_m, "start_yaw_rad": 0.5}
    done = simulator.set_parameters_atomically([Parameter(key, value=value) for key, value in values.items()])
    assert done.successful, done.reason
    before_ns = handler.clock_ns[-1]
    assert call(handler.reset, Trigger.Request()).success
    simulation = simulator._simulation
    assert simulation.world.name == name and simulation.world.flat == split_flat(episode.flat_seed, episode.include)
    pose = simulation.order(type(simulation).odometry).pose
    assert pose.distance_m(episode.start) < 0.05 and pose.yaw_rad == pytest.approx(0.5, abs=0.01)
    wait_until(lambda: handler.clock_ns[-1] > before_ns + 1e8)
    present = simulation.world
    assert call(handler.reset, Trigger.Request()).success
    assert simulation.world is present  # nothing was made anew: a patrol would take seconds
    assert handler.clock_ns == sorted(handler.clock_ns)


def test_a_parameter_that_cannot_be_is_refused_and_nothing_changes(simulated) -> None:
    simulator, handler, call = simulated
    done = simulator.set_parameters_atomically([Parameter("world", value="flat/x")])
    assert not done.successful and "'flat/x'" in done.reason and "flat/12" in done.reason
    assert not simulator.set_parameters_atomically([Parameter("scan_rays", value=90)]).successful
    assert call(handler.reset, Trigger.Request()).success
    simulator.set_parameters_atomically([Parameter("instruction", value="go home")])
    answer = call(handler.reset, Trigger.Request())
    assert not answer.success and "'go home'" in answer.message


def test_a_paused_simulator_tells_its_time_and_steps_when_it_is_told(simulated, wait_until) -> None:
    _, handler, call = simulated
    answer = call(handler.step, Trigger.Request())
    assert not answer.success and "only a paused one" in answer.message
    assert call(handler.pause, SetBool.Request(data=True)).success
    heard = len(handler.clock_ns)
    wait_until(lambda: len(handler.clock_ns) > heard + 10, "the clock, which stands")
    stands_ns = handler.clock_ns[-1]
    assert call(handler.step, Trigger.Request()).success
    wait_until(lambda: handler.clock_ns[-1] == stands_ns + 20_000_000, "one tick")
    assert call(handler.pause, SetBool.Request(data=False)).success
    wait_until(lambda: handler.clock_ns[-1] > stands_ns + 1e8, "the clock to go on")


@pytest.mark.parametrize("seed", [3, 1_000_007])
@pytest.mark.parametrize("include", [(), (("red", "chair"),), (("blue", "bookshelf"), ("green", "plant"))])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_name_of_a_world_is_read_back(seed: int, include, family: str) -> None:
    assert parse_world_name(world_name(seed, include, family)) == (seed, include, family)


@pytest.mark.parametrize("name", ["", "flat", "flat/", "flat/-1", "flat/1?", "flat/1?red", "flat/1?red:cat", "room/1"])
def test_what_is_no_name_of_a_world_is_refused(name: str) -> None:
    with pytest.raises(WorldError, match="must be the name of a flat"):
        parse_world_name(name)


def test_a_world_counts_before_an_instruction_and_not_beside_a_patrol() -> None:
    world = make_world(SimulatorNodeConfig(world="flat/1000003", instruction="go to the red chair", start_x_m=math.nan))
    assert world.name == "flat/1000003"
    with pytest.raises(ConfigError, match="world = 'flat/3'"):
        SimulatorNodeConfig(world="flat/3", scripted_events="patrol")


def test_the_world_of_an_instruction_is_named_so_that_it_can_be_made_again() -> None:
    world = make_world(SimulatorNodeConfig(instruction="go to the blue chair", seed=4))
    assert split_flat(*parse_world_name(world.name)) == world.flat
