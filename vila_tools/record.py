"""`vila record`: keep what a robot that runs sees, decides and does, until Ctrl-C; docs/recording.md says what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rclpy.parameter import Parameter

from vila_ros.common.node_main import run_node
from vila_ros.common.recipes import GENERIC
from vila_ros.recorder.node import RecorderNode
from vila_tools.command_line import option, parse_options
from vila_tools.session.robot import robot_recipe


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Where to keep it, and what it is called."""

    folder: Path = field(default=Path("runs"), metadata=option("where runs are kept, a folder each (%(default)s)"))
    robot: str = field(default=GENERIC, metadata=option("recipe that names the robot's topics (%(default)s)"))
    namespace: str = field(default="", metadata=option("of the robot's nodes"))
    topics: tuple[str, ...] = field(
        default=(), metadata=option("another topic to keep; repeatable", flag="--topic", metavar="NAME")
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Record until a signal comes; the last line on stdout is one JSON object."""
    options = parse_options(RecordOptions, argv, prog="vila record", description=__doc__)
    remaps = robot_recipe(options.robot, blind=True).remaps("recorder")  # whether it may drive is not asked here
    arguments = ["--ros-args"]
    for name, topic in (remaps | ({"__ns": f"/{options.namespace.strip('/')}"} if options.namespace else {})).items():
        arguments += ["--remap", f"{name}:={topic}"]
    values = {"folder": str(options.folder), "more_topics": " ".join(options.topics)}
    parameters = [Parameter(name, value=value) for name, value in values.items()]
    nodes: list[RecorderNode] = []

    def make() -> RecorderNode:
        nodes.append(RecorderNode(parameters, arguments))
        return nodes[-1]

    status = run_node(make, "recorder")
    writer = nodes[-1].writer if nodes else None
    if writer is not None:
        run = "" if writer.run is None else str(writer.run.run)
        print(json.dumps({"run": run, "messages": writer.written, "lost_messages": writer.lost, "fault": writer.fault}))
    return status
