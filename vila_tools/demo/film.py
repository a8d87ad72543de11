"""A run as pictures: what the robot saw and thought, beside where it went."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vila_core.actions.grammar import ACTIONS, short_name
from vila_core.files.writing import written_whole
from vila_core.types import Odometry, Pose
from vila_tools.demo.canvas import (
    ACCENT,
    BACKGROUND,
    BAD,
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

CAMERA_BOX = (24, 88, 536, 600)  # left, top, right, bottom
BARS_BOX = (560, 88, 760, 600)
MAP_BOX = (784, 88, 1256, 700)

Projection = Callable[[float, float], tuple[float, float]]  # metres of the world to pixels


class MapView(Protocol):
    """A picture of the world from above, north up, and where the world is in it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    pixels_per_m: float

    def pixel(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Return column and row of a point of the world."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the target is, and how far it reaches."""

    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class Thought:
    """A decision as it was published. time_ns: when; probabilities: of the ten actions, or empty."""

    time_ns: int
    text: str
    probability: float
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """All that the pictures show. images: (time_ns, JPEG); times are simulated."""

    instruction: str
    target: Place
    map: MapView
    images: Sequence[tuple[int, bytes]]
    odometry: Sequence[Odometry]
    thoughts: Sequence[Thought]
    verdict: str
    is_success: bool


def map_width_px(width_m: float, depth_m: float, box: tuple[int, int, int, int] = MAP_BOX) -> int:
    """Return how wide the map of a flat must be rendered to fit into the box."""
    room_x, room_y = box[2] - box[0], box[3] - box[1]
    return int(min(room_x, room_y * width_m / depth_m * 0.95))


def write_film(path: Path, story: Story) -> None:
    """Write the run as H.264 video, 10 frames a second of simulated time; the last picture stays for 2 s."""
    write_video(path, _pictures(story))


def write_trajectory(path: Path, story: Story) -> None:
    """Draw the map with the whole way, the start, the end and the target, as PNG."""
    picture = Image.fromarray(story.map.image).resize(_scaled(story.map, 2.0), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (picture.width, picture.height + 64), BACKGROUND)
    canvas.paste(picture, (0, 64))
    draw = ImageDraw.Draw(canvas)
    colour = GOOD if story.is_success else BAD
    draw.text((12, 8), f"“{story.instruction}”", font=font(22), fill=INK)
    draw.text((12, 38), story.verdict, font=font(16), fill=colour)
    _draw_way(draw, story, story.odometry, (0, 64), 2.0)
    with written_whole(path) as made:
        canvas.save(made)


def _pictures(story: Story) -> Iterator[NDArray[np.uint8]]:
    base = _base(story)
    times = [odometry.stamp_ns for odometry in story.odometry]
    thought_times = [thought.time_ns for thought in story.thoughts]
    last = base
    for time_ns, jpeg in story.images:
        until = bisect.bisect_right(times, time_ns)
        thought = bisect.bisect_right(thought_times, time_ns) - 1
        last = base.copy()
        paste_camera(last, jpeg, CAMERA_BOX)
        draw = ImageDraw.Draw(last)
        _draw_thought(draw, story.thoughts[thought] if thought >= 0 else None)
        _draw_way(draw, story, story.odometry[:until], _map_corner(story.map), 1.0)
        seconds = (time_ns - story.images[0][0]) / 1e9
        draw.text((SIZE[0] - 24, 24), f"{seconds:5.1f} s", font=font(22), fill=FAINT, anchor="ra")
        yield np.asarray(last)
    draw = ImageDraw.Draw(last)
    draw.rectangle((24, 664, 760, 704), fill=BACKGROUND)
    draw.text((24, 668), story.verdict, font=font(18), fill=GOOD if story.is_success else BAD)
    for _ in range(2 * FPS):
        yield np.asarray(last)


def _base(story: Story) -> Image.Image:
    """Draw what does not change: instruction, labels, map, target."""
    canvas = Image.new("RGB", SIZE, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((24, 20), f"“{shortened(story.instruction, 80)}”", font=font(30), fill=INK)
    for box, label in ((CAMERA_BOX, "camera"), (BARS_BOX, "probability of each action"), (MAP_BOX, "map")):
        draw.text((box[0], box[1] - 22), label, font=font(14), fill=FAINT)
    canvas.paste(Image.fromarray(story.map.image), _map_corner(story.map))
    return canvas


def _draw_thought(draw: ImageDraw.ImageDraw, thought: Thought | None) -> None:
    text = "waiting for the first decision" if thought is None else thought.text
    draw.text((CAMERA_BOX[0], 616), text, font=font(28), fill=ACCENT)
    probabilities = () if thought is None else thought.probabilities
    left, top, right, bottom = BARS_BOX
    height = (bottom - top) / len(ACTIONS)
    chosen = [thought is not None and short_name(action) == thought.text for action in ACTIONS]
    best = max(probabilities, default=0.0)
    if True in chosen and probabilities and probabilities[chosen.index(True)] < best:
        draw.text((CAMERA_BOX[0], 652), "the likeliest was ruled out", font=font(16), fill=FAINT)
    for row, action in enumerate(ACTIONS):
        y = top + row * height
        p = probabilities[row] if row < len(probabilities) else 0.0
        colour = ACCENT if chosen[row] else BAR
        draw.rectangle((left, y + 22, right, y + height - 8), fill=(38, 43, 52))
        draw.rectangle((left, y + 22, left + (right - left) * p, y + height - 8), fill=colour)
        draw.text((left, y + 2), short_name(action), font=font(14), fill=INK)
        draw.text((right, y + 2), f"{p:.2f}", font=font(14), fill=FAINT, anchor="ra")


def _draw_way(
    draw: ImageDraw.ImageDraw, story: Story, odometry: Sequence[Odometry], corner: tuple[int, int], scale: float
) -> None:
    def at(x_m: float, y_m: float) -> tuple[float, float]:
        u, v = story.map.pixel(x_m, y_m)
        return corner[0] + u * scale, corner[1] + v * scale

    target = story.target
    _ring(draw, at(target.x_m, target.y_m), (0.25 + target.radius_m) * story.map.pixels_per_m * scale)
    if not odometry:
        return
    points = [at(o.pose.x_m, o.pose.y_m) for o in odometry[::3]] + [at(odometry[-1].pose.x_m, odometry[-1].pose.y_m)]
    if len(points) > 1:
        draw.line(points, fill=(40, 120, 255), width=round(3 * scale), joint="curve")
    _dot(draw, points[0], 4 * scale, FAINT)
    _arrow(draw, odometry[-1].pose, at, 0.3)


def _arrow(draw: ImageDraw.ImageDraw, pose: Pose, at: Projection, size_m: float) -> None:
    corners = []
    for angle, reach in ((0.0, 1.0), (2.5, 0.8), (-2.5, 0.8)):
        tip = Pose(pose.x_m, pose.y_m, pose.yaw_rad + angle).advanced(size_m * reach)
        corners.append(at(tip.x_m, tip.y_m))
    draw.polygon(corners, fill=ACCENT, outline=(0, 0, 0))


def _ring(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=(230, 60, 200), width=3)


def _dot(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: tuple[int, int, int]) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _map_corner(view: MapView) -> tuple[int, int]:
    width = view.image.shape[1]
    return MAP_BOX[0] + (MAP_BOX[2] - MAP_BOX[0] - width) // 2, MAP_BOX[1]


def _scaled(view: MapView, scale: float) -> tuple[int, int]:
    height, width, _ = view.image.shape
    return round(width * scale), round(height * scale)
