"""What the launch files of a robot share: whose topics, which network, how a node is started. Only they import it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, LogInfo, SetEnvironmentVariable, SetLaunchConfiguration
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vila_ros.common.recipes import GENERIC, TOPICS, load_recipe
from vila_ros.common.transports import PROFILE, profile_variable

SHARE = Path(get_package_share_directory("vila_nav"))
Argument = tuple[str, Any, str]  # name, default, what it is

GRAPH_ARGUMENTS: tuple[Argument, ...] = (
    ("log_level", "info", "debug, info, warn or error"),
    ("discovery", "LOCALHOST", "who finds the nodes: LOCALHOST, this machine; SUBNET, the network; OFF"),
    ("domain_id", EnvironmentVariable("ROS_DOMAIN_ID", default_value="0"), "ROS domain; on a network one a robot"),
    ("security", EnvironmentVariable("ROS_SECURITY_ENABLE", default_value="false"), "only nodes with keys of SROS2"),
    ("use_respawn", "true", "start a node again that has ended"),
)
RUN_ARGUMENTS: tuple[Argument, ...] = (
    ("autostart", "true", "bring the navigator up; false leaves that to a lifecycle manager"),
    ("page", "false", "serve the page, a view of the robot for browsers, on this machine"),
    ("page_port", "8088", "port of the page"),
    ("voice", "false", "hear spoken instructions and stop, and speak, by this machine's sound card"),
    ("record", "false", "true: keep what was seen, decided and done, in bags in ~/.ros/vila_nav"),
)
ROBOT_ARGUMENTS: tuple[Argument, ...] = (
    ("namespace", "", "namespace of the nodes"),
    ("use_sim_time", "false", "take the time from /clock"),
    ("robot", GENERIC, "a recipe of config/robots by its name, or the path of your own"),
    ("params_file", "", "more parameters of the nodes, which count more than the recipe's"),
    *GRAPH_ARGUMENTS,
    ("output", "velocity", "who drives: velocity, our controller; goal_pose, who follows that topic; nav2, Nav2"),
    *((name, "", f"the robot's topic of {topic.kind}; empty: as its recipe says") for name, topic in TOPICS.items()),
    ("cmd_vel_out", "", "what reaches the base, if something below cmd_vel changes that; empty: cmd_vel"),
    ("cmd_vel_nav", "", "from our controller to the governor; empty: cmd_vel_nav where our controller drives"),
)
WIDTH = "image_hfov_deg"
YES_OR_NO = ["true", "false"]
CHOICES = {
    "discovery": ["LOCALHOST", "SUBNET", "OFF"],
    "security": YES_OR_NO,
    "blind": YES_OR_NO,
    "record": YES_OR_NO,
    "page": YES_OR_NO,
    "voice": YES_OR_NO,
    "output": ["velocity", "goal_pose", "nav2"],
    "image_transport": ["raw", "compressed", "auto"],
}  # others open the door
_NOT_OURS = {"cmd_vel": "cmd_vel_governor", "cmd_vel_nav": "cmd_vel_controller"}  # where Nav2 uses those names
TF = (("/tf", "tf"), ("/tf_static", "tf_static"))  # robots in namespaces have frames of the same names


def declared(arguments: Sequence[Argument], choices: Mapping[str, Sequence[str]]) -> list[DeclareLaunchArgument]:
    """Declare the arguments; choices: the values that one of them may have."""
    return [DeclareLaunchArgument(n, default_value=v, description=d, choices=choices.get(n)) for n, v, d in arguments]


def choose_robot(context: Any, *, drives: bool = True) -> list[SetLaunchConfiguration | LogInfo]:
    """Read the robot's recipe, and set what no argument says.

    drives: it is asked then whether a robot without a sensor for obstacles may, and how wide the camera sees.
    """
    names = ("robot", "params_file", "output", "cmd_vel_out", "cmd_vel_nav", *TOPICS)
    given = {name: LaunchConfiguration(name).perform(context) for name in names}
    more = Path(given["params_file"]) if given["params_file"] else None
    blind = not drives or LaunchConfiguration("blind").perform(context) == "true"
    namespace = LaunchConfiguration("namespace").perform(context)
    recipe = load_recipe(given["robot"], SHARE / "config" / "robots", blind=blind, more=more, namespace=namespace)
    chosen = {"robot_file": str(recipe.path), "params_file": str(more or recipe.path)}
    topics = {"cmd_vel_nav": "cmd_vel_nav"} | {name: recipe.topic(name) for name in TOPICS}
    topics |= {} if given["output"] == "velocity" else _NOT_OURS
    chosen |= {name: given[name] or topic for name, topic in topics.items()}
    chosen["cmd_vel_out"] = given["cmd_vel_out"] or chosen["cmd_vel"]
    told = []
    if drives and not LaunchConfiguration(WIDTH).perform(context):
        width_deg = recipe.image_hfov_deg(chosen["image"])
        chosen[WIDTH] = f"{width_deg:g}"
        if math.isnan(width_deg):
            told.append(LogInfo(msg=f"how wide {chosen['image']} sees is not known; give {WIDTH}:= (docs/cameras.md)"))
    return [*(SetLaunchConfiguration(name, value) for name, value in chosen.items()), *told]


def network() -> list[SetEnvironmentVariable]:
    """Limit who may find the nodes, and who may speak to them; set how messages travel, if the user has not."""
    profile = profile_variable(os.environ)
    travel = [SetEnvironmentVariable(profile, str((SHARE / PROFILE).resolve()))]  # it follows no link
    on_this_machine = PythonExpression(["int('", LaunchConfiguration("discovery"), "' != 'SUBNET')"])
    discovery = ("ROS_AUTOMATIC_DISCOVERY_RANGE", LaunchConfiguration("discovery"))
    if os.environ.get("ROS_DISTRO") == "humble":
        discovery = ("ROS_LOCALHOST_ONLY", on_this_machine)
    return [
        *([] if os.environ.get(profile) else travel),
        SetEnvironmentVariable(*discovery),
        SetEnvironmentVariable("ROS_DOMAIN_ID", LaunchConfiguration("domain_id")),
        SetEnvironmentVariable("ROS_SECURITY_ENABLE", LaunchConfiguration("security")),
        SetEnvironmentVariable("ROS_SECURITY_STRATEGY", "Enforce"),  # a node without keys does not start
    ]


def robot_node(name: str, condition: IfCondition | None = None, **parameters: ParameterValue) -> Node:
    """Start a node of the package with the recipe's parameters and topics, then those that were given."""
    used = {topic.name: argument for argument, topic in TOPICS.items() if name in topic.nodes}
    if name in ("controller", "governor", "recorder"):
        used["cmd_vel_nav"] = "cmd_vel_nav"
    if name in ("controller", "recorder"):
        used["cmd_vel"] = "cmd_vel_out"  # they hear what reaches the base
    return Node(
        package="vila_nav",
        executable=f"{name}_node",
        name=name,
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        respawn=LaunchConfiguration("use_respawn"),
        respawn_delay=2.0,
        parameters=[
            LaunchConfiguration("robot_file"),
            LaunchConfiguration("params_file"),
            {"use_sim_time": flag("use_sim_time")} | parameters,
        ],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level"), "--enclave", f"/vila_nav/{name}"],
        remappings=[*((topic, LaunchConfiguration(argument)) for topic, argument in used.items()), *TF],
        condition=condition,
    )


def flag(name: str) -> ParameterValue:
    """Return an argument that is true or false, as a parameter."""
    return ParameterValue(LaunchConfiguration(name), value_type=bool)


def number(name: str) -> ParameterValue:
    """Return an argument that is a whole number, as a parameter."""
    return ParameterValue(LaunchConfiguration(name), value_type=int)


def decimal(name: str) -> ParameterValue:
    """Return an argument that is a number, nan as well, as a parameter."""
    return ParameterValue(LaunchConfiguration(name), value_type=float)


def word(name: str) -> ParameterValue:
    """Return an argument that is a text, as a parameter."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)
