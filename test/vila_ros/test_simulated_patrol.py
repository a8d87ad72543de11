"""The simulator with scripted events, as a launch file starts it: what is to be called, what goes on by itself."""

from __future__ import annotations

import json
import subprocess

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from conftest import HANG_S
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vila_core.types import Odometry
from vila_ros.common.conversions import odometry_from_message
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_ros.common.resources import share_file
from vila_ros.simulator.world import SimulatorNodeConfig, make_world
from vila_tools.session.processes import NodeSpec

pytestmark = pytest.mark.slow
PATROL = {"instruction": "", "scripted_events": "patrol", "scripted_events_s": 20.0, "realtime_factor": 2.0}


class Client(Node):
    """Hears odometry and what goes on; commands zero all the time, as an idle controller does."""

    def __init__(self) -> None:
        super().__init__("client")
        self.odometry: list[Odometry] = []
        self.truths: list[dict] = []
        self.create_subscription(
            OdometryMsg, "odom", lambda m: self.odometry.append(odometry_from_message(m)), sensor_qos(depth=5)
        )
        self.create_subscription(
            String, "simulator/scripted_events", lambda m: self.truths.append(json.loads(m.data)), reliable_qos(100)
        )
        self.velocity = self.create_publisher(TwistStamped, "cmd_vel", reliable_qos(1))
        self.begin = self.create_client(Trigger, "simulator/begin")
        self.reset = self.create_client(Trigger, "simulator/reset")
        self.create_timer(0.05, lambda: self.velocity.publish(TwistStamped()))

    def path_m(self) -> float:
        poses = [odometry.pose for odometry in self.odometry]
        return sum(a.distance_m(b) for a, b in zip(poses, poses[1:], strict=False))


@pytest.fixture
def client(ros_environment, spinner, wait_until):
    size = {"camera.width_px": 64, "camera.height_px": 64}
    parameters = share_file("config/simulation.yaml")  # names an instruction, as for a launch file
    spec = NodeSpec("simulator", "vila_ros.simulator.node", parameters, PATROL | size)
    process = subprocess.Popen(spec.command(), env=ros_environment)
    try:
        client = spinner.add(Client())
        wait_until(lambda: (client.truths and client.odometry) or process.poll() is not None, "the simulator")
        wait_until(lambda: client.velocity.get_subscription_count() and client.begin.service_is_ready())
        yield client
    finally:
        process.terminate()
        assert process.wait(HANG_S) == 0, "the simulator did not end in good order"


@pytest.mark.long
def test_a_patrol_is_begun_by_a_call_and_then_drives_itself(client: Client, wait_until) -> None:
    def call(service) -> None:
        future = service.call_async(Trigger.Request())
        wait_until(future.done)
        assert future.result().success

    assert all(truth["script_s"] is None and truth["goes_on"] is not None for truth in client.truths)
    assert client.path_m() < 0.01
    call(client.begin)
    wait_until(lambda: (client.truths[-1]["script_s"] or 0.0) > 12.0)
    assert client.path_m() > 0.3 and any(truth["goes_on"] for truth in client.truths)
    assert all(pair in truth["glimpsed"] for truth in client.truths for pair in truth["goes_on"])
    call(client.reset)
    wait_until(lambda: client.truths[-1]["script_s"] is None)
    seen = len(client.odometry)
    wait_until(lambda: len(client.odometry) > seen + 20)
    assert all(abs(o.linear_mps) < 0.01 and abs(o.angular_rps) < 0.01 for o in client.odometry[-10:])


@pytest.mark.parametrize("drive", [True, False])
def test_the_robot_can_be_left_to_cmd_vel(drive: bool) -> None:
    world = make_world(
        SimulatorNodeConfig(scripted_events="patrol", scripted_events_s=20.0, scripted_events_drive=drive)
    )
    assert world.script and (world.route is not None) is drive
