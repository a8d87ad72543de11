"""Frames of videos, chosen by index or one after the other. A video is a film file, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import MediaError
from vila_core.media.film_reader import Film, FilmFrame
from vila_core.media.pictures import list_images, read_image

_SAME_RATE = 0.01  # between the header's frames a second and those counted

FrameChooser = Callable[[int, float], Sequence[int]]  # frames in the video, its frames per second -> indices


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrames:
    """Frames chosen from a video.

    images: [H, W, 3] uint8 RGB each, in order of time, an index that comes twice twice.
    frame_count: frames that can be decoded. duration_s: 0 where the source knows no time, as a folder of images.
    problems: sentences about what of the video is missing, damaged or was put right; none if it was read whole.
    """

    images: tuple[NDArray[np.uint8], ...]
    indices: tuple[int, ...]
    frame_count: int
    duration_s: float
    problems: tuple[str, ...] = ()


def read_video(path: Path, choose: FrameChooser, *, most_frames: int | None = None) -> VideoFrames:
    """Return the frames that `choose` picks from a film file, or from a folder of images sorted by name.

    A film is decoded twice: its frames are counted first, for headers are often wrong. most_frames: of a film that is
    read at all. Raises MediaError, naming the
    file, as Film.frames and read_image do, and for indices outside the video; MissingDependencyError without PyAV.
    """
    path = Path(path)
    return _read_folder(path, choose) if path.is_dir() else _read_film(Film(path), choose, most_frames)


def _read_folder(folder: Path, choose: FrameChooser) -> VideoFrames:
    files = list_images(folder)
    indices = _checked(folder, choose(len(files), 0.0), len(files))
    images = {index: read_image(files[index]) for index in dict.fromkeys(indices)}
    return VideoFrames(tuple(images[index] for index in indices), indices, len(files), 0.0)


def _read_film(film: Film, choose: FrameChooser, most_frames: int | None) -> VideoFrames:
    # 1. Count, and see when the last frame is.
    count, last = 0, None
    for frame in film.frames():
        count, last = count + 1, frame
        if most_frames is not None and count > most_frames:
            raise MediaError(f"{film.file} has more than {most_frames} frames")
    assert last is not None  # a film without frames is an error
    fps, is_even = _rate(film, count, last)
    # 2. Choose, and decode once more as far as the last that was chosen.
    indices = _checked(film.file, choose(count, fps), count)
    images = _images(film, set(indices))
    duration_s = count / fps if is_even else last.ends_s
    return VideoFrames(tuple(images[index] for index in indices), indices, count, duration_s, film.problems)


def _rate(film: Film, count: int, last: FilmFrame) -> tuple[float, bool]:
    """Return the frames a second, and whether they are the header's: else they are those between first and last."""
    if count < 2:
        return (film.rates or (0.0,))[0], bool(film.rates)
    counted = (count - 1) / last.time_s
    told = next((rate for rate in film.rates if abs(rate - counted) <= _SAME_RATE * counted), None)
    return told or counted, told is not None


def _images(film: Film, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    images = {}
    for index, frame in enumerate(film.frames()):
        if index in wanted:
            images[index] = frame.image()
        if index == max(wanted):
            return images
    raise MediaError(f"video {film.file} changed while it was read")


def _checked(source: Path, indices: Sequence[int], count: int) -> tuple[int, ...]:
    chosen = tuple(int(index) for index in indices)
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise MediaError(f"{source} has {count} frames; frames {list(chosen)} cannot be chosen from it")
    return chosen
