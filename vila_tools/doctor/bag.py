"""What the doctor goes by, out of a bag."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vila_core.doctor.gather import (
    COMPRESSED,
    IMAGE,
    INFO,
    KINDS,
    MISSION,
    ODOMETRY,
    STATS,
    TWIST,
    TWIST_STAMPED,
    Gatherer,
)
from vila_core.errors import ConfigError, MediaError
from vila_core.media.bags import BagRecord, bag_records
from vila_ros.common.resources import share_file
from vila_ros.common.topics import COMPRESSED_SUFFIX, FRAMES

_OURS = {STATS: "msg/DecisionStats.msg", MISSION: "msg/Mission.msg"}


def gather_bag(bag: Path, topics: Mapping[str, str], image: str, seconds: float) -> tuple[Gatherer, str]:
    """Return what a bag holds of its first seconds, and the topic of its images.

    topics: of odometry and commands, as the recipe names them ("odom", "cmd_vel"). image: the topic of images; empty:
    the one that holds most of them. Raises MediaError for a bag without images, cut or damaged, or without that topic.
    """
    chosen = _chosen(bag, _image_topics(bag, seconds), image)
    gatherer = Gatherer()
    info = chosen.removesuffix(COMPRESSED_SUFFIX).rpartition("/")[0] + "/camera_info"
    for record in _records(bag, [kind for kind in KINDS if kind not in _OURS], seconds):
        is_other = record.kind in (IMAGE, COMPRESSED) and record.topic != chosen
        is_other |= record.kind == INFO and record.topic != info
        is_other |= record.kind in (TWIST, TWIST_STAMPED) and not _is(record.topic, topics["cmd_vel"])
        is_other |= record.kind == ODOMETRY and not _is(record.topic, topics["odom"])
        if not is_other:
            gatherer.take(record.kind, record.topic, record.message, record.time_ns)
    _gather_ours(gatherer, bag, seconds)
    return gatherer, chosen


def _gather_ours(gatherer: Gatherer, bag: Path, seconds: float) -> None:
    """Add what our navigator told; another release may have had other fields, and the rest is judged without."""
    try:
        for record in _records(bag, list(_OURS), seconds, _definitions()):
            gatherer.take(record.kind, record.topic, record.message, record.time_ns)
    except MediaError as err:
        print(f"the navigator's own messages are not judged: {err}", file=sys.stderr)


def _records(
    bag: Path, kinds: Sequence[str], seconds: float, definitions: Mapping[str, str] | None = None
) -> Iterator[BagRecord]:
    """The messages of some types of the first seconds."""
    begin_ns = None
    for record in bag_records(bag, kinds, definitions):
        begin_ns = record.time_ns if begin_ns is None else begin_ns
        if record.time_ns - begin_ns > seconds * 1e9:
            return
        yield record


def _image_topics(bag: Path, seconds: float) -> Counter[str]:
    """How many images each topic holds of the first seconds."""
    return Counter(record.topic for record in _records(bag, (IMAGE, COMPRESSED), seconds))


def _chosen(bag: Path, known: Counter[str], image: str) -> str:
    there = ", ".join(sorted(known)) or "none"
    if image:
        named = next((name for name in (image, image + COMPRESSED_SUFFIX) if name in known), None)
        if named is None:
            raise MediaError(f"{bag} holds no images on {image}; it holds them on {there}")
        return named
    cameras = {name: count for name, count in known.items() if FRAMES not in name and "depth" not in name}
    if not known:
        raise MediaError(f"{bag} holds no images")
    return max(cameras or known, key=lambda name: known[name])


def _definitions() -> dict[str, str]:
    """The texts of our messages."""
    try:
        return {kind: share_file(name).read_text(encoding="utf-8") for kind, name in _OURS.items()}
    except ConfigError:  # not installed: decisions are then passed over
        return {}


def _is(topic: str, wanted: str) -> bool:
    """True for a topic by its name, in whichever namespace."""
    return topic.strip("/") == wanted.strip("/") or topic.endswith(f"/{wanted.strip('/')}")
