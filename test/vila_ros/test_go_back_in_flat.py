"""A drive in the simulator's flat by our own controller within what the governor lets pass, and the way back."""

from __future__ import annotations

import subprocess

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from back_goal import Sender
from conftest import HANG_S
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from vila_nav.action import GoBack

from vila_core.actions.grammar import SENTENCES, action_index
from vila_core.testing import ScriptedBackend
from vila_core.types import Action, Odometry, Stop, wrap_angle
from vila_ros.common.conversions import odometry_from_message
from vila_ros.common.qos import sensor_qos
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.node import NavigatorNode
from vila_ros.watchdog.node import WatchdogNode
from vila_sim.episodes.oracle import TargetView, oracle_action
from vila_sim.episodes.scenario import Scenario, make_scenario
from vila_sim.flats.grid import OccupancyGrid
from vila_tools.session.processes import NodeSpec

INSTRUCTION, SEED, DECISIONS = "go to the red chair", 3, 9
ROBOT_RADIUS_M = 0.17  # less than it is by what a cell of the grid is wide
Result = GoBack.Result


class Listener(Node):
    """Hears where the robot is."""

    def __init__(self) -> None:
        super().__init__("listener")
        self.odometry: list[Odometry] = []
        self.create_subscription(
            OdometryMsg, "odom", lambda m: self.odometry.append(odometry_from_message(m)), sensor_qos(depth=5)
        )


def way_there(scenario: Scenario) -> list[Action]:
    """What somebody who knows the map would do first."""
    pose, actions, seen = scenario.start, [], TargetView(True, True, 0.0, 0.0)
    while len(actions) < DECISIONS and not isinstance(action := oracle_action(pose, scenario.distance, seen), Stop):
        actions.append(action)
        pose = pose.advanced(getattr(action, "distance_m", 0.0)).turned(getattr(action, "angle_rad", 0.0))
    return actions


@pytest.fixture
def simulator(ros_environment, ros):
    parameters = {"seed": SEED, "instruction": INSTRUCTION, "camera.width_px": 96, "camera.height_px": 64}
    spec = NodeSpec(
        "simulator", "vila_ros.simulator.node", parameters=parameters, remaps={"camera/image_raw": "image_raw"}
    )
    process = subprocess.Popen(spec.command(), env=ros_environment)
    yield process
    process.terminate()
    assert process.wait(HANG_S) == 0


@pytest.mark.long
def test_it_goes_back_to_where_it_began_and_touches_nothing(simulator, spinner, wait_until, tmp_path) -> None:
    scenario = make_scenario(INSTRUCTION, SEED)
    actions = way_there(scenario)
    assert len(actions) > 4
    replies = [SENTENCES[action_index(action)] for action in actions]
    simulated = Parameter("use_sim_time", value=True)
    values = {"checkpoint": str(tmp_path), "use_sim_time": True}
    navigator = NavigatorNode(
        [Parameter(name, value=value) for name, value in values.items()],
        load=lambda *_, **__: ScriptedBackend(*replies, SENTENCES[0]),
    )
    navigator.bring_up()
    sources = [Parameter("obstacles.sources", value="scan"), Parameter("obstacles.scan_mount", value="0 0 0 0 0")]
    listener = Listener()
    send = Sender(listener, wait_until)
    nodes = (WatchdogNode([simulated]), GovernorNode([simulated, *sources]), ControllerNode([simulated]))
    for node in (*nodes, navigator, listener):
        spinner.add(node)
    active = navigator.active
    wait_until(lambda: listener.odometry and active.latest.image and active.motion.is_ready, "robot and controller")
    wait_until(lambda: active.readiness.fault() is None and active.governor._awaits_mission(), "the governor")
    begin = listener.odometry[-1]
    there = send.navigate(INSTRUCTION).result()
    assert there.distance_m > 1.0, there.error_msg
    drove = len(listener.odometry)

    canceled = send.back(begin.stamp_ns)
    wait_until(lambda: canceled.feedback and canceled.feedback[-1].distance_m > 0.1, "the robot to drive back")
    canceled.cancel()
    assert canceled.result().error_code == Result.ERROR_CANCELED
    wait_until(lambda: abs(listener.odometry[-1].linear_mps) < 0.01, "the robot to stand")
    assert listener.odometry[-1].pose.distance_m(begin.pose) > 0.3

    result = send.back(begin.stamp_ns).result()
    assert result.outcome == Result.OUTCOME_REACHED, result.error_msg
    end = listener.odometry[-1].pose
    assert end.distance_m(begin.pose) < 0.3
    assert abs(wrap_angle(end.yaw_rad - begin.pose.yaw_rad)) < 0.27
    grid = OccupancyGrid(scenario.flat, ROBOT_RADIUS_M)
    before = [one.pose for one in listener.odometry[:drove]]
    for one in listener.odometry[drove:]:
        assert grid.free(one.pose.x_m, one.pose.y_m), f"the robot touches something at {one.pose}"
        assert min(one.pose.distance_m(pose) for pose in before) < 0.3
