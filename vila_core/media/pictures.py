"""Read still pictures from files. A file that is not whole is an error that names it, never a black image."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vila_core.errors import MediaError
from vila_core.files.reading import require_file

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_16_BITS = 65535  # white; as 255 it is 257 times as much, as libpng and ImageMagick have it
_12_BITS = 4095  # the whitest of 12-bit sensors, which write their numbers into 16 bits as they are
# BitsPerSample, SampleFormat (1: unsigned), PhotometricInterpretation (0: white is 0), and what they are if not told
_TIFF_TAGS = ((258, (1,)), (339, (1,)), (262, 1))


def read_image(file: Path) -> NDArray[np.uint8]:
    """Return the image [H, W, 3] uint8 RGB as it is stored, as the official code reads it.

    An EXIF rotation is not applied, and an alpha channel is dropped: a transparent pixel has the colour that is stored
    under it. Of an animation it is the first frame. 16-bit grey becomes 8-bit by 65535 -> 255. Raises MediaError,
    naming the file, if it is missing, no file, no image, cut short, of more than 178 million pixels, or has pixels in a
    range that does not tell which number is white.
    """
    require_file(file, error=MediaError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about large pictures and odd EXIF: what matters is checked here
            with Image.open(file) as image:
                return _rgb(file, image)
    except UnidentifiedImageError as err:
        raise MediaError(f"{file} is not an image that can be read; give a JPEG, PNG or WebP file") from err
    except PermissionError as err:
        raise MediaError(f"image {file} may not be read: permission denied") from err
    except Image.DecompressionBombError as err:
        raise MediaError(f"image {file} is too large: {err}") from err
    except MemoryError as err:
        raise MediaError(f"image {file} does not fit into memory") from err
    except MediaError:
        raise
    except Exception as err:  # Pillow's readers raise whatever their parsing of damaged bytes runs into
        raise MediaError(f"image {file} is corrupt or cut short: {err}") from err


def list_images(folder: Path) -> list[Path]:
    """Return the folder's image files in order of their names.

    Raises MediaError if it is no folder or holds no image.
    """
    if not folder.is_dir():
        raise MediaError(f"{folder} is not a folder of images")
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as err:
        raise MediaError(f"the folder {folder} may not be read: {err.strerror}") from err
    if not files:
        raise MediaError(f"{folder} holds no image; looked for {', '.join(IMAGE_SUFFIXES)}")
    return files


def _rgb(file: Path, image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):  # Pillow would clip everything above 255 to white
        return np.repeat(_grey(file, image)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _grey(file: Path, image: Image.Image) -> NDArray[np.uint8]:
    """Scale pixels to 8 bits, rounded to the nearest, if the file tells which number is white."""
    pixels = np.asarray(image)
    low, high = pixels.min(), pixels.max()
    black, white = _black_and_white(image)
    if black == white:
        kind = "floating-point" if image.mode == "F" else "signed or 32-bit"
        raise MediaError(f"image {file} has {kind} pixels from {low:g} to {high:g}; convert it to 8 bits")
    if (black, white) == (0, _16_BITS) and 0 < high <= _12_BITS:
        why = "10 or 12 bits written as 16? It would be black"
        raise MediaError(
            f"image {file} is of 16 bits, its brightest pixel {high} of 65535: {why}; convert it to 8 bits"
        )
    numbers = np.arange(max(black, white) + 1)
    table = np.abs(numbers - black) * 255.0 / abs(white - black)
    return np.round(table).astype(np.uint8)[pixels]


def _black_and_white(image: Image.Image) -> tuple[int, int]:
    """Return the numbers of black and white, twice the same if nothing tells them.

    Pillow reads some 16-bit files into 32 bits: PNG and PGM have no wider grey, a TIFF tells bits, sign and order.
    """
    if image.format != "TIFF":
        is_wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
        return 0, _16_BITS if is_wide else 0
    bits, kind, order = (image.tag_v2.get(tag, other) for tag, other in _TIFF_TAGS)  # type: ignore[attr-defined]
    if bits[0] not in (12, 16) or kind[0] != 1:
        return 0, 0
    white = (1 << bits[0]) - 1
    return (white, 0) if order == 0 else (0, white)
