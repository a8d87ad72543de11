"""How messages travel between processes: Fast DDS's profiles, and who must not share memory with others."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from vila_ros.common.resources import share_file

PROFILE = "config/fastdds.xml"
_BY_UDP, _BY_UDP_HERE = "config/fastdds_udp.xml", "config/fastdds_udp_localhost.xml"
_OURS = (PROFILE, _BY_UDP, _BY_UDP_HERE)
_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
FAST_DDS_2 = ("humble", "iron", "jazzy")  # they know the variable by its older name alone; 3 warns of that
_CHOSEN = ("FASTDDS_BUILTIN_TRANSPORTS", "ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER", "ROS2_EASY_MODE")
_FAST_DDS = "rmw_fastrtps"
_RANGE, _ONLY_HERE = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"


def profile_variable(environment: Mapping[str, str]) -> str:
    """Return the name of the variable that tells Fast DDS of its profile's file."""
    return _VARIABLES[environment.get("ROS_DISTRO") in FAST_DDS_2]


def uses_fast_dds(environment: Mapping[str, str]) -> bool:
    """Return True if messages go by Fast DDS, as they do where nothing else is asked for."""
    return environment.get("RMW_IMPLEMENTATION", _FAST_DDS).startswith(_FAST_DDS)


def leave_shared_memory(environment: MutableMapping[str, str] = os.environ) -> str:
    """Have Fast DDS send and receive by UDP alone in this process; to be called before rclpy.init.

    Who writes to a process through shared memory is held up for a second and more if that one was stopped, or killed,
    as it read. A profile or transports of the user's own stay, and so does discovery by peers or a server; returns what
    stays then, for the log, else "". Of another middleware than Fast DDS nothing is known, and nothing changed.
    """
    if not uses_fast_dds(environment):
        return ""
    variable = profile_variable(environment)
    by_user = [name for name in _CHOSEN if environment.get(name)]
    if environment.get(variable) and not _is_ours(Path(environment[variable])):
        by_user.append(variable)
    if by_user:
        return f"it may share memory with others, as {' and '.join(by_user)} say: one of them that hangs can hold it up"
    is_for_here = environment.get(_RANGE) == "LOCALHOST" or environment.get(_ONLY_HERE) == "1"
    environment[variable] = str(share_file(_BY_UDP_HERE if is_for_here else _BY_UDP).resolve())
    if is_for_here and environment.get(_RANGE):
        environment[_RANGE] = "SYSTEM_DEFAULT"  # the profile says it: LOCALHOST would bring shared memory back
    if is_for_here and environment.get(_ONLY_HERE):
        environment[_ONLY_HERE] = "0"
    return ""


def _is_ours(profile: Path) -> bool:
    """Whether a profile's file is one of the package's, wherever it is installed, as it came."""
    names = [each for each in _OURS if Path(each).name == profile.name]
    return bool(names) and profile.is_file() and profile.read_bytes() == share_file(names[0]).read_bytes()
