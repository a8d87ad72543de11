"""The nodes of a robot as its recipe has them: what navigation.launch.py starts, for machines without `ros2 launch`."""

from __future__ import annotations

from collections.abc import Mapping

from vila_ros.common.recipes import GENERIC, NODES, RobotRecipe, load_recipe
from vila_ros.common.resources import share_file
from vila_tools.session.processes import NodeSpec


def robot_recipe(robot: str = GENERIC, *, blind: bool = False) -> RobotRecipe:
    """Read the recipe of a robot, by its name or by the path of a file. Raises ConfigError as load_recipe does."""
    return load_recipe(robot, share_file(f"config/robots/{GENERIC}.yaml").parent, blind=blind)


def robot_specs(
    recipe: RobotRecipe,
    parameters: Mapping[str, Mapping[str, object]],
    *,
    modules: Mapping[str, str],
    topics: Mapping[str, str],
) -> dict[str, NodeSpec]:
    """Return the robot's nodes by name.

    parameters: by node, they count more than the recipe's. modules: what runs in a node's place. topics: from our
    names to others, which count more than the recipe's.
    """
    return {
        name: NodeSpec(
            name,
            modules.get(name, f"vila_ros.{name}.node"),
            recipe.path,
            parameters.get(name, {}),
            recipe.remaps(name) | dict(topics),
        )
        for name in NODES
    }
