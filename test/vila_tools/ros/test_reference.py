"""docs/reference.md says what the nodes and the table of commands are. The policy: test_policy.py."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from rcl_interfaces.msg import ParameterType

from vila_core.errors import ConfigError, VilaError
from vila_ros.common.parameters import ALWAYS_KNOWN, field_comments, meaning_of
from vila_tools import cli
from vila_tools.reference import graph, page, run
from vila_tools.reference.graph import node_faces, started_nodes

ROOT = Path(__file__).resolve().parents[3]
REFERENCE = ROOT / "docs" / "reference.md"
SMALL_WORDS = {"of", "the", "in", "an", "at", "or", "and", "by", "to", "is", "it", "see"}
POLICY = ROOT / "config" / "security" / "policy.xml"


@pytest.fixture(scope="module")
def faces():
    return node_faces()


@pytest.fixture
def started(faces, monkeypatch):
    monkeypatch.setattr(run, "node_faces", lambda: faces)
    monkeypatch.setattr(run, "policy_profiles", tuple)
    monkeypatch.setattr(run, "policy_xml", lambda _: POLICY.read_text())


def test_the_file_is_what_the_code_says(started, capsys):
    assert run.main(["--check", "--file", str(REFERENCE), "--policy", str(POLICY)]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    assert not told["changed"]
    assert told["commands"] == len(cli.COMMANDS)


def test_a_difference_is_shown_and_written(started, tmp_path, capsys):
    file = tmp_path / "reference.md"
    file.write_text(REFERENCE.read_text().replace("| `scan_rays` | int | 180 |", "| `scan_rays` | int | 90 |"))
    assert run.main(["--check", "--file", str(file), "--policy", str(POLICY)]) == run.DIFFERS
    shown = capsys.readouterr().err
    assert "\n-| `scan_rays` | int | 90 |" in shown
    assert "\n+| `scan_rays` | int | 180 |" in shown
    assert run.main(["--file", str(file), "--policy", str(tmp_path / "policy.xml")]) == 0
    assert file.read_text() == REFERENCE.read_text()


def test_every_node_of_the_package_is_there(faces):
    assert {face.name for face in faces} == {path.parent.name for path in (ROOT / "vila_ros").glob("*/node.py")}


def test_endpoints_are_those_of_the_graph(faces):
    of = {face.name: {(e.name, e.role): e for e in face.endpoints} for face in faces}
    navigator, controller, simulator = of["navigator"], of["controller"], of["simulator"]
    assert navigator["image_raw", "in"].qos == "best effort"  # of the helper node that takes the images
    assert navigator["~/events", "out"].qos == "reliable, latched"
    assert navigator["~/navigate", "action"].type == "vila_nav/action/NavigateInstruction"
    assert ("~/execution", "out") in controller  # it is there once there is odometry
    assert ("/clock", "out") in simulator  # absolute, unlike the others
    assert ("~/begin", "service") in simulator
    names = [name for endpoints in of.values() for name, _ in endpoints]
    assert not any("parameter" in name or name.endswith("_state") for name in names)


def test_a_default_is_the_dataclass_own(faces):
    simulator = next(face for face in faces if face.name == "simulator")
    defaults = {parameter.name: parameter.default for parameter in simulator.parameters}
    assert defaults["scripted_events"] == ""
    assert defaults["scan_rays"] == 180


def test_every_parameter_tells_what_it_means_and_every_number_its_range():
    with started_nodes() as nodes:
        told = {(node.get_name(), name): node.describe_parameter(name) for node, _ in nodes for name in of_ours(node)}
    assert len(told) > 200
    numbers = (ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER)
    for (node, name), one in told.items():
        has_range = bool(one.floating_point_range or one.integer_range)
        starts_with_nan = one.additional_constraints.startswith("NaN or from")  # its default lies in no range
        assert has_range or starts_with_nan or one.type not in numbers, f"{node} {name}: declare its bounds"
        assert (one.type in numbers) <= bool(one.additional_constraints), f"{node} {name}"
        words = set(re.findall(r"[a-z]{2,}", meaning_of(one.description).lower()))
        assert len(words - set(re.split(r"[._]", name)) - SMALL_WORDS) >= 2, f"{node} {name}: say what it means"
        assert one.read_only is ("can be set at run time" not in one.description)


def of_ours(node):
    return [name for name in node.list_parameters([], 0).names if name.split(".")[0] not in ALWAYS_KNOWN]


def test_a_name_without_a_line_and_a_line_without_a_name_are_refused(faces, monkeypatch):
    with pytest.raises(VilaError, match=r"~/instance of the controller does not exist but has a line"):
        page.reference_page((faces[0], faces[2], dataclasses.replace(faces[1], endpoints=faces[1].endpoints[:-1])), {})
    monkeypatch.delitem(page.ENDPOINTS, ("navigator", "odom"))
    with pytest.raises(VilaError, match="odom of the navigator has no line"):
        page.reference_page(faces, {})


def test_a_parameter_without_a_comment_is_refused(faces):
    first, *others = faces[0].parameters
    silent = dataclasses.replace(faces[0], parameters=(dataclasses.replace(first, about=""), *others))
    with pytest.raises(VilaError, match="checkpoint of the navigator has no comment"):
        page.reference_page((silent, *faces[1:]), {})


@pytest.mark.parametrize("option", ["--file", "--policy"])
def test_a_folder_that_is_not_there(tmp_path, monkeypatch, option):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=f"{option}: there is no folder"):
        run.main([option, str(tmp_path / "none" / "file")])


@dataclasses.dataclass(frozen=True, slots=True)
class Commented:
    """Its fields carry comments in several ways."""

    plain: int = 1  # one line
    text: str = "# no comment"
    long: tuple[str, ...] = (
        "a",  # of a part
    )  # behind the whole
    # above it,
    # in two lines
    above: int = 1
    # a heading
    both: int = 1  # behind wins
    bare: int = 1


def test_comments_are_read_from_the_source():
    assert field_comments(Commented) == {
        "plain": "one line",
        "long": "behind the whole",
        "above": "above it, in two lines",
        "both": "behind wins",
    }
    assert field_comments(dataclasses.make_dataclass("WithoutSource", [("plain", int, 1)])) == {}


class SlowGraph:
    """A node of which the graph tells nothing at first, as on a busy machine."""

    publishers, subscriptions = (SimpleNamespace(topic_name="/robot/navigator/action"),), ()

    def __init__(self, after: float) -> None:
        self.looks, self.after = 0, after

    def get_name(self) -> str:
        return "navigator"

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return [("navigator", "/robot")]

    def get_publisher_names_and_types_by_node(self, name: str, namespace: str) -> list[tuple[str, list[str]]]:
        self.looks += 1
        return [("/robot/navigator/action", ["a/msg/B"])] if self.looks > self.after else []

    def get_subscriber_names_and_types_by_node(self, name: str, namespace: str) -> list[tuple[str, list[str]]]:
        return []


def test_a_graph_that_does_not_know_all_yet_is_waited_for_and_never_written(monkeypatch):
    slow = SlowGraph(3)
    graph._require_complete(slow)
    assert slow.looks == 4
    monkeypatch.setattr(graph, "READY_S", 0.1)
    with pytest.raises(VilaError, match="does not tell /robot/navigator/action of navigator"):
        graph._require_complete(SlowGraph(math.inf))
