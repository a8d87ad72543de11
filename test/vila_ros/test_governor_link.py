"""What the navigator makes of the governor's states, told to it without a graph."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from builtin_interfaces.msg import Time
from vila_nav.msg import GovernorState, Mission

from vila_core.control.reasons import StopReason
from vila_ros.navigator import governor_link
from vila_ros.navigator.governor_link import GovernorLink
from vila_ros.navigator.mission.mission import MissionEnd, MissionError, Outcome

PERIOD_S = 0.05
WORDS = "scan: the last measurement is old"


class Graph:
    """A node in whose place the test hears missions and tells states; time passes as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 10**12
        self.missions: list[Mission] = []
        monkeypatch.setattr(governor_link.time, "monotonic_ns", lambda: self.now_ns)
        self.link = GovernorLink(self, required=True, name="governor")  # type: ignore[arg-type]

    def create_publisher(self, *_: Any) -> Any:
        return self

    def create_subscription(self, kind: Any, topic: str, callback: Any, qos: Any) -> None:
        self.tell = lambda state: callback(state, {})

    def get_logger(self) -> Any:
        return self

    def error(self, text: str, **_: Any) -> None:
        raise AssertionError(text)

    def get_namespace(self) -> str:
        return "/"

    def get_publishers_info_by_topic(self, topic: str) -> list[Any]:
        return []

    def publish(self, mission: Mission) -> None:
        self.missions.append(mission)

    def get_clock(self) -> Any:
        return self

    def now(self) -> Any:
        return self

    def to_msg(self) -> Time:
        return Time()

    def resolve_topic_name(self, name: str) -> str:
        return name

    def govern(self, seconds: float, state: int, reason: StopReason = StopReason.NONE, detail: str = WORDS) -> None:
        """Let the governor tell this twenty times a second."""
        for _ in range(round(seconds / PERIOD_S)):
            self.now_ns += round(PERIOD_S * 1e9)
            number = self.missions[-1].id if self.missions else 0
            self.tell(GovernorState(state=state, reason=int(reason), detail=detail, mission_id=number))
            self.link.beat()

    def verdict(self) -> MissionError:
        verdict = self.link.verdict()
        return MissionError.NONE if verdict is None else verdict[0]


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Graph:
    """A mission runs, and the governor lets it move."""
    graph = Graph(monkeypatch)
    graph.link.beat()
    graph.govern(0.2, GovernorState.STATE_IDLE, StopReason.NO_MISSION)
    graph.link.begin("go on", "test")
    graph.govern(0.2, GovernorState.STATE_READY)
    assert graph.link.is_ready and graph.link.verdict() is None
    return graph


@pytest.mark.parametrize(
    ("seconds", "reason", "error"),
    [
        (2.5, StopReason.NO_OBSTACLE_DATA, MissionError.NONE),  # it may come again
        (3.5, StopReason.NO_OBSTACLE_DATA, MissionError.GOVERNOR_LOST),
        (30.0, StopReason.OBSTACLE, MissionError.NONE),  # the motions' own ends tell that
        (30.0, StopReason.NO_COMMAND, MissionError.NONE),
        (30.0, StopReason.MACHINE, MissionError.NONE),
    ],
)
def test_sensors_that_stay_silent_end_the_mission(graph: Graph, seconds: float, reason: StopReason, error) -> None:
    graph.govern(seconds, GovernorState.STATE_STOPPED, reason)
    assert graph.verdict() is error
    if error is not MissionError.NONE:
        message = graph.link.verdict()[1]
        assert "NO_OBSTACLE_DATA" in message and WORDS in message


def test_sensors_that_speak_again_begin_anew(graph: Graph) -> None:
    for _ in range(3):
        graph.govern(2.0, GovernorState.STATE_STOPPED, StopReason.NO_OBSTACLE_DATA)
        graph.govern(0.1, GovernorState.STATE_READY)
    assert graph.verdict() is MissionError.NONE


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (StopReason.OBSTACLE, MissionError.BLOCKED),
        (StopReason.NO_OBSTACLE_DATA, MissionError.GOVERNOR_LOST),
        (StopReason.MACHINE, MissionError.OVERHEATED),
        (StopReason.NO_COMMAND, MissionError.NONE),
    ],
)
def test_what_stopped_the_robot_of_late_explains_a_motion_that_failed(graph: Graph, reason: StopReason, error) -> None:
    graph.govern(1.0, GovernorState.STATE_STOPPED, reason)
    graph.govern(1.0, GovernorState.STATE_READY)
    stuck = MissionEnd(Outcome.FAILED, MissionError.STUCK, "it got stuck", 0.0, 1, 1.0)
    told = graph.link.explained(stuck)
    assert told.error is (error or MissionError.STUCK)
    assert told.message == ("it got stuck; the governor stopped it for " + WORDS if error else "it got stuck")
    lost = dataclasses.replace(stuck, error=MissionError.CONTROLLER_LOST)
    assert graph.link.explained(lost) == lost
    graph.govern(2.0, GovernorState.STATE_READY)
    assert graph.link.explained(stuck) == stuck


def test_a_governor_is_silent_only_if_the_navigator_listened(graph: Graph) -> None:
    graph.now_ns += 5 * 10**9  # the navigator was not run, and what came meanwhile waits
    graph.link.beat()
    assert graph.verdict() is MissionError.NONE
    graph.govern(0.1, GovernorState.STATE_READY)
    for _ in range(30):
        graph.now_ns += round(PERIOD_S * 1e9)
        graph.link.beat()
    assert graph.verdict() is MissionError.GOVERNOR_LOST


def test_a_mission_that_has_ended_needs_no_sensors(graph: Graph) -> None:
    graph.govern(3.5, GovernorState.STATE_STOPPED, StopReason.NO_OBSTACLE_DATA)
    graph.link.end(MissionEnd(Outcome.FAILED, MissionError.GOVERNOR_LOST, "", 0.0, 0, 0.0))
    graph.govern(1.0, GovernorState.STATE_IDLE, StopReason.NO_OBSTACLE_DATA)
    graph.govern(0.2, GovernorState.STATE_IDLE, StopReason.NO_MISSION)
    graph.link.begin("go on", "test")
    graph.govern(0.2, GovernorState.STATE_READY)
    assert graph.verdict() is MissionError.NONE
