"""A mission: following one instruction from its start to its typed end. Pure logic, no ROS.

    WAITING --decision: move--> MOVING --report: done or aborted--> WAITING
    MOVING --pause: the image is lost--> WAITING
    MOVING --decision, if they may come while the robot moves: move--> MOVING; hold--> WAITING; stop--> STOPPING
    WAITING --decision: stop--> STOPPING --odometry says still--> ended, REACHED
    anything --limit, loss, repeated failure--> ended, with an error code

`now_ns` is a steady clock's time (it runs on when simulated time stands still); stamps are ROS time.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from vila_core.control.motion.failures import NO_FAILURES, MotionFailures
from vila_core.control.progress import Progress
from vila_core.control.reasons import MotionFault
from vila_core.control.search import Search
from vila_core.control.standstill import Standstill
from vila_core.guards.look_around import ROUND_RAD
from vila_core.types import Decision, HoldReason, Odometry, Stop
from vila_ros.navigator.mission.mission_config import MissionConfig


class MissionError(enum.IntEnum):
    """Why a mission did not succeed; the numbers of the actions NavigateInstruction and GoBack."""

    NONE = 0
    BAD_INSTRUCTION = 701
    NOT_ACTIVE = 702
    PREEMPTED = 703
    CANCELED = 704
    IMAGE_LOST = 705
    ODOMETRY_LOST = 706
    BAD_REPLIES = 707
    TOO_MANY_DECISIONS = 708
    TIMEOUT = 709
    TOO_FAR = 710
    STUCK = 711
    STUCK_ROTATING = 712
    BACKEND_ERROR = 713
    CONTROLLER_LOST = 714
    CLOCK_JUMP = 715
    EMERGENCY_STOP = 716
    OPERATOR = 717
    BLOCKED = 718
    NOT_AUTHORIZED = 719
    GOVERNOR_LOST = 720
    ODOMETRY_FAULT = 731
    NO_PROGRESS = 732
    NOT_MOVED = 733
    OVERHEATED = 734
    CLIENT_GONE = 735
    NOT_FOUND = 736
    NOT_REMEMBERED = 737
    UNKNOWN = 799


class Outcome(enum.IntEnum):
    """How a mission ended; the numbers of the actions NavigateInstruction and GoBack."""

    REACHED = 0
    STOPPED = 1
    FAILED = 2


class MotionReport(enum.Enum):
    """How an action ended, as the controller reports it."""

    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class MissionEnd:
    """The result of a mission."""

    outcome: Outcome
    error: MissionError
    message: str
    distance_m: float
    decisions: int
    duration_s: float


class MissionState(enum.Enum):
    """What the mission waits for."""

    WAITING = "a decision"
    MOVING = "the controller"
    STOPPING = "the robot to stand still"
    ENDED = "nothing"


BAD_REPLY_HOLDS = frozenset({HoldReason.UNPARSEABLE_REPLY, HoldReason.LOW_PROBABILITY})
BACKEND_HOLDS = frozenset({HoldReason.BACKEND_ERROR, HoldReason.LATE_DECISION, HoldReason.NOT_FINITE})
IMAGE_HOLDS = frozenset(
    {
        HoldReason.NO_IMAGE,
        HoldReason.STALE_IMAGE,
        HoldReason.FROZEN_IMAGE,
        HoldReason.REPEATED_IMAGE,
        HoldReason.BLANK_IMAGE,
        HoldReason.BAD_IMAGE,
    }
)

_FAULT_ERRORS = {  # every other fault says that the robot does not move as it is told
    MotionFault.BAD_ACTION: MissionError.BAD_REPLIES,
    MotionFault.LATE: MissionError.BACKEND_ERROR,
    MotionFault.HEARTBEAT_LOST: MissionError.CONTROLLER_LOST,
    MotionFault.HELD_UP: MissionError.CONTROLLER_LOST,
    MotionFault.CLOCK: MissionError.CLOCK_JUMP,
    MotionFault.ODOMETRY_SILENT: MissionError.ODOMETRY_LOST,
    MotionFault.ODOMETRY_NOT_FINITE: MissionError.ODOMETRY_LOST,
    MotionFault.GOAL_REFUSED: MissionError.BLOCKED,
    MotionFault.OBSTRUCTED: MissionError.BLOCKED,
    MotionFault.NOT_ACCEPTED: MissionError.CONTROLLER_LOST,
    MotionFault.TAKEN_OVER: MissionError.OPERATOR,
    MotionFault.STRANGER: MissionError.NOT_AUTHORIZED,
    MotionFault.TRANSFORM: MissionError.ODOMETRY_LOST,
}


class Mission:
    """The state of one mission. Every `on_...` and `tick` may end it: see `end`.

    decides_moving: a decision may come, and replace the running action, while the robot moves. driver: who carries
    actions out, in words; called the controller below, whoever it is. is_search: what decides looks for something; if
    not, it knows its way, and may turn on the spot and stop where it began.
    """

    def __init__(
        self,
        config: MissionConfig,
        now_ns: int,
        *,
        decides_moving: bool = False,
        driver: str = "the controller",
        is_search: bool = True,
    ) -> None:
        self.config, self._driver, self._is_search = config, driver, is_search
        self._decides_moving = decides_moving
        self.state = MissionState.WAITING
        self.end: MissionEnd | None = None
        self.decisions = 0
        self.decide_after_ns = -1  # ROS time: the next decision needs a newer frame than this
        self._start_ns = now_ns
        self._image_ns = now_ns
        self._image_hold_ns: int | None = None  # since when every decision found fault with the image
        self._image_fault = ""
        self._controller_fault = ""
        self._odometry_ns = now_ns
        self._report_ns = now_ns
        self._stop_ns = now_ns
        self._action_id = 0
        self._bad_replies = self._backend_errors = 0
        self._failures = MotionFailures(config.max_aborts, config.max_aborts_total)
        self._progress, self._search = Progress(config.progress_m), Search()
        self._step = 0  # of the instruction
        self._stop_words = ""  # what the model's stop was like
        self._standstill = Standstill(config.still_mps, config.still_rps)

    @property
    def distance_m(self) -> float:
        """How far the robot has driven, by odometry."""
        return self._progress.distance_m

    @property
    def wants_decision(self) -> bool:
        """True if the next usable frame is to be answered."""
        return self.state is MissionState.WAITING

    @property
    def accepts_decision(self) -> bool:
        """True if a decision that comes now counts."""
        return self.wants_decision or (self._decides_moving and self.state is MissionState.MOVING)

    def on_image(self, now_ns: int) -> None:
        """Note that an image was accepted."""
        self._image_ns = now_ns

    def on_bad_image(self, detail: str) -> None:
        """Note why an image was refused; the mission's end will name it if no better one comes."""
        self._image_fault = detail

    def on_controller(self, now_ns: int) -> None:
        """Note that a controller is there; while it moves the robot, its reports count instead."""
        if self.state is not MissionState.MOVING:
            self._report_ns = now_ns

    def on_controller_fault(self, detail: str) -> None:
        """Note why the controller may not be ready; the mission's end will name it if the controller stays away."""
        self._controller_fault = detail

    def pause(self) -> None:
        """Forget the running action, as the robot was told to hold; the next frame is answered anew."""
        if self.state is MissionState.MOVING:
            self.state = MissionState.WAITING

    def on_odometry(self, odometry: Odometry, now_ns: int) -> None:
        """Measure distance and net turn; a stop is confirmed here."""
        self._odometry_ns = now_ns
        self._progress.note_pose(odometry.pose)
        self._standstill.note(odometry, now_ns)
        if self.state is MissionState.STOPPING and self._standstill.is_still and now_ns > self._stop_ns:
            arrival = (
                f"the model said stop{self._stop_words} and" if self._is_search else "it is back where it was, and"
            )
            message = f"{arrival} the robot stands still"
            self._finish(Outcome.REACHED, MissionError.NONE, message, now_ns)

    def on_decision(self, decision: Decision, decision_id: int, now_ns: int) -> None:
        """Take a decision: move, stop, or count a hold. One that nobody waits for changes nothing."""
        if not self.accepts_decision:
            return
        self.decide_after_ns = max(self.decide_after_ns, decision.stamp_ns)
        if self.state is MissionState.MOVING and self._is_over_after_replacing(now_ns):
            return
        if decision.action is None:
            self._count_hold(decision, now_ns)
            return
        if self._is_finished_unmoved(decision, now_ns):
            return
        if decision.step != self._step:  # the one before is done: what is next is looked for anew
            self._step, self._search = decision.step, Search()
            self._progress.look_anew()
        self.decisions += 1
        self._bad_replies = self._backend_errors = 0
        self._image_hold_ns = None
        self._action_id = decision_id
        self._report_ns = self._stop_ns = now_ns
        if isinstance(decision.action, Stop):
            self._on_stop(decision, now_ns)
            return
        self._search.note_decision(decision)
        self.state = MissionState.MOVING

    def _is_over_after_replacing(self, now_ns: int) -> bool:
        """End the running action, as a decision replaces it: it came far enough; return True if it was the last."""
        self.state = MissionState.WAITING
        self._progress.note_motion()
        self._failures.note_done()
        self._search.note_done(self._progress.spot)
        return self._ends_by_decisions(now_ns)

    def on_report(
        self,
        report: MotionReport,
        action_id: int,
        detail: str,
        *,
        stamp_ns: int,
        now_ns: int,
        fault: MotionFault = MotionFault.NONE,
    ) -> None:
        """Take the controller's report on an action; stamp_ns is the ROS time of its end, fault why it failed."""
        if self.state is not MissionState.MOVING or action_id != self._action_id:
            return
        self._report_ns = now_ns
        if report is MotionReport.RUNNING:
            return
        self.state = MissionState.WAITING
        self.decide_after_ns = max(self.decide_after_ns, stamp_ns)
        if report is not MotionReport.DONE and fault in NO_FAILURES:
            return
        self._progress.note_motion()
        if report is MotionReport.DONE:
            self._failures.note_done()
            self._search.note_done(self._progress.spot)
        elif message := self._failures.note(fault, detail):
            self._fail(_error_of(fault), message, now_ns)
            return
        self._ends_by_decisions(now_ns)

    def tick(self, now_ns: int) -> None:
        """Check the limits; called several times a second."""
        if self.end is not None:
            return
        for error, message in self._broken_limits(now_ns):
            self._fail(error, message, now_ns)
            return

    def stop(self, error: MissionError, message: str, now_ns: int) -> None:
        """End the mission from outside: canceled, preempted, deactivated, or an error of the node."""
        stopped = error in (MissionError.CANCELED, MissionError.PREEMPTED)
        self._finish(Outcome.STOPPED if stopped else Outcome.FAILED, error, message, now_ns)

    def _ends_by_decisions(self, now_ns: int) -> bool:
        if self.decisions < self.config.max_decisions:
            return False
        self._fail(MissionError.TOO_MANY_DECISIONS, f"no stop after {self.decisions} decisions", now_ns)
        return True

    def _is_finished_unmoved(self, decision: Decision, now_ns: int) -> bool:
        """End the mission if a step was called finished, not surely enough, where the robot has not moved yet."""
        least = self.config.stop_at_start_probability
        if not decision.finished or self._progress.has_moved or min(decision.finished) >= least:
            return False
        message = (
            f"the model said that step {decision.step} is finished before the robot moved, with probability"
            f" {min(decision.finished):.2f}; an arrival without a motion needs {least:g}"
        )
        self._fail(MissionError.NOT_MOVED, message, now_ns)
        return True

    def _on_stop(self, decision: Decision, now_ns: int) -> None:
        """Begin to stop; a robot that has not moved has arrived only if the model was sure of that at once."""
        if self._is_search and not self._progress.has_moved:
            when = "at once" if self.decisions == 1 else "before the robot moved"
            how = f"with probability {decision.probability:.2f}" if decision.probabilities else "in words without one"
            least = self.config.stop_at_start_probability
            if motions := self._failures.motions:
                message = f"the model said stop after {motions} motions, and the robot has not moved"
                self._fail(MissionError.NOT_MOVED, message, now_ns)
                return
            if decision.probability < least:
                message = f"the model said stop {when}, {how}; an arrival without a motion needs {least:g}"
                self._fail(MissionError.NOT_MOVED, message, now_ns)
                return
            self._stop_words = f" {when}, {how},"
        self.state = MissionState.STOPPING

    def _count_hold(self, decision: Decision, now_ns: int) -> None:
        if decision.hold in IMAGE_HOLDS:
            self._image_fault = decision.detail
            self._image_hold_ns = now_ns if self._image_hold_ns is None else self._image_hold_ns
        else:
            self._image_hold_ns = None
        if decision.hold in BAD_REPLY_HOLDS:
            self._bad_replies += 1
        elif decision.hold in BACKEND_HOLDS:
            self._backend_errors += 1
        elif decision.hold is HoldReason.CLOCK_JUMP:
            self._fail(MissionError.CLOCK_JUMP, decision.detail or "the clock jumped", now_ns)
        if self._bad_replies >= self.config.max_bad_replies:
            message = f"{self._bad_replies} replies in a row were no action, the last one: {decision.detail}"
            self._fail(MissionError.BAD_REPLIES, message, now_ns)
        elif self._backend_errors >= self.config.max_backend_errors:
            message = f"{self._backend_errors} decisions in a row failed, the last one: {decision.detail}"
            self._fail(MissionError.BACKEND_ERROR, message, now_ns)

    def _broken_limits(self, now_ns: int) -> list[tuple[MissionError, str]]:
        c = self.config

        def over(since_ns: int, limit_s: float) -> bool:
            return now_ns - since_ns > limit_s * 1e9

        stopping = self.state is MissionState.STOPPING
        search = self._search
        turned_rad, idle = self._progress.turned_rad, self._progress.idle_motions
        turned = self._is_search and abs(turned_rad) > c.max_rotation_rad
        looked = turned and search.explains(turned_rad)
        idled = idle >= c.max_idle_motions
        showed = f"{idle} motions moved it no {c.progress_m:g} m and showed it nothing new"
        searched = self._is_search and search.turned_rad > c.max_search_rad
        arrival = f"an arrival was at most {search.arrival:.2f} probable"
        image_ns = self._image_ns if self._image_hold_ns is None else min(self._image_ns, self._image_hold_ns)
        image_fault = f": {self._image_fault}" if self._image_fault else ""
        controller_fault = f": {self._controller_fault}" if self._controller_fault else ""
        rows = (
            (over(image_ns, c.image_timeout_s), MissionError.IMAGE_LOST,
             f"no usable image for {c.image_timeout_s:g} s{image_fault}"),
            (over(self._odometry_ns, c.odometry_timeout_s), MissionError.ODOMETRY_LOST,
             f"no odometry for {c.odometry_timeout_s:g} s"),
            (over(self._report_ns, c.controller_timeout_s), MissionError.CONTROLLER_LOST,
             f"nothing from {self._driver} for {c.controller_timeout_s:g} s{controller_fault}"),
            (stopping and over(self._stop_ns, c.stop_timeout_s), MissionError.STUCK,
             f"the robot still moves {c.stop_timeout_s:g} s after stop"),
            (over(self._start_ns, c.max_duration_s), MissionError.TIMEOUT,
             f"not finished after {c.max_duration_s:g} s"),
            (0 < c.max_distance_m < self.distance_m, MissionError.TOO_FAR,
             f"drove {self.distance_m:.2f} m, more than {c.max_distance_m:g} m"),
            (looked, MissionError.NOT_FOUND,
             f"looked round once, in {search.turns} turns, and saw nothing to drive to; {arrival}"),
            (searched, MissionError.NOT_FOUND,
             f"turned {math.degrees(search.turned_rad):.0f} degrees in all and did not find it; {arrival}"),
            (turned, MissionError.STUCK_ROTATING,
             f"turned {math.degrees(turned_rad):.0f} degrees without moving {c.progress_m:g} m"),
            (idled and self._is_search and self._progress.swept_rad >= ROUND_RAD, MissionError.NOT_FOUND,
             f"looked round, then {showed}; {arrival}"),
            (idled, MissionError.NO_PROGRESS, showed),
        )  # fmt: skip
        return [(error, message) for broken, error, message in rows if broken]

    def _fail(self, error: MissionError, message: str, now_ns: int) -> None:
        self._finish(Outcome.FAILED, error, message, now_ns)

    def _finish(self, outcome: Outcome, error: MissionError, message: str, now_ns: int) -> None:
        if self.end is not None:
            return
        self.state = MissionState.ENDED
        duration_s = (now_ns - self._start_ns) / 1e9
        self.end = MissionEnd(outcome, error, message, self.distance_m, self.decisions, duration_s)


def _error_of(fault: MotionFault) -> MissionError:
    return _FAULT_ERRORS.get(fault, MissionError.ODOMETRY_FAULT if fault.is_odometry else MissionError.STUCK)
