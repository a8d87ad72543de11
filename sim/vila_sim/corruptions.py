"""What may be wrong with what a robot sees and hears: each a named change to a clean episode, after NavTrust."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vila_core.errors import WorldError
from vila_sim.episodes.episode import Episode
from vila_sim.episodes.instructions import HELD_OUT_TEMPLATES, render_instruction
from vila_sim.robot import CameraConfig

Image = NDArray[np.uint8]  # [H, W, 3] RGB

LOW_FRAME_RATE, REPHRASED = "low_frame_rate", "rephrased"
_BLUR = 1 / 75  # standard deviation, of the image's width: 3 of 224 px
_DARK_GAIN, _DARK_GAMMA = 0.3, 1.5
_NOISE = 25.0  # standard deviation, of 255
_LOW_CAMERA_M, _HIGH_CAMERA_M = 0.45, 1.4
_LEVEL_DEG, _STEEP_DEG = 0.0, 30.0
_NARROW_DEG, _WIDE_DEG = 69.0, 120.0  # the first is what depth cameras of many robots see


def _blurred(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[1] * _BLUR), np.uint8)


def _darkened(image: Image, rng: np.random.Generator) -> Image:
    return np.asarray(255 * _DARK_GAIN * (image / 255) ** _DARK_GAMMA, np.uint8)


def _noisy(image: Image, rng: np.random.Generator) -> Image:
    return np.clip(image + rng.normal(0.0, _NOISE, image.shape), 0, 255).astype(np.uint8)


IMAGES: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "blur": _blurred,
    "dark": _darkened,
    "noise": _noisy,
}
LENSES: dict[str, dict[str, Any]] = {  # fields of CameraConfig; in no committed file
    "narrow_lens": {"hfov_deg": _NARROW_DEG},
    "wide_lens": {"hfov_deg": _WIDE_DEG},
}
CAMERAS: dict[str, dict[str, Any]] = LENSES | {
    "low_camera": {"height_m": _LOW_CAMERA_M},
    "high_camera": {"height_m": _HIGH_CAMERA_M},
    "level_camera": {"pitch_deg": _LEVEL_DEG},
    "steep_camera": {"pitch_deg": _STEEP_DEG},
}
CORRUPTIONS = (*IMAGES, LOW_FRAME_RATE, *CAMERAS, REPHRASED)
IN_TURN = tuple(name for name in CORRUPTIONS if name not in LENSES)


def corrupted(episode: Episode, name: str) -> Episode:
    """Return the episode with one thing wrong: see CORRUPTIONS. Raises WorldError for another name."""
    if name not in CORRUPTIONS:
        raise WorldError(f"unknown corruption {name!r}; known: {', '.join(CORRUPTIONS)}")
    if name == REPHRASED:
        return replace(episode, corruption=name, instruction=_rephrased(episode))
    return replace(episode, corruption=name)


def corrupted_in_turn(episode: Episode, number: int) -> Episode:
    """Return the episode with one of the corruptions but the lenses, each in its turn."""
    return corrupted(episode, IN_TURN[number % len(IN_TURN)])


def corrupted_camera(camera: CameraConfig, name: str) -> CameraConfig:
    """Return the camera as it is mounted under a corruption; under most of them as ever."""
    return replace(camera, **CAMERAS.get(name, {}))


def corrupted_image(image: Image, episode: Episode, step: int) -> Image:
    """Return the image of a unit step as the episode's camera gives it, the same in every run; mostly as it is."""
    if episode.corruption not in IMAGES:
        return image
    return IMAGES[episode.corruption](image, np.random.default_rng([zlib.crc32(episode.episode_id.encode()), step]))


def _rephrased(episode: Episode) -> str:
    """Say the same in words that no training had. Raises WorldError for a task of two goals."""
    if len(episode.named_pairs) != 1:
        raise WorldError(f"episode {episode.episode_id} names {len(episode.named_pairs)} things: not to be rephrased")
    number = zlib.crc32(episode.episode_id.encode()) % len(HELD_OUT_TEMPLATES)
    return render_instruction(HELD_OUT_TEMPLATES[number], *episode.named_pairs[0])
