"""Two intervals of time beside each other."""

from __future__ import annotations

Bounds = tuple[float, float]  # start and end, in any unit


def shared_length(a: Bounds, b: Bounds) -> float:
    """Return the length of what is in both intervals; 0 if they do not meet."""
    return max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)


def interval_iou(a: Bounds, b: Bounds) -> float:
    """Intersection over union of two intervals; 0 if both are empty."""
    shared = shared_length(a, b)
    union = max(a[1] - a[0], 0.0) + max(b[1] - b[0], 0.0) - shared
    return shared / union if union > 0 else 0.0
