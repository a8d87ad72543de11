"""config/security/policy.xml grants what the nodes have on the graph, no less and no more."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from vila_tools.reference import run
from vila_tools.reference.policy import (
    COMMAND_LINE,
    ENCLAVES,
    OPERATOR_TOPICS,
    RIGHTS,
    TF,
    policy_profiles,
    policy_xml,
)

ROOT = Path(__file__).resolve().parents[3]
POLICY = ROOT / "config" / "security" / "policy.xml"
NODES = {path.parent.name for path in (ROOT / "vila_ros").glob("*/node.py")}
HELPERS = {  # in a node's process
    "navigator": {"navigator_camera", "navigator_instance"},
    "controller": {"controller_instance"},
    "governor": {"governor_instance"},
    "page": {"page_camera"},
}
CHILDREN = {  # of each element of SROS2's policy 0.2.0, with its attributes
    "policy": ({"enclaves"}, {"version"}),
    "enclaves": ({"enclave"}, set()),
    "enclave": ({"profiles"}, {"path"}),
    "profiles": ({"profile"}, set()),
    "profile": ({"topics", "services", "actions"}, {"ns", "node"}),
    "topics": ({"topic"}, {"publish", "subscribe"}),
    "services": ({"service"}, {"reply", "request"}),
    "actions": ({"action"}, {"call", "execute"}),
}


@pytest.fixture(scope="module")
def profiles():
    return policy_profiles()


@pytest.fixture(scope="module")
def granted():
    """What the file grants: (node, kind, does) -> names."""
    rows = {}
    for profile in ElementTree.parse(POLICY).iter("profile"):
        for kind, does in RIGHTS:
            names = [name.text for group in profile.findall(f"{kind}s[@{does}]") for name in group]
            rows[profile.get("node"), kind, does] = set(names)
            assert len(names) == len(rows[profile.get("node"), kind, does])
    return rows


def test_nothing_on_the_graph_is_missing_and_nothing_granted_is_not_on_it(profiles, granted):
    there = {
        (one.node, kind, does): {right.name for right in one.rights if (right.kind, right.does) == (kind, does)}
        for one in profiles
        for kind, does in RIGHTS
    }
    assert there == granted
    assert policy_xml(profiles) == POLICY.read_text()


def test_a_right_too_few_and_one_too_many_are_told(profiles, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(run, "node_faces", tuple)
    monkeypatch.setattr(run, "policy_profiles", lambda: profiles)
    monkeypatch.setattr(run, "reference_page", lambda *_: "")
    page, file = tmp_path / "reference.md", tmp_path / "policy.xml"
    text = POLICY.read_text()
    file.write_text(text.replace("<topic>~/heartbeat</topic>", "<topic>cmd_vel</topic>", 1))
    arguments = ["--file", str(page), "--policy", str(file)]
    assert run.main(["--check", *arguments]) == run.DIFFERS
    shown = capsys.readouterr().err
    assert "\n-            <topic>cmd_vel</topic>" in shown and "\n+            <topic>~/heartbeat</topic>" in shown
    assert run.main(arguments) == 0
    assert file.read_text() == text


def test_each_element_is_one_that_sros2_knows():
    def check(element):
        known, attributes = CHILDREN.get(element.tag, (set(), set()))
        assert {child.tag for child in element} <= known and set(element.attrib) <= attributes, element.tag
        assert not known or len(element), f"{element.tag} is empty"
        assert known or re.fullmatch(r"[~/\w*]+", element.text), element.text
        for child in element:
            check(child)

    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.get("version")) == ("policy", "0.2.0")
    check(root)
    assert {group.get(does) for kind, does in RIGHTS for group in root.iter(f"{kind}s")} <= {"ALLOW", None}


def test_each_node_has_an_enclave_and_its_helpers_share_it():
    root = ElementTree.parse(POLICY).getroot()
    enclaves = {one.get("path"): {p.get("node") for p in one.iter("profile")} for one in root.iter("enclave")}
    wanted = {f"{ENCLAVES}/{name}": {name} | HELPERS.get(name, set()) for name in NODES | {"operator", "viewer"}}
    assert enclaves == wanted


@pytest.mark.parametrize("name", ["navigator", "controller", "governor"])
def test_who_must_be_alone_hears_of_others_of_its_name(granted, name):
    assert f"{name}/instance" in {one.replace("~", name) for one in granted[f"{name}_instance", "topic", "subscribe"]}
    assert "~/instance" in granted[name, "topic", "publish"]


def full(node: str, name: str) -> str:
    return name.replace("~", node, 1)


@pytest.mark.parametrize(
    ("does", "name", "who"),
    [
        ("publish", "cmd_vel", {"governor", "watchdog"}),
        ("publish", "cmd_vel_nav", {"controller"}),
        ("publish", "navigator/action", {"navigator"}),
        ("publish", "navigator/mission", {"navigator"}),
        ("publish", "navigator/heartbeat", {"navigator"}),
        ("publish", "navigator/instruction", set()),
        ("publish", "governor/state", {"governor"}),
        ("publish", "watchdog/heartbeat", {"watchdog"}),
        ("publish", "emergency_stop", {"operator"}),
        ("publish", "teleop/cmd_vel", {"operator"}),
        ("publish", "joy", {"operator"}),
        ("publish", "odom", {"simulator"}),
        ("publish", "/clock", {"simulator"}),
        ("request", "navigator/set_instruction", {"operator"}),
        ("request", "navigator/cancel_instruction", {"operator", "page", "voice"}),
        ("request", "governor/emergency_stop", {"operator", "page", "voice"}),
        ("request", "navigator/change_state", set()),
        ("request", "governor/set_parameters", set()),
        ("call", "navigator/*", {"operator", "page", "voice"}),
    ],
)
def test_who_may_command(granted, does, name, who):
    assert {
        node for (node, _, way), names in granted.items() if way == does and name in {full(node, n) for n in names}
    } == who


def test_a_viewer_only_reads(granted):
    kept = {one for one, names in granted.items() if one[0] == "viewer" and names}
    assert {does for _, _, does in kept} == {"publish", "subscribe", "reply"}
    assert granted["viewer", "topic", "publish"] == {"/rosout", "/parameter_events"}
    assert granted["viewer", "service", "reply"] == {"~/*", COMMAND_LINE}
    assert granted["viewer", "topic", "subscribe"] == granted["operator", "topic", "subscribe"]


def test_what_the_operator_publishes_is_heard_and_tf_is_for_few(granted):
    assert set(OPERATOR_TOPICS) <= granted["governor", "topic", "subscribe"]
    tf = {(node, does) for (node, _, does), names in granted.items() if set(TF) <= names}
    assert tf - {("operator", "subscribe"), ("viewer", "subscribe")} == {
        ("governor", "subscribe"),
        ("recorder", "subscribe"),
        ("simulator", "publish"),
    }


def test_wildcards_stand_for_what_a_node_offers_itself_and_for_the_navigators_actions(granted):
    wild = {(*who, name) for who, names in granted.items() for name in names if "*" in name}
    nodes = NODES.union({"operator", "viewer"}, *HELPERS.values())
    assert wild == {
        *((node, "service", "reply", "~/*") for node in nodes),
        *((node, "service", "reply", COMMAND_LINE) for node in ("operator", "viewer")),
        ("navigator", "action", "execute", "~/*"),
        *((node, "action", "call", "navigator/*") for node in ("operator", "page", "voice")),
    }


def dds_topics(node: str, kind: str, does: str, name: str) -> list[str]:
    """The topics of DDS that sros2 makes of a right."""
    full = name if name.startswith("/") else f"/{name.replace('~', node, 1)}"
    services = [full] if kind == "service" else []
    topics = [full] if kind == "topic" else []
    if kind == "action":
        services = [f"{full}/_action/{part}" for part in ("cancel_goal", "get_result", "send_goal")]
        topics = [f"{full}/_action/{part}" for part in ("feedback", "status")]
    return [f"rt{one}" for one in topics] + [f"r{way}{one}" for one in services for way in ("rReply", "qRequest")]


def test_what_a_key_may_do_fits_into_a_handshake(profiles):
    """Fast DDS before 3.2.3 sends none from 8192 bytes on; 4750 are for certificates, signature and frame."""
    sizes: dict[str, int] = {}
    for profile in profiles:
        for one in profile.rights:
            topics = dds_topics(profile.node, one.kind, one.does, one.name)
            size = sum(len(f"            <topic>{topic}</topic>\n") for topic in topics)
            sizes[profile.enclave] = sizes.get(profile.enclave, 0) + size
    assert max(sizes.values()) < 8192 - 4750, sizes
