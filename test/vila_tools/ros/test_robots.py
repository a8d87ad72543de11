"""`vila robots`: what there is, and whether a recipe of one's own is right."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from vila_core.errors import ConfigError
from vila_ros.common.parameters import ALWAYS_KNOWN
from vila_ros.common.recipes import known_robots
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.cameras.camera_config import CAMERAS
from vila_ros.navigator.node import NavigatorNode
from vila_ros.page.node import PageNode
from vila_ros.recorder.node import RecorderNode
from vila_ros.voice.node import VoiceNode
from vila_ros.watchdog.node import WatchdogNode
from vila_tools.robots.check import KINDS
from vila_tools.robots.run import main
from vila_tools.session.robot import robot_recipe

FOLDER = robot_recipe().path.parent
GENERIC = FOLDER / "generic.yaml"


def test_all_are_listed_with_those_that_are_blind(capsys) -> None:
    assert main([]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    robots = {robot["name"]: robot for robot in json.loads(last)["robots"]}
    assert tuple(robots) == known_robots(FOLDER) == tuple(line.split()[0] for line in lines)
    assert [line.split()[0] for line in lines if "BLIND" in line] == ["create3", "hoverboard"]
    assert robots["go2"]["camera_hfov_deg"] == 89.0 and "camera_height_m" not in robots["generic"]


def test_one_is_told_beside_what_the_model_was_trained_with(capsys) -> None:
    assert main([str(GENERIC)]) == 0
    out = capsys.readouterr().out
    assert f"robot:={GENERIC}" in out and "camera_hfov_deg not known; the model was trained with 90" in out


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (
            "limits.max_linear_mps",
            "limits.max_linear_mp",
            "governor limits: unknown key.*did you mean 'max_linear_mps'",
        ),
        ("velocity_type: auto", "velocity_type: twist", "velocity_type = 'twist': must be one of"),
        ("obstacles.sources: scan", "obstacle.sources: scan", "unknown parameter 'obstacle.sources'"),
        ("limits.max_angular_rps: 0.5", "limits.max_angular_rps: 1", r"max_angular_rps = 1: write 1\.0"),
        ("obstacles.required: true", "obstacles.required: maybe", "required = 'maybe': expected bool"),
    ],
)
def test_what_a_node_would_refuse_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    text = GENERIC.read_text()
    assert old in text
    (tmp_path / "own.yaml").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=match):
        main([str(tmp_path / "own.yaml")])


@pytest.mark.parametrize("name", KINDS)
def test_it_knows_the_parameters_that_the_nodes_declare(name: str, ros) -> None:
    makers = {
        "controller": ControllerNode,
        "governor": GovernorNode,
        "navigator": NavigatorNode,
        "watchdog": WatchdogNode,
        "page": PageNode,
        "recorder": RecorderNode,
        "voice": VoiceNode,
    }
    node = makers[name]()
    declared = {key for key in node._parameters if key.split(".")[0] not in ALWAYS_KNOWN}
    node.destroy_node()
    kinds = KINDS[name].items()
    assert declared - {CAMERAS} == {
        f"{prefix}.{f.name}".lstrip(".") for prefix, kind in kinds for f in dataclasses.fields(kind)
    }
