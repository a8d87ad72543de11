"""`vila bench video`: a bag played to the navigator as to a fixed camera, with standing queries: time and memory.

The navigator is a process of its own, as on a robot, without odometry, controller and instruction. The bag is played
in a loop. Once a second /diagnostics tell what the last evaluation took, and the system what the navigator holds.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from vila_nav.msg import TemporalEvent
from vila_nav.srv import WatchEvent

from vila_core.errors import ConfigError, VilaError
from vila_core.files.writing import write_text
from vila_core.machine.memory import resident_bytes
from vila_ros.common.qos import latched_qos, reliable_qos
from vila_tools.bags.player import BagPlayer, PlayOptions
from vila_tools.bags.video import BagOptions, convert
from vila_tools.command_line import option, parse_options
from vila_tools.options import NAVIGATOR, model_parameters, require_checkpoint
from vila_tools.session.processes import NodeSpec
from vila_tools.session.robot import robot_recipe
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

_BAGS = (".mcap", ".db3", ".bag")
_TOPIC = "camera/image_raw"
_QUERIES = ("a person walks", "two people meet")


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What to play and to ask. checkpoint None: the embedded one. navigator: the module that runs as navigator."""

    bag: Path = field(metadata=option("what to play, in a loop: a bag, or a video file"))
    queries: tuple[str, ...] = field(
        default=_QUERIES, metadata=option("a standing query; repeatable", flag="--watch", metavar="TEXT")
    )
    minutes: float = field(default=10.0, metadata=option("how long (%(default)s)"))
    checkpoint: Path | None = field(default=None, metadata=option("a model's directory; the embedded one if not given"))
    json_file: Path | None = field(default=None, metadata=option("file for the figures, too", flag="--json"))
    navigator: str = field(default=NAVIGATOR, metadata=option(None))

    def __post_init__(self) -> None:
        check_watching(self.minutes, self.queries)


def check_watching(minutes: float, queries: Sequence[str]) -> None:
    """Raise ConfigError for a time of no run, and for no query."""
    if not 0 < minutes <= 1440:
        raise ConfigError(f"minutes = {minutes!r}: must be above 0 and at most 1440")
    if not queries:
        raise ConfigError("no query; give --watch TEXT at least once")


@dataclass(slots=True)
class Samples:
    """What was noted once a second: pairs of the seconds since the beginning, and milliseconds or megabytes."""

    evaluation_ms: list[tuple[float, float]] = field(default_factory=list)
    resident: list[tuple[float, float]] = field(default_factory=list)
    evaluations: int = 0
    errors: int = 0
    method: str = ""


class Observer(Node):
    """Hears events and diagnostics, and asks for the standing queries."""

    def __init__(self) -> None:
        super().__init__("bench_observer")
        self.events: dict[int, TemporalEvent] = {}  # the last report of each
        self.told: dict[str, str] = {}  # what the diagnostics said last
        self.heard = 0  # diagnostics
        self.watching: Any = self.create_client(WatchEvent, "navigator/watch")
        self.create_subscription(TemporalEvent, "navigator/events", self._on_event, latched_qos(100))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos())

    def _on_event(self, message: TemporalEvent) -> None:
        self.events[message.event_id] = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.told = {pair.key: pair.value for status in message.status for pair in status.values}
        self.heard += 1


def main(argv: Sequence[str] | None = None) -> int:
    """Play, measure, print the figures as one JSON object, write them to a file if asked."""
    options = parse_options(VideoOptions, argv, prog="vila bench video", description=main.__doc__)
    require_checkpoint(options.checkpoint, options.navigator)
    line = json.dumps(measure(options))
    print(line, flush=True)
    if options.json_file is not None:
        write_text(options.json_file, line + "\n")
    return 0


def measure(options: VideoOptions) -> dict[str, object]:
    """Run the navigator and play to it; nothing runs any more afterwards.

    Raises ProcessError if the navigator ends by itself, VilaError if it refuses a query or tells nothing.
    """
    with playable(options.bag) as bag, running([navigator_spec(options)]) as session:
        return _Run(dataclasses.replace(options, bag=bag), session).figures()


@contextmanager
def playable(path: Path) -> Iterator[Path]:
    """Yield a bag as it is, and of a film one of its frames that is removed afterwards."""
    if path.suffix in _BAGS or not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "film.mcap"
        for problem in convert(BagOptions(path, bag)).get("problems", ()):
            print(problem, file=sys.stderr)
        yield bag


def navigator_spec(options: VideoOptions) -> NodeSpec:
    """Return the navigator as on a robot."""
    model = model_parameters(options.checkpoint)
    return NodeSpec("navigator", options.navigator, robot_recipe().path, model, {"image_raw": _TOPIC})


def ask_for(session: Session, watching: Any, name: str, text: str) -> None:
    """Have a navigator's watch service take a standing query. Raises VilaError, with its name, if it does not."""
    future = watching.call_async(WatchEvent.Request(text=text))
    session.require(future.done, READY_TIMEOUT_S, f"{name} did not answer a query")
    answer = future.result()
    if answer is None or not answer.success:
        raise VilaError(f"query {text!r} was refused: {'' if answer is None else answer.error_msg}")


def summary(samples: Samples, minutes: float) -> dict[str, object]:
    """Return the figures of what was noted: milliseconds of an evaluation, megabytes; by minute and over all."""
    times = [took_ms for _, took_ms in samples.evaluation_ms] or [0.0]
    marks = range(1, int(minutes) + 1)
    return {
        "evaluation_ms": {
            "min": round(min(times), 2),
            "median": round(statistics.median(times), 2),
            "max": round(max(times), 2),
        },
        "evaluation_ms_by_minute": {str(mark): _median_in(samples.evaluation_ms, mark) for mark in marks},
        "evaluations": samples.evaluations,
        "failed_evaluations": samples.errors,
        "method": samples.method,
        "resident_mb_by_minute": {str(mark): _at(samples.resident, 60.0 * mark) for mark in marks},
        "resident_mb_at_end": samples.resident[-1][1] if samples.resident else None,
    }


class _Run:
    """One run: the player, the observer, and what was noted."""

    def __init__(self, options: VideoOptions, session: Session) -> None:
        self._options, self._session = options, session
        self._observer = session.add(Observer())
        self._player = session.add(BagPlayer(PlayOptions(options.bag, _TOPIC, loop=True)))
        self._samples = Samples()

    def figures(self) -> dict[str, object]:
        """Watch, sample until the time is over, and return the figures."""
        self._session.require(self._is_complete, READY_TIMEOUT_S, "the navigator was not ready")
        for text in self._options.queries:
            ask_for(self._session, self._observer.watching, "the navigator", text)
        self._sample()
        return {
            **summary(self._samples, self._options.minutes),
            "queries": len(self._options.queries),
            "minutes": self._options.minutes,
            "images": self._player.published,
            "loops": self._player.loops,
            "events": len(self._observer.events),
            "kernels": self._observer.told["kernels"],
        }

    def _is_complete(self) -> bool:
        return self._observer.watching.service_is_ready() and self._player.listeners() > 0

    def _sample(self) -> None:
        begun_s = time.monotonic()
        while (left_s := begun_s + 60.0 * self._options.minutes - time.monotonic()) > 0:
            if self._session.spin_until(partial(self._has_heard, self._observer.heard), left_s):
                self._note(time.monotonic() - begun_s)
        if not self._samples.evaluations:
            raise VilaError("the navigator told of no evaluation; is the run too short?")

    def _has_heard(self, before: int) -> bool:
        return self._observer.heard > before

    def _note(self, elapsed_s: float) -> None:
        told, samples = self._observer.told, self._samples
        evaluations = int(told["evaluations"])
        if evaluations > samples.evaluations:
            samples.evaluations, samples.method = evaluations, told["localization"]
            samples.evaluation_ms.append((elapsed_s, float(told["evaluation_ms"])))
            samples.errors += bool(told["evaluation_error"])
        resident = resident_bytes(process=self._session.process_id("navigator"))
        if resident is not None:
            samples.resident.append((elapsed_s, round(resident / 2**20, 1)))


def _at(resident: Sequence[tuple[float, float]], second: float) -> float | None:
    """Return the sample nearest to a time."""
    return min(resident, key=lambda sample: abs(sample[0] - second))[1] if resident else None


def _median_in(times_ms: Sequence[tuple[float, float]], minute: int) -> float | None:
    """Return the median of what was noted in a minute, the first being 1."""
    own = [took_ms for second, took_ms in times_ms if minute - 1 <= second / 60.0 < minute]
    return round(statistics.median(own), 2) if own else None


if __name__ == "__main__":
    sys.exit(main())
