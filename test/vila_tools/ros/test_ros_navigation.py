"""`vila bench nav --ros` with our own simulator and the whole chain over DDS; only the model is scripted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from interface_packages import environment_with
from rclpy.task import Future
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

from vila_core.actions.grammar import format_action
from vila_core.errors import ConfigError, MissingDependencyError, VilaError, WorldError
from vila_core.types import MoveForward, Pose
from vila_ros.common.resources import share_file
from vila_ros.navigator.mission.mission import MissionError
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.oracle import oracle_action
from vila_sim.episodes.splits import Episode, flat_of, generate_episodes
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.mujoco.simulator import CameraConfig
from vila_tools.evaluation import navigation
from vila_tools.ros_navigation import choose, driver, run
from vila_tools.ros_navigation.driver import Driver, Result, _Mission
from vila_tools.ros_navigation.path import UNIT_M, DrivenPath
from vila_tools.ros_navigation.simulators import ControlOptions, StandardControl
from vila_tools.session.processes import NodeSpec, ProcessGroup

SMALL = CameraConfig(width_px=64, height_px=64)
NAVIGATOR = """
import sys
from pathlib import Path
from vila_core.testing import ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    replies = Path(__file__).with_name("replies.txt").read_text().splitlines()
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend(*replies, probability=0.9))
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""


def oracle_replies(episode: Episode) -> list[str]:
    """What the oracle says, decision by decision."""
    env = FlatEnv(SMALL)
    env.reset(episode, track_target=True)
    replies = []
    while not env.stop_called:
        action = oracle_action(env.pose, env.field, env.target_view())
        replies.append(format_action(action))
        env.act(action)
    env.close()
    return replies


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    """The two with the shortest ways of six, each in a flat of its own."""
    few = sorted(generate_episodes("val_unseen_layout", 6), key=lambda episode: episode.geodesic_m)[:2]
    return sorted(few, key=lambda episode: episode.flat_seed)


@pytest.fixture(params=["parameters", "simulation_interfaces"])
def control(request, ros_environment) -> tuple[str, dict[str, str]]:
    """How the simulator is handled, and an environment of processes in which it is."""
    if request.param == "parameters":
        return request.param, ros_environment
    return request.param, environment_with("simulation_interfaces", ros_environment)


@pytest.fixture
def robot(control, tmp_path, episodes) -> Iterator[ProcessGroup]:
    """A simulator somewhere else, with all that navigates; the model says what the oracle says in the episodes."""
    environment = control[1]
    (tmp_path / "scripted_navigator.py").write_text(NAVIGATOR)
    (tmp_path / "replies.txt").write_text("\n".join(line for one in episodes for line in oracle_replies(one)))
    paths = os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])
    parameters = share_file("config/simulation.yaml")
    size = {"camera.width_px": 64, "camera.height_px": 64, "scan_rays": 90, "cloud_rate_hz": 5.0}
    with ProcessGroup({**environment, "PYTHONPATH": paths}, tmp_path / "log") as processes:
        processes.start(NodeSpec("simulator", "vila_ros.simulator.node", parameters, size))
        processes.start(NodeSpec("controller", "vila_ros.controller.node", parameters))
        blind = {"obstacles.sources": "", "obstacles.required": False}  # the oracle goes as near as it likes
        processes.start(NodeSpec("governor", "vila_ros.governor.node", parameters, blind))
        processes.start(NodeSpec("watchdog", "vila_ros.watchdog.node", parameters))
        images = {"image_raw": "camera/image_raw"}
        processes.start(NodeSpec("navigator", "scripted_navigator", parameters, remaps=images))
        yield processes


@pytest.mark.long
def test_the_episodes_of_a_file_are_driven_by_what_runs_and_told_as_in_this_process(
    robot: ProcessGroup, control, episodes, tmp_path, capsys
) -> None:
    file, report_file = tmp_path / "episodes.json", tmp_path / "report.json"
    write_episodes(file, episodes)
    name, environment = control
    command = [sys.executable, "-m", "vila_tools.cli", "bench", "nav", "--ros", "--episode-file", str(file)]
    done = subprocess.run([*command, "--json", str(report_file)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    robot.check()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == json.loads(report_file.read_text())
    assert told["policy"] == "ros" and told["control"] == name and told["checkpoint"] == "scripted"
    assert told["ends"] == {"NONE": 2}, told
    assert choose.main(["--policies", "oracle", "--episode-file", str(file), "--workers", "1"]) == 0
    here = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(here) <= set(told)
    assert told["episodes"] == here["episodes"] == 2 and told["sr"] == here["sr"] == 1.0
    assert told["steps"] == pytest.approx(here["steps"], rel=0.2)
    assert told["path_length_m"] == pytest.approx(here["path_length_m"], abs=0.3)
    assert told["ne_m"] == pytest.approx(here["ne_m"], abs=0.2)


def test_odometry_may_begin_anywhere_and_steps_are_those_of_the_metrics(episodes) -> None:
    grid = OccupancyGrid(flat_of(episodes[0]))
    start = episodes[0].start
    path, there = DrivenPath(grid, start), Pose(7.0, -3.0, 2.0)
    for _ in range(20):  # 2 cm each
        path.add(there)
        there = there.advanced(0.02)
    path.finish()
    assert path.poses[0] == start
    ahead = start.advanced(0.38)
    assert path.poses[-1].distance_m(ahead) < 1e-9
    assert [round(a.distance_m(b) / UNIT_M) for a, b in zip(path.poses, path.poses[1:], strict=False)] in ([1, 1], [2])


def test_turns_are_steps_too_and_what_is_left_of_one_is_none(episodes) -> None:
    grid = OccupancyGrid(flat_of(episodes[0]))
    path = DrivenPath(grid, None)
    for degrees in range(0, 33, 1):
        path.add(episodes[0].start.turned(math.radians(degrees)))
    path.finish()
    assert len(path.poses) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "test"], "split = 'test'"),
        (["--episodes", "0"], "episodes = 0"),
        (["--timeout", "0"], "timeout = 0"),
        (["--control", "magic"], "control = 'magic'"),
        (["--world", "{flat}"], "world = '{flat}'"),
    ],
)
def test_what_cannot_be_is_refused_before_ros_is_begun(arguments, words) -> None:
    with pytest.raises(ConfigError, match=words):
        run.main(["--ros", *arguments])


def test_what_is_absent_is_rightly_not_found_over_ros_too() -> None:
    episode = generate_episodes("absent", 1)[0]
    grid = OccupancyGrid(flat_of(episode))
    path = DrivenPath(grid, None)
    path.add(episode.start, 0)
    mission = _Mission()
    results = {}
    for error, outcome in (
        (MissionError.NOT_FOUND, Result.OUTCOME_FAILED),
        (MissionError.NONE, Result.OUTCOME_REACHED),
    ):
        mission.answer = Result(error_code=int(error), outcome=outcome, duration_s=9.0)
        results[error] = driver._driven(episode, grid, path, mission).result
    right, wrong = results[MissionError.NOT_FOUND], results[MissionError.NONE]
    assert (right.metrics.success, right.failure, right.end, right.motion_s) == (1.0, "", "NOT_FOUND", 9.0)
    assert wrong.metrics.success == 0.0 and wrong.failure.startswith("stopped") and not wrong.held


def test_time_in_contact_is_that_of_the_stamps(episodes) -> None:
    grid = OccupancyGrid(flat_of(episodes[0]))
    thing = grid.flat.objects[0]
    path, free = DrivenPath(grid, None), episodes[0].start
    for stamp_s, pose in enumerate((free, Pose(thing.x_m, thing.y_m), Pose(thing.x_m, thing.y_m), free, free)):
        path.add(pose, stamp_s * 10**9)
    assert path.collisions == 1 and path.contact_s == 2.0


@pytest.mark.parametrize("split", ["signs", "corrupted"])
def test_what_a_simulator_is_not_told_of_is_refused(split: str) -> None:
    with pytest.raises(ConfigError, match="leave out --ros"):
        run.main(["--ros", "--split", split, "--episodes", "2"])


def test_names_of_worlds_in_other_simulators() -> None:
    assert ControlOptions(uri="file:///worlds/flat_{seed}.sdf").uri_of("flat/12?red:chair") == (
        "file:///worlds/flat_12.sdf"
    )
    assert ControlOptions().uri_of("flat/12?red:chair") == "flat/12?red:chair"


class Features:
    """A message type with one constant."""

    WORLD_LOADING = 40
    SIMULATION_STATE_SETTING = 25


def test_a_simulator_that_loads_no_worlds_is_only_driven_in_the_one_it_has(monkeypatch) -> None:
    from types import SimpleNamespace

    calls = []

    class Request(SimpleNamespace):
        def __init__(self, **values):
            pose = SimpleNamespace(position=SimpleNamespace(x=0.0, y=0.0), orientation=None)
            super().__init__(state=SimpleNamespace(pose=pose), **values)

    kinds = ("GetSimulatorFeatures", "LoadWorld", "SetEntityState", "SetSimulationState")
    services = SimpleNamespace(**{kind: SimpleNamespace(Request=Request) for kind in kinds})
    node = SimpleNamespace(create_client=lambda kind, name: SimpleNamespace(srv_name=name))

    def call(client, request):
        calls.append(client.srv_name)
        if client.srv_name.endswith("get_simulator_features"):
            return SimpleNamespace(features=SimpleNamespace(features=[11]))
        return SimpleNamespace(result=SimpleNamespace(result=1, RESULT_OK=1, error_message=""))

    monkeypatch.setattr(
        "vila_tools.ros_navigation.simulators.import_module", lambda _: SimpleNamespace(SimulatorFeatures=Features)
    )
    control = StandardControl(node, ControlOptions(loaded="flat/3", services="/sim/"), call, services)
    control.place("flat/3", Pose(1.0, 2.0, 0.5))
    assert calls == ["/sim/set_entity_state", "/sim/get_simulator_features"]
    with pytest.raises(WorldError, match=r"loads no worlds.*flat/4"):
        control.place("flat/4", Pose())


def test_the_standard_cannot_be_asked_for_where_it_is_not_installed(ros_environment, monkeypatch) -> None:
    from vila_tools.ros_navigation.simulators import make_control

    monkeypatch.setattr("vila_tools.ros_navigation.simulators._standard_services", lambda: None)
    with pytest.raises(MissingDependencyError, match="simulation_interfaces"):
        make_control(None, ControlOptions(control="standard"), None, None)


def test_without_ros_it_is_the_old_program(monkeypatch) -> None:
    monkeypatch.setattr(navigation, "main", lambda arguments: arguments)
    assert choose.main(["--episodes", "3"]) == ["--episodes", "3"]


class NotReadyAtFirst:
    """A session with a navigator that refuses so many goals before it is ready; each question costs a second."""

    def __init__(self, monkeypatch, refusals: int) -> None:
        self.now_s, self.refusals, self.goals = 0.0, refusals, 0
        self.navigator = SimpleNamespace(server_is_ready=lambda: True, send_goal_async=self._send)
        monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        monkeypatch.setattr(Driver, "_settle", lambda _: None)

    def driver(self) -> Driver:
        made = object.__new__(Driver)
        made._session, made._client, made._timeout_s = self, self, 60.0
        return made

    def require(self, condition, timeout_s, complaint) -> None:
        assert condition(), complaint

    def spin_until(self, condition, timeout_s) -> bool:
        return bool(condition())

    def _send(self, goal, on_feedback):
        self.now_s += 1.0
        self.goals += 1
        result = NavigateInstruction.Result(error_code=0, decisions=1)
        if self.goals <= self.refusals:
            result = NavigateInstruction.Result(error_code=MissionError.CLOCK_JUMP, error_msg="no /clock yet")
        done = Future()
        done.set_result(SimpleNamespace(result=result))
        accepted = Future()
        accepted.set_result(SimpleNamespace(get_result_async=lambda: done))
        return accepted


def test_a_navigator_may_take_its_time_to_be_ready(monkeypatch) -> None:
    late = NotReadyAtFirst(monkeypatch, refusals=60)
    assert late.driver()._follow("go to the red chair").error == MissionError.NONE and late.goals == 61


def test_one_that_never_is_ready_ends_the_run_with_its_own_words(monkeypatch) -> None:
    never = NotReadyAtFirst(monkeypatch, refusals=10**6)
    with pytest.raises(VilaError, match="CLOCK_JUMP: no /clock yet"):
        never.driver()._follow("go to the red chair")
    assert driver.READY_TIMEOUT_S < never.now_s < 2 * driver.READY_TIMEOUT_S


def test_feedback_of_a_motion_on_its_way_is_no_decision_of_its_own() -> None:
    mission = _Mission()
    for state in (NavAction.STATE_COMMANDED, NavAction.STATE_RUNNING, NavAction.STATE_RUNNING):
        told = NavAction(kind=NavAction.KIND_MOVE_FORWARD, distance_m=0.25, state=state)
        mission._on_feedback(SimpleNamespace(feedback=NavigateInstruction.Feedback(decision=told, latency_ms=7.0)))
    assert mission.actions == [MoveForward(0.25)] and mission.decision_ms == [7.0]
