"""What is wrong with the stamps of a topic, when that is the same in message after message."""

from __future__ import annotations

from dataclasses import dataclass

_S = 1_000_000_000
_RUN = 3  # messages in a row, and
_RUN_NS = _S // 2  # so long, with one fault: not a hiccup
_SAME_CLOCK_NS = 60 * _S  # stamps farther away are of another clock
_SAME_BOOT_NS = 10 * _S
_DECADE_NS = 10 * 365 * 86400 * _S  # no wall clock that was ever set shows less


@dataclass(frozen=True, slots=True)
class Clocks:
    """The times at which a message came, in nanoseconds.

    now_ns: the node's clock, simulated or not. wall_ns: since 1970. steady_ns: since boot.
    max_future_s: how far ahead of the node's clock a stamp may lie.
    """

    now_ns: int
    wall_ns: int
    steady_ns: int
    is_simulated: bool
    max_future_s: float


class StampWatch:
    """Follows the stamps of one topic; what it says may be read in another thread than the one that notes.

    max_age_s: stamps that are always older are of another clock, or useless; it may be set anew at any time.
    """

    def __init__(self, topic: str, max_age_s: float) -> None:
        self._topic = topic
        self.max_age_s = max_age_s
        self._previous: tuple[int, int] | None = None
        self._kind = ""
        self._count, self._since_ns = 0, 0
        self.fault = ""  # names the topic, what is wrong and the remedy; empty if all is well

    @property
    def is_doubtful(self) -> bool:
        """True if the newest stamp is at fault, though that may be a hiccup; a repeated one alone is not."""
        return self._kind not in ("", "frozen")

    def note(self, sec: int, nanosec: int, clocks: Clocks) -> None:
        """Take the next stamp as it stands in the message. Nothing is said while simulated time is unknown."""
        stamp, before = (sec, nanosec), self._previous
        self._previous = stamp
        kind, text = _judge(stamp, before, clocks, self.max_age_s) if clocks.now_ns > 0 else ("", "")
        at_ns = clocks.now_ns if kind == "frozen" else clocks.steady_ns  # time that stands still freezes all stamps
        if kind != self._kind or at_ns < self._since_ns:
            self._kind, self._count, self._since_ns = kind, 0, at_ns
        self._count += 1
        is_lasting = self._count >= _RUN and at_ns - self._since_ns >= _RUN_NS
        self.fault = f"{self._topic}: {text}" if kind and is_lasting else ""


def _judge(stamp: tuple[int, int], before: tuple[int, int] | None, clocks: Clocks, max_age_s: float) -> tuple[str, str]:
    """Return what kind of fault a stamp shows, and in words; both empty if none."""
    sec, nanosec = stamp
    if sec == 0 and nanosec == 0:
        return "zero", "all stamps are zero; let the publisher fill header.stamp"
    if abs(nanosec * _S + sec - clocks.now_ns) < _SAME_CLOCK_NS < abs(sec * _S + nanosec - clocks.now_ns):
        return "swapped", f"sec = {sec} and nanosec = {nanosec} are swapped in the stamps; let the publisher mend that"
    if sec < 0 or not 0 <= nanosec < _S:
        return "invalid", f"a stamp of sec = {sec}, nanosec = {nanosec} is no time; sec is 0 or more, nanosec below 1e9"
    if before is not None and stamp == before:
        return "frozen", f"all stamps are the same, {_seconds(stamp):.3f} s; let the publisher stamp each message anew"
    if before is not None and stamp < before:
        return "backward", f"the stamps run backward, now at {_seconds(stamp):.3f} s; publish in the order of time"
    return _judge_clock(sec * _S + nanosec, clocks, max_age_s)


def _judge_clock(stamp_ns: int, clocks: Clocks, max_age_s: float) -> tuple[str, str]:
    """Judge a stamp that is well-formed by how far it lies from the node's clock."""
    ahead_ns = stamp_ns - clocks.now_ns
    if abs(ahead_ns) > _SAME_CLOCK_NS and (text := _other_clock(stamp_ns, clocks)):
        return "other", text
    if ahead_ns > clocks.max_future_s * _S:
        return "ahead", f"the stamps are {ahead_ns / _S:.2f} s in the future of this node's clock; {_REMEDY}"
    if -ahead_ns > max_age_s * _S:
        return "behind", f"the stamps are {-ahead_ns / _S:.2f} s old by this node's clock; {_REMEDY}"
    return "", ""


_REMEDY = "set both clocks to one time, or publish with less delay"


def _other_clock(stamp_ns: int, clocks: Clocks) -> str:
    """Name the clock that a stamp from far away is of, empty if it is not known."""
    here = "simulated time" if clocks.is_simulated else "wall time"
    if clocks.is_simulated and abs(stamp_ns - clocks.wall_ns) < _SAME_CLOCK_NS:
        return f"the stamps are wall time, but this node has {here}; set use_sim_time for both or for neither"
    if abs(stamp_ns - clocks.steady_ns) < _SAME_BOOT_NS:
        return f"the stamps are the time since boot, but this node has {here}; let the driver stamp with ROS time"
    if not clocks.is_simulated and stamp_ns < _DECADE_NS:
        return (
            f"the stamps are simulated time ({stamp_ns / _S:.1f} s), but this node has {here}; set use_sim_time for "
            "both or for neither"
        )
    return ""


def _seconds(stamp: tuple[int, int]) -> float:
    return stamp[0] + stamp[1] / _S
