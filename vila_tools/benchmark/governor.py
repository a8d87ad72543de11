"""`vila bench governor`: how soon the governor is there, and how evenly it ticks beside a model and busy programs.

The robot drives in the simulator, with all its nodes, from one instruction to the next; so many programs beside it do
nothing but compute. The governor itself counts its ticks and tells of them in /diagnostics. Late is a tick that comes
30 ms after the one before, where 20 are due. The last line is a JSON object.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.action import ActionClient
from rclpy.node import Node
from vila_nav.action import NavigateInstruction
from vila_nav.msg import GovernorState, NavigatorStatus

from vila_core.errors import ConfigError, VilaError
from vila_ros.common.qos import latched_qos, reliable_qos
from vila_tools.benchmark.busy import busy_programs
from vila_tools.command_line import option, parse_options
from vila_tools.demo.run import DemoOptions, node_specs
from vila_tools.report import tell
from vila_tools.session.processes import NodeSpec
from vila_tools.session.session import READY_TIMEOUT_S, Session, running

_INSTRUCTIONS = ("go to the red chair", "go to the blue table", "go to the green sofa")
_STARTS = 5  # of the governor, to time
_WARM_UP_S = 3.0


@dataclass(frozen=True, slots=True)
class GovernorBenchOptions:
    """What to measure."""

    seconds: float = field(default=60.0, metadata=option("of ticks (%(default)s)"))
    busy: int = field(default=2, metadata=option("programs beside it that only compute (%(default)s)"))
    json_file: Path | None = field(default=None, metadata=option("file for the figures, too", flag="--json"))

    def __post_init__(self) -> None:
        if not 1 <= self.seconds <= 3600 or not 0 <= self.busy <= 64:
            raise ConfigError(f"--seconds {self.seconds:g} (1 to 3600), --busy {self.busy} (0 to 64): out of range")


@dataclass(frozen=True, slots=True)
class GovernorFigures:
    """late_share: of the ticks. start_s: from the start of the process to the first state, without load."""

    ticks: int
    late_ticks: int
    late_share: float
    longest_tick_ms: float
    start_s: float
    start_s_worst: float
    busy: int
    cores: int


class _Observer(Node):
    """Hears the governor, and gives the next instruction when the last one has ended."""

    def __init__(self) -> None:
        super().__init__("observer")
        self.states = self.ticks = self.late = self.sent = 0
        self.longest_ms, self.is_counting, self.is_ready = 0.0, False, False
        self._is_driving = False
        self._navigate: ActionClient = ActionClient(self, NavigateInstruction, "navigator/navigate")
        self.create_subscription(GovernorState, "governor/state", self._on_state, reliable_qos(10))
        self.create_subscription(NavigatorStatus, "navigator/status", self._on_status, latched_qos())
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos(10))

    def drive(self) -> None:
        """Have the robot drive on, if it does not."""
        if self._is_driving or not self._navigate.server_is_ready():
            return
        self._is_driving = True
        goal = NavigateInstruction.Goal(instruction=_INSTRUCTIONS[self.sent % len(_INSTRUCTIONS)])
        self.sent += 1
        self._navigate.send_goal_async(goal).add_done_callback(self._on_accepted)

    def destroy_node(self) -> None:
        """Leave the action, then the graph."""
        self._navigate.destroy()
        super().destroy_node()

    def _on_accepted(self, sent: Any) -> None:
        sent.result().get_result_async().add_done_callback(self._on_end)

    def _on_end(self, ended: Any) -> None:
        self._is_driving = False

    def _on_state(self, message: GovernorState) -> None:
        self.states += 1

    def _on_status(self, message: NavigatorStatus) -> None:
        self.is_ready = message.state >= NavigatorStatus.STATE_READY

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            if self.is_counting and "longest_tick_ms" in values:
                self.ticks += int(values["ticks"])
                self.late += int(values["late_ticks"])
                self.longest_ms = max(self.longest_ms, float(values["longest_tick_ms"]))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print the figures; --json writes them to a file too."""
    options = parse_options(GovernorBenchOptions, argv, prog="vila bench governor", description=__doc__)
    figures = measure(options)
    late = f"{figures.late_ticks} of {figures.ticks} ticks late, the longest {figures.longest_tick_ms} ms"
    start = f"there after {figures.start_s} s, {figures.start_s_worst} s at most"
    tell(asdict(figures), (f"{late}, beside {figures.busy} busy programs; {start}",), options.json_file)
    return 0


def measure(options: GovernorBenchOptions) -> GovernorFigures:
    """Start the robot and count. Raises VilaError if it does not come up, or the governor ends."""
    specs = node_specs(DemoOptions())
    governor = next(spec for spec in specs if spec.name == "governor")
    starts = sorted(_start_s(governor) for _ in range(_STARTS))
    with running(specs) as session:
        observer = session.add(_Observer())
        session.require(lambda: observer.is_ready, READY_TIMEOUT_S, "the navigator was not ready")
        with busy_programs(options.busy):
            _count(session, observer, options.seconds)
    if not observer.ticks:
        raise VilaError("the governor told of no ticks")
    return GovernorFigures(
        ticks=observer.ticks,
        late_ticks=observer.late,
        late_share=round(observer.late / observer.ticks, 5),
        longest_tick_ms=observer.longest_ms,
        start_s=round(statistics.median(starts), 2),
        start_s_worst=round(starts[-1], 2),
        busy=options.busy,
        cores=os.cpu_count() or 0,
    )


def _start_s(governor: NodeSpec) -> float:
    """Start the governor alone; return the time until its first word is heard."""
    with running([]) as session:
        observer, begun_s = session.add(_Observer()), time.monotonic()
        session.start(governor)
        session.require(lambda: observer.states, READY_TIMEOUT_S, "the governor said nothing")
        return time.monotonic() - begun_s


def _count(session: Session, observer: _Observer, seconds: float) -> None:
    end_s = time.monotonic() + _WARM_UP_S + seconds
    while (now_s := time.monotonic()) < end_s:
        observer.is_counting = now_s > end_s - seconds
        observer.drive()
        session.spin_until(lambda: False, 0.2)
    if not observer.sent:
        raise VilaError("the navigator took no instruction")
