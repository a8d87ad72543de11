"""Nav2's error codes, as its actions number them, by what they mean for a motion."""

from __future__ import annotations

from typing import Any

from vila_core.control.reasons import MotionFault
from vila_core.control.watchdog import Doubt

# The codes of FollowPath, ComputePathToPose, the behaviours and NavigateToPose, which passes the others' on.
CODES = {
    1: ("GOAL_REJECTED", MotionFault.NOT_ACCEPTED),
    2: ("SEND_GOAL_FAILURE", MotionFault.NOT_ACCEPTED),
    100: ("controller: UNKNOWN", MotionFault.NAV2_FAILED),
    101: ("INVALID_CONTROLLER", MotionFault.NAV2_FAILED),
    102: ("controller: TF_ERROR", MotionFault.TRANSFORM),
    103: ("INVALID_PATH", MotionFault.NAV2_FAILED),
    104: ("PATIENCE_EXCEEDED", MotionFault.OBSTRUCTED),
    105: ("FAILED_TO_MAKE_PROGRESS", MotionFault.STALLED),
    106: ("NO_VALID_CONTROL", MotionFault.OBSTRUCTED),
    107: ("CONTROLLER_TIMED_OUT", MotionFault.TOO_LONG),
    108: ("controller: TIMEOUT", MotionFault.TOO_LONG),
    200: ("planner: UNKNOWN", MotionFault.NAV2_FAILED),
    201: ("INVALID_PLANNER", MotionFault.NAV2_FAILED),
    202: ("planner: TF_ERROR", MotionFault.TRANSFORM),
    203: ("START_OUTSIDE_MAP", MotionFault.GOAL_REFUSED),
    204: ("GOAL_OUTSIDE_MAP", MotionFault.GOAL_REFUSED),
    205: ("START_OCCUPIED", MotionFault.GOAL_REFUSED),
    206: ("GOAL_OCCUPIED", MotionFault.GOAL_REFUSED),
    207: ("planner: TIMEOUT", MotionFault.TOO_LONG),
    208: ("NO_VALID_PATH", MotionFault.GOAL_REFUSED),
    701: ("spin: TIMEOUT", MotionFault.TOO_LONG),
    702: ("spin: TF_ERROR", MotionFault.TRANSFORM),
    703: ("spin: COLLISION_AHEAD", MotionFault.OBSTRUCTED),
    711: ("back up: TIMEOUT", MotionFault.TOO_LONG),
    712: ("back up: TF_ERROR", MotionFault.TRANSFORM),
    714: ("back up: COLLISION_AHEAD", MotionFault.OBSTRUCTED),
    9001: ("FAILED_TO_LOAD_BEHAVIOR_TREE", MotionFault.NAV2_FAILED),
    9002: ("TF_ERROR", MotionFault.TRANSFORM),
    9003: ("TIMEOUT", MotionFault.TOO_LONG),
}


def abort_doubt(result: Any) -> Doubt:
    """Return why Nav2 aborted, by the result of its action, which has no code on Humble and no words on Iron."""
    code, words = int(getattr(result, "error_code", 0)), str(getattr(result, "error_msg", ""))
    if code == 0:
        has_none = "" if hasattr(result, "error_code") else ", which this Nav2 does not tell"
        return Doubt(MotionFault.NAV2_FAILED, f"Nav2 aborted the goal without an error code{has_none}")
    name, fault = CODES.get(code, ("unknown to us", MotionFault.NAV2_FAILED))
    said = f": {words}" if words else ""
    return Doubt(fault, f"Nav2 aborted the goal, error_code {code} ({name}){said}")
