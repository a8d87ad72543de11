"""`vila bench ros`: what ROS adds to a decision, and how many decisions a second there are without it.

The navigator is a process of its own, started as the demo starts it, over DDS; the robot around it, in this process, is
BenchRobot. Overhead: from just before an image is published until the action that answers it has come there, less the
time of `decide`. It holds the image's serialisation, its way, its conversion, all waits for threads and executors, and
the action's way back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from vila_core.errors import ConfigError, VilaError
from vila_core.files.writing import write_text
from vila_core.kernels.library import kernels_status
from vila_core.testing import make_frame
from vila_ros.common.conversions import image_from_frame
from vila_tools.benchmark.ros_robot import BenchRobot, RoundTrip
from vila_tools.command_line import option, parse_options
from vila_tools.options import NAVIGATOR, model_parameters, require_checkpoint
from vila_tools.session.processes import NodeSpec
from vila_tools.session.robot import robot_recipe
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

THREADS = (1, 2)
_IN_PROCESS = "vila_tools.decision_speed"
_WARM_UP = 16  # decisions until the prompt has all its frames and everything was loaded
_DECISION_TIMEOUT_S = 20.0
_SERIALISATIONS = 30
_REPETITIVE = {"navigator.watch_camera": False}  # the robot's few images come again and again
_NO_LIMIT = {"mission.max_decisions": 1_000_000, "mission.max_duration_s": 86_400.0, "mission.max_distance_m": 0.0}
_ALONE = {"require_governor": False, "instruction_topic": True}  # the robot is all that there is beside the navigator


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What to measure. checkpoint None: the embedded one. navigator: the module that runs as navigator.

    rate_hz: of the camera, which runs freely, as on a robot; decisions over the graph can't be more.
    """

    decisions: int = field(default=200, metadata=option("to measure (%(default)s)"))
    checkpoint: Path | None = field(default=None, metadata=option("a model's directory; the embedded one if not given"))
    width: int = field(default=640, metadata=option("of the images (%(default)s)"))
    height: int = field(default=480, metadata=option("of the images (%(default)s)"))
    rate_hz: float = field(default=30.0, metadata=option("of the camera, in Hz (%(default)s)", flag="--rate"))
    json_file: Path | None = field(default=None, metadata=option("file for the figures, too", flag="--json"))
    navigator: str = field(default=NAVIGATOR, metadata=option(None))

    def __post_init__(self) -> None:
        limits = {"decisions": (2, 100_000), "width": (8, 8192), "height": (8, 8192), "rate_hz": (1, 1000)}
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: must be from {least} to {most}")


@dataclass(frozen=True, slots=True)
class GraphFigures:
    """Over the graph; milliseconds, medians where nothing else is said.

    publish_ms: the image serialised and given to DDS. navigator_ms: from there until the navigator has published
    answer and numbers, without `decide`: the image's way, its conversion, all waits of threads; the answer's own way
    overlaps with its end. image_serialise_ms and image_deserialise_ms were timed alone; the two before hold them.
    """

    graph_overhead_ms: float
    graph_overhead_p90_ms: float
    graph_overhead_min_ms: float
    decide_ms: float
    graph_decisions_per_s: float
    graph_decisions: int
    images: int
    publish_ms: float
    navigator_ms: float
    image_serialise_ms: float
    image_deserialise_ms: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the figures as one JSON object, write them to a file if asked."""
    options = parse_options(BenchOptions, argv, prog="vila bench ros", description=main.__doc__)
    require_checkpoint(options.checkpoint, options.navigator)
    _say(f"{options.decisions} decisions on images of {options.width} x {options.height} px, {options.rate_hz:g} Hz")
    graph = measure_graph(options)
    _say(f"over the graph: overhead {graph.graph_overhead_ms} ms, decide {graph.decide_ms} ms")
    rates = {str(threads): measure_in_process(options, threads) for threads in THREADS}
    setting = {"width": options.width, "height": options.height, "rate_hz": options.rate_hz, "cores": os.cpu_count()}
    figures = {
        "in_process_decisions_per_s": max(rates.values()),
        "in_process_decisions_per_s_by_threads": rates,
        **asdict(graph),
        **setting,
        "kernels": asdict(kernels_status()),
    }
    line = json.dumps(figures)
    _say(line)
    if options.json_file is not None:
        write_text(options.json_file, line + "\n")
    return 0


def measure_graph(options: BenchOptions) -> GraphFigures:
    """Run the navigator and take the decisions; nothing runs any more afterwards.

    Raises ProcessError if the navigator ends by itself, VilaError if it does not answer.
    """
    with running([navigator_spec(options)]) as session:
        trips, images = _drive(options, session)
    return summary(trips, images, serialisation_ms(options))


def measure_in_process(options: BenchOptions, threads: int) -> float:
    """Return the decisions a second without ROS, in a process with so many threads. Raises VilaError."""
    command = [sys.executable, "-m", _IN_PROCESS, "--decisions", str(options.decisions)]
    command += ["--width", str(options.width), "--height", str(options.height)]
    if options.checkpoint is not None:
        command += ["--checkpoint", str(options.checkpoint)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise VilaError(f"decisions in process failed: {last}")
    return float(json.loads(done.stdout.splitlines()[-1])["decisions_per_s"])


def navigator_spec(options: BenchOptions) -> NodeSpec:
    """Return the navigator as on a robot, but for a mission that no limit ends."""
    model = model_parameters(options.checkpoint)
    return NodeSpec(
        "navigator",
        options.navigator,
        robot_recipe().path,
        model | _NO_LIMIT | _REPETITIVE | _ALONE,
        {"image_raw": "camera/image_raw"},
    )


def serialisation_ms(options: BenchOptions) -> tuple[float, float]:
    """Return what one image costs to serialise and to deserialise, medians, without DDS."""
    message = image_from_frame(make_frame(height=options.height, width=options.width))
    data = serialize_message(message)
    return _median_ms(lambda: serialize_message(message)), _median_ms(lambda: deserialize_message(data, Image))


def summary(trips: Sequence[RoundTrip], images: int, serialisation: tuple[float, float]) -> GraphFigures:
    """Return the figures of these decisions. serialisation: as serialisation_ms gives it."""
    overheads = sorted(trip.overhead_ms for trip in trips)
    seconds = (trips[-1].arrived_ns - trips[0].arrived_ns) / 1e9
    values = {
        "graph_overhead_ms": statistics.median(overheads),
        "graph_overhead_p90_ms": overheads[int(0.9 * (len(overheads) - 1))],
        "graph_overhead_min_ms": overheads[0],
        "decide_ms": statistics.median(t.latency_ms for t in trips),
        "graph_decisions_per_s": (len(trips) - 1) / seconds,
        "publish_ms": statistics.median(t.publish_ms for t in trips),
        "navigator_ms": statistics.median(t.image_age_ms - t.latency_ms - t.publish_ms for t in trips),
        "image_serialise_ms": serialisation[0],
        "image_deserialise_ms": serialisation[1],
    }
    rounded = {name: round(value, 2) for name, value in values.items()}
    return GraphFigures(**rounded, graph_decisions=len(trips), images=images)


def _median_ms(work: Callable[[], object]) -> float:
    times_ns = []
    for _ in range(_SERIALISATIONS):
        begun_ns = time.perf_counter_ns()
        work()
        times_ns.append(time.perf_counter_ns() - begun_ns)
    return statistics.median(times_ns) / 1e6


def _drive(options: BenchOptions, session: Session) -> tuple[list[RoundTrip], int]:
    """Spin the robot until all decisions have come; returns those after the warm-up, and the images since."""
    robot = session.add(BenchRobot(rate_hz=options.rate_hz, width=options.width, height=options.height))
    _await_decisions(session, robot, _WARM_UP, READY_TIMEOUT_S)
    images = robot.images
    _await_decisions(session, robot, _WARM_UP + options.decisions, _DECISION_TIMEOUT_S)
    return robot.trips[_WARM_UP : _WARM_UP + options.decisions], robot.images - images


def _await_decisions(session: Session, robot: BenchRobot, count: int, patience_s: float) -> None:
    """Spin until so many decisions have come; patience_s: for the first of them."""
    while (seen := len(robot.trips)) < count:
        if not session.spin_until(partial(_has_more, robot, seen), patience_s):
            raise VilaError(f"the navigator answered {seen} images, then none for {patience_s:.0f} s")
        patience_s = _DECISION_TIMEOUT_S


def _has_more(robot: BenchRobot, seen: int) -> bool:
    return len(robot.trips) > seen


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
