"""What is seen in the clips, worked out once and kept in files: visual tokens, small pictures, the head's features."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from vila_core.files.writing import written_whole
from vila_core.models.relevance import THUMBNAIL_PX, RelevanceHead, thumbnail
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast
from vila_tools.training.clips import Clips
from vila_tools.training.recipe import EventRecipe
from vila_tools.training.vision_stage import augment


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """By clip and frame; mapped from files."""

    tokens: NDArray[np.float16]  # [clips, T, N, C]
    features: NDArray[np.float16]  # [clips, T, M, E]
    thumbnails: NDArray[np.uint8]  # [clips, T, 96, 96, 3]


def clip_features(
    model: VisionLanguageModel, head: RelevanceHead, clips: Clips, folder: Path, recipe: EventRecipe
) -> ClipFeatures:
    """Encode all clips, each in its own light and with its own noise, into files of the folder; once for these eyes."""
    made_with = _digest(head.eyes)
    files = [folder / f"clip_{name}_{made_with}.npy" for name in ("tokens", "features", "thumbnails")]
    if not all(file.is_file() for file in files):
        _encode(model, head, clips, files, recipe)
    return ClipFeatures(*(np.load(file, mmap_mode="r") for file in files))


def _encode(
    model: VisionLanguageModel, head: RelevanceHead, clips: Clips, files: list[Path], recipe: EventRecipe
) -> None:
    config = head.config
    shapes = (
        (np.float16, (config.visual_tokens, config.visual_width)),
        (np.float16, (config.grid**2, config.eyes_width)),
        (np.uint8, (THUMBNAIL_PX, THUMBNAIL_PX, 3)),
    )
    with ExitStack() as stack:
        parts = [stack.enter_context(written_whole(file)) for file in files]
        arrays = [
            _blank(part, np.dtype(dtype), (len(clips), clips.frames, *shape))
            for part, (dtype, shape) in zip(parts, shapes, strict=True)
        ]
        _fill(arrays, model, head, clips, recipe)


def _blank(file: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a new file whose place on the disk is taken: in a mapped file a full disk would end the process (SIGBUS)."""
    array = open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    with file.open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return array


def _fill(
    arrays: Sequence[NDArray[Any]], model: VisionLanguageModel, head: RelevanceHead, clips: Clips, recipe: EventRecipe
) -> None:
    for clip in tqdm(range(len(clips)), desc="features", unit="clip"):
        film = np.array(clips.film(clip))
        once, again = still_frames(film)
        pictures = augment(torch.from_numpy(film[once])[None], np.random.default_rng([recipe.seed, clip]))[0]
        with torch.inference_mode(), autocast(model.device, recipe.precision):  # it need not be exact
            on_device = pictures.to(model.device)
            views = visual_tokens(model, on_device).half(), head.features(on_device).half(), thumbnails(pictures)
        for array, view in zip(arrays, views, strict=True):
            array[clip] = view.cpu().numpy()[again]


def visual_tokens(model: VisionLanguageModel, pictures: Tensor) -> Tensor:
    """The model's visual tokens [B, N, C] of larger pictures [B, S, S, 3], 0..255."""
    size = model.config.vision.image_size
    small = F.interpolate(pictures.permute(0, 3, 1, 2), size=(size, size), mode="bicubic", antialias=True)
    return model.encode_squares(small.permute(0, 2, 3, 1).clamp(0, 255))


def thumbnails(pictures: Tensor) -> Tensor:
    """The head's small pictures [B, 96, 96, 3] uint8 of pictures [B, S, S, 3], 0..255."""
    return torch.from_numpy(np.stack([thumbnail(picture) for picture in pictures.byte().cpu().numpy()]))


def still_frames(clip: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the frames that differ from the one before, and for each frame which of these shows the same: [T]."""
    changed = np.r_[True, (clip[1:] != clip[:-1]).any(axis=(1, 2, 3))]
    return np.flatnonzero(changed), np.cumsum(changed) - 1


def _digest(module: torch.nn.Module) -> str:
    """Short name of a module's weights."""
    digest = hashlib.sha256()
    for weight in module.state_dict().values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
