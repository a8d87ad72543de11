"""Drives and the pictures taken on them become annotations: JPEG files, and which answer each of them asks for."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.actions.grammar import format_action
from vila_core.media.bags import BagImage
from vila_core.types import MoveForward
from vila_tools.finetune.annotations import Annotation
from vila_tools.label.recording import Drive
from vila_tools.label.steps import Track, decisions, unit_track

NO_IMAGE = "no image was taken at that time"
NO_STOP = "the robot does not stand for a second at the end: no stop"
SHORT = "the robot did not move"
LATE_NS = 500_000_000  # an image may be so much older than the moment that it is to show
_JPEG_QUALITY = 90


@dataclass(slots=True)
class Report:
    """What became of drives. dropped: why decisions, or whole drives, are not among the samples, and how often."""

    drives: int = 0
    used: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    metres: float = 0.0


@dataclass(frozen=True, slots=True)
class Planned:
    """A drive in units, and the moments at which its frames are due: at each decision that might have been made."""

    number: int
    instruction: str
    track: Track
    moments_ns: tuple[int, ...]


def plan_drives(drives: Sequence[Drive], report: Report) -> list[Planned]:
    """Cut drives into units, and note which are of no use."""
    planned = []
    for number, drive in enumerate(drives):
        report.drives += 1
        if drive.fault:
            report.dropped[drive.fault] += 1
            continue
        track = unit_track(drive.poses, has_stopped=drive.reached)
        if track.fault:
            report.dropped[f"{track.fault}; the rest of the drive"] += 1
        elif not track.stopped:
            report.dropped[NO_STOP] += 1
        if not track.units:
            report.dropped[SHORT] += 1
            continue
        moments = (*(unit.start_ns for unit in track.units), track.end_ns)
        planned.append(Planned(number, drive.instruction, track, moments))
    return planned


def write_frames(folder: Path, images: Iterable[BagImage], planned: Sequence[Planned]) -> dict[tuple[int, int], str]:
    """Write the frames below the folder as JPEG; their names by (drive, frame). Those without an image are left out."""
    names: dict[tuple[int, int], str] = {}
    dues = [(time_ns, one.number, n) for one in planned for n, time_ns in enumerate(one.moments_ns)]
    for due, image in frames_at(images, dues):
        _, drive, number = due
        name = f"{drive:04d}/frame_{number:05d}.jpg"
        save_jpeg(folder / name, image)
        names[drive, number] = name
    return names


Due = tuple[int, int, int]  # time_ns, drive, frame


def frames_at(images: Iterable[BagImage], dues: Sequence[Due]) -> Iterator[tuple[Due, NDArray[np.uint8]]]:
    """Yield the newest image at each moment, if it is not older than LATE_NS; else the next, if it is not later."""
    heap = list(dues)
    heapq.heapify(heap)
    last: BagImage | None = None
    for image in images:
        while heap and heap[0][0] < image.time_ns:
            due = heapq.heappop(heap)
            if last is not None and due[0] - last.time_ns <= LATE_NS:
                yield due, last.image
            elif image.time_ns - due[0] <= LATE_NS:
                yield due, image.image
        last = image
        if not heap:
            return
    while heap and last is not None:
        due = heapq.heappop(heap)
        if due[0] - last.time_ns <= LATE_NS:
            yield due, last.image


def save_jpeg(file: Path, image: NDArray[np.uint8]) -> None:
    """Write a picture [H, W, 3] RGB as JPEG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file, "JPEG", quality=_JPEG_QUALITY)


def annotate(planned: Sequence[Planned], names: dict[tuple[int, int], str], report: Report) -> list[Annotation]:
    """Make a sample of each decision whose frame was taken; frames that were not are left out of the others too."""
    rows: list[Annotation] = []
    for one in planned:
        before = len(rows)
        for decided in decisions(one.track):
            seen = [name for n in range(decided.frames + 1) if (name := names.get((one.number, n))) is not None]
            if decided.action is None:
                report.dropped[decided.fault] += 1
            elif (one.number, decided.frames) not in names:
                report.dropped[NO_IMAGE] += 1
            else:
                answer = format_action(decided.action)
                report.answers[answer] += 1
                rows.append(Annotation(f"{one.number:04d}-{decided.frames}", one.instruction, answer, tuple(seen)))
        report.used += len(rows) > before
        report.metres += sum(unit.action.distance_m for unit in one.track.units if isinstance(unit.action, MoveForward))
    return rows
