"""Which frames of a video a model sees, by each generation of the official code."""

from __future__ import annotations

import numpy as np


def uniform_frames(frame_count: int, num_frames: int) -> list[int]:
    """NVILA: num_frames indices evenly from the first frame to the last, rounded half to even; short videos repeat.

    Raises ValueError for a video without frames or num_frames < 1.
    """
    _check(frame_count, num_frames)
    return [int(index) for index in np.round(np.linspace(0, frame_count - 1, num_frames))]


def frames_at_rate(frame_count: int, video_fps: float, fps: float, num_frames: int) -> list[int]:
    """NVILA with fps > 0: a frame each 1 / fps seconds from the start, at most num_frames.

    Raises ValueError as uniform_frames does, and for rates that are not positive.
    """
    _check(frame_count, num_frames)
    if fps <= 0 or video_fps <= 0:
        raise ValueError(f"rates must be positive, got fps={fps} of a video with {video_fps}")
    times = np.arange(0, frame_count / video_fps, 1.0 / fps)[:num_frames]
    return [min(int(time * video_fps), frame_count - 1) for time in times]


def native_frames(frame_count: int, num_frames: int) -> list[int]:
    """VILA1.5: evenly from the first frame to the last, truncated; all frames of a shorter video.

    The official code shows black pictures for a video of one frame; that frame is seen here. Raises ValueError
    as uniform_frames does.
    """
    _check(frame_count, num_frames)
    if frame_count <= num_frames:
        return list(range(frame_count))
    return [int(index) for index in np.linspace(0, frame_count - 1, num_frames, dtype=int)]


def serving_frames(frame_count: int, num_frames: int) -> list[int]:
    """VILA's server: the first frame of each of num_frames equal parts."""
    _check(frame_count, num_frames)
    return [int(frame_count / num_frames * part) for part in range(num_frames)]


def _check(frame_count: int, num_frames: int) -> None:
    if frame_count < 1 or num_frames < 1:
        raise ValueError(f"need frame_count >= 1 and num_frames >= 1, got {frame_count} and {num_frames}")
