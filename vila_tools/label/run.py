"""`vila label BAG --out DIR`: a bag of a robot's drives as training samples in NaVILA's form.

What the robot did is read from odometry, what it was told from --instruction, a topic of std_msgs/String, or the
missions that our navigator tells of. Or `--episodes FILE`: the oracle's drives through simulated episodes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.errors import ConfigError
from vila_core.files.writing import require_unused, write_text, written_whole
from vila_core.media.bags import bag_images, only_topic
from vila_tools.finetune.annotations import FRAMES, Annotation, write_annotations
from vila_tools.label.recording import Sources, read_drives
from vila_tools.label.samples import Report, annotate, plan_drives, write_frames


def main(argv: Sequence[str] | None = None) -> int:
    """Label; the last line on stdout is one JSON object."""
    args = _parser().parse_args(argv)
    if (args.bag is None) == (args.episodes is None):
        raise ConfigError("give a bag, or --episodes FILE")
    require_unused(args.out)
    report = Report()
    with written_whole(args.out) as made:
        made.mkdir()
        rows = _label(args, made / FRAMES, report)
        if not rows:
            raise ConfigError(f"{args.bag or args.episodes} gives no sample: {_told(report) or 'it holds no drive'}")
        write_annotations(made, rows)
        summary = _summary(report, len(rows))
        write_text(made / "label.json", json.dumps(summary, indent=2) + "\n")
    for line in _lines(report):
        print(line)
    print(json.dumps({"out": str(args.out), **summary}))
    return 0


def _label(args: argparse.Namespace, folder: Path, report: Report) -> list[Annotation]:
    if args.episodes is not None:
        from vila_tools.label.simulated import label_episodes

        return label_episodes(args.episodes, folder, report)
    drives = read_drives(args.bag, Sources(args.instruction, args.instruction_topic, args.odometry))
    planned = plan_drives(drives, report)
    images = tqdm(bag_images(args.bag, (args.topic,) if args.topic else ()), desc="images", unit="image", disable=None)
    names = write_frames(folder, only_topic(args.bag, images), planned)
    return annotate(planned, names, report)


def _summary(report: Report, samples: int) -> dict[str, Any]:
    return {
        "samples": samples,
        "drives": report.drives,
        "drives_used": report.used,
        "metres": round(report.metres, 2),
        "answers": dict(report.answers.most_common()),
        "dropped": dict(report.dropped.most_common()),
    }


def _told(report: Report) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in report.dropped.most_common())


def _lines(report: Report) -> list[str]:
    rows = [f"{count:6}  {answer}" for answer, count in report.answers.most_common()]
    left = [f"{count:6}  {reason}" for reason, count in report.dropped.most_common()]
    return [*rows, *(["left out:", *left] if left else [])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila label", description=__doc__)
    parser.add_argument("bag", type=Path, nargs="?", help="a rosbag2 folder, .mcap, .db3, or a ROS 1 .bag")
    parser.add_argument("--episodes", type=Path, metavar="FILE", help="simulated episodes in the JSON form of VLN-CE")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--instruction", default="", help="what the robot was told, for the whole bag")
    parser.add_argument("--instruction-topic", default="", help="of std_msgs/String; default: the missions in the bag")
    parser.add_argument("--topic", default="", help="of the images, if the bag has several")
    parser.add_argument("--odometry", default="", metavar="TOPIC", help="of odometry, if the bag has several")
    return parser
