"""Recipes of robots: each one loads, fits its robot, names its sources; wrong ones are refused with what to do."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from rclpy.parameter import Parameter

from vila_core.errors import ConfigError
from vila_ros.common.recipes import BLIND_MPS, MORE_NODES, NODES, TOPICS, known_robots, load_recipe
from vila_ros.controller.node import ControllerNode
from vila_ros.governor.node import GovernorNode
from vila_ros.navigator.node import NavigatorNode
from vila_ros.watchdog.node import WatchdogNode

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "config" / "robots"
ROBOTS = known_robots(FOLDER)
MAKERS = {"controller": ControllerNode, "governor": GovernorNode, "navigator": NavigatorNode, "watchdog": WatchdogNode}
# What the drivers publish, read there on 2026-11-29; (m/s, rad/s, m/s2), None: the driver has no such limit.
PUBLISHED = {
    "turtlebot4": (0.306, 1.9, 0.9),
    "create3": (0.306, 1.9, 0.9),
    "husky": (1.0, 1.0, 1.0),
    "jackal": (2.0, 4.0, 20.0),
    "go2": (3.0, 3.0, None),
    "spot": (1.0, 1.4, None),
    "hoverboard": (1.0, 1.0, 1.0),
}
PLAIN = {"create3", "go2", "spot", "hoverboard"}  # their drivers hear Twist in every distribution
BLIND = {"create3", "hoverboard"}


def parameters(robot: str, node: str) -> dict[str, object]:
    return yaml.safe_load((FOLDER / f"{robot}.yaml").read_text())["/**"].get(node, {}).get("ros__parameters", {})


def wrong(tmp_path: Path, old: str, new: str, robot: str = "jackal") -> str:
    """A recipe that differs from a right one."""
    text = (FOLDER / f"{robot}.yaml").read_text()
    assert old in text
    (tmp_path / "own.yaml").write_text(text.replace(old, new))
    return str(tmp_path / "own.yaml")


def test_these_are_there() -> None:
    assert set(ROBOTS) == {"generic", *PUBLISHED}


@pytest.mark.parametrize("robot", ROBOTS)
class TestRecipe:
    def test_it_loads_with_what_every_robot_needs(self, robot: str) -> None:
        recipe = load_recipe(robot, FOLDER, blind=True)
        assert recipe.path == FOLDER / f"{robot}.yaml" and recipe.is_blind == (robot in BLIND)
        assert {"image", "odom", "cmd_vel"} <= set(recipe.topics) <= set(TOPICS)
        assert recipe.description.odometry

    def test_its_nodes_take_its_parameters(self, robot: str, ros: None) -> None:
        for node in NODES:
            given = {key: value for key, value in parameters(robot, node).items() if key != "use_sim_time"}
            MAKERS[node]([Parameter(key, value=value) for key, value in given.items()]).destroy_node()

    def test_all_nodes_agree_on_velocities(self, robot: str) -> None:
        types = {parameters(robot, node)["velocity_type"] for node in ("controller", "governor", "watchdog")}
        assert types == {"plain" if robot in PLAIN else "auto"}
        twists = {parameters(robot, node).get("odometry_twist", "body") for node in ("controller", "navigator")}
        assert len(twists) == 1

    def test_the_navigator_knows_how_wide_the_camera_sees(self, robot: str) -> None:
        known = load_recipe(robot, FOLDER, blind=True).description.camera_hfov_deg
        told = parameters(robot, "navigator").get("image_hfov_deg", math.nan)
        assert known == told or (math.isnan(known) and math.isnan(told))

    def test_the_controller_wants_no_more_than_passes(self, robot: str) -> None:
        wanted, passed = parameters(robot, "controller"), parameters(robot, "governor")
        for name in ("linear_mps", "angular_rps"):
            assert wanted[f"control.max_{name}"] == passed[f"limits.max_{name}"]
        for name in ("linear_accel_mps2", "angular_accel_rps2"):
            assert wanted.get(f"control.max_{name}") == passed.get(f"limits.max_{name}")

    def test_obstacles_are_measured_or_launch_must_insist(self, robot: str) -> None:
        governor = parameters(robot, "governor")
        if robot in BLIND:
            assert governor["obstacles.required"] is False and governor["limits.max_linear_mps"] <= BLIND_MPS
            return
        assert governor["obstacles.required"] is True
        topics = load_recipe(robot, FOLDER).topics
        needed = {"scan": {"scan"}, "cloud": {"points"}, "depth": {"depth", "depth_info"}}
        for source in governor["obstacles.sources"].split(","):
            assert needed[source.strip()] <= set(topics)

    def test_it_says_where_it_is_from_and_that_it_was_not_run(self, robot: str) -> None:
        head = (FOLDER / f"{robot}.yaml").read_text().split("/**:")[0]
        text = " ".join(line.removeprefix("#").strip() for line in head.splitlines())
        if robot != "generic":
            assert "Not run on the robot" in text and "Sources:" in text and "Know before you drive:" in text
            assert re.search(r"https://github\.com/[\w-]+/[\w-]+", text)
        if robot in BLIND:
            assert "NOTHING SEES OBSTACLES" in text
        assert f"\n| `{robot}` |" in (ROOT / "docs" / "robots.md").read_text()


@pytest.mark.parametrize("robot", PUBLISHED)
def test_limits_are_at_or_below_what_the_driver_publishes(robot: str) -> None:
    linear, angular, acceleration = PUBLISHED[robot]
    description = load_recipe(robot, FOLDER, blind=True).description
    assert (description.max_linear_mps, description.max_angular_rps) == (linear, angular)
    limits = parameters(robot, "governor")
    assert limits["limits.max_linear_mps"] <= linear and limits["limits.max_angular_rps"] <= angular
    if acceleration is not None:
        assert limits.get("limits.max_linear_accel_mps2", 1.0) <= acceleration


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_is_of_a_kind_that_there_is(name: str) -> None:
    package, group, message = TOPICS[name].kind.split("/")
    assert hasattr(importlib.import_module(f"{package}.{group}"), message)
    assert set(TOPICS[name].nodes) <= {*NODES, *MORE_NODES}


@pytest.mark.parametrize("robot", ["turtlebot4", pytest.param("spot", marks=pytest.mark.long)])
def test_the_nodes_of_a_recipe_meet_its_drivers(robot: str, spinner, wait_until, ros_environment, tmp_path) -> None:
    """The nodes as processes, by the recipe; the robot's drivers as their topics would be."""
    from rclpy.node import Node

    from vila_tools.session.processes import ProcessGroup
    from vila_tools.session.robot import robot_recipe, robot_specs

    recipe = robot_recipe(robot)
    drivers = spinner.add(Node("drivers"))
    with ProcessGroup(ros_environment, tmp_path) as processes:
        for spec in robot_specs(recipe, {}, modules={}, topics={}).values():
            processes.start(spec)

        def heard() -> dict[str, set[str]]:
            """Who of our nodes is at which of the robot's topics."""
            processes.check()
            ends = {}
            for name in recipe.topics:
                topic = f"/{recipe.topic(name)}"
                infos = drivers.get_subscriptions_info_by_topic(topic) + drivers.get_publishers_info_by_topic(topic)
                ends[name] = {(info.node_name, info.topic_type) for info in infos}
            return ends

        def meets() -> bool:
            ends = heard()
            nodes = {name: {node.removesuffix("_camera") for node, _ in ends[name]} for name in recipe.topics}
            return all(set(TOPICS[name].nodes) - {*MORE_NODES} <= nodes[name] for name in recipe.topics)

        wait_until(meets, lambda: f"the nodes are at {heard()}")
        stamped = {kind for _, kind in heard()["cmd_vel"]}
        assert stamped == {"geometry_msgs/msg/Twist" + ("" if robot in PLAIN else "Stamped")}


class TestRefused:
    def test_an_unknown_name(self) -> None:
        with pytest.raises(ConfigError, match=r"unknown robot 'roomba'; known: create3, generic, .*path of your own"):
            load_recipe("roomba", FOLDER)
        with pytest.raises(ConfigError, match="did you mean 'jackal'"):
            load_recipe("jackall", FOLDER)
        with pytest.raises(ConfigError, match="unknown robot ''"):
            load_recipe("", FOLDER)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"own\.yaml"):
            load_recipe(str(tmp_path / "own.yaml"), FOLDER)

    @pytest.mark.parametrize(
        ("old", "new", "match"),
        [
            ("        image:", "        imag:", "unknown topic 'imag'; did you mean 'image'"),
            ("image: sensors/camera_0/color/image", "image: my camera", "must be a topic's name"),
            ("image: sensors/camera_0/color/image", "image: 3", "must be a topic's name"),
            ("  robot:", "  robott:", "unknown node 'robott'; known: robot, controller"),
            ("  governor:\n    ros__parameters:", "  governor:\n    parameters:", "must hold 'ros__parameters' alone"),
            ("max_linear_mps: 2.0", "max_linear_speed: 2.0", "unknown key 'max_linear_speed'.*max_linear_mps"),
            ("      max_linear_mps: 2.0\n", "", "lacks the key 'max_linear_mps'"),
            ("max_linear_mps: 2.0", "max_linear_mps: fast", "expected float"),
            ("max_linear_mps: 2.0", "max_linear_mps: -2.0", "must be above 0"),
            ("max_linear_mps: 2.0", "max_linear_mps: 0.2", r"limits.max_linear_mps = 0.3, but the robot obeys 0.2"),
            ("limits.max_linear_mps: 0.3", "limits.max_linear_mps: quick", "must be a number"),
            ("obstacles.sources: scan", "obstacles.sources: [scan]", "must be a text"),
            ("obstacles.sources: scan", 'obstacles.sources: ""', "has no sensor for obstacles.*blind:=true"),
            ("/**:", "/robot:", "must hold '/\\*\\*' alone"),
            ("/**:", "/**: [", "is no YAML"),
        ],
    )
    def test_a_recipe_that_is_wrong(self, tmp_path: Path, old: str, new: str, match: str) -> None:
        with pytest.raises(ConfigError, match=match):
            load_recipe(wrong(tmp_path, old, new), FOLDER)

    def test_one_that_is_blind_and_fast(self, tmp_path: Path) -> None:
        own = wrong(tmp_path, "limits.max_linear_mps: 0.15", "limits.max_linear_mps: 0.3", "hoverboard")
        with pytest.raises(ConfigError, match=r"limits.max_linear_mps = 0.3: without a sensor .* 0.2 at most"):
            load_recipe(own, FOLDER, blind=True)

    def test_one_without_words_on_the_robot(self, tmp_path: Path) -> None:
        (tmp_path / "own.yaml").write_text("/**:\n  governor:\n    ros__parameters: {}\n")
        with pytest.raises(ConfigError, match="no section 'robot' beside governor"):
            load_recipe(str(tmp_path / "own.yaml"), FOLDER)


class TestMoreParameters:
    """Those of `params_file`, which count more than the recipe's."""

    @pytest.mark.parametrize(
        "node", ["governor", "/governor", "/rover/governor", "/**/governor", "/**", "/**:governor"]
    )
    def test_they_may_not_take_the_sensors_away_unseen(self, tmp_path: Path, node: str) -> None:
        content: dict = {"ros__parameters": {"obstacles": {"sources": ""}, "obstacles.required": False}}
        for name in reversed(node.split(":")):
            content = {name: content}
        (tmp_path / "more.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError, match="blind:=true"):
            load_recipe("turtlebot4", FOLDER, more=tmp_path / "more.yaml")
        with pytest.raises(ConfigError, match=r"without a sensor .* 0\.2 at most"):
            load_recipe("turtlebot4", FOLDER, blind=True, more=tmp_path / "more.yaml")

    def test_they_may_not_lift_limits_above_the_base(self, tmp_path: Path) -> None:
        (tmp_path / "more.yaml").write_text("governor:\n  ros__parameters:\n    limits.max_linear_mps: 0.4\n")
        with pytest.raises(ConfigError, match=r"more\.yaml: governor limits\.max_linear_mps = 0\.4, .* obeys 0\.306"):
            load_recipe("turtlebot4", FOLDER, more=tmp_path / "more.yaml")

    def test_they_may_give_a_blind_robot_a_sensor(self, tmp_path: Path) -> None:
        (tmp_path / "more.yaml").write_text("governor:\n  ros__parameters:\n    obstacles.sources: scan\n")
        assert not load_recipe("hoverboard", FOLDER, more=tmp_path / "more.yaml").is_blind

    @pytest.mark.parametrize("text", ["3", "- a", "controller:\n  ros__parameters:\n    obstacles.sources: ''\n"])
    def test_what_says_nothing_to_the_governor_changes_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "more.yaml").write_text(text)
        assert not load_recipe("turtlebot4", FOLDER, more=tmp_path / "more.yaml").is_blind

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"more\.yaml"):
            load_recipe("turtlebot4", FOLDER, more=tmp_path / "more.yaml")

    def test_the_simulator_fits(self) -> None:
        load_recipe("generic", FOLDER, more=ROOT / "config" / "simulation.yaml")


def test_what_is_nested_is_read_as_ros_reads_it(tmp_path: Path) -> None:
    own = wrong(tmp_path, "      obstacles.sources: scan\n", "      obstacles:\n        sources: ''\n")
    with pytest.raises(ConfigError, match="has no sensor for obstacles"):
        load_recipe(own, FOLDER)
