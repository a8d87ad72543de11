"""When the robot must stand still because something it relies on went silent or lies about time.

Two clocks: receipts are counted on a steady clock, which runs on when simulated time pauses;
stamps are compared with the node's clock, which may be simulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.config import ControlConfig
from vila_core.control.limits import MAX_FUTURE_S
from vila_core.control.reasons import MotionFault, StopReason

HELD_UP_S = 0.3  # a node whose timer comes so late was not run: what it knows is old, and so are its messages
_REVOKED = 4  # GovernorState.state
_IDLE = 0
_STOPPED = 3
_LIMITED = 2
_BEGIN_S = 0.15  # a governor may learn so late that a mission began


@dataclass(frozen=True, slots=True)
class Receipt:
    """A message that came: its stamp on the node's clock, its arrival on the steady clock."""

    stamp_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a motion must end, or not begin."""

    fault: MotionFault
    detail: str


def silence(
    odometry: Receipt | None,
    heartbeat: Receipt | None,
    *,
    now_ns: int,
    steady_ns: int,
    config: ControlConfig,
    max_future_s: float = MAX_FUTURE_S,
) -> Doubt | None:
    """Return why a motion must end now, or None while all is well.

    odometry, heartbeat: the latest of each, None if none came. now_ns: the node's clock;
    steady_ns: the steady clock. max_future_s: how far ahead of now_ns a stamp may lie. A heartbeat's
    stamp is that of the newest image in use.
    """
    lost, silent = MotionFault.HEARTBEAT_LOST, MotionFault.ODOMETRY_SILENT
    rows = (
        ("odometry", silent, odometry, config.odometry_timeout_s, config.odometry_timeout_s),
        ("heartbeat", lost, heartbeat, config.heartbeat_timeout_s, config.max_heartbeat_age_s),
    )
    for name, fault, last, max_silence_s, max_age_s in rows:
        if last is None:
            return Doubt(fault, f"no {name} yet")
        silent_s = (steady_ns - last.received_ns) / 1e9
        if silent_s > max_silence_s:
            return Doubt(fault, f"no {name} for {silent_s:.2f} s, limit {max_silence_s} s")
        age_s = (now_ns - last.stamp_ns) / 1e9
        if age_s > max_age_s:
            return Doubt(fault, f"{name} stamped {age_s:.2f} s ago, limit {max_age_s} s")
        if age_s < -max_future_s:
            return Doubt(MotionFault.CLOCK, f"{name} stamped {-age_s:.2f} s in the future")
    return None


def decision_refusal(
    stamp_ns: int, now_ns: int, config: ControlConfig, max_future_s: float = MAX_FUTURE_S
) -> Doubt | None:
    """Return the doubt about a decision for an image that is too old, or too new by max_future_s, or None."""
    age_s = (now_ns - stamp_ns) / 1e9
    if age_s > config.max_decision_age_s:
        detail = f"the decision answers an image {age_s:.2f} s old, limit {config.max_decision_age_s} s"
        return Doubt(MotionFault.LATE, detail)
    if age_s < -max_future_s:
        return Doubt(MotionFault.CLOCK, f"the decision answers an image {-age_s:.2f} s in the future")
    return None


class HoldUpWatch:
    """Notices that its own process was not run for a while; what had queued up meanwhile is not to be executed.

    Times are on the steady clock. `tick` belongs into a timer that is much quicker than HELD_UP_S.
    """

    def __init__(self, steady_ns: int) -> None:
        self._ticked_ns = steady_ns
        self._queue_until_ns = 0

    def tick(self, steady_ns: int) -> Doubt | None:
        """Note that the timer ran; return the doubt if it comes too late."""
        doubt = self.notice(steady_ns)
        self._ticked_ns = steady_ns
        return doubt

    def notice(self, steady_ns: int) -> Doubt | None:
        """Return the doubt if the timer should have run since, to be asked before any message is obeyed."""
        gap_s = (steady_ns - self._ticked_ns) / 1e9
        if gap_s <= HELD_UP_S:
            return None
        self._queue_until_ns = steady_ns + round(HELD_UP_S * 1e9)
        return Doubt(MotionFault.HELD_UP, f"this process was not run for {gap_s:.2f} s, limit {HELD_UP_S} s")

    def queued(self, steady_ns: int) -> Doubt | None:
        """Return the doubt about a message that comes now, while those that had queued up are still coming."""
        if steady_ns >= self._queue_until_ns:
            return None
        return Doubt(MotionFault.HELD_UP, f"it may be older than a pause of this process of over {HELD_UP_S} s")


class GovernorWatch:
    """What the governor says. Before it was heard for the first time it is not needed: a bench has none.

    Times are on the steady clock. timeout_s: the longest silence, which may be set anew at any time.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._heard_ns: int | None = None
        self._state, self._reason, self._share = _IDLE, StopReason.NONE, 1.0
        self._barred_ns: int | None = None  # since when nothing will pass, for a final reason
        self._begun_ns = 0

    def note(self, state: int, reason: int, speed_scale: float, steady_ns: int) -> None:
        """Take GovernorState; a reason of an unknown number counts as none."""
        known = reason in StopReason.__members__.values()
        self._heard_ns, self._state = steady_ns, state
        self._reason, self._share = StopReason(reason) if known else StopReason.NONE, speed_scale
        barred = state == _REVOKED or (state == _IDLE and self._reason.is_final)
        self._barred_ns = (self._barred_ns or steady_ns) if barred else None

    @property
    def was_heard(self) -> bool:
        """True once it has said something."""
        return self._heard_ns is not None

    def begin(self, steady_ns: int) -> None:
        """A motion begins; the governor may not yet know of its mission."""
        self._begun_ns = steady_ns

    def doubt(self, steady_ns: int) -> Doubt | None:
        """Return why nothing passes any more, None if it does or will."""
        if self._heard_ns is None:
            return None
        silent_s = (steady_ns - self._heard_ns) / 1e9
        if silent_s > self.timeout_s:
            return Doubt(
                MotionFault.GOVERNOR, f"no word of the governor for {silent_s:.2f} s, limit {self.timeout_s} s"
            )
        if self._barred_ns is None:
            return None
        is_news = self._barred_ns > self._begun_ns  # it passed when the motion began
        if is_news or self._heard_ns - self._begun_ns > _BEGIN_S * 1e9:
            return Doubt(MotionFault.GOVERNOR, f"the governor lets nothing pass: {self._reason.name}")
        return None

    @property
    def speed_share(self) -> float:
        """How much of the top speeds passes to the base, 0 if nothing does for now."""
        if self._state == _STOPPED and self._reason is not StopReason.NO_COMMAND:
            return 0.0
        if self._state == _LIMITED and math.isfinite(self._share):
            return min(1.0, max(0.0, self._share))
        return 1.0
