"""The black frame that stands for what was before the first one, as NaVILA was trained to see it."""

from __future__ import annotations

import numpy as np

from vila_core.types import Frame

_CAMERA = "blank"


def blank_like(frame: Frame) -> Frame:
    """Return a black frame of the same size; every one has the same key."""
    return Frame(np.zeros_like(frame.image), 0, _CAMERA)


def is_blank(frame: Frame) -> bool:
    """Return True for a frame that `blank_like` made."""
    return frame.camera == _CAMERA
