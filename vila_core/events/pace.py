"""When standing queries may be evaluated beside a mission: decisions come first.

Evaluations take a share of the time, which shrinks as decisions take longer and is next to nothing once they take half
of their deadline. So under load events become rare, and no mission ends because of them.
"""

from __future__ import annotations

from collections import deque

_SLOW = 0.5  # of the deadline: a decision that takes longer leaves next to no time for events
_LEAST_SHARE = 0.02  # with slow decisions; a trial now and then tells when they are quick again, or events do no harm
_DECISIONS = 3  # the slowest of the last ones counts


class EvaluationPace:
    """Spaces the evaluations of standing queries during missions; without one they need not wait.

    deadline_s: of a decision. share: of the time that evaluations may take while decisions take none, afterwards
    most_share. Both may be set anew at any time. Times are a steady clock's, in nanoseconds. Decisions may be noted in
    another thread than evaluations.
    """

    def __init__(self, deadline_s: float, share: float) -> None:
        self.deadline_s, self.most_share = deadline_s, share
        self._decisions: deque[float] = deque(maxlen=_DECISIONS)
        self._rest_until_ns = 0
        self._is_on_mission = False
        self.is_spoilt = False  # a decision took too long since the evaluation began that runs: it is to be given up

    def begin_mission(self) -> None:
        """Let decisions go first from now on; the mission before says nothing of how long they take."""
        self._decisions.clear()
        self._rest_until_ns = 0
        self._is_on_mission = True

    def end_mission(self) -> None:
        """Let evaluations begin whenever they are due."""
        self._is_on_mission = False

    @property
    def share(self) -> float:
        """Of the time that evaluations may take now."""
        if not self._is_on_mission:
            return 1.0
        slowest_s = max(tuple(self._decisions), default=0.0)
        least = min(_LEAST_SHARE, self.most_share)
        return max(least, self.most_share * (1 - slowest_s / (_SLOW * self.deadline_s)))

    def may_begin(self, now_ns: int, *, is_deciding: bool) -> bool:
        """Return True if an evaluation may begin now. is_deciding: a decision is waited for."""
        return not self._is_on_mission or (not is_deciding and now_ns >= self._rest_until_ns)

    def begin_evaluation(self) -> None:
        """Note that an evaluation begins."""
        self.is_spoilt = False

    def note_decision(self, waited_s: float) -> None:
        """Take how long a decision was waited for, from asking to its answer, or to its deadline."""
        self._decisions.append(waited_s)
        self.is_spoilt |= self._is_on_mission and waited_s > _SLOW * self.deadline_s

    def note_evaluation(self, taken_s: float, now_ns: int) -> None:
        """Take how long an evaluation took, without the decisions that it gave way to, as it ends."""
        self._rest_until_ns = now_ns + round(taken_s * (1 / self.share - 1) * 1e9)
