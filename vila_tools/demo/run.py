"""`vila demo`: the main job end to end: words and a camera in, a moving robot out.

Starts simulator, controller and navigator as processes, sends the instruction as a goal, shows the
decisions, and judges by ground truth whether the robot stands at what was named.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.action import ActionClient
from vila_nav.action import NavigateInstruction
from vila_nav.msg import DecisionStats, NavAction

from vila_core.actions.grammar import short_name
from vila_core.control.limits import STILL_MPS, STILL_RPS
from vila_core.files.writing import write_text
from vila_core.types import HoldReason
from vila_ros.common.conversions import action_from_message
from vila_ros.common.resources import share_file
from vila_ros.navigator.mission.goals import is_of_decision
from vila_ros.navigator.mission.mission import MissionError
from vila_sim.episodes.scenario import Scenario, make_scenario
from vila_sim.episodes.splits import SUCCESS_RADIUS_M
from vila_sim.mujoco.simulator import Simulator
from vila_tools.command_line import option, parse_options
from vila_tools.demo.film import Place, Story, Thought, map_width_px, write_film, write_trajectory
from vila_tools.options import NAVIGATOR, model_parameters, require_checkpoint
from vila_tools.session.processes import NodeSpec
from vila_tools.session.recording import Recorder, write_bag
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

DEFAULT_INSTRUCTION = "go to the red chair"
CAMERA = {"image_raw": "camera/image_raw"}
_EXTRA_S = 20.0  # beyond the goal's own time limit, before we give up on an answer
_ATTEMPTS, _ACCEPT_TIMEOUT_S = 3, 5.0
_SETTLE_S = 0.5  # heard after the result, so that the robot is seen standing


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to do. checkpoint None: the embedded one. navigator: the module that runs as navigator."""

    instruction: str = field(default=DEFAULT_INSTRUCTION, metadata=option("what the robot is told (%(default)s)"))
    seed: int = field(default=0, metadata=option("which flat and start (%(default)s)"))
    out: Path = field(default=Path("out"), metadata=option("folder for the film and the rest (%(default)s)"))
    checkpoint: Path | None = field(default=None, metadata=option("a model's directory; the embedded one if not given"))
    timeout_s: float = field(default=120.0, metadata=option("seconds for the way (%(default)s)", flag="--timeout"))
    page: bool = field(default=False, metadata=option("serve the page too, and go on until Ctrl-C"))
    page_port: int = field(default=8088, metadata=option("port of the page, 0: a free one (%(default)s)"))
    record: bool = field(default=False, metadata=option("keep the run in OUT/recording, for `vila replay`"))
    navigator: str = field(default=NAVIGATOR, metadata=option(None))


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How it went; the JSON line. distance_to_goal_m: geodesic, by ground truth, at the end."""

    reached: bool
    instruction: str
    seed: int
    target: str
    room: str
    outcome: str
    error: str
    error_msg: str
    start_distance_m: float
    distance_to_goal_m: float
    path_m: float
    decisions: int
    simulated_s: float
    wall_s: float
    decision_ms_median: float
    files: tuple[str, ...] = field(default=())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0 only if the robot reached the goal and stands still.

    Raises VilaError for an instruction that names nothing, a node that ends by itself, and the like.
    """
    begun_s = time.monotonic()
    options = parse_options(DemoOptions, argv, prog="vila demo", description=main.__doc__)
    require_checkpoint(options.checkpoint, options.navigator)
    scenario = make_scenario(options.instruction, options.seed)
    _say(f"“{options.instruction}”: the {scenario.target.colour} {scenario.target.kind} in the {scenario.target.room},")
    _say(f"{scenario.distance_m(scenario.start):.1f} m away, in an unseen flat (seed {options.seed})")
    with running(node_specs(options), options.out) as session:
        recorder = session.add(Recorder())
        answer = _drive(options, session, recorder)
        if options.page:
            session.remove(recorder)  # what comes is not in the film
            result = _finish(options, scenario, recorder, answer, begun_s)
            session.spin_until(lambda: False, math.inf)
    if not options.page:
        result = _finish(options, scenario, recorder, answer, begun_s)
    return 0 if result.reached else 1


def node_specs(options: DemoOptions) -> tuple[NodeSpec, ...]:
    """Return the nodes to start, with the parameter files that the launch files use too."""
    model = model_parameters(options.checkpoint)
    parameters = share_file("config/simulation.yaml")
    world = {"seed": options.seed, "instruction": options.instruction}
    page = NodeSpec("page", "vila_ros.page.node", parameters, {"port": options.page_port}, CAMERA)
    kept = {"folder": str((options.out / "recording").absolute()), "video_rate_hz": 2.0}
    recorder = NodeSpec("recorder", "vila_ros.recorder.node", parameters, kept, CAMERA)
    return (
        *([page] if options.page else []),
        *([recorder] if options.record else []),
        NodeSpec("simulator", "vila_ros.simulator.node", parameters, world),
        NodeSpec("controller", "vila_ros.controller.node", parameters),
        NodeSpec("governor", "vila_ros.governor.node", parameters),
        NodeSpec("watchdog", "vila_ros.watchdog.node", parameters),
        NodeSpec(
            "navigator",
            options.navigator,
            parameters,
            model,
            CAMERA,
        ),
    )


def _finish(
    options: DemoOptions, scenario: Scenario, recorder: Recorder, answer: NavigateInstruction.Result, begun_s: float
) -> DemoResult:
    """Judge the drive, write the results, tell them."""
    result = judge(options, scenario, recorder, answer, time.monotonic() - begun_s)
    _say("drawing the film and writing the bag")
    result = write_outputs(options, scenario, recorder, result, begun_s)
    _say(verdict(result))
    if options.page:
        _say("the robot takes instructions on the page; Ctrl-C ends it")
    _say(json.dumps(asdict(result)))
    return result


def judge(
    options: DemoOptions,
    scenario: Scenario,
    recorder: Recorder,
    answer: NavigateInstruction.Result,
    wall_s: float,
) -> DemoResult:
    """Compare what the navigator says with the ground truth."""
    end = recorder.odometry[-1]
    is_still = abs(end.linear_mps) < STILL_MPS and abs(end.angular_rps) < STILL_RPS
    distance_m = scenario.distance_m(end.pose)
    stopped = answer.outcome == NavigateInstruction.Result.OUTCOME_REACHED
    stats = [r.message for r in recorder.records if isinstance(r.message, DecisionStats)]
    latencies = [s.latency_ms for s in stats if s.probabilities] or [math.nan]
    return DemoResult(
        reached=stopped and is_still and distance_m < SUCCESS_RADIUS_M,
        instruction=options.instruction,
        seed=options.seed,
        target=scenario.target.name,
        room=scenario.target.room,
        outcome=("reached", "stopped", "failed")[answer.outcome],
        error=MissionError(answer.error_code).name,
        error_msg=answer.error_msg,
        start_distance_m=round(scenario.distance_m(scenario.start), 3),
        distance_to_goal_m=round(distance_m, 3),
        path_m=round(_path_m(recorder), 3),
        decisions=answer.decisions,
        simulated_s=round(answer.duration_s, 2),
        wall_s=round(wall_s, 2),
        decision_ms_median=round(statistics.median(latencies), 1),
    )


def verdict(result: DemoResult) -> str:
    """Return the result in one line of plain words."""
    if result.reached:
        start = f"Reached the {_plain(result.target)}: stopped {result.distance_to_goal_m:.2f} m from it"
    elif result.outcome == "reached":
        start = f"Not reached: the robot stopped {result.distance_to_goal_m:.2f} m from the {_plain(result.target)}"
    else:
        start = f"Not reached: {result.error_msg}; {result.distance_to_goal_m:.2f} m from the {_plain(result.target)}"
    return f"{start}, after {result.path_m:.1f} m, {result.decisions} decisions, {result.simulated_s:.0f} seconds."


def write_outputs(
    options: DemoOptions, scenario: Scenario, recorder: Recorder, result: DemoResult, begun_s: float
) -> DemoResult:
    """Write demo.mp4, trajectory.png, run.mcap and run.json; returns the result with their names."""
    out = options.out
    story = Story(
        instruction=options.instruction,
        target=Place(scenario.target.x_m, scenario.target.y_m, max(scenario.target.footprint_m) / 2),
        map=_map(scenario),
        images=recorder.images,
        odometry=recorder.odometry,
        thoughts=thoughts(recorder),
        verdict=verdict(result),
        is_success=result.reached,
    )
    write_film(out / "demo.mp4", story)
    write_trajectory(out / "trajectory.png", story)
    write_bag(out / "run.mcap", recorder.records, recorder.qos)
    files = tuple(str(out / name) for name in ("demo.mp4", "trajectory.png", "run.json", "run.mcap"))
    values = asdict(result) | {"files": files, "wall_s": round(time.monotonic() - begun_s, 2)}
    write_text(out / "run.json", json.dumps(values | _log(recorder), indent=1) + "\n")
    return DemoResult(**values)


def thoughts(recorder: Recorder) -> list[Thought]:
    """Join each published action with its stats."""
    stats = {r.message.id: r.message for r in recorder.records if isinstance(r.message, DecisionStats)}
    joined = []
    for record in recorder.records:
        if record.topic != "/navigator/action":
            continue
        message = record.message
        probabilities = tuple(stats[message.id].probabilities) if message.id in stats else ()
        joined.append(Thought(record.time_ns, _words(message), message.probability, probabilities))
    return joined


class _Mission:
    """The goal on its way, seen from the client."""

    def __init__(self, options: DemoOptions, recorder: Recorder) -> None:
        self._client: Any = ActionClient(recorder, NavigateInstruction, "navigator/navigate")
        self._goal = NavigateInstruction.Goal(instruction=options.instruction, max_duration_s=options.timeout_s)
        self._begun_s = 0.0
        self._attempt = 0
        self.is_accepted = False
        self.answer: NavigateInstruction.Result | None = None

    def is_ready(self) -> bool:
        """Return True if the navigator takes goals."""
        return self._client.server_is_ready()

    def send(self) -> None:
        """Send the goal, again if need be; `answer` will hold the result of the last one sent."""
        self._begun_s = time.monotonic()
        self._attempt += 1
        future = self._client.send_goal_async(self._goal, self._on_feedback)
        future.add_done_callback(partial(self._on_accepted, self._attempt))

    def _on_accepted(self, attempt: int, future: Any) -> None:
        if attempt == self._attempt:
            self.is_accepted = True
            future.result().get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Any) -> None:
        self.answer = future.result().result

    def _on_feedback(self, message: Any) -> None:
        f = message.feedback
        if not is_of_decision(f):
            return
        words = _words(f.decision)
        seconds = time.monotonic() - self._begun_s
        _say(
            f"{seconds:6.1f} s  decision {f.decisions:3d}: {words:<16} probability {f.probability:.2f}"
            f"  {f.latency_ms:4.0f} ms  {f.distance_m:5.2f} m driven"
        )


def _drive(options: DemoOptions, session: Session, recorder: Recorder) -> NavigateInstruction.Result:
    mission = _Mission(options, recorder)
    _say("starting simulator, navigator, controller and governor")
    session.require(lambda: _is_complete(recorder) and mission.is_ready(), READY_TIMEOUT_S, "the nodes were not ready")
    if options.page:
        log = options.out / "log" / "page.log"
        session.require(lambda: _page_address(log), READY_TIMEOUT_S, "the page was not there")
        _say(f"the page is at {_page_address(log)}")
    for _ in range(_ATTEMPTS):  # the answer is lost if the server does not know our end yet
        mission.send()
        if session.spin_until(lambda: mission.is_accepted, _ACCEPT_TIMEOUT_S):
            break
    session.require(lambda: mission.answer is not None, options.timeout_s + _EXTRA_S, "the navigator gave no result")
    until_ns = recorder.odometry[-1].stamp_ns + _SETTLE_S * 1e9
    session.require(lambda: recorder.odometry[-1].stamp_ns > until_ns, 10.0, "odometry did not go on")
    assert mission.answer is not None
    return mission.answer


def _page_address(log: Path) -> str:
    """What the page's node has told of its address, empty if nothing yet."""
    return next(iter(log.read_text().partition("the page is at ")[2].split()), "")


def _is_complete(recorder: Recorder) -> bool:
    is_governed = "/governor/state" in recorder.newest
    is_driven = recorder.count_publishers("controller/execution") > 0
    is_heard = all(recorder.is_ready(name) for name in ("/navigator", "/controller", "/governor"))
    return bool(recorder.images and recorder.odometry) and is_driven and is_governed and is_heard


def _map(scenario: Scenario) -> Any:
    flat = scenario.flat
    simulator = Simulator(flat)
    try:
        return simulator.render_map(map_width_px(flat.width_m, flat.depth_m))
    finally:
        simulator.close()


def _log(recorder: Recorder) -> dict[str, Any]:
    way = [[round(v, 4) for v in (o.stamp_ns / 1e9, o.pose.x_m, o.pose.y_m, o.pose.yaw_rad)] for o in recorder.odometry]
    steps = [
        {
            "time_s": round(t.time_ns / 1e9, 3),
            "action": t.text,
            "probability": round(t.probability, 4),
            "probabilities": [round(p, 4) for p in t.probabilities],
        }
        for t in thoughts(recorder)
    ]
    return {"decisions_log": steps, "trajectory_columns": ["time_s", "x_m", "y_m", "yaw_rad"], "trajectory": way}


def _words(message: NavAction) -> str:
    action = action_from_message(message)
    return f"hold ({HoldReason(message.hold_reason).name.lower()})" if action is None else short_name(action)


def _path_m(recorder: Recorder) -> float:
    poses = [o.pose for o in recorder.odometry]
    return sum(a.distance_m(b) for a, b in zip(poses, poses[1:], strict=False))


def _plain(target: str) -> str:
    return " ".join(target.split("_")[:-1])


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
