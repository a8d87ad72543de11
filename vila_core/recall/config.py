"""What is remembered of what the camera sees, and by which camera."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import AT_ONCE, Bounds

UNKNOWN = math.nan
_HALF_TURN = 3.1416  # rad


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """What the robot remembers of what it saw, where it keeps that, and how sure an answer must be."""

    file: str = ""  # an SQLite file, made if it is not there; empty: nothing is remembered
    # of the file; when it is full the oldest views are forgotten
    most_mb: Annotated[float, Bounds(least=1, most=1_000_000)] = 512.0
    most_days: Annotated[float, Bounds(above=0, most=36_500)] = 30.0  # an older view is forgotten
    # drive after which a view is remembered
    min_translation_m: Annotated[float, Bounds(above=0, most=10), AT_ONCE] = 0.22
    # turn after which a view is remembered
    min_rotation_rad: Annotated[float, Bounds(above=0, most=_HALF_TURN), AT_ONCE] = math.radians(13.0)
    # time after which a view is remembered, however little the robot moved
    period_s: Annotated[float, Bounds(least=0.1, most=86_400), AT_ONCE] = 10.0
    # an answer of ~/recall that is less probable is "not seen"
    min_probability: Annotated[float, Bounds(above=0, below=1), AT_ONCE] = 0.88
    # what was tagged must be so like to be found again: cosine
    min_likeness: Annotated[float, Bounds(above=0, below=1), AT_ONCE] = 0.8
    # longer side of the pictures that are kept
    picture_px: Annotated[int, Bounds(least=32, most=4096), AT_ONCE] = 320
    # odometry_frame outlasts a restart, as a map does; else places of earlier runs are told as such
    is_map: bool = False
    # horizontal field of view of the pictures, where image_hfov_deg does not say it; NaN: not known, and no place of a
    # thing is told
    camera_hfov_deg: Annotated[float, Bounds(least=10, most=170)] = UNKNOWN
    # of the lens above the floor; NaN: not known, and places of things are less exact
    camera_height_m: Annotated[float, Bounds(least=0.05, most=10)] = UNKNOWN
    camera_pitch_deg: Annotated[float, Bounds(least=-90, most=90)] = UNKNOWN  # downward; NaN: not known

    def __post_init__(self) -> None:
        check_fields(self)
        if math.isnan(self.camera_height_m) is not math.isnan(self.camera_pitch_deg):
            raise ConfigError(
                f"camera_height_m = {self.camera_height_m:g} and camera_pitch_deg = {self.camera_pitch_deg:g}: "
                "give both or neither"
            )

    def geometry(self, height_px: int, width_px: int) -> CameraGeometry | None:
        """The camera that takes pictures of so many pixels; None if its field of view is not known."""
        if math.isnan(self.camera_hfov_deg):
            return None
        pitch = math.radians(self.camera_pitch_deg)
        return CameraGeometry(math.radians(self.camera_hfov_deg), height_px / width_px, self.camera_height_m, pitch)


@dataclass(frozen=True, slots=True)
class CameraGeometry:
    """A pinhole camera that looks ahead. aspect: height over width. height_m, pitch_rad: NaN where not known."""

    hfov_rad: float
    aspect: float
    height_m: float = UNKNOWN
    pitch_rad: float = UNKNOWN  # downward

    @property
    def knows_floor(self) -> bool:
        """True if a thing's foot in the picture tells how far it is."""
        return not (math.isnan(self.height_m) or math.isnan(self.pitch_rad))
