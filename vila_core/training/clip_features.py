"""What the frozen model sees in the clips, worked out once: visual tokens, the tower's tiles, small pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from vila_core.models.relevance import THUMBNAIL_PX, RelevanceConfig, thumbnail
from vila_core.models.vlm import VisionLanguageModel
from vila_core.training.clips import Clips
from vila_core.training.vision_stage import augment


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """By clip and frame; mapped from files."""

    tokens: NDArray[np.float16]  # [clips, T, N, C]
    tiles: NDArray[np.float16]  # [clips, T, M, E]
    thumbnails: NDArray[np.uint8]  # [clips, T, 48, 48, 3]


def clip_features(
    model: VisionLanguageModel, clips: Clips, config: RelevanceConfig, folder: Path, seed: int
) -> ClipFeatures:
    """Encode all clips, each in its own light and with its own noise, into files of the folder; once."""
    files = [folder / f"clip_{name}.npy" for name in ("tokens", "tiles", "thumbnails")]
    if not all(file.is_file() for file in files):
        _encode(model, clips, config, files, seed)
    return ClipFeatures(*(np.load(file, mmap_mode="r") for file in files))


def _encode(model: VisionLanguageModel, clips: Clips, config: RelevanceConfig, files: list[Path], seed: int) -> None:
    counts = (len(clips), clips.frames)
    shapes = (
        (np.float16, (config.visual_tokens, config.visual_width)),
        (np.float16, (config.grid**2, config.tile_width)),
        (np.uint8, (THUMBNAIL_PX, THUMBNAIL_PX, 3)),
    )
    parts = [file.with_suffix(".part") for file in files]
    arrays = [
        open_memmap(part, mode="w+", dtype=dtype, shape=(*counts, *shape))
        for part, (dtype, shape) in zip(parts, shapes, strict=True)
    ]
    for number, clip in enumerate(tqdm(_each(clips), desc="features", unit="clip", total=len(clips))):
        once, again = still_frames(clip)
        pictures = augment(torch.from_numpy(clip[once])[None].flatten(1, 2), np.random.default_rng([seed, number]))
        views = _views(model, pictures.view(len(once), *clip.shape[1:]), config)
        for array, view in zip(arrays, views, strict=True):
            array[number] = view[again]
    for array, part, file in zip(arrays, parts, files, strict=True):
        array.flush()
        part.replace(file)


def _views(model: VisionLanguageModel, pictures: Tensor, config: RelevanceConfig) -> Iterator[NDArray[np.generic]]:
    """Tokens, tiles and thumbnails of float pictures [U, S, S, 3], 0..255."""
    device, size = model.device, model.config.vision.image_size
    small = F.interpolate(pictures.permute(0, 3, 1, 2), size=(size, size), mode="bicubic", antialias=True)
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):  # a training set need not be exact
        tokens = model.encode_squares(small.permute(0, 2, 3, 1).clamp(0, 255).to(device))
        tiles = model.tile_features(pictures.to(device), config.tiles)
    yield tokens.half().cpu().numpy()
    yield tiles.half().cpu().numpy()
    yield np.stack([thumbnail(picture) for picture in pictures.byte().numpy()])


def still_frames(clip: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the frames that differ from the one before, and for each frame which of these shows the same: [T]."""
    changed = np.r_[True, (clip[1:] != clip[:-1]).any(axis=(1, 2, 3))]
    return np.flatnonzero(changed), np.cumsum(changed) - 1


def _each(clips: Clips) -> Iterator[NDArray[np.uint8]]:
    for shard in clips.images:
        for clip in shard:
            yield np.array(clip)
