"""From a picture to the pixels that the vision tower reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vila_core.errors import FrameError
from vila_core.kernels.library import kernels
from vila_core.kernels.resize import resize_square
from vila_core.media.images import resize_picture
from vila_core.models.config import ImageConfig, VisionConfig
from vila_core.models.functional import upload
from vila_core.models.tiling import dynamic_s2_tiles, dynamic_tiles


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """A picture as the tower reads it.

    tiles: [n, 3, S, S] float32, normalised. block: (rows, columns) of the last scale's tiles if the
    tiles of all scales make one picture (dynamic S2); None if each tile is a picture of its own.
    """

    tiles: Tensor
    block: tuple[int, int] | None = None


def prepare_image(
    image: NDArray[np.uint8],
    vision: VisionConfig,
    images: ImageConfig,
    tiled: bool,
    *,
    max_tiles: int | None = None,
) -> PreparedImage:
    """Resize, pad or cut an image [H, W, 3] as the checkpoint wants it.

    tiled: the prompt holds exactly this one picture; only then do "dynamic" and "dynamic_s2" cut
    it. max_tiles, for "dynamic", stands in place of images.max_tiles. Raises FrameError.
    """
    _check_image(image)
    size = input_size(vision, images)
    block: tuple[int, int] | None = None
    if tiled and images.aspect_ratio == "dynamic_s2":
        tiles, last = dynamic_s2_tiles(image, images.s2_scales or (size,), images.max_tiles)
        block = (last.rows, last.cols)
    elif tiled and images.aspect_ratio == "dynamic":
        most = images.max_tiles if max_tiles is None else max_tiles
        tiles = dynamic_tiles(image, size, min_tiles=images.min_tiles, max_tiles=most)
    else:
        whole = pad_to_square(image, vision.mean) if images.aspect_ratio == "pad" else image
        tiles = resize_image(whole, size)[None]
    return PreparedImage(normalise_pixels(torch.tensor(tiles), vision, torch.float32), block)


def prepare_video(
    frames: Sequence[NDArray[np.uint8]], vision: VisionConfig, images: ImageConfig
) -> tuple[PreparedImage, ...]:
    """Prepare the frames of one `<vila/video>`: one tile each, unless video_max_tiles is above 1.

    Every tile then counts as a frame of its own. Raises FrameError.
    """
    tiled = images.video_max_tiles > 1
    pictures = (prepare_image(frame, vision, images, tiled, max_tiles=images.video_max_tiles) for frame in frames)
    return tuple(PreparedImage(picture.tiles) for picture in pictures)


def input_size(vision: VisionConfig, images: ImageConfig) -> int:
    """Pixels per side of a tile: the largest scale for static S2, the smallest for dynamic S2."""
    if not images.s2_scales:
        return vision.image_size
    return images.s2_scales[0] if images.dynamic_s2 else images.s2_scales[-1]


def pad_to_square(image: NDArray[np.uint8], mean: Sequence[float]) -> NDArray[np.uint8]:
    """Centre an image [H, W, 3] in a square [S, S, 3] of the mean colour, S = max(H, W)."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(channel * 255) for channel in mean]
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Squash an image [H, W, 3] to [size, size, 3] with Pillow's antialiased bicubic, as SiglipImageProcessor does."""
    found = kernels()
    resized = None if found is None else resize_square(found, image, size)
    return resize_picture(image, size, size) if resized is None else resized


def resize_on_device(image: Tensor, size: int) -> Tensor:
    """The same for a uint8 tensor [H, W, 3] where it lies, so that a GPU does the work.

    Within one level of Pillow for landscape: columns first, whole levels between. Of portrait pictures Pillow sometimes
    does the rows first; noise then differs by a third of a level on average.
    """
    planes = image.permute(2, 0, 1)[None].float()
    for step in ((image.shape[0], size), (size, size)):
        planes = F.interpolate(planes, size=step, mode="bicubic", antialias=True).round().clamp(0, 255)
    return planes[0].to(torch.uint8).permute(1, 2, 0)


def pad_on_device(image: Tensor, mean: Sequence[float]) -> Tensor:
    """As pad_to_square, for a uint8 tensor where it lies."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    planes = [
        F.pad(plane, (left, side - width - left, top, side - height - top), value=int(channel * 255))
        for plane, channel in zip(image.unbind(2), mean, strict=True)
    ]
    return torch.stack(planes, dim=2)


def normalise_pixels(images: Tensor, config: VisionConfig, dtype: torch.dtype) -> Tensor:
    """uint8 images [B, S, S, 3] -> [B, 3, S, S] of dtype, (x / 255 - mean) / std."""
    mean, std = (
        upload(np.array(values, np.float32)[:, None, None], images.device) for values in (config.mean, config.std)
    )
    planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return ((planes / 255.0 - mean) / std).to(dtype)


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise FrameError(f"expected an RGB image uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
