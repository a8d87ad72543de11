"""What differs between the versions of Gazebo: its command, the names of its plugins and of its messages."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GazeboVersion:
    """Names in a version of Gazebo."""

    name: str
    command: tuple[str, ...]  # that runs a world
    plugin_prefix: str  # of the file names of systems
    systems: str  # the namespace of their classes
    messages: str  # the package of message types, as ros_gz_bridge calls them
    frame_element: str  # of a sensor, with the frame_id of its messages

    def plugin(self, kind: str, system: str) -> tuple[str, str]:
        """Return the file name and the class of a system, such as ("diff-drive", "DiffDrive")."""
        return f"{self.plugin_prefix}-{kind}-system", f"{self.systems}::{system}"

    def message(self, kind: str) -> str:
        """Return the full name of a message type, such as "Twist"."""
        return f"{self.messages}.{kind}"


def _since_garden(name: str) -> GazeboVersion:
    return GazeboVersion(name, ("gz", "sim"), "gz-sim", "gz::sim::systems", "gz.msgs", "gz_frame_id")


VERSIONS: dict[str, GazeboVersion] = {
    "fortress": GazeboVersion(
        "fortress",
        ("ign", "gazebo"),
        "ignition-gazebo",
        "ignition::gazebo::systems",
        "ignition.msgs",
        "ignition_frame_id",
    ),
    **{name: _since_garden(name) for name in ("harmonic", "ionic", "jetty")},
}
BY_ROS = {"humble": "fortress", "jazzy": "harmonic", "kilted": "ionic", "lyrical": "jetty"}  # that belong together
DEFAULT = "harmonic"


def gazebo_version(name: str) -> GazeboVersion:
    """Return the version of that name. Raises ConfigError for one that is not known."""
    if name not in VERSIONS:
        raise ConfigError(f"unknown version of Gazebo {name!r}; known: {', '.join(VERSIONS)}")
    return VERSIONS[name]
