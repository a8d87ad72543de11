"""Who carries a decision out: what the node asks of each, and how their reports reach the mission."""

from __future__ import annotations

import time
from collections.abc import Callable

from nav_msgs.msg import Odometry as OdometryMsg
from vila_nav.msg import NavAction

from vila_core.control.odometry_watch import Source
from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt
from vila_core.types import Decision, Odometry
from vila_ros.navigator.mission.mission import Mission, MissionError, MotionReport

REPORTS = {
    NavAction.STATE_RUNNING: MotionReport.RUNNING,
    NavAction.STATE_DONE: MotionReport.DONE,
    NavAction.STATE_REFUSED: MotionReport.REFUSED,
    NavAction.STATE_ABORTED: MotionReport.ABORTED,
}

OnReport = Callable[[NavAction], None]
Rival = tuple[MissionError, str]


class MotionOutput:
    """Has actions carried out, and reports as NavAction what becomes of each; each output overrides what it does.

    Every call, and every report, is made in the executor's thread. driver: who moves the robot, in words.
    is_governed: its velocities pass our governor, which must let them.
    """

    driver = ""
    is_governed = False

    @property
    def is_ready(self) -> bool:
        """True if an action may come now."""
        raise NotImplementedError

    @property
    def fault(self) -> str:
        """Why it may not be ready, in words; empty if nothing is known."""
        raise NotImplementedError

    def describe(self) -> str:
        """Return in words who drives, and whether it is ready or why not."""
        state = "ready" if self.is_ready else self.fault or "not there"
        return f"{self.driver}: {state}"

    @property
    def rival(self) -> Rival | None:
        """Somebody who moves the robot besides; a mission ends by it, and none begins."""
        return None

    def carry_out(self, decision: Decision, action: NavAction) -> None:
        """Have the decision carried out; a hold, and a stop, have the robot stand. action: what was published of it."""

    def interrupt(self, doubt: Doubt) -> None:
        """End the running motion, if there is one, and report it."""

    def note_odometry(self, message: OdometryMsg, odometry: Odometry, source: Source) -> None:
        """Take where the robot is."""

    def note_bad_odometry(self, detail: str, stamp_ns: int) -> None:
        """Take why a message of odometry is of no use."""

    def on_wake(self) -> None:
        """Take over what came in other threads."""

    def tick(self) -> None:
        """Look at the running motion; called ten times a second or more."""

    def close(self) -> None:
        """Have the robot stand, and leave the graph."""


def tell_mission(mission: Mission, report: NavAction, now_ns: int) -> None:
    """Tell the mission what became of an action; now_ns: the robot's time."""
    if (kind := REPORTS.get(report.state)) is None:
        return
    known = report.fault in MotionFault.__members__.values()  # not of a controller that is newer than this
    fault = MotionFault(report.fault) if known else MotionFault.NONE
    steady_ns = time.monotonic_ns()
    mission.on_report(kind, report.id, report.detail, stamp_ns=now_ns, now_ns=steady_ns, fault=fault)
