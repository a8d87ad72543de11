"""`vila world`: a furnished flat with the robot in it, as a file of MuJoCo, Gazebo or Isaac Sim."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from vila_core.types import Pose
from vila_sim.episodes.scenario import live_world
from vila_sim.families.table import FAMILIES, PLAIN
from vila_sim.flats.scene import Flat
from vila_sim.gazebo.versions import DEFAULT, VERSIONS

FORMATS = ("sdf", "usd", "mjcf")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the world; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    flat, start = live_world(args.seed, args.instruction, args.family)
    world = _written(args, flat, start)
    told = {
        "world": str(world),
        "format": args.format,
        "seed": args.seed,
        "family": args.family,
        "objects": len(flat.objects),
    }
    print(json.dumps({**told, "start": [round(value, 4) for value in (start.x_m, start.y_m, start.yaw_rad)]}))
    return 0


def _written(args: argparse.Namespace, flat: Flat, start: Pose) -> Path:
    """Write it with the simulator's own writer, whose libraries the other formats do without."""
    if args.format == "sdf":
        from vila_sim.gazebo.world import write_gazebo_world

        return write_gazebo_world(args.out, flat, start, gz=args.gz)
    if args.format == "usd":
        from vila_sim.isaac.world import write_isaac_world

        return write_isaac_world(args.out, flat, start)
    from vila_sim.mujoco.world import write_mujoco_world

    return write_mujoco_world(args.out, flat, start)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila world", description=__doc__)
    parser.add_argument("--format", choices=FORMATS, required=True, help="sdf: Gazebo; usd: Isaac Sim; mjcf: MuJoCo")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the folder to write")
    parser.add_argument("--seed", type=int, default=0, help="which flat (default: %(default)s)")
    parser.add_argument("--family", choices=tuple(FAMILIES), default=PLAIN, help="of flats (default: %(default)s)")
    parser.add_argument("--instruction", default="", help="the flat will hold what it names, near the robot")
    parser.add_argument(
        "--gz", default=DEFAULT, metavar="VERSION", help=f"with sdf: {', '.join(VERSIONS)} (default: %(default)s)"
    )
    return parser
