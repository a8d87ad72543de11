"""Whether the nodes would take the parameters of a recipe, without starting them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vila_core.config import ControlConfig, StrainConfig, from_mapping
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.errors import ConfigError
from vila_core.fields import field_rules
from vila_ros.common.parameters import ALWAYS_KNOWN
from vila_ros.common.recipes import RobotRecipe
from vila_ros.controller.node import ControllerNodeConfig
from vila_ros.governor.config import GovernorNodeConfig
from vila_ros.navigator.cameras.camera_config import CAMERAS
from vila_ros.navigator.config import STAGES, NavigatorNodeConfig
from vila_ros.page.config import PageConfig
from vila_ros.recorder.node import RecorderConfig
from vila_ros.voice.config import VoiceConfig
from vila_ros.watchdog.node import WatchdogConfig

KINDS: dict[str, dict[str, type]] = {  # of each node's parameters, by their prefix
    "controller": {"": ControllerNodeConfig, "control": ControlConfig},
    "governor": {
        "": GovernorNodeConfig,
        "limits": GovernorConfig,
        "obstacles": ObstacleConfig,
        "machine": StrainConfig,
    },
    "navigator": {"": NavigatorNodeConfig} | STAGES,
    "page": {"": PageConfig},
    "recorder": {"": RecorderConfig},
    "voice": {"": VoiceConfig},
    "watchdog": {"": WatchdogConfig},
}


def check_parameters(recipe: RobotRecipe) -> None:
    """Raise ConfigError for a parameter that a node does not have, or a value that it would refuse."""
    for node, parameters in recipe.parameters.items():
        kinds = KINDS[node]
        given: dict[str, dict[str, Any]] = {prefix: {} for prefix in kinds}
        for key, value in parameters.items():
            if key.split(".")[0] in ALWAYS_KNOWN:
                continue
            prefix, _, name = key.rpartition(".")
            if node == "navigator" and (key == CAMERAS or prefix.startswith("camera.")):
                continue  # which it declares by the names that it reads
            if prefix not in kinds:
                raise ConfigError(f"{recipe.path}: {node}: unknown parameter {key!r}; see docs/reference.md")
            given[prefix][name] = value
        for prefix, values in given.items():
            _check(f"{recipe.path}: {node}{f' {prefix}' if prefix else ''}", kinds[prefix], values)


def _check(where: str, kind: type, values: Mapping[str, Any]) -> None:
    try:
        from_mapping(kind, values)
    except ConfigError as err:
        raise ConfigError(f"{where}: {err}") from err
    for name, value in values.items():
        if field_rules(kind)[name].type is float and type(value) is int:  # which ROS refuses
            raise ConfigError(f"{where}: {name} = {value}: write {value}.0, since ROS tells whole numbers apart")
