"""`vila demo-events`: a patrol through a room in which something happens, watched by the navigator.

Starts simulator and navigator as processes, asks the navigator to look out for a dozen things, begins the patrol, and
compares what it publishes with what the simulator says was true.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.node import Node
from std_srvs.srv import Trigger
from vila_nav.srv import UnwatchEvent, WatchEvent

from vila_core.config import EventsConfig
from vila_core.errors import VilaError
from vila_core.files.writing import write_text
from vila_ros.common.conversions import ns_from_stamp
from vila_ros.common.resources import share_file
from vila_sim.events.event_queries import ClipQuery
from vila_sim.events.event_score import QueryScore, score_query, total
from vila_sim.events.patrol_scenario import DURATION_S, PERIOD_S, PatrolScenario, make_patrol
from vila_sim.truth import Seconds, as_events, intervals_of
from vila_tools.command_line import option, parse_options
from vila_tools.demo.event_film import Lane, Report, Watched, write_event_film
from vila_tools.options import NAVIGATOR, model_parameters, require_checkpoint
from vila_tools.session.processes import NodeSpec
from vila_tools.session.recording import Recorder, write_bag
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

_CALL_TIMEOUT_S = 20.0
_SLOWEST = 6.0  # wall time over simulated time, before we give up on a patrol
_SETTLE_S = 4.0  # of simulated time after the patrol, in which events that have ended are closed


@dataclass(frozen=True, slots=True)
class EventDemoOptions:
    """What to do. checkpoint None: the embedded one. navigator: the module that runs as navigator."""

    seed: int = field(default=0, metadata=option("which flat, route and scripted events (%(default)s)"))
    duration_s: float = field(default=DURATION_S, metadata=option("seconds of patrol (%(default)s)", flag="--duration"))
    out: Path = field(default=Path("out"), metadata=option("folder for the film and the rest (%(default)s)"))
    checkpoint: Path | None = field(default=None, metadata=option("a model's directory; the embedded one if not given"))
    navigator: str = field(default=NAVIGATOR, metadata=option(None))


@dataclass(frozen=True, slots=True)
class EventDemoResult:
    """How it went; the JSON line. Times are simulated seconds from the patrol's beginning.

    miou, p_at_05: over all true intervals. delay_s_median: from an event's true start to the first report of it.
    """

    miou: float
    p_at_05: float
    false_alarms: int
    not_seen_recall: float
    events_true: int
    events_published: int
    delay_s_median: float | None
    seed: int
    simulated_s: float
    wall_s: float
    queries: tuple[dict[str, Any], ...]
    files: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the patrol; returns 0 once it is over, however well the model did: the score is the last line.

    Raises VilaError for a node that ends by itself, a query that is refused, and the like.
    """
    begun_s = time.monotonic()
    options = parse_options(EventDemoOptions, argv, prog="vila demo-events", description=main.__doc__)
    require_checkpoint(options.checkpoint, options.navigator)
    scenario = make_patrol(options.seed, options.duration_s)
    _say(f"a patrol of {options.duration_s:.0f} s in the {scenario.room.name.replace('_', ' ')} of an unseen flat")
    recorder, begun_ns = run(options, scenario)
    lanes = make_lanes(scenario.queries, recorder, begun_ns)
    _say("drawing the film and writing the bag")
    result = write_outputs(options, recorder, lanes, begun_ns, begun_s)
    _say(verdict(result))
    _say(json.dumps(asdict(result)))
    return 0


def run(options: EventDemoOptions, scenario: PatrolScenario) -> tuple[Recorder, int]:
    """Start the nodes, watch, begin the patrol; returns what was heard and the simulated time of the beginning."""
    _say("starting simulator and navigator")
    with running(node_specs(options), options.out) as session:
        recorder = session.add(Recorder())
        watching = _Client(session, recorder, WatchEvent, "navigator/watch")
        session.require(lambda: recorder.images, READY_TIMEOUT_S, "the camera showed nothing")
        for query in scenario.queries:
            answer = watching.call(WatchEvent.Request(text=query.text))
            if not answer.success:
                raise VilaError(f"the navigator refuses to watch for {query.text!r}: {answer.error_msg}")
        _Client(session, recorder, Trigger, "simulator/begin").call(Trigger.Request())
        _say(f"watching for {len(scenario.queries)} things; the patrol begins")
        session.require(lambda: _begun_ns(recorder) is not None, _CALL_TIMEOUT_S, "the scripted events did not begin")
        begun_ns = _begun_ns(recorder)
        assert begun_ns is not None
        end_ns = begun_ns + round((options.duration_s + _SETTLE_S) * 1e9)
        limit_s = (options.duration_s + _SETTLE_S) * _SLOWEST
        session.require(lambda: recorder.odometry[-1].stamp_ns > end_ns, limit_s, "the patrol was not over")
        _Client(session, recorder, UnwatchEvent, "navigator/unwatch").call(UnwatchEvent.Request())
        session.spin_until(lambda: False, 1.0)  # what was open is published as it is closed
        return recorder, begun_ns


def node_specs(options: EventDemoOptions) -> tuple[NodeSpec, ...]:
    """Return the nodes to start, with the parameter files that the launch files use too."""
    model = model_parameters(options.checkpoint)
    parameters = share_file("config/simulation.yaml")
    world = {
        "seed": options.seed,
        "instruction": "",
        "scripted_events": "patrol",
        "scripted_events_s": float(options.duration_s),
    }
    return (
        NodeSpec("simulator", "vila_ros.simulator.node", parameters, world),
        NodeSpec("navigator", options.navigator, parameters, model, {"image_raw": "camera/image_raw"}),
    )


def make_lanes(queries: Sequence[ClipQuery], recorder: Recorder, begun_ns: int) -> list[Lane]:
    """Put together for each query what was true, what was glimpsed, and what was published.

    True is what the simulator said of the images, a quarter of a second apart, by the rules that make events of it:
    near intervals are one, and a short one is none (EventsConfig).
    """
    truths = [json.loads(r.message.data) for r in recorder.records if r.topic == "/simulator/scripted_events"]
    truths = _spaced([truth for truth in truths if truth["script_s"] is not None])
    times_s = np.array([truth["script_s"] for truth in truths])
    lanes = []
    for query in queries:
        key = [query.verb, query.colour, query.kind]
        plain_s, glimpsed_s = (
            intervals_of(np.array([key in truth[name] for truth in truths], bool), times_s)
            for name in ("goes_on", "glimpsed")
        )
        true_s = as_events(plain_s, EventsConfig())
        reports = _reports(recorder, query.text, begun_ns)
        lanes.append(Lane(query.text, _rounded(true_s), _rounded(glimpsed_s), reports))
    return lanes


def write_outputs(
    options: EventDemoOptions, recorder: Recorder, lanes: Sequence[Lane], begun_ns: int, begun_s: float
) -> EventDemoResult:
    """Write events.mp4, events.json and events.mcap; returns the result with their names."""
    out = options.out
    files = tuple(str(out / name) for name in ("events.mp4", "events.json", "events.mcap"))
    images = [((time_ns - begun_ns) / 1e9, jpeg) for time_ns, jpeg in recorder.images if time_ns >= begun_ns]
    scores = [score_query(lane.text, lane.true_s, lane.glimpsed_s, lane.published_s) for lane in lanes]
    result = _result(options, lanes, scores, images[-1][0], files, begun_s)
    title = f"Patrol with scripted events, seed {options.seed}"
    write_event_film(out / "events.mp4", Watched(title, lanes, images, images[-1][0], verdict(result)))
    write_bag(out / "events.mcap", recorder.records, recorder.qos)
    write_text(out / "events.json", json.dumps(asdict(result) | _log(lanes), indent=1) + "\n")
    return result


def verdict(result: EventDemoResult) -> str:
    """Return the result in one line of plain words."""
    return (
        f"{result.events_true} events, {result.events_published} published: mean IoU {result.miou:.2f},"
        f" {result.p_at_05:.0%} at 0.5 or more, {result.false_alarms} false alarms in {result.simulated_s:.0f} seconds."
    )


class _Client:
    """A service, called from the program's own spinning."""

    def __init__(self, session: Session, node: Node, kind: Any, name: str) -> None:
        self._session, self._name = session, name
        self._client: Any = node.create_client(kind, name)
        session.require(self._client.service_is_ready, READY_TIMEOUT_S, f"{name} was not offered")

    def call(self, request: Any) -> Any:
        """Return the response; VilaError without one."""
        future = self._client.call_async(request)
        self._session.require(future.done, _CALL_TIMEOUT_S, f"{self._name} did not answer")
        return future.result()


def _begun_ns(recorder: Recorder) -> int | None:
    """Return the simulated time at which the script was begun, as the simulator told last; None before."""
    for record in reversed(recorder.records):
        if record.topic == "/simulator/scripted_events":
            truth = json.loads(record.message.data)
            return None if truth["script_s"] is None else truth["stamp_ns"] - round(truth["script_s"] * 1e9)
    return None


def _result(
    options: EventDemoOptions,
    lanes: Sequence[Lane],
    scores: Sequence[QueryScore],
    simulated_s: float,
    files: tuple[str, ...],
    begun_s: float,
) -> EventDemoResult:
    summary = total(scores)
    delays = [delay for lane in lanes for delay in _delays(lane)]
    return EventDemoResult(
        miou=round(summary.miou, 3),
        p_at_05=round(summary.p_at_05, 3),
        false_alarms=summary.false_alarms,
        not_seen_recall=round(summary.not_seen_recall, 3),
        events_true=sum(len(score.true_s) for score in scores),
        events_published=sum(len(score.published_s) for score in scores),
        delay_s_median=round(statistics.median(delays), 2) if delays else None,
        seed=options.seed,
        simulated_s=round(simulated_s, 1),
        wall_s=round(time.monotonic() - begun_s, 1),
        queries=tuple(_row(score) for score in scores),
        files=files,
    )


def _row(score: QueryScore) -> dict[str, Any]:
    return {
        "text": score.text,
        "true": len(score.true_s),
        "published": len(score.published_s),
        "miou": round(statistics.fmean(score.ious), 3) if score.ious else None,
        "p_at_05": round(statistics.fmean(iou >= 0.5 for iou in score.ious), 3) if score.ious else None,
        "false_alarms": score.false_alarms,
    }


def _delays(lane: Lane) -> list[float]:
    """From each true start to the first report of an event that overlaps it."""
    delays = []
    for start, end in lane.true_s:
        heard = [report.heard_s for report in lane.reports if report.start_s < end and report.end_s > start]
        delays += [min(heard) - start] if heard else []
    return delays


def _reports(recorder: Recorder, text: str, begun_ns: int) -> tuple[Report, ...]:
    """What was published about a query; its label is its text, as we gave none."""

    def seconds(time_ns: int) -> float:
        return round((time_ns - begun_ns) / 1e9, 3)

    heard = [r for r in recorder.records if r.topic == "/navigator/events" and r.message.label == text]
    return tuple(
        Report(
            heard_s=seconds(record.time_ns),
            number=record.message.event_id,
            start_s=seconds(ns_from_stamp(record.message.start)),
            end_s=seconds(ns_from_stamp(record.message.end)),
            is_open=record.message.open,
            probability=record.message.probability,
        )
        for record in heard
    )


def _spaced(truths: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that are a quarter of a second apart, as the navigator remembers images."""
    chosen: list[dict[str, Any]] = []
    for truth in truths:
        if not chosen or truth["script_s"] - chosen[-1]["script_s"] >= PERIOD_S - 0.01:
            chosen.append(truth)
    return chosen


def _rounded(intervals: Sequence[Seconds]) -> tuple[Seconds, ...]:
    return tuple((round(start, 3), round(end, 3)) for start, end in intervals)


def _log(lanes: Sequence[Lane]) -> dict[str, Any]:
    return {"lanes": [asdict(lane) | {"published_s": lane.published_s} for lane in lanes]}


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
