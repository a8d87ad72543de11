"""Who may speak for whom: judged by the publisher that comes with each message, or by the graph where none comes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from vila_ros.common import authority
from vila_ros.common.authority import Authority

TOPIC = "/governor/state"
OURS, THEIRS, UNKNOWN = (1,) * 16, (2,) * 16, (3,) * 16


class Graph:
    """A node in whose place the test says who publishes; time passes as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns, self.names, self.logged = 10**12, {OURS: "governor"}, list[str]()
        self.asked = 0
        monkeypatch.setattr(authority.time, "monotonic_ns", lambda: self.now_ns)

    def resolve_topic_name(self, name: str) -> str:
        return name

    def get_namespace(self) -> str:
        return "/"

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        self.asked += 1
        ends = self.names.items()
        return [SimpleNamespace(endpoint_gid=(*gid, 0), node_namespace="/", node_name=name) for gid, name in ends]

    def get_logger(self) -> Any:
        return SimpleNamespace(error=lambda text, **_: self.logged.append(text))


def by(gid: tuple[int, ...] | None) -> dict[str, Any]:
    """What comes with a message of this publisher; None as where rclpy does not tell it."""
    return {} if gid is None else {"publisher_gid": {"data": gid}}


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Graph:
    return Graph(monkeypatch)


def test_the_right_nodes_word_counts_and_a_strangers_silences_the_topic_for_two_seconds(graph) -> None:
    heard: list[str] = []
    judge = Authority(graph, {TOPIC: "governor"})
    hear = judge.only(TOPIC, heard.append)
    hear("ours", by(OURS))
    graph.names[THEIRS] = "intruder"
    hear("theirs", by(THEIRS))
    assert heard == ["ours"] and "/intruder publishes /governor/state too" in judge.stranger == judge.recent
    hear("ours, beside a stranger", by(OURS))
    assert len(heard) == 1 and "/intruder" in graph.logged[-1]
    graph.now_ns += 2_000_000_001
    hear("ours again", by(OURS))
    assert heard == ["ours", "ours again"] and judge.stranger == ""


def test_what_comes_before_its_publisher_is_discovered_accuses_nobody_and_is_not_lost(graph) -> None:
    heard: list[str] = []
    judge = Authority(graph, {TOPIC: "governor"})
    assert "not discovered yet" in judge.refusal(TOPIC, by(UNKNOWN))
    judge.only(TOPIC, heard.append)("early", by(UNKNOWN))
    assert heard == ["early"] and judge.stranger == "" and not graph.logged


def test_where_no_publisher_is_told_the_graph_is_asked_twice_a_second(graph) -> None:
    heard: list[str] = []
    hear = Authority(graph, {TOPIC: "governor"}).only(TOPIC, heard.append)
    for _ in range(10):
        hear("ours", by(None))
        graph.now_ns += 50_000_000
    assert len(heard) == 10 and graph.asked == 1
    graph.names[THEIRS] = "intruder"
    hear("whose?", by(None))
    assert len(heard) == 10 and "/intruder" in graph.logged[-1]


def test_a_node_that_was_started_again_takes_over_once_its_elder_is_silent(graph) -> None:
    judge = Authority(graph, {TOPIC: "governor"})
    assert judge.accepts(TOPIC, by(OURS))
    graph.names = {THEIRS: "governor"}
    assert not judge.accepts(TOPIC, by(THEIRS))
    graph.now_ns += 1_000_000_001
    assert judge.accepts(TOPIC, by(THEIRS))
