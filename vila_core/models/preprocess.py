"""From a camera frame to the pixels that the vision tower reads."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vila_core.models.config import VisionConfig


def resize_image(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Squash an image [H, W, 3] to [size, size, 3] with Pillow's antialiased bicubic, as SiglipImageProcessor does."""
    if image.shape[:2] == (size, size):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def normalise_pixels(images: Tensor, config: VisionConfig, dtype: torch.dtype) -> Tensor:
    """uint8 images [B, S, S, 3] -> [B, 3, S, S] of dtype, (x / 255 - mean) / std."""
    mean = torch.tensor(config.mean, device=images.device)
    std = torch.tensor(config.std, device=images.device)
    return ((images.float() / 255.0 - mean) / std).permute(0, 3, 1, 2).to(dtype)
