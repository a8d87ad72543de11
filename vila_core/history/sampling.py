"""Which remembered frames go into a prompt."""

from __future__ import annotations

import numpy as np

BLANK = -1  # stands for a black frame before the oldest real one


def select_frames(n: int, num_frames: int) -> list[int]:
    """Choose num_frames of n frames as NaVILA does: evenly spaced, and the newest last.

    Returns indices, oldest first; BLANK pads in front when n < num_frames. The first frame is
    always among them if num_frames > 1. The rounding is part of the definition: for 64 frames it
    differs from exact integer division for some n. Raises ValueError for n < 0 or num_frames < 1.
    """
    if n < 0 or num_frames < 1:
        raise ValueError(f"need n >= 0 and num_frames >= 1, got n={n}, num_frames={num_frames}")
    blanks = max(0, num_frames - n)
    last = n + blanks - 1
    history = np.linspace(0, last, num_frames - 1, endpoint=False, dtype=int)
    return [max(BLANK, int(i) - blanks) for i in (*history, last)]
