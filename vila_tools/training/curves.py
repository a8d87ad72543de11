"""A training's log for the eye: a PNG of its curves, and TensorBoard's files where that is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vila_core.errors import ConfigError
from vila_core.files.json_object import parse_object
from vila_core.files.reading import is_there, read_text
from vila_core.files.writing import written_whole
from vila_tools.training.loop import Line, untold

_SIZE, _MARGIN, _TICKS = (960, 480), 56, 4
_COLOURS = ((36, 99, 201), (214, 90, 20), (30, 140, 80), (140, 60, 160))
_PAIRS = len(_COLOURS) // 2
_INK, _FAINT = (40, 44, 52), (222, 226, 232)

Points = list[tuple[float, float]]


def read_log(file: Path, stage: str) -> list[Line]:
    """Return a stage's lines by step; of a step that was logged twice, before and after a run was cut off, the last.

    None without a file. A line that was cut off with its run is passed over.
    """
    kept: dict[int, Line] = {}
    for text in read_text(file, error=ConfigError).splitlines() if is_there(file) else ():
        with suppress(ConfigError):
            row = parse_object(text, file, error=ConfigError)
            if row.get("stage") == stage and isinstance(row.get("step"), int):
                kept[row["step"]] = row
    return [kept[step] for step in sorted(kept)]


def draw_curves(lines: Sequence[Line], names: Sequence[str], file: Path) -> None:
    """Draw figures of the log over the steps, those that are there; nothing if none is."""
    curves = {name: [(line["step"], line[name]) for line in lines if _is_number(line.get(name))] for name in names}
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return
    picture = Image.new("RGB", _SIZE, "white")
    _draw(ImageDraw.Draw(picture), curves)
    with written_whole(file) as made:
        picture.save(made, "PNG")


def draw_stage(folder: Path, stage: str) -> None:
    """Draw a stage's first figures beside what they are on held out data: folder/curves_STAGE.png of its log.jsonl."""
    lines = read_log(folder / "log.jsonl", stage)
    told = {name: None for line in lines for name in line}
    checked = [name for name in told if f"val_{name}" in told][:_PAIRS]
    draw_curves(lines, [one for name in checked for one in (name, f"val_{name}")], folder / f"curves_{stage}.png")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _draw(draw: ImageDraw.ImageDraw, curves: dict[str, Points]) -> None:
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    low, high = min(0.0, *values), max(values) or 1.0
    (width, height), first, last = _SIZE, min(steps), max(steps)

    def place(step: float, value: float) -> tuple[float, float]:
        across, up = (step - first) / max(1, last - first), (value - low) / max(1e-12, high - low)
        return _MARGIN + across * (width - 2 * _MARGIN), height - _MARGIN - up * (height - 2 * _MARGIN)

    letters = ImageFont.load_default(14)
    for number in range(_TICKS + 1):
        value = low + (high - low) * number / _TICKS
        left, y = place(first, value)
        draw.line((left, y, width - _MARGIN, y), fill=_FAINT)
        draw.text((8, y - 8), f"{value:.3g}", fill=_INK, font=letters)
        step = first + (last - first) * number / _TICKS
        draw.text((place(step, low)[0] - 12, height - _MARGIN + 8), f"{step:.0f}", fill=_INK, font=letters)
    for number, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        draw.line([place(*point) for point in points], fill=colour, width=2)
        draw.text((_MARGIN + 8 + 180 * number, 16), name, fill=colour, font=letters)


def tensorboard(folder: Path) -> Callable[[Line], None]:
    """Return what writes each line for TensorBoard, and does nothing where that is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return untold
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(line: Line) -> None:
        for name, value in line.items():
            if name != "step" and _is_number(value):
                writer.add_scalar(f"{line['stage']}/{name}", value, line["step"])
        writer.flush()

    return write
