"""Which motions that ended before their goal are reason enough to give up, and when."""

from __future__ import annotations

from vila_core.control.reasons import MotionFault

# The odometry tells of no place any more that a mission could go on from; the controller may be held up again;
# who took over goes on.
_FINAL = frozenset(
    {
        MotionFault.ODOMETRY_FRAME,
        MotionFault.ODOMETRY_JUMP,
        MotionFault.ODOMETRY_PUBLISHERS,
        MotionFault.HELD_UP,
        MotionFault.TAKEN_OVER,
    }
)
# Something stands in the way: other motions that end too soon say nothing of the floor.
IN_THE_WAY = frozenset({MotionFault.STALLED, MotionFault.GOVERNOR, MotionFault.OBSTRUCTED, MotionFault.GOAL_REFUSED})
NO_FAILURES = frozenset({MotionFault.REPLACED, MotionFault.GOVERNOR})  # somebody else wanted or forbade that


class MotionFailures:
    """Counts refused and aborted motions: so many in a row, or so many in all, are too many.

    motions: all that were told of, the good ones too.
    """

    def __init__(self, most_in_a_row: int, most: int) -> None:
        self._most_in_a_row, self._most = most_in_a_row, most
        self.motions = self._failures = self._in_a_row = 0

    def note_done(self) -> None:
        """Take a motion that reached its goal."""
        self.motions += 1
        self._in_a_row = 0

    def note(self, fault: MotionFault, detail: str) -> str:
        """Take a motion that did not; return why no other is worth a try, empty if one is.

        fault: none of NO_FAILURES.
        """
        self.motions += 1
        self._failures += 1
        self._in_a_row += 1
        if fault in _FINAL:
            return detail or fault.name
        if self._in_a_row >= self._most_in_a_row:
            return f"{self._in_a_row} motions in a row failed, the last one: {detail}"
        if self._failures >= self._most:
            return f"{self._failures} of {self.motions} motions failed, the last one: {detail}"
        return ""
