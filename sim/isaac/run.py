"""Runs a flat of vila_nav in Isaac Sim, on the robot's ROS topics; started by Isaac Sim's own Python.

    ~/isaacsim/python.sh sim/isaac/run.py --seed 3 --headless
    ~/isaacsim/python.sh run.py --world FOLDER        # one that `vila world --format usd --out FOLDER` wrote

With --world it needs nothing of vila_nav: the folder holds the stage and the graph of topics as data. With --seed it
must lie in a checkout, from whose sources it writes the folder first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STAGE_FILE, GRAPH_FILE = "world.usda", "ros_graph.json"
INPUT_ERROR = 2
ROS_BRIDGE = "isaacsim.ros2.bridge"


class RunError(Exception):
    """What is told in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until the window is closed or the process is told to end. 2: bad arguments, world or version."""
    args = parser().parse_args(argv)
    try:
        if args.world is not None:
            check_world(args.world)
        run(args)
    except RunError as err:
        print(f"run.py: {err}", file=sys.stderr)
        return INPUT_ERROR
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="run.py", description="a flat of vila_nav in Isaac Sim, on ROS topics")
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="which flat")
    which.add_argument("--world", type=Path, metavar="FOLDER", help="what `vila world --format usd` wrote")
    made.add_argument("--instruction", default="", help="with --seed: the flat will hold what it names")
    made.add_argument("--headless", action="store_true", help="without a window")
    made.add_argument("--any-version", action="store_true", help="run in a version that the graph was not checked for")
    return made


def check_world(folder: Path) -> None:
    """Raise RunError for a folder that holds no stage or no graph."""
    for name in (STAGE_FILE, GRAPH_FILE):
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is not there; write it with `vila world --format usd --out {folder}`")


def run(args: argparse.Namespace) -> None:
    """Start Isaac Sim, open the stage, make the graph and play."""
    try:
        from isaacsim import SimulationApp
    except ImportError as err:
        raise RunError("this Python has no isaacsim; start it with Isaac Sim's own python.sh") from err
    app = SimulationApp({"headless": args.headless})  # before anything else of Isaac or USD is imported
    try:
        folder = args.world or written_world(args.seed, args.instruction)
        graph = json.loads((folder / GRAPH_FILE).read_text(encoding="utf-8"))
        if not args.any_version:
            check_version(isaac_version(), graph["isaac_versions"])
        play(app, folder / STAGE_FILE, graph)
    finally:
        app.close()


def written_world(seed: int, instruction: str) -> Path:
    """Write the flat of a seed to a new folder, from the sources that this file lies in."""
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root), str(root / "sim")]
    try:
        from vila_core.errors import VilaError
        from vila_sim.episodes.scenario import live_world
        from vila_sim.isaac.world import write_isaac_world
    except ImportError as err:
        raise RunError(f"--seed needs a checkout of vila_nav around this file ({err}); use --world FOLDER") from err
    folder = Path(tempfile.mkdtemp(prefix="vila_nav_isaac_"))
    try:
        write_isaac_world(folder, *live_world(seed, instruction))
    except VilaError as err:
        raise RunError(str(err)) from err
    return folder


def isaac_version() -> str:
    """Return the version that runs, such as "5.1.0"."""
    from isaacsim.core.version import get_version

    return str(get_version()[0])


def check_version(found: str, known: Sequence[str]) -> None:
    """Raise RunError for a version that the graph's nodes were not compared with."""
    if ".".join(found.split(".")[:2]) not in known:
        raise RunError(f"Isaac Sim {found} is not supported; known: {', '.join(known)}; --any-version tries it")


def play(app: Any, stage_file: Path, graph: dict[str, Any]) -> None:
    """Open the stage, make the graph, and run no faster than real time until the application ends."""
    import carb
    import omni.kit.app
    import omni.timeline
    import omni.usd

    settings = carb.settings.get_settings()
    settings.set("/app/runLoops/main/rateLimitEnabled", True)  # faster than its clock may run, nobody can follow
    settings.set("/app/runLoops/main/rateLimitFrequency", graph["tick_hz"])
    omni.kit.app.get_app().get_extension_manager().set_extension_enabled_immediate(ROS_BRIDGE, True)
    app.update()
    context = omni.usd.get_context()
    if not context.open_stage(str(stage_file)):
        raise RunError(f"Isaac Sim cannot open {stage_file}")
    app.update()
    make_graph(graph)
    omni.timeline.get_timeline_interface().play()
    while app.is_running():
        app.update()


def make_graph(graph: dict[str, Any]) -> None:
    """Make the nodes and connect them."""
    import omni.graph.core as og
    import usdrt

    keys = og.Controller.Keys
    named = {"create": keys.CREATE_NODES, "set": keys.SET_VALUES, "connect": keys.CONNECT}
    edits = graph_edits(graph, usdrt.Sdf.Path)
    og.Controller.edit(
        {"graph_path": graph["path"], "evaluator_name": "execution"},
        {named[name]: rows for name, rows in edits.items()},
    )


def graph_edits(graph: dict[str, Any], prim_path: Callable[[str], Any]) -> dict[str, list[tuple[str, Any]]]:
    """Return what og.Controller.edit is to create, set and connect."""
    targets = [(port, [prim_path(prim)]) for port, prim in graph["targets"]]
    return {
        "create": [(name, kind) for name, kind in graph["nodes"]],
        "set": [(port, value) for port, value in graph["values"]] + targets,
        "connect": [(source, target) for source, target in graph["connections"]],
    }


if __name__ == "__main__":
    sys.exit(main())
