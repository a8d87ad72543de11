"""What a bag tells of drives: odometry, what the robot was told, and which missions were reached."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila_core.errors import ConfigError, InstructionError, MediaError
from vila_core.media.bags import BagRecord, bag_records
from vila_core.prompts.instruction import sanitize
from vila_core.types import Pose
from vila_tools.label.steps import TimedPose

ODOMETRY, WORDS, MISSION = "nav_msgs/msg/Odometry", "std_msgs/msg/String", "vila_nav/msg/Mission"
REACHED = 0  # outcome of a mission
# The fields of msg/Mission.msg, which need not be installed where a bag is labelled.
MISSION_FIELDS = (
    "std_msgs/Header header\nuint64 id\nbool running\nstring instruction\nstring source\n"
    "uint8 outcome\nuint16 error_code\nstring error_msg\n"
)
_MOST_CHARS = 1000

NOT_REACHED = "the mission was not reached"
NO_ODOMETRY = "no odometry during the drive"


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive on an instruction. fault: why it is of no use, "" if it may be. reached: told by a mission."""

    instruction: str
    poses: tuple[TimedPose, ...]
    reached: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where instructions come from: a text for the whole bag, a topic of std_msgs/String, or "" for missions.

    odometry: its topic, "" for the only one.
    """

    instruction: str = ""
    topic: str = ""
    odometry: str = ""


@dataclass(frozen=True, slots=True)
class _Told:
    """Something was told at a time: the next instruction, or "" for none any more. reached: how the last one ended."""

    time_ns: int
    instruction: str
    reached: bool | None = None


def read_drives(bag: Path, sources: Sources) -> list[Drive]:
    """Return the drives in a bag in order of time.

    Raises MediaError for a bag that cannot be read or lacks the topics, ConfigError where several would do or nothing
    tells an instruction, InstructionError for one that is refused.
    """
    instruction = sanitize(sources.instruction, _MOST_CHARS) if sources.instruction else ""
    tracks: dict[str, list[TimedPose]] = {}
    records: list[BagRecord] = []
    for record in bag_records(bag, (ODOMETRY, WORDS, MISSION), {MISSION: MISSION_FIELDS}):
        if record.kind == ODOMETRY:
            tracks.setdefault(record.topic, []).append(TimedPose(record.time_ns, _pose(bag, record)))
        else:
            records.append(record)
    poses = tracks[_only(sorted(tracks), sources.odometry, bag, ODOMETRY, "--odometry")]
    if instruction:
        return [Drive(instruction, tuple(poses))]
    told = list(_from_words(bag, records, sources.topic) if sources.topic else _from_missions(bag, records))
    return list(_cut(poses, told))


def _pose(bag: Path, row: BagRecord) -> Pose:
    pose = pose_of(row.message)
    if pose is None:
        raise MediaError(f"{bag}: odometry on {row.topic} at {row.time_ns} ns is not finite, or was never set")
    return pose


def pose_of(message: Any) -> Pose | None:
    """Return the planar pose of an Odometry message; None if it is not finite, or was never set."""
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    numbers = (place.x, place.y, turn.x, turn.y, turn.z, turn.w)
    if not all(map(math.isfinite, numbers)) or not any((turn.x, turn.y, turn.z, turn.w)):
        return None
    yaw_rad = math.atan2(2.0 * (turn.w * turn.z + turn.x * turn.y), turn.w**2 + turn.x**2 - turn.y**2 - turn.z**2)
    return Pose(float(place.x), float(place.y), yaw_rad)


def _only(topics: Sequence[str], wanted: str, bag: Path, kind: str, option: str) -> str:
    """The wanted topic, or the only one."""
    if wanted and wanted in topics:
        return wanted
    there = ", ".join(topics) or "none"
    if wanted or not topics:
        raise MediaError(f"{bag} holds no {kind}{f' on {wanted}' if wanted else ''}; it holds it on {there}")
    if len(topics) > 1:
        raise ConfigError(f"{bag} holds {kind} on {there}; name one with {option}")
    return topics[0]


def _from_words(bag: Path, records: Sequence[BagRecord], wanted: str) -> Iterator[_Told]:
    """Each text is an instruction, until the next; an empty one ends it."""
    topics = sorted({record.topic for record in records if record.kind == WORDS})
    topic = _only(topics, wanted, bag, WORDS, "--instruction-topic")
    for record in records:
        if record.kind == WORDS and record.topic == topic:
            text = str(record.message.data)
            yield _Told(record.time_ns, _checked(bag, record, text) if text.strip() else "")


def _from_missions(bag: Path, records: Sequence[BagRecord]) -> Iterator[_Told]:
    """Missions as our navigator tells of them, many times each."""
    rows = [record for record in records if record.kind == MISSION]
    if not rows:
        raise ConfigError(f"{bag} does not tell what the robot was told; give --instruction or --instruction-topic")
    running: Any = None
    for record in rows:
        message = record.message
        if message.running and (running is None or message.id != running):
            running = message.id
            yield _Told(record.time_ns, _checked(bag, record, str(message.instruction)))
        elif not message.running and running is not None:
            reached = message.id == running and int(message.outcome) == REACHED
            running = None
            yield _Told(record.time_ns, "", reached)


def _checked(bag: Path, record: BagRecord, text: str) -> str:
    try:
        return sanitize(text, _MOST_CHARS)
    except InstructionError as err:
        raise InstructionError(f"{bag}: {record.topic} at {record.time_ns} ns: {err}") from err


def _cut(poses: Sequence[TimedPose], told: Sequence[_Told]) -> Iterator[Drive]:
    """The drives between what was told."""
    ends = [*told[1:], _Told(poses[-1].time_ns + 1, "")]
    for begin, end in zip(told, ends, strict=True):
        if begin.instruction:
            part = tuple(one for one in poses if begin.time_ns <= one.time_ns < end.time_ns)
            fault = NOT_REACHED if end.reached is False else "" if part else NO_ODOMETRY
            yield Drive(begin.instruction, part, bool(end.reached), fault)
