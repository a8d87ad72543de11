"""Cameras as they differ between robots and hours: drawn for each episode of training, to learn none by heart."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds
from vila_sim.robot import CameraConfig

Range = tuple[float, float]
_NOISE_TABLE = 1 << 20  # normal numbers, drawn once: fresh ones would cost more than rendering


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a camera's electronics do to a picture; the defaults do nothing.

    white_balance: factors of red, green and blue. noise: standard deviation of the sensor's noise, in steps of 255.
    jpeg_quality: as libjpeg counts it; 0 leaves the picture uncompressed.
    """

    stops: Annotated[float, Bounds(least=-4, most=4)] = 0.0  # of light: 1 is twice as bright
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: Annotated[float, Bounds(least=0, most=100)] = 0.0
    jpeg_quality: Annotated[int, Bounds(least=0, most=100)] = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def apply(self, image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the picture [H, W, 3] as that camera gives it; rng draws the noise."""
        if self.stops or self.white_balance != (1.0, 1.0, 1.0):
            image = self._developed()[np.arange(3), image]
        if self.noise:
            start = int(rng.integers(_NOISE_TABLE - image.size))
            grain = _noise_table()[start : start + image.size].reshape(image.shape)
            image = np.clip(image + self.noise * grain, 0, 255).astype(np.uint8)
        if self.jpeg_quality:
            image = _through_jpeg(image, self.jpeg_quality)
        return image

    def _developed(self) -> NDArray[np.uint8]:
        """What becomes of each value in each channel: [3, 256]."""
        gains = 2.0**self.stops * np.array(self.white_balance)
        values = np.clip(gains[:, None] * np.arange(256), 0, 255)
        table: NDArray[np.uint8] = np.round(values).astype(np.uint8)
        return table


@dataclass(frozen=True, slots=True)
class RandomCamera:
    """A camera as it was drawn: where it is and what it sees of the scene, and what its electronics do."""

    config: CameraConfig
    exposure: Exposure


@dataclass(frozen=True, slots=True)
class CameraRandomization:
    """From which ranges a camera is drawn: low and high of each, evenly between them."""

    height_m: Range = (0.35, 1.3)
    pitch_deg: Range = (0.0, 24.0)
    hfov_deg: Range = (68.0, 105.0)
    stops: Range = (-0.9, 0.6)
    warmth: Range = (-0.14, 0.14)  # red gains by so much what blue loses
    noise: Range = (0.0, 9.0)
    jpeg_quality: Range = (45.0, 95.0)
    jpeg: float = 0.7  # probability of any compression
    own: Annotated[float, Bounds(least=0, most=1)] = 0.0  # probability that a robot has the simulator's camera as it is

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("height_m", "pitch_deg", "hfov_deg", "stops", "warmth", "noise", "jpeg_quality"):
            low, high = getattr(self, name)
            if not low <= high:
                raise ConfigError(f"{name} = ({low}, {high}): the first must not be above the second")
        for end in (0, 1):  # each checks its own range
            CameraConfig(height_m=self.height_m[end], pitch_deg=self.pitch_deg[end], hfov_deg=self.hfov_deg[end])
            Exposure(stops=self.stops[end], noise=self.noise[end], jpeg_quality=round(self.jpeg_quality[end]))

    def draw(self, rng: np.random.Generator, base: CameraConfig | None = None) -> RandomCamera:
        """Draw a camera; it has as many pixels as the base."""
        if self.own and rng.random() < self.own:
            return RandomCamera(base or CameraConfig(), Exposure())
        config = replace(
            base or CameraConfig(),
            height_m=round(float(rng.uniform(*self.height_m)), 3),
            pitch_deg=round(float(rng.uniform(*self.pitch_deg)), 2),
            hfov_deg=round(float(rng.uniform(*self.hfov_deg)), 2),
        )
        warmth, tint = float(rng.uniform(*self.warmth)), float(rng.uniform(-0.04, 0.04))
        quality = int(rng.integers(round(self.jpeg_quality[0]), round(self.jpeg_quality[1]), endpoint=True))
        exposure = Exposure(
            stops=float(rng.uniform(*self.stops)),
            white_balance=(1.0 + warmth, 1.0 + tint, 1.0 - warmth),
            noise=float(rng.uniform(*self.noise)),
            jpeg_quality=quality if rng.random() < self.jpeg else 0,
        )
        return RandomCamera(config, exposure)


def _through_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@functools.cache
def _noise_table() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_NOISE_TABLE, np.float32)
