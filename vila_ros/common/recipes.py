"""Recipes of robots: one parameter file a robot, which also says what its drivers call their topics.

A recipe stays a parameter file as ROS reads them. What is no parameter of ours stands in it as parameters of a node
called `robot`, which nobody starts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vila_core.config import from_mapping
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.errors import ConfigError
from vila_core.files.reading import is_file
from vila_core.files.yaml_file import read_yaml

GENERIC = "generic"
BLIND_MPS = 0.2  # top speed of a robot without a sensor for obstacles
NODES = ("controller", "governor", "navigator", "watchdog")
MORE_NODES = ("page", "recorder", "voice")  # that are started only if they are asked for
_WIDTH = "image_hfov_deg"
_ANYWHERE, _ROBOT, _PARAMETERS, _TOPICS = "/**", "robot", "ros__parameters", "topics"
_NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that a recipe may name.

    name: what our nodes call it. kind: its message; Twist stands for TwistStamped too, as `velocity_type` says.
    """

    name: str
    kind: str
    nodes: tuple[str, ...] = ("governor",)


TOPICS = {  # by their names in recipes, which are those of the launch file's arguments
    "image": Topic("image_raw", "sensor_msgs/msg/Image", ("navigator", "page", "recorder")),
    "odom": Topic("odom", "nav_msgs/msg/Odometry", ("navigator", "controller", "page", "recorder")),
    "cmd_vel": Topic("cmd_vel", "geometry_msgs/msg/Twist", ("controller", "governor", "watchdog", "recorder")),
    "scan": Topic("scan", "sensor_msgs/msg/LaserScan", ("governor", "recorder")),
    "points": Topic("points", "sensor_msgs/msg/PointCloud2"),
    "depth": Topic("depth", "sensor_msgs/msg/Image"),
    "depth_info": Topic("depth/camera_info", "sensor_msgs/msg/CameraInfo"),
    "teleop": Topic("teleop/cmd_vel", "geometry_msgs/msg/Twist"),
    "joy": Topic("joy", "sensor_msgs/msg/Joy"),
    "emergency_stop": Topic("emergency_stop", "std_msgs/msg/Bool"),
}


@dataclass(frozen=True, slots=True)
class RobotDescription:
    """What is known of a robot besides the parameters of our nodes."""

    max_linear_mps: float  # what its driver obeys at most
    max_angular_rps: float  # what its driver obeys at most, turning
    camera_height_m: float = math.nan  # above the floor; NaN: not known
    camera_pitch_deg: float = math.nan  # downward; NaN: not known
    camera_hfov_deg: float = math.nan  # horizontal field of view; NaN: not known
    odometry: str = ""  # what it is measured by, and how far to trust it
    command_timeout_s: float = math.nan  # the base stops so long after its last command; 0: never; NaN: not known

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (low < value <= high or math.isnan(value)):
                raise ConfigError(f"{name} = {value!r}: must be above {low:g} and at most {high:g}")
        if not (0.0 <= self.command_timeout_s <= _MOST_TIMEOUT_S or math.isnan(self.command_timeout_s)):
            raise ConfigError(
                f"command_timeout_s = {self.command_timeout_s!r}: must be from 0, never, to {_MOST_TIMEOUT_S:g}"
            )


_MOST_TIMEOUT_S = 60.0
_RANGES = {
    "max_linear_mps": (0.0, 20.0),
    "max_angular_rps": (0.0, 20.0),
    "camera_height_m": (0.0, 10.0),
    "camera_pitch_deg": (-90.0, 90.0),
    "camera_hfov_deg": (0.0, 360.0),
}


@dataclass(frozen=True, slots=True)
class RobotRecipe:
    """A recipe that was read: a file to give to the nodes, and the topics to remap.

    topics: by the names in TOPICS, those alone that the recipe names. parameters: of each node, by their dotted names.
    further: the navigator's in a further file, which count more.
    """

    name: str
    path: Path
    description: RobotDescription
    topics: Mapping[str, str]
    parameters: Mapping[str, Mapping[str, Any]]
    further: Mapping[str, Any]
    is_blind: bool  # no sensor tells its obstacles

    def topic(self, name: str) -> str:
        """Return what the robot calls a topic of TOPICS; what our nodes call it if the recipe says nothing."""
        return self.topics.get(name, TOPICS[name].name)

    def remaps(self, node: str) -> dict[str, str]:
        """Return the remappings of a node, from its own name of a topic to the robot's."""
        return {TOPICS[name].name: topic for name, topic in self.topics.items() if node in TOPICS[name].nodes}

    def image_hfov_deg(self, image: str) -> float:
        """Return what the camera of a topic sees from left to right; NaN: not known. Raises ConfigError for no number.

        The recipe knows its own camera alone; what the further file says is of any.
        """
        told, is_own = self.further, image.lstrip("/") == self.topic("image").lstrip("/")
        if _WIDTH not in told and is_own:
            told = self.parameters.get("navigator", {})
        return _number(self.path, "navigator", told, _WIDTH, math.nan)


def known_robots(folder: Path) -> tuple[str, ...]:
    """Return the names of the recipes in a folder."""
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


def load_recipe(
    robot: str, folder: Path, *, blind: bool = False, more: Path | None = None, namespace: str = ""
) -> RobotRecipe:
    """Read the recipe of a robot, by its name in the folder or by the path of a file of your own.

    blind: whether a robot may drive that has no sensor for obstacles. more: parameters for the nodes that will count
    more than the recipe's; namespace: of the nodes, by which it may tell them from others. Raises ConfigError for an
    unknown name, a file that is no recipe, limits above what the base obeys, and for a robot without such a sensor,
    unless blind.
    """
    path = _find(robot, folder)
    sections = _sections(path)
    if _ROBOT not in sections:
        raise ConfigError(
            f"{path}: no section {_ROBOT!r} beside {', '.join(sections) or 'nothing'}; see docs/robots.md"
        )
    described, topics = _split(sections.pop(_ROBOT), path)
    try:
        description = from_mapping(RobotDescription, described)
    except ConfigError as err:
        raise ConfigError(f"{path}: {err}") from err
    governor, source, further = dict(sections.get("governor", {})), path, dict[str, Any]()
    if more is not None:
        source, told = Path(f"{path} with {more}"), read_yaml(more)
        governor |= _of_nodes(told, _is_a_governor)  # every one of them must be fit to drive
        further = _of_nodes(told, partial(_is_meant, f"/{namespace.strip('/')}/navigator".replace("//", "/")))
    _check_limits(source, description, governor)
    recipe = RobotRecipe(path.stem, path, description, topics, sections, further, not _sources(source, governor))
    if recipe.is_blind:
        _check_blind(recipe, governor, blind)
    return recipe


def _find(robot: str, folder: Path) -> Path:
    if "/" in robot or robot.endswith((".yaml", ".yml")):
        return Path(robot).expanduser().absolute()
    path = folder / f"{robot}.yaml"
    if robot and is_file(path):
        return path
    known = known_robots(folder)
    close = difflib.get_close_matches(robot, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigError(f"unknown robot {robot!r}; {hint}known: {', '.join(known)}; or give the path of your own file")


def _sections(path: Path) -> dict[str, dict[str, Any]]:
    """The parameters of each node, by their dotted names."""
    told = read_yaml(path)
    if not isinstance(told, dict) or list(told) != [_ANYWHERE] or not isinstance(told[_ANYWHERE], dict):
        raise ConfigError(f"{path}: must hold {_ANYWHERE!r} alone, and in it the nodes; see docs/robots.md")
    known = (_ROBOT, *NODES, *MORE_NODES)
    sections = {}
    for name, content in told[_ANYWHERE].items():
        if name not in known:
            raise ConfigError(f"{path}: unknown node {name!r}; known: {', '.join(known)}")
        if (
            not isinstance(content, dict)
            or list(content) != [_PARAMETERS]
            or not isinstance(content[_PARAMETERS], dict)
        ):
            raise ConfigError(f"{path}: {name} must hold {_PARAMETERS!r} alone, and in it its parameters")
        sections[name] = dict(_flat(content[_PARAMETERS]))
    return sections


def _of_nodes(content: Any, is_meant: Callable[[str], bool], name: str = "") -> dict[str, Any]:
    """The parameters that a file, as ROS knows them, has under the names that are meant."""
    found: dict[str, Any] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        if key != _PARAMETERS:
            found |= _of_nodes(value, is_meant, f"{name}/{key}")
        elif isinstance(value, dict) and is_meant(name):
            found |= dict(_flat(value))
    return found


def _is_a_governor(pattern: str) -> bool:
    """Whether a key of a parameter file is of a governor, whatever its namespace."""
    return pattern.rpartition("/")[2] in ("governor", "**", "*")


def _is_meant(node: str, pattern: str) -> bool:
    """Whether a key is of a node, by its full name: * stands for one part of that, ** for any number."""
    parts = {"*": "/[^/]+", "**": "(/[^/]+)*"}
    wanted = "".join(parts.get(part, f"/{re.escape(part)}") for part in pattern.split("/") if part)
    return re.fullmatch(wanted, node) is not None


def _flat(content: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The values with dotted names, as ROS names what is nested."""
    flat: list[tuple[str, Any]] = []
    for key, value in content.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return flat


def _split(parameters: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The description and the topics."""
    described, topics = {}, {}
    for key, value in parameters.items():
        if not key.startswith(f"{_TOPICS}."):
            described[key] = value
            continue
        name = key.removeprefix(f"{_TOPICS}.")
        if name not in TOPICS:
            close = difflib.get_close_matches(name, TOPICS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(TOPICS)}"
            raise ConfigError(f"{path}: unknown topic {name!r}; {hint}")
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ConfigError(f"{path}: {key} = {value!r}: must be a topic's name, such as /camera/image_raw")
        topics[name] = value
    return described, topics


def _check_limits(path: Path, description: RobotDescription, governor: Mapping[str, Any]) -> None:
    for name in ("max_linear_mps", "max_angular_rps"):
        limit, most = _limit(path, governor, name), getattr(description, name)
        if limit > most:
            raise ConfigError(
                f"{path}: governor limits.{name} = {limit:g}, but the robot obeys {most:g} at most; set it lower"
            )


def _check_blind(recipe: RobotRecipe, governor: Mapping[str, Any], blind: bool) -> None:
    if not blind:
        raise ConfigError(
            f"robot {recipe.name!r} has no sensor for obstacles (obstacles.sources is empty): it would drive into"
            " whatever is in its way. Give it a laser or a depth camera (docs/robots.md); or, with a hand on the stop"
            " button, say that you want this: blind:=true"
        )
    limit = _limit(recipe.path, governor, "max_linear_mps")
    if limit > BLIND_MPS:
        raise ConfigError(
            f"{recipe.path}: governor limits.max_linear_mps = {limit:g}:"
            f" without a sensor for obstacles it must be {BLIND_MPS:g} at most"
        )


def _limit(path: Path, governor: Mapping[str, Any], name: str) -> float:
    return _number(path, "governor", governor, f"limits.{name}", getattr(GovernorConfig(), name))


def _number(path: Path, node: str, parameters: Mapping[str, Any], name: str, default: float) -> float:
    value = parameters.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{path}: {node} {name} = {value!r}: must be a number")
    return float(value)


def _sources(path: Path, governor: Mapping[str, Any]) -> str:
    value = governor.get("obstacles.sources", ObstacleConfig().sources)
    if not isinstance(value, str):
        raise ConfigError(f"{path}: governor obstacles.sources = {value!r}: must be a text")
    return value.strip()
