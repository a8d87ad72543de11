"""Who must not hang on others speaks by UDP alone."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from vila_ros.common.transports import leave_shared_memory

CONFIG = Path(__file__).resolve().parents[2] / "config"
OURS = {"FASTDDS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds.xml")}
OF_JAZZY = {"ROS_DISTRO": "jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds.xml")}


def left(environment: dict[str, str]) -> dict[str, str]:
    """The environment without shared memory."""
    environment = dict(environment)
    leave_shared_memory(environment)
    return environment


@pytest.mark.parametrize("given", [{}, OURS, {**OURS, "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}])
def test_found_from_other_machines(given):
    assert left(given) == given | {"FASTDDS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds_udp.xml")}


@pytest.mark.parametrize(
    ("given", "instead"),
    [
        ({**OURS, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"}),
        (
            {**OF_JAZZY, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SYSTEM_DEFAULT"},
        ),
        ({**OF_JAZZY, "ROS_DISTRO": "humble", "ROS_LOCALHOST_ONLY": "1"}, {"ROS_LOCALHOST_ONLY": "0"}),
    ],
)
def test_found_on_this_machine_alone(given, instead):
    """ROS's own way to say so adds a transport of shared memory, whatever a profile says."""
    told = left(given)
    name = next(name for name in given if name.endswith("_DEFAULT_PROFILES_FILE"))
    assert told == given | instead | {name: str(CONFIG / "fastdds_udp_localhost.xml")}


@pytest.mark.parametrize(
    "given",
    [
        {"FASTDDS_DEFAULT_PROFILES_FILE": "/etc/ros/discovery.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
        {**OURS, "ROS_STATIC_PEERS": "192.168.1.7"},
        {**OURS, "ROS_DISCOVERY_SERVER": "192.168.1.7:11811"},
    ],
)
def test_what_the_user_has_chosen_stays_and_is_told(given):
    environment = dict(given)
    told = leave_shared_memory(environment)
    assert environment == given and list(given)[-1] in told


def test_an_edited_copy_of_our_profile_is_the_users(tmp_path):
    copy = tmp_path / "fastdds.xml"
    copy.write_bytes((CONFIG / "fastdds.xml").read_bytes())
    given = {"FASTDDS_DEFAULT_PROFILES_FILE": str(copy)}
    assert left(given) != given
    copy.write_text(copy.read_text().replace("</", "<!-- mine --></", 1))
    assert left(given) == given


def test_a_variable_that_this_distribution_does_not_read_says_nothing():
    stale = {"FASTRTPS_DEFAULT_PROFILES_FILE": "/etc/ros/discovery.xml"}
    assert left({**OURS, **stale})["FASTDDS_DEFAULT_PROFILES_FILE"] == str(CONFIG / "fastdds_udp.xml")


def test_another_middleware_is_left_alone():
    given = {**OURS, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    assert left(given) == given and leave_shared_memory(given) == ""
    assert left({**given, "RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"}) != given


@pytest.mark.parametrize("name", ["fastdds_udp.xml", "fastdds_udp_localhost.xml"])
def test_the_profiles_share_no_memory(name):
    root = ElementTree.parse(CONFIG / name).getroot()
    text = {element.tag.split("}")[-1]: (element.text or "").strip() for element in root.iter()}
    assert text["useBuiltinTransports"] == "false"
    assert {element.text for element in root.iter() if element.tag.endswith("}type")} == {"UDPv4"}
    assert text.get("address") == ("127.0.0.1" if "localhost" in name else None)
