"""How messages travel between processes: Fast DDS's profiles, and who must not share memory with others."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from vila_ros.common.resources import share_file

PROFILE = "config/fastdds.xml"
_BY_UDP, _BY_UDP_HERE = "config/fastdds_udp.xml", "config/fastdds_udp_localhost.xml"
_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
FAST_DDS_2 = ("humble", "iron", "jazzy")  # they know the variable by its older name alone; 3 warns of that
_CHOSEN = ("FASTDDS_BUILTIN_TRANSPORTS", "ROS_STATIC_PEERS")
_RANGE, _ONLY_HERE = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY"


def profile_variable(environment: Mapping[str, str]) -> str:
    """Return the name of the variable that tells Fast DDS of its profile's file."""
    return _VARIABLES[environment.get("ROS_DISTRO") in FAST_DDS_2]


def leave_shared_memory(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have Fast DDS send and receive by UDP alone in this process; to be called before rclpy.init.

    Who writes to a process through shared memory is held up for a second and more if that one was stopped, or killed,
    as it read. A profile or transports of the user's own stay, and so does discovery by static peers.
    """
    by_user = [name for name in _CHOSEN if environment.get(name)]
    if by_user or not all(_is_ours(environment[name]) for name in _VARIABLES if environment.get(name)):
        return
    is_for_here = environment.get(_RANGE) == "LOCALHOST" or environment.get(_ONLY_HERE) == "1"
    environment[profile_variable(environment)] = str(share_file(_BY_UDP_HERE if is_for_here else _BY_UDP).resolve())
    if not is_for_here:
        return
    if environment.get(_RANGE):
        environment[_RANGE] = "SYSTEM_DEFAULT"  # the profile says it: LOCALHOST would bring shared memory back
    if environment.get(_ONLY_HERE):
        environment[_ONLY_HERE] = "0"


def _is_ours(profile: str) -> bool:
    """Whether a profile's file is the package's, wherever it is installed."""
    return (Path(profile).parent / Path(_BY_UDP).name).exists()
