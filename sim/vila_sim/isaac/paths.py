"""Where things are in the stage, and what they are called: what the stage and the graph of ROS agree on."""

from __future__ import annotations

from vila_sim.robot import BASE_FRAME, Wheel

WORLD = "/World"
FLAT = f"{WORLD}/flat"
LOOKS = f"{WORLD}/looks"
LIGHTS = f"{WORLD}/lights"
ROBOT = f"{WORLD}/robot"
BASE = f"{ROBOT}/{BASE_FRAME}"
CAMERA = f"{BASE}/camera"
LASER = f"{BASE}/laser"
GRAPH = "/ros_graph"


def joint_name(wheel: Wheel) -> str:
    """Return the name of the joint that drives a wheel."""
    return f"{wheel.name}_joint"


def prim_name(name: str) -> str:
    """Return the prim's name of a solid, such as object_3_0 for object:3:0."""
    return name.replace(":", "_")
