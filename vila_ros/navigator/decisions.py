"""The navigator's decisions: one at a time is asked for, made in the worker's thread, taken over in the executor's."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vila_core.control.decision_timing import DecisionTiming
from vila_core.control.pose_buffer import PoseBuffer
from vila_core.navigator import Navigator
from vila_core.types import Decision, Odometry
from vila_ros.navigator.mission.mission import Mission, MissionState


@dataclass(frozen=True, slots=True)
class Job:
    """A decision that was asked for: by which mission, when (steady clock), and the newest image's stamp then."""

    number: int
    asked_ns: int
    stamp_ns: int


class Decisions:
    """Asks the navigator when a decision is due, and drops answers that nobody waits for any more.

    Threads: `decide` and `deliver` are the worker's, all else is the executor's.
    now_ns: the robot's time. max_future_s: how far ahead of it an image may be stamped.
    late: answers that came when nobody waited for them any more.
    """

    def __init__(
        self, navigator: Navigator, timing: str, now_ns: Callable[[], int], max_future_s: Callable[[], float]
    ) -> None:
        self._navigator, self._now_ns, self._max_future_s = navigator, now_ns, max_future_s
        self._timing, self._poses = DecisionTiming(timing), PoseBuffer()
        self._answers: deque[tuple[Job, Decision]] = deque()
        self._answered_ns = 0  # steady time of the last decision
        self.job: Job | None = None
        self.late = 0

    @property
    def is_continuous(self) -> bool:
        """True if decisions may be made while the robot moves."""
        return self._timing.is_continuous

    def note_odometry(self, odometry: Odometry) -> None:
        """Take where the robot is: a decision may be due by that, and its motion starts where its image was taken."""
        self._poses.add(odometry)

    def ask(self, number: int, mission: Mission, rest_s: float) -> Job | None:
        """Return the job for the newest image, None if no decision is due or the image is none to decide by.

        number: of the mission. rest_s: what the machine is to rest between two decisions.
        """
        is_due = mission.state is MissionState.MOVING and self._timing.is_due(self._poses.newest)
        if self.job is not None or not (mission.wants_decision or is_due):
            return None
        stamp_ns = self._navigator.newest_stamp_ns
        rests_s = (time.monotonic_ns() - self._answered_ns) / 1e9
        if stamp_ns is None or stamp_ns <= mission.decide_after_ns or rests_s < rest_s:
            return None
        self.job = Job(number, time.monotonic_ns(), stamp_ns)
        return self.job

    def follow(self, decision: Decision) -> None:
        """Follow the motion that the decision told the robot; by that the next decision is due."""
        newest = self._poses.newest
        if decision.action is None or newest is None:
            self._timing.begin(None, None, None)
            return
        self._timing.note_decision(decision.stamp_ns, self._now_ns())
        self._timing.begin(decision.action, self.odometry_at(decision.stamp_ns), newest)

    def odometry_at(self, stamp_ns: int) -> Odometry | None:
        """Return where the robot was at a time, None if that is not known."""
        try:
            return Odometry(stamp_ns, self._poses.at(stamp_ns))
        except LookupError:  # the controller, which has the same poses, refuses the action
            return None

    def drop(self) -> None:
        """Wait for no decision any more."""
        self.job = None
        self._navigator.interrupt()

    def is_overdue(self, deadline_s: float) -> bool:
        """Return True if a decision has been waited for longer than that."""
        return self.job is not None and time.monotonic_ns() - self.job.asked_ns > deadline_s * 1e9

    def decide(self, job: Job) -> Decision:
        """Have the navigator decide; the time that it takes is told with the decision."""
        begun_ns = time.monotonic_ns()
        decision = self._navigator.decide(self._now_ns(), self._max_future_s())
        return dataclasses.replace(decision, latency_ms=(time.monotonic_ns() - begun_ns) / 1e6)

    def deliver(self, job: Job, decision: Decision) -> None:
        """Leave the answer for `answers`."""
        self._answers.append((job, decision))

    def answers(self) -> Iterator[Decision]:
        """Give what was decided since; what nobody waits for any more is counted instead."""
        while self._answers:
            job, decision = self._answers.popleft()
            if job != self.job:
                self.late += 1
                self._navigator.interrupt()  # nobody does it
                continue
            self.job, self._answered_ns = None, time.monotonic_ns()
            if decision.stamp_ns == 0:  # what failed unforeseen answers no image; the next try is to have a newer one
                decision = dataclasses.replace(decision, stamp_ns=job.stamp_ns)
            yield decision
