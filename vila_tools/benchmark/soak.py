"""`vila bench soak`: two cameras and standing queries for half an hour: memory, ages of images, deadlines.

Two navigators are processes of their own, as on a robot: one drives by its camera, the other watches a fixed one;
each has the standing queries. The robot around them is BenchRobot, whose actions take a second each.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from vila_nav.msg import DecisionStats, NavAction
from vila_nav.srv import WatchEvent

from vila_core.errors import ConfigError, VilaError
from vila_core.files.writing import write_text
from vila_core.kernels.library import kernels_status
from vila_core.machine.memory import resident_bytes
from vila_core.types import HoldReason
from vila_ros.common.conversions import stamp_from_ns
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_tools.benchmark.busy import busy_programs
from vila_tools.benchmark.ros_overhead import BenchOptions, navigator_spec
from vila_tools.benchmark.ros_robot import BenchRobot, made_up_images
from vila_tools.benchmark.ros_video import ask_for, check_watching
from vila_tools.command_line import option, parse_options
from vila_tools.options import NAVIGATOR, require_checkpoint
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

DRIVING, WATCHING = "navigator", "second/navigator"
_QUERIES = ("the door opens", "the red ball moves", "a person walks", "the light goes out")
_ACTION_S = 1.0
_SAMPLE_S = 1.0
_MOST_BUSY = 64
_TENTH = 0.1  # of the time: in the first memory may still grow to what the work needs


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What to run. checkpoint None: the embedded one. navigator: the module that runs as navigator."""

    minutes: float = field(default=30.0, metadata=option("how long (%(default)s)"))
    queries: tuple[str, ...] = field(
        default=_QUERIES, metadata=option("a standing query; repeatable", flag="--watch", metavar="TEXT")
    )
    checkpoint: Path | None = field(default=None, metadata=option("a model's directory; the embedded one if not given"))
    width: int = field(default=640, metadata=option("of the images (%(default)s)"))
    height: int = field(default=480, metadata=option("of the images (%(default)s)"))
    rate_hz: float = field(default=30.0, metadata=option("of each camera, in Hz (%(default)s)", flag="--rate"))
    busy: int = field(default=0, metadata=option("programs beside it that only compute (%(default)s)"))
    json_file: Path | None = field(default=None, metadata=option("file for the figures, too", flag="--json"))
    navigator: str = field(default=NAVIGATOR, metadata=option(None))

    def __post_init__(self) -> None:
        check_watching(self.minutes, self.queries)
        if not 0 <= self.busy <= _MOST_BUSY:
            raise ConfigError(f"--busy {self.busy}: must be from 0 to {_MOST_BUSY}")
        self.bench()

    def bench(self) -> BenchOptions:
        """Return the part that `vila bench ros` knows; raises ConfigError as it does."""
        return BenchOptions(
            checkpoint=self.checkpoint,
            width=self.width,
            height=self.height,
            rate_hz=self.rate_hz,
            navigator=self.navigator,
        )


@dataclass(frozen=True, slots=True)
class SoakFigures:
    """How it went. image_age: of the image when its decision began.

    resident: mean of the second tenth of the time and of the last one, since a mission holds more as it goes on;
    growth: from the one to the other, in percent. Both of each process, as the evaluations, which are of the queries.
    holds: by their reason; NO_INSTRUCTION: a mission had ended at a limit, and the next one began.
    dropped_answers: that came behind their mission's end.
    """

    decisions: int
    missed_deadlines: int
    holds: dict[str, int]
    dropped_answers: int
    image_age_ms_max: float
    image_age_ms_median: float
    decide_ms_max: float
    evaluations: dict[str, int]
    resident_mb: dict[str, tuple[float, float]]
    growth_percent: dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print the figures as one JSON object, write them to a file if asked."""
    options = parse_options(SoakOptions, argv, prog="vila bench soak", description=main.__doc__)
    require_checkpoint(options.checkpoint, options.navigator)
    print(f"{options.minutes:g} minutes, two cameras at {options.rate_hz:g} Hz", flush=True)
    setting = {"minutes": options.minutes, "rate_hz": options.rate_hz, "queries_each": len(options.queries)}
    setting |= {"busy": options.busy}
    size = {"width": options.width, "height": options.height, "cores": os.cpu_count()}
    line = json.dumps({**asdict(measure(options)), **setting, **size, "kernels": asdict(kernels_status())})
    print(line, flush=True)
    if options.json_file is not None:
        write_text(options.json_file, line + "\n")
    return 0


def measure(options: SoakOptions) -> SoakFigures:
    """Run both navigators; nothing runs any more afterwards.

    Raises ProcessError if one ends by itself, VilaError if one refuses a query or tells nothing.
    """
    driving = navigator_spec(options.bench())
    watching = replace(driving, name=WATCHING.replace("/", "_"), remaps={"image_raw": "image_raw", "__ns": "/second"})
    with running([driving, watching]) as session, busy_programs(options.busy):
        robot = session.add(
            BenchRobot(rate_hz=options.rate_hz, width=options.width, height=options.height, action_s=_ACTION_S)
        )
        session.add(SecondCamera(options))
        listener = session.add(Listener())
        session.require(robot.is_connected, READY_TIMEOUT_S, "the navigator was not ready")
        for name in listener.watching:
            _watch(session, listener, name, options.queries)
        processes = {DRIVING: session.process_id(driving.name), WATCHING: session.process_id(watching.name)}
        resident = _sample(session, processes, 60.0 * options.minutes)
    return summary(listener, resident)


class SecondCamera(Node):
    """Publishes made-up images to the second navigator."""

    def __init__(self, options: SoakOptions) -> None:
        super().__init__("second_camera")
        self._images = made_up_images(options.width, options.height)
        self._count = 0
        self._publisher = self.create_publisher(Image, "second/image_raw", sensor_qos())
        self.create_timer(1.0 / options.rate_hz, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_timer(self) -> None:
        message = self._images[self._count % len(self._images)]
        self._count += 1
        message.header.stamp = stamp_from_ns(self.get_clock().now().nanoseconds)
        self._publisher.publish(message)


class Listener(Node):
    """Hears decisions and diagnostics, and asks for the standing queries."""

    def __init__(self) -> None:
        super().__init__("bench_listener")
        self.stats: list[DecisionStats] = []
        self.holds: Counter[str] = Counter()
        self.evaluations: dict[str, int] = {}
        self.watching: dict[str, Any] = {n: self.create_client(WatchEvent, f"{n}/watch") for n in (DRIVING, WATCHING)}
        self.create_subscription(DecisionStats, f"{DRIVING}/stats", self.stats.append, reliable_qos(100))
        self.create_subscription(NavAction, f"{DRIVING}/action", self._on_action, reliable_qos(100))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos(100))

    def _on_action(self, message: NavAction) -> None:
        if message.kind == NavAction.KIND_HOLD:
            self.holds[HoldReason(message.hold_reason).name] += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            told = {pair.key: pair.value for pair in status.values}
            if "evaluations" in told:
                self.evaluations[status.name.lstrip("/")] = int(told["evaluations"])


def summary(listener: Listener, resident: dict[str, list[tuple[float, float]]]) -> SoakFigures:
    """Return the figures of what was heard. Raises VilaError if no decision or no memory was told."""
    stats = listener.stats
    if not stats or not all(resident.values()):
        raise VilaError("the navigator told of no decision, or its memory can't be read; is the run too short?")
    ages_ms = [each.image_age_ms - each.latency_ms for each in stats]
    memory = {name: (_mean(samples, _TENTH), _mean(samples, 1 - _TENTH)) for name, samples in resident.items()}
    return SoakFigures(
        decisions=len(stats),
        missed_deadlines=listener.holds[HoldReason.LATE_DECISION.name],
        holds=dict(listener.holds),
        dropped_answers=stats[-1].late_answers,
        image_age_ms_max=round(max(ages_ms), 1),
        image_age_ms_median=round(statistics.median(ages_ms), 1),
        decide_ms_max=round(max(each.latency_ms for each in stats), 1),
        evaluations=dict(listener.evaluations),
        resident_mb=memory,
        growth_percent={name: round(100 * (end / begun - 1), 2) for name, (begun, end) in memory.items()},
    )


def _watch(session: Session, listener: Listener, name: str, queries: Sequence[str]) -> None:
    client = listener.watching[name]
    session.require(client.service_is_ready, READY_TIMEOUT_S, f"{name} was not ready")
    for text in queries:
        ask_for(session, client, name, text)


def _sample(session: Session, processes: dict[str, int], duration_s: float) -> dict[str, list[tuple[float, float]]]:
    """Spin for the time; returns what each process held, in MB, and when, as a share of the time."""
    begun_s = time.monotonic()
    resident: dict[str, list[tuple[float, float]]] = {name: [] for name in processes}
    while (elapsed_s := time.monotonic() - begun_s) < duration_s:
        session.spin_until(lambda: False, min(_SAMPLE_S, duration_s - elapsed_s))
        for name, process in processes.items():
            if (held := resident_bytes(process=process)) is not None:
                resident[name].append(((time.monotonic() - begun_s) / duration_s, round(held / 1e6, 1)))
    return resident


def _mean(samples: Sequence[tuple[float, float]], begun: float) -> float:
    """Of the tenth that begins at a share of the time; of what was told last, if nothing was told then."""
    told_mb = [held_mb for share, held_mb in samples if begun <= share <= begun + _TENTH] or [samples[-1][1]]
    return round(statistics.fmean(told_mb), 1)


if __name__ == "__main__":
    sys.exit(main())
