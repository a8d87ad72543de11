"""The graph of nodes by which Isaac Sim serves the robot's ROS topics, as plain data: nothing of Isaac is imported.

Node types and ports are the same in all versions that are named here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vila_core.errors import ConfigError
from vila_sim.isaac.paths import BASE, CAMERA, GRAPH, LASER, ROBOT, joint_name
from vila_sim.robot import (
    BASE_FRAME,
    CAMERA_FRAME,
    IMAGE_RATE_HZ,
    ODOMETRY_FRAME,
    SCAN_FRAME,
    CameraConfig,
    RobotConfig,
    wheeled_robot,
)

ISAAC_VERSIONS = ("5.0", "5.1", "6.0")
TICK_HZ = 60.0  # of physics and pictures
MAX_LINEAR_ACCEL_MPS2, MAX_ANGULAR_ACCEL_RPS2 = 6.0, 18.0  # as in Gazebo

Value = str | float | int | bool | list[str]


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node: its type, the values of its inputs, and the prims that inputs of kind "target" point to."""

    name: str
    kind: str
    values: dict[str, Value] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RosGraph:
    """Nodes and connections, each from "node.outputs:port" to "node.inputs:port"."""

    path: str
    nodes: tuple[GraphNode, ...]
    connections: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TopicNames:
    """What the robot's topics are called; camera_info is beside the images. /clock and /tf have no namespace."""

    namespace: str = ""
    image: str = "camera/image_raw"
    odom: str = "odom"
    cmd_vel: str = "cmd_vel"


TOPICS = TopicNames()


def require_version(version: str) -> None:
    """Raise ConfigError for a version of Isaac Sim, such as "5.1.0", that the graph was not compared with."""
    if ".".join(version.split(".")[:2]) not in ISAAC_VERSIONS:
        raise ConfigError(f"Isaac Sim {version!r} is not supported; known: {', '.join(ISAAC_VERSIONS)}")


def graph_json(graph: RosGraph) -> dict[str, Any]:
    """Return the graph as JSON, for a runner that has nothing of ours."""
    return {
        "isaac_versions": list(ISAAC_VERSIONS),
        "tick_hz": TICK_HZ,
        "path": graph.path,
        "nodes": [[node.name, node.kind] for node in graph.nodes],
        "values": [[f"{n.name}.inputs:{port}", value] for n in graph.nodes for port, value in n.values.items()],
        "targets": [[f"{n.name}.inputs:{port}", prim] for n in graph.nodes for port, prim in n.targets.items()],
        "connections": [list(connection) for connection in graph.connections],
    }


def ros_graph(camera: CameraConfig, robot: RobotConfig, topics: TopicNames = TOPICS) -> RosGraph:
    """Return the graph: clock, cmd_vel, odometry, tf, camera with its intrinsics, laser scan."""
    pieces = (
        _base(),
        _drive(camera, robot, topics),
        _odometry(topics),
        _camera(camera, topics),
        _laser(topics),
    )
    nodes = tuple(node for piece in pieces for node in piece[0])
    wires = [wire for piece in pieces for wire in piece[1]]
    has_context = ("ROS2Publish", "ROS2Subscribe", "ROS2Camera", "ROS2Rtx")
    wires += [
        ("context.outputs:context", f"{node.name}.inputs:context")
        for node in nodes
        if node.kind.rpartition(".")[2].startswith(has_context)
    ]
    return RosGraph(GRAPH, nodes, tuple(wires))


Piece = tuple[list[GraphNode], list[tuple[str, str]]]


def _base() -> Piece:
    nodes = [
        GraphNode("tick", "omni.graph.action.OnPlaybackTick"),
        GraphNode("time", "isaacsim.core.nodes.IsaacReadSimulationTime", {"resetOnStop": False}),
        GraphNode("context", "isaacsim.ros2.bridge.ROS2Context", {"useDomainIDEnvVar": True}),
        GraphNode("clock", "isaacsim.ros2.bridge.ROS2PublishClock", {"topicName": "/clock"}),
    ]
    return nodes, [
        ("tick.outputs:tick", "clock.inputs:execIn"),
        ("time.outputs:simulationTime", "clock.inputs:timeStamp"),
    ]


def _drive(camera: CameraConfig, robot: RobotConfig, topics: TopicNames) -> Piece:
    wheeled = wheeled_robot(camera, robot)
    nodes = [
        GraphNode(
            "twist",
            "isaacsim.ros2.bridge.ROS2SubscribeTwist",
            {"topicName": topics.cmd_vel, "nodeNamespace": topics.namespace},
        ),
        GraphNode("linear", "omni.graph.nodes.BreakVector3"),
        GraphNode("angular", "omni.graph.nodes.BreakVector3"),
        GraphNode(
            "drive",
            "isaacsim.robot.wheeled_robots.DifferentialController",
            {
                "wheelRadius": wheeled.wheels[0].radius_m,
                "wheelDistance": wheeled.wheel_separation_m,
                "maxLinearSpeed": robot.max_linear_mps,
                "maxAngularSpeed": robot.max_angular_rps,
                "maxAcceleration": MAX_LINEAR_ACCEL_MPS2,
                "maxDeceleration": MAX_LINEAR_ACCEL_MPS2,
                "maxAngularAcceleration": MAX_ANGULAR_ACCEL_RPS2,
                "dt": 1.0 / TICK_HZ,
            },
        ),
        GraphNode(
            "joints",
            "isaacsim.core.nodes.IsaacArticulationController",
            {"jointNames": [joint_name(wheel) for wheel in wheeled.wheels]},
            {"targetPrim": ROBOT},
        ),
    ]
    return nodes, [
        *(("tick.outputs:tick", f"{name}.inputs:execIn") for name in ("twist", "drive", "joints")),
        ("twist.outputs:linearVelocity", "linear.inputs:tuple"),
        ("twist.outputs:angularVelocity", "angular.inputs:tuple"),
        ("linear.outputs:x", "drive.inputs:linearVelocity"),
        ("angular.outputs:z", "drive.inputs:angularVelocity"),
        ("drive.outputs:velocityCommand", "joints.inputs:velocityCommand"),
    ]


def _odometry(topics: TopicNames) -> Piece:
    nodes = [
        GraphNode("measured", "isaacsim.core.nodes.IsaacComputeOdometry", targets={"chassisPrim": BASE}),
        GraphNode(
            "odometry",
            "isaacsim.ros2.bridge.ROS2PublishOdometry",
            {
                "topicName": topics.odom,
                "nodeNamespace": topics.namespace,
                "odomFrameId": ODOMETRY_FRAME,
                "chassisFrameId": BASE_FRAME,
            },
        ),
        GraphNode(
            "tf",
            "isaacsim.ros2.bridge.ROS2PublishRawTransformTree",
            {"topicName": "/tf", "parentFrameId": ODOMETRY_FRAME, "childFrameId": BASE_FRAME},
        ),
    ]
    same = ("position", "orientation", "linearVelocity", "angularVelocity")
    return nodes, [
        ("tick.outputs:tick", "measured.inputs:execIn"),
        *((("measured.outputs:execOut"), f"{name}.inputs:execIn") for name in ("odometry", "tf")),
        *(("time.outputs:simulationTime", f"{name}.inputs:timeStamp") for name in ("odometry", "tf")),
        *((f"measured.outputs:{port}", f"odometry.inputs:{port}") for port in same),
        ("measured.outputs:position", "tf.inputs:translation"),
        ("measured.outputs:orientation", "tf.inputs:rotation"),
    ]


def _camera(camera: CameraConfig, topics: TopicNames) -> Piece:
    skipped = round(TICK_HZ / IMAGE_RATE_HZ) - 1
    common: dict[str, Value] = {
        "nodeNamespace": topics.namespace,
        "frameId": CAMERA_FRAME,
        "frameSkipCount": skipped,
        "resetSimulationTimeOnStop": False,
    }
    folder = topics.image.rpartition("/")[0]
    nodes = [
        GraphNode(
            "camera_product",
            "isaacsim.core.nodes.IsaacCreateRenderProduct",
            {"width": camera.width_px, "height": camera.height_px},
            {"cameraPrim": CAMERA},
        ),
        GraphNode(
            "images",
            "isaacsim.ros2.bridge.ROS2CameraHelper",
            {"topicName": topics.image, "type": "rgb", **common},
        ),
        GraphNode(
            "intrinsics",
            "isaacsim.ros2.bridge.ROS2CameraInfoHelper",
            {"topicName": f"{folder}/camera_info" if folder else "camera_info", **common},
        ),
    ]
    return nodes, _rendered("camera_product", "images", "intrinsics")


def _laser(topics: TopicNames) -> Piece:
    nodes = [
        GraphNode(
            "laser_product",
            "isaacsim.core.nodes.IsaacCreateRenderProduct",
            {"width": 1, "height": 1},
            {"cameraPrim": LASER},
        ),
        GraphNode(
            "scan",
            "isaacsim.ros2.bridge.ROS2RtxLidarHelper",
            {
                "topicName": "scan",
                "nodeNamespace": topics.namespace,
                "type": "laser_scan",
                "frameId": SCAN_FRAME,
                "fullScan": True,
                "resetSimulationTimeOnStop": False,
            },
        ),
    ]
    return nodes, _rendered("laser_product", "scan")


def _rendered(product: str, *helpers: str) -> list[tuple[str, str]]:
    """Connect a render product to what publishes it."""
    return [
        ("tick.outputs:tick", f"{product}.inputs:execIn"),
        *((f"{product}.outputs:execOut", f"{helper}.inputs:execIn") for helper in helpers),
        *((f"{product}.outputs:renderProductPath", f"{helper}.inputs:renderProductPath") for helper in helpers),
    ]
