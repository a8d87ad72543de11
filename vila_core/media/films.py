"""Read images and videos from files. A file that is not whole is an error that names it, never a black image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vila_core.errors import MediaError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MAX_MISSING = 0.1  # of a video's frames that its header announces and nobody can decode, at the end

FrameChooser = Callable[[int, float], Sequence[int]]  # frames in the video, its frames per second -> indices


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrames:
    """Frames chosen from a video.

    images: [H, W, 3] uint8 RGB each, in order of time, an index that comes twice twice.
    frame_count: frames that can be decoded. duration_s: 0 where the source knows no time, as a folder of images.
    """

    images: tuple[NDArray[np.uint8], ...]
    indices: tuple[int, ...]
    frame_count: int
    duration_s: float


def read_image(file: Path) -> NDArray[np.uint8]:
    """Return the image [H, W, 3] uint8 RGB as it is stored: an EXIF rotation is not applied, as in the official code.

    Raises MediaError, naming the file, if it is missing, no image or cut short.
    """
    try:
        with Image.open(file) as image:
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError as err:
        raise MediaError(f"{file} is not an image that can be read; give a JPEG, PNG or WebP file") from err
    except FileNotFoundError as err:
        raise MediaError(f"image {file} does not exist") from err
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise MediaError(f"image {file} is corrupt or cut short: {err}") from err


def list_images(folder: Path) -> list[Path]:
    """Return the folder's image files in order of their names.

    Raises MediaError if it is no folder or holds no image.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder of images")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise MediaError(f"{folder} holds no image; looked for {', '.join(IMAGE_SUFFIXES)}")
    return files


def read_video(path: Path, choose: FrameChooser) -> VideoFrames:
    """Return the frames that `choose` picks from a video file, or from a folder of images sorted by name.

    Raises MediaError, naming the file, if it is missing, no video, cut short or has an unreadable frame among them.
    """
    path = Path(path)
    return _read_folder(path, choose) if path.is_dir() else _read_file(path, choose)


def stream_video(file: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield each frame of a video file, [H, W, 3] uint8 RGB, with its time from the beginning in seconds.

    One frame is in memory at a time. Raises MediaError, naming the file, if it is missing, no video, cut short or does
    not tell its frame rate.
    """
    with _opened(Path(file)) as capture:
        count = _decodable_frames(file, capture)
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        if not fps > 0:
            raise MediaError(f"video {file} does not tell its frames per second")
        capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        for index in range(count):
            is_read, image = capture.read()
            if not is_read:
                raise MediaError(f"video {file} is corrupt: frame {index} cannot be decoded")
            yield index / fps, _rgb(image)


def _read_folder(folder: Path, choose: FrameChooser) -> VideoFrames:
    files = list_images(folder)
    indices = _checked(folder, choose(len(files), 0.0), len(files))
    images = {index: read_image(files[index]) for index in dict.fromkeys(indices)}
    return VideoFrames(tuple(images[index] for index in indices), indices, len(files), 0.0)


def _read_file(file: Path, choose: FrameChooser) -> VideoFrames:
    with _opened(file) as capture:
        count = _decodable_frames(file, capture)
        fps = float(capture.get(cv2.CAP_PROP_FPS)) or 0.0
        indices = _checked(file, choose(count, fps), count)
        images = {index: _read_frame(file, capture, index) for index in dict.fromkeys(indices)}
    return VideoFrames(tuple(images[index] for index in indices), indices, count, count / fps if fps > 0 else 0.0)


@contextmanager
def _opened(file: Path) -> Iterator[cv2.VideoCapture]:
    if not file.is_file():
        raise MediaError(f"video {file} does not exist")
    capture = cv2.VideoCapture(str(file))
    try:
        if not capture.isOpened():
            raise MediaError(f"video {file} cannot be opened: it is corrupt, cut short or of an unknown format")
        yield capture
    finally:
        capture.release()


def _decodable_frames(file: Path, capture: cv2.VideoCapture) -> int:
    """Count up to the last frame that can be decoded, for headers often announce a few more (as VILA does)."""
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    least = max(1, int(announced * (1 - _MAX_MISSING)))
    for count in range(announced, least - 1, -1):
        capture.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        if capture.grab():
            return count
    raise MediaError(f"video {file} is corrupt or cut short: frames from {least} to {announced} cannot be decoded")


def _read_frame(file: Path, capture: cv2.VideoCapture, index: int) -> NDArray[np.uint8]:
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    is_read, image = capture.read()
    if not is_read:
        raise MediaError(f"video {file} is corrupt: frame {index} cannot be decoded")
    return _rgb(image)


def _rgb(image: cv2.typing.MatLike) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _checked(source: Path, indices: Sequence[int], count: int) -> tuple[int, ...]:
    chosen = tuple(int(index) for index in indices)
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise MediaError(f"{source} has {count} frames; frames {list(chosen)} cannot be chosen from it")
    return chosen
