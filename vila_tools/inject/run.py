"""`vila inject`: a fault drill. What happens to a robot whose sensors lie, whose processes die, whom strangers command.

Each row brings the robot to driving, injects one fault, and measures until the robot stands for good, how far it got,
how its mission ended, and that nothing moves when the fault is gone. The last line is one JSON object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from vila_core.errors import ConfigError, VilaError
from vila_tools.command_line import option, parse_options
from vila_tools.inject.drill import run_row
from vila_tools.inject.lateness import Lateness
from vila_tools.inject.relay import RELAYED
from vila_tools.inject.report import Result, as_json, judge, table
from vila_tools.inject.rig import Rig
from vila_tools.inject.rows import PARTS, QUICK, ROWS, Needs, Row
from vila_tools.inject.setups import own_base, running_system, simulator
from vila_tools.report import tell

_DISCOVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class InjectOptions:
    """What is drilled, and on which robot."""

    only: tuple[str, ...] = field(
        default=(), metadata=option("a row or a part of the table; may be repeated", metavar="PART")
    )
    quick: bool = field(default=False, metadata=option("a short form of under a minute"))
    simulator: bool = field(
        default=False, metadata=option("drive the simulated flat's robot, not the drill's own base")
    )
    running: tuple[str, ...] = field(
        default=(), metadata=option("a row, on the nodes that run in this ROS domain; may be repeated", metavar="ROW")
    )
    instruction: str = field(default="", metadata=option("with --running: given to the robot; else you have it drive"))
    image: str = field(default="camera/image_raw", metadata=option("with --running: the camera's topic (%(default)s)"))
    odom: str = field(default="odom", metadata=option("with --running: the odometry's topic (%(default)s)"))
    scan: str = field(default="scan", metadata=option("with --running: the laser's topic (%(default)s)"))
    list: bool = field(default=False, metadata=option("show the table, and do nothing"))
    out: Path | None = field(default=None, metadata=option("folder for the nodes' logs"))
    json: Path | None = field(default=None, metadata=option("file for the JSON line"))

    def __post_init__(self) -> None:
        known = {row.name for row in ROWS}
        for name in (*self.only, *self.running):
            if name not in known and (name not in PARTS or name in self.running):
                raise ConfigError(f"{name!r} is no row of the drill, nor a part ({', '.join(PARTS)}); see --list")
        if self.running and (self.only or self.quick or self.simulator):
            raise ConfigError("--running names its rows itself: leave out --only, --quick and --simulator")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the drill; returns 0 if every row passes, 1 otherwise."""
    options = parse_options(InjectOptions, argv, prog="vila inject", description=__doc__)
    if options.list:
        print("\n".join(f"{row.name:<20} {row.part:<9} {row.about}" for row in ROWS))
        return 0
    results = drill(options)
    tell(as_json(results), table(results), options.json)
    return 0 if all(result.passed for result in results) else 1


def drill(options: InjectOptions) -> list[Result]:
    """Run the chosen rows, on as many robots as they need."""
    results: list[Result] = []
    with Lateness() as lateness:
        for robot, rows in _robots(options):
            if rows:
                with robot as rig:
                    results += [_run(rig, row, lateness) for row in rows]
    return results


def chosen(options: InjectOptions) -> tuple[Row, ...]:
    """Return the rows that the options name, in the table's order."""
    names = options.running or (QUICK if options.quick else ())
    rows = tuple(row for row in ROWS if not names or row.name in names)
    return tuple(row for row in rows if not options.only or row.name in options.only or row.part in options.only)


def _robots(options: InjectOptions) -> Iterator[tuple[AbstractContextManager[Rig], Sequence[Row]]]:
    rows = chosen(options)
    if options.running:
        for row in rows:
            if row.needs in (Needs.MODEL, Needs.CLOCK):
                raise ConfigError(f"{row.name} needs {row.needs.value}: run it without --running")
        topics = {"image": options.image, "odom": options.odom, "scan": options.scan}
        yield running_system(topics, options.instruction), rows
    elif options.simulator:
        yield simulator(options.out), rows
    else:
        yield own_base(options.out, simulated=False), [row for row in rows if row.needs is not Needs.CLOCK]
        yield own_base(options.out, simulated=True), [row for row in rows if row.needs is Needs.CLOCK]


def _run(rig: Rig, row: Row, lateness: Lateness) -> Result:
    print(f"{row.name}: {row.about}", file=sys.stderr, flush=True)
    _require_relay(rig, row)
    if not rig.instruction:
        print("waiting for the robot to drive: give it an instruction", file=sys.stderr, flush=True)
    result = judge(row, run_row(rig, row, lateness))
    print(f"  {result.verdict} ({result.ended or '-'}: {result.words})", file=sys.stderr, flush=True)
    return result


def _require_relay(rig: Rig, row: Row) -> None:
    """Raise VilaError for a row that edits sensors' messages which nobody hears through the relay."""
    if row.needs is Needs.RELAY and not rig.wait(rig.relay.is_heard, _DISCOVERY_S):
        arguments = " ".join(f"{name}:=/{RELAYED[name]}" for name in ("image", "odom", "scan"))
        raise VilaError(f"{row.name} needs nodes that hear the relay: launch them with {arguments}")


if __name__ == "__main__":
    sys.exit(main())
