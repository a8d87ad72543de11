"""`vila doctor`: what is wrong with camera, odometry, clocks, model, computer and graph, and what to do about it.

It hears a robot that runs, or reads a bag (--bag). Status 0: nothing is red. 1: something is. 2: nothing to judge.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vila_core.doctor.checks import CHECKS, Case, examine
from vila_core.doctor.findings import Finding, Level
from vila_core.doctor.gather import Gatherer
from vila_core.doctor.observations import Mounting, Observations, ProbedFrame, RobotFacts
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import ConfigError
from vila_ros.common.recipes import GENERIC, RobotRecipe
from vila_tools.command_line import option, parse_options
from vila_tools.doctor.bag import gather_bag
from vila_tools.doctor.facts import machine_facts
from vila_tools.doctor.probe import probe
from vila_tools.session.robot import robot_recipe

_DISCOVERY_S = 2.0
_DRIVE_S = 60.0  # that a drive may take, of a slow machine
_MARKS = {Level.GREEN: "\033[32m", Level.AMBER: "\033[33m", Level.RED: "\033[31m", Level.UNKNOWN: "\033[90m"}


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """What to look at."""

    bag: Path | None = field(default=None, metadata=option("a bag instead of a robot that runs"))
    robot: str = field(default=GENERIC, metadata=option("recipe that names the robot's topics (%(default)s)"))
    namespace: str = field(default="", metadata=option("of the robot's nodes"))
    image: str = field(default="", metadata=option("topic of the camera; without: the recipe's, a bag's largest"))
    seconds: float = field(default=math.nan, metadata=option("how long to listen (10), or to read of a bag (60)"))
    drive: bool = field(
        default=False, metadata=option("drive 0.5 m ahead and turn 60 degrees there and back: 2 m free around it!")
    )
    checkpoint: Path | None = field(
        default=None, metadata=option("the model to ask about the pictures; without: the embedded one, if that drives")
    )
    instruction: str = field(
        default="", metadata=option("to ask it by; without: that of the mission which was heard; of what can be seen")
    )
    exam: bool = field(default=False, metadata=option("have the checks find mistakes seeded in the simulator"))
    runs: int = field(default=6, metadata=option("of the exam, each with every mistake (%(default)s)"))
    healthy: int = field(default=0, metadata=option("more runs of the exam, without mistakes, to count false alarms"))

    def __post_init__(self) -> None:
        if not (math.isnan(self.seconds) or 1.0 <= self.seconds <= 3600.0):
            raise ConfigError(f"seconds = {self.seconds!r}: must be from 1 to 3600")
        if self.bag is not None and self.drive:
            raise ConfigError("--drive needs a robot; a bag has driven already")
        if not 0 <= self.runs <= 1000 or not 0 <= self.healthy <= 1000 or not self.runs + self.healthy:
            raise ConfigError(
                f"runs = {self.runs!r}, healthy = {self.healthy!r}: must be up to 1000, one in all at least"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each check, with its remedy; the last line on stdout is one JSON object."""
    options = parse_options(DoctorOptions, argv, prog="vila doctor", description=__doc__)
    if options.exam:
        return _examined(options.runs, options.healthy)
    recipe = robot_recipe(options.robot, blind=True)  # whether it may drive is not asked here
    observed = _of_bag(options, recipe) if options.bag is not None else _of_graph(options, recipe)
    findings = examine(Case(observed))
    for line in report(observed, findings, is_coloured=sys.stdout.isatty()):
        print(line)
    print(json.dumps(as_json(observed, findings)))
    return 1 if any(finding.level is Level.RED for finding in findings.values()) else 0


def report(observed: Observations, findings: Mapping[str, Finding], *, is_coloured: bool = False) -> Iterator[str]:
    """Yield the lines for people: a group's checks below its name, what to do below a check."""
    yield observed.source
    group = ""
    for check in CHECKS:
        finding = findings[check.name]
        if check.group != group:
            group = check.group
            yield group
        word = "-" if finding.level is Level.UNKNOWN else finding.level.value
        shown = f"{_MARKS[finding.level]}{word:5s}\033[0m" if is_coloured else f"{word:5s}"
        yield f"  {shown} {check.name:21s} {finding.text}"
        if finding.remedy and finding.is_alarm:
            yield f"        {'':21s} -> {finding.remedy}"


def as_json(observed: Observations, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """Return the findings for the last line."""
    counts = Counter(finding.level.value for finding in findings.values())
    return {
        "source": observed.source,
        **{level.value: counts[level.value] for level in Level},
        "findings": {
            name: {"level": finding.level.value, "text": finding.text, "remedy": finding.remedy}
            for name, finding in findings.items()
        },
    }


def _of_bag(options: DoctorOptions, recipe: RobotRecipe) -> Observations:
    assert options.bag is not None
    seconds = 60.0 if math.isnan(options.seconds) else options.seconds
    topics = {name: recipe.topic(name) for name in ("odom", "cmd_vel")}
    gatherer, topic = gather_bag(options.bag, topics, options.image, seconds)
    return gatherer.observations(
        f"{options.bag}, {topic}",
        is_live=False,
        probes=_probes(gatherer, options.checkpoint or EMBEDDED_CHECKPOINT, options.instruction),
        robot=_robot(options, recipe),
        mounting=_mounting(recipe),
    )


def _of_graph(options: DoctorOptions, recipe: RobotRecipe) -> Observations:
    from vila_tools.doctor.live import DoctorNode
    from vila_tools.session.session import on_graph

    seconds = 10.0 if math.isnan(options.seconds) else options.seconds
    topics = {name: recipe.topic(name) for name in ("image", "odom", "cmd_vel")}
    topics |= {"image": options.image} if options.image else {}
    with on_graph() as session:
        node = session.add(DoctorNode(options.namespace, topics))
        session.spin_until(lambda: False, _DISCOVERY_S)
        node.listen()
        if options.drive:
            _drive(session, node, recipe)
        session.spin_until(lambda: False, seconds)
        if node.gatherer.is_silent:
            raise node.silence(seconds)
        chosen = options.checkpoint or (EMBEDDED_CHECKPOINT if not node.checkpoint else None)
        return node.gatherer.observations(
            f"{node.image_topic}, {node.gatherer.counts}",
            is_live=True,
            endpoints=node.endpoints(),
            probes=_probes(node.gatherer, chosen, options.instruction),
            machine=machine_facts(Path.home() / ".ros", options.checkpoint),
            robot=_robot(options, recipe),
            mounting=_mounting(recipe),
            clocks=node.clocks(),
            limits=node.limits,
        )


def _drive(session: Any, node: Any, recipe: RobotRecipe) -> None:
    """Drive; VilaError where somebody else does. A drive that ended early is told, and judged as far as it went."""
    from vila_tools.doctor.drive import PERIOD_S, OdometryDrive

    setting = str(recipe.parameters.get("governor", {}).get("velocity_type", "auto"))
    session.spin_until(lambda: False, _DISCOVERY_S)  # whoever drives is to be known by then
    drive = OdometryDrive(node, recipe.topic("cmd_vel"), setting)

    def tick() -> None:
        heard = node.gatherer.newest_odometry
        age_s = math.inf if heard is None else (node.now_ns() - heard.arrival_ns) / 1e9
        drive.tick(None if heard is None else heard.odometry, age_s)

    timer = node.create_timer(PERIOD_S, tick)
    try:
        session.spin_until(lambda: drive.is_over, _DRIVE_S)
    finally:
        node.destroy_timer(timer)
        drive.close()
    if drive.fault:
        print(f"the drive was ended: {drive.fault}", file=sys.stderr)


def _probes(gatherer: Gatherer, checkpoint: Path | None, instruction: str) -> tuple[ProbedFrame, ...]:
    """Ask a model about the pictures; nothing without one."""
    frames = gatherer.frames
    if checkpoint is None or not frames:
        return ()
    if checkpoint == EMBEDDED_CHECKPOINT:
        torch.set_num_threads(1)  # the other cores are for the robot that is looked at
    backend = load_backend("torch", checkpoint)
    try:
        return probe(backend, frames, instruction or gatherer.instruction)
    finally:
        backend.close()


def _robot(options: DoctorOptions, recipe: RobotRecipe) -> RobotFacts | None:
    if options.robot == GENERIC:
        return None
    return RobotFacts(recipe.name, recipe.description.command_timeout_s)


def _mounting(recipe: RobotRecipe) -> Mounting | None:
    """Where the recipe has the camera, None if it does not say."""
    told = recipe.description
    if math.isnan(told.camera_height_m) or math.isnan(told.camera_pitch_deg):
        return None
    return Mounting(told.camera_height_m, math.radians(told.camera_pitch_deg))


def _examined(runs: int, healthy: int) -> int:
    from vila_tools.doctor.exam import as_json as exam_json
    from vila_tools.doctor.exam import lines, take_exam

    exam = take_exam(runs, healthy)
    for line in lines(exam):
        print(line)
    print(json.dumps(exam_json(exam)))
    return 0 if exam.is_passed else 1
