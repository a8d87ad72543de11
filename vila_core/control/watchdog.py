"""When the robot must stand still because something it relies on went silent or lies about time.

Two clocks: receipts are counted on a steady clock, which runs on when simulated time pauses;
stamps are compared with the node's clock, which may be simulated.
"""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.config import ControlConfig
from vila_core.control.limits import MAX_FUTURE_S


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that came: its stamp on the node's clock, its arrival on the steady clock."""

    stamp_ns: int
    received_ns: int


def silence(
    odometry: Receipt | None,
    heartbeat: Receipt | None,
    *,
    now_ns: int,
    steady_ns: int,
    config: ControlConfig,
    max_future_s: float = MAX_FUTURE_S,
) -> str | None:
    """Return why a motion must end now, or None while all is well.

    odometry, heartbeat: the latest of each, None if none came. now_ns: the node's clock;
    steady_ns: the steady clock. max_future_s: how far ahead of now_ns a stamp may lie. A heartbeat's
    stamp is that of the newest image in use, which may be one heartbeat_timeout_s old when sent and
    as much again when checked.
    """
    rows = (
        ("odometry", odometry, config.odometry_timeout_s, config.odometry_timeout_s),
        ("heartbeat", heartbeat, config.heartbeat_timeout_s, 2 * config.heartbeat_timeout_s),
    )
    for name, last, max_silence_s, max_age_s in rows:
        if last is None:
            return f"no {name} yet"
        silent_s = (steady_ns - last.received_ns) / 1e9
        if silent_s > max_silence_s:
            return f"no {name} for {silent_s:.2f} s, limit {max_silence_s} s"
        age_s = (now_ns - last.stamp_ns) / 1e9
        if age_s > max_age_s:
            return f"{name} stamped {age_s:.2f} s ago, limit {max_age_s} s"
        if age_s < -max_future_s:
            return f"{name} stamped {-age_s:.2f} s in the future"
    return None


def decision_refusal(
    stamp_ns: int, now_ns: int, config: ControlConfig, max_future_s: float = MAX_FUTURE_S
) -> str | None:
    """Return why a decision for the image of that stamp comes too late, or too early by max_future_s, or None."""
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > config.max_decision_age_s:
        return f"the decision answers an image {age_s:.2f} s old, limit {config.max_decision_age_s} s"
    if age_s < -max_future_s:
        return f"the decision answers an image {-age_s:.2f} s in the future"
    return None
