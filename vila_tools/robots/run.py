"""`vila robots [ROBOT]`: the robots that there are recipes of; of one, or of a file of yours, whether it is right."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from vila_ros.common.recipes import TOPICS, RobotRecipe, known_robots
from vila_tools.robots.check import check_parameters
from vila_tools.session.robot import robot_recipe

TRAINED = {"camera_height_m": 0.9, "camera_pitch_deg": 12.0, "camera_hfov_deg": 90.0}  # what the simulator has


def main(argv: Sequence[str] | None = None) -> int:
    """Print the recipes, or one of them; the last line on stdout is one JSON object."""
    parser = argparse.ArgumentParser(prog="vila robots", description=__doc__)
    parser.add_argument("robot", nargs="?", default="", help="a recipe's name, or the path of your own")
    robot = parser.parse_args(argv).robot
    folder = robot_recipe().path.parent
    recipes = [robot_recipe(name, blind=True) for name in ([robot] if robot else known_robots(folder))]
    for recipe in recipes:
        check_parameters(recipe)
        print("\n".join(_lines(recipe, robot) if robot else (_line(recipe),)))
    print(json.dumps({"robots": [recipe_facts(recipe) for recipe in recipes]}))
    return 0


def recipe_facts(recipe: RobotRecipe) -> dict[str, Any]:
    """Return what a recipe says of its robot, without what is not known."""
    told = {name: getattr(recipe.description, name) for name in recipe.description.__slots__}
    known = {name: value for name, value in told.items() if value == value and value != ""}
    return {"name": recipe.name, "blind": recipe.is_blind, "topics": dict(recipe.topics)} | known


def _line(recipe: RobotRecipe) -> str:
    return f"{recipe.name:12s} {recipe.description.odometry}{'; BLIND: no sensor for obstacles' * recipe.is_blind}"


def _lines(recipe: RobotRecipe, robot: str) -> Iterator[str]:
    description = recipe.description
    yield f"{recipe.path} is right: ros2 launch vila_nav navigation.launch.py robot:={robot}"
    if recipe.is_blind:
        yield "BLIND: no sensor for obstacles; launch insists on blind:=true"
    for name, topic in recipe.topics.items():
        yield f"{name:15s} {topic}  ({TOPICS[name].kind})"
    yield f"the base obeys {description.max_linear_mps:g} m/s, {description.max_angular_rps:g} rad/s at most"
    yield f"odometry: {description.odometry or 'not known'}"
    for name, trained in TRAINED.items():
        value = getattr(description, name)
        yield f"{name} {'not known' if math.isnan(value) else f'{value:g}'}; the model was trained with {trained:g}"
