"""A patrol as a film: what the camera saw, and below it, for each query, when it was true and when it was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vila_tools.demo.canvas import (
    ACCENT,
    BACKGROUND,
    BAR,
    FAINT,
    FPS,
    GOOD,
    INK,
    SIZE,
    font,
    paste_camera,
    shortened,
    write_video,
)

CAMERA_BOX = (24, 56, 364, 396)  # left, top, right, bottom
NEWS_LEFT = 392
LANES_BOX = (372, 420, 1256, 690)
NOT_YET = (44, 60, 50)
TICK_S = 10.0
_NEWS = 9  # lines

Seconds = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Report:
    """An event as it was published. heard_s: when; of one number the last report counts."""

    heard_s: float
    number: int
    start_s: float
    end_s: float
    is_open: bool
    probability: float


@dataclass(frozen=True, slots=True)
class Lane:
    """A query, when it was true or at least glimpsed, and what was published about it, in the order of hearing."""

    text: str
    true_s: tuple[Seconds, ...]
    glimpsed_s: tuple[Seconds, ...]
    reports: tuple[Report, ...]

    def known_at(self, t_s: float) -> list[Report]:
        """The last report of each event that had been heard by then."""
        latest = {report.number: report for report in self.reports if report.heard_s <= t_s}
        return list(latest.values())

    @property
    def published_s(self) -> tuple[Seconds, ...]:
        """The intervals as they were published in the end."""
        return tuple((report.start_s, report.end_s) for report in self.known_at(float("inf")))


@dataclass(frozen=True, slots=True)
class Watched:
    """All that the film shows. images: (seconds, JPEG); all times are from the beginning of the patrol."""

    title: str
    lanes: Sequence[Lane]
    images: Sequence[tuple[float, bytes]]
    duration_s: float
    verdict: str


def write_event_film(path: Path, watched: Watched) -> None:
    """Write the film, 10 pictures a second of simulated time; the last picture stays for 2 s."""
    write_video(path, _pictures(watched))


def _pictures(watched: Watched) -> Iterator[NDArray[np.uint8]]:
    base = _base(watched)
    last = base
    for t_s, jpeg in watched.images:
        last = base.copy()
        paste_camera(last, jpeg, CAMERA_BOX)
        draw = ImageDraw.Draw(last)
        _draw_news(draw, watched, t_s)
        for row, lane in enumerate(watched.lanes):
            _draw_lane(draw, watched, row, lane, t_s)
        x = _x(watched, t_s)
        draw.line((x, LANES_BOX[1] - 4, x, LANES_BOX[3] + 2), fill=INK, width=2)
        draw.text((SIZE[0] - 24, 20), f"{t_s:5.1f} s", font=font(22), fill=FAINT, anchor="ra")
        yield np.asarray(last)
    ImageDraw.Draw(last).text((24, 398), watched.verdict, font=font(16), fill=INK)
    for _ in range(2 * FPS):
        yield np.asarray(last)


def _base(watched: Watched) -> Image.Image:
    """Draw what does not change: title, the lanes' names, the scale."""
    canvas = Image.new("RGB", SIZE, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((24, 18), watched.title, font=font(24), fill=INK)
    draw.text((NEWS_LEFT, 60), "published", font=font(14), fill=FAINT)
    for row, lane in enumerate(watched.lanes):
        top, bottom = _rows(watched, row)
        at = LANES_BOX[0] - 10, (top + bottom) / 2
        draw.text(at, shortened(lane.text, 44), font=font(14), fill=INK, anchor="rm")
    t_s = 0.0
    while t_s <= watched.duration_s:
        x = _x(watched, t_s)
        draw.line((x, LANES_BOX[1], x, LANES_BOX[3]), fill=(38, 43, 52))
        draw.text((x, LANES_BOX[3] + 6), f"{t_s:.0f} s", font=font(12), fill=FAINT, anchor="ma")
        t_s += TICK_S
    for left, colour, word in ((24, GOOD, "true"), (84, ACCENT, "published"), (184, BAR, "still open")):
        draw.rectangle((left, 706, left + 10, 714), fill=colour)
        draw.text((left + 15, 702), word, font=font(12), fill=FAINT)
    return canvas


def _draw_lane(draw: ImageDraw.ImageDraw, watched: Watched, row: int, lane: Lane, t_s: float) -> None:
    """True intervals above, what had been published by then below."""
    top, bottom = _rows(watched, row)
    middle = (top + bottom) / 2
    for start, end in lane.true_s:
        draw.rectangle((_x(watched, start), top + 2, _x(watched, end), middle - 1), fill=NOT_YET)
        if start <= t_s:
            draw.rectangle((_x(watched, start), top + 2, _x(watched, min(end, t_s)), middle - 1), fill=GOOD)
    for report in lane.known_at(t_s):
        end, colour = (t_s, BAR) if report.is_open else (report.end_s, ACCENT)
        box = (_x(watched, report.start_s), middle + 1, max(_x(watched, end), _x(watched, report.start_s)), bottom - 2)
        draw.rectangle(box, fill=colour)


def _draw_news(draw: ImageDraw.ImageDraw, watched: Watched, t_s: float) -> None:
    """The latest reports, newest first."""
    heard = [(report, lane) for lane in watched.lanes for report in lane.reports if report.heard_s <= t_s]
    heard.sort(key=lambda one: one[0].heard_s, reverse=True)
    for row, (report, lane) in enumerate(heard[:_NEWS]):
        since = f"since {report.start_s:.1f} s" if report.is_open else f"{report.start_s:.1f} to {report.end_s:.1f} s"
        line = f"{report.heard_s:6.1f} s   “{shortened(lane.text, 44)}”  {since}   p {report.probability:.2f}"
        draw.text((NEWS_LEFT, 86 + 34 * row), line, font=font(18), fill=BAR if report.is_open else ACCENT)


def _rows(watched: Watched, row: int) -> tuple[float, float]:
    height = (LANES_BOX[3] - LANES_BOX[1]) / max(len(watched.lanes), 1)
    return LANES_BOX[1] + row * height, LANES_BOX[1] + (row + 1) * height


def _x(watched: Watched, t_s: float) -> float:
    share = min(max(t_s / watched.duration_s, 0.0), 1.0)
    return LANES_BOX[0] + share * (LANES_BOX[2] - LANES_BOX[0])
