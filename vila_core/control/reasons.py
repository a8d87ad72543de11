"""Why a motion ended before its goal, and why the governor lets nothing pass; the numbers are published."""

from __future__ import annotations

import enum


class MotionFault(enum.IntEnum):
    """Why an action was refused or aborted: NavAction.fault."""

    NONE = 0
    BAD_ACTION = 1  # not finite, too large, of an unknown kind
    LATE = 2  # the image that it answers is too old, or there is no pose for it
    STALLED = 3  # the robot stands, or gets nowhere, by odometry that can be trusted
    MISSED = 4  # the goal, or the line to it
    TOO_FAR = 5  # the commands add up to more than the action
    TOO_LONG = 6  # it takes more time than its slowest speed needs
    HEARTBEAT_LOST = 7  # of the navigator
    GOVERNOR = 8  # it lets nothing pass, or is silent
    CLOCK = 9  # jumped, or can not be driven by
    HELD_UP = 10  # the controller itself was not run for a while
    REPLACED = 11  # by a newer action, a hold, or a shutdown
    GOAL_REFUSED = 12  # Nav2 does not go there: occupied, outside of the map, no path
    OBSTRUCTED = 13  # something stands in Nav2's way
    NOT_ACCEPTED = 14  # Nav2 took no goal: it is not active, or busy
    TAKEN_OVER = 15  # somebody else sent Nav2 a goal, or canceled ours
    NAV2_FAILED = 16  # for whatever else; its code is in the detail
    NOT_ALONE = 17  # another controller of this name was there before
    STRANGER = 18  # somebody else publishes actions, the navigator's heartbeat or the governor's state
    ODOMETRY_SILENT = 20  # none, or too old
    ODOMETRY_NOT_FINITE = 21
    ODOMETRY_FRAME = 22  # frame_id or child_frame_id changed
    ODOMETRY_JUMP = 23  # a step, or a turn, that no such robot makes
    ODOMETRY_CONTRADICTS = 24  # it moves otherwise than commanded: scale, drift, standing still
    ODOMETRY_PUBLISHERS = 25  # more than one
    TRANSFORM = 26  # tf does not tell where odometry's frame is in the frame of the goals

    @property
    def is_odometry(self) -> bool:
        """True if the odometry can't be trusted, whatever the robot does."""
        return self >= MotionFault.ODOMETRY_SILENT


class StopReason(enum.IntEnum):
    """Why the governor lets nothing pass: GovernorState.reason."""

    NONE = 0
    NO_MISSION = 1  # that began while the governor looked
    NO_COMMAND = 2  # or the last one has outlived its time
    BAD_COMMAND = 3  # not finite, or backward, or sideways
    EMERGENCY_STOP = 4
    OPERATOR = 5
    OBSTACLE = 6
    NO_OBSTACLE_DATA = 7  # though it is required: none, too old, or of an unknown frame
    CONTROLLER_LOST = 8
    NAVIGATOR_LOST = 9
    WATCHDOG_LOST = 10
    STRANGER = 11  # somebody else publishes commands, actions or heartbeats
    TOO_FAR = 12  # the commands of one action add up to more than it
    TOO_LONG = 13
    HELD_UP = 14  # the governor itself was not run for a while
    MACHINE = 15  # too hot, or out of memory

    @property
    def is_final(self) -> bool:
        """True if the mission is over: nothing passes until another one begins."""
        return self not in _PASSING


_PASSING = frozenset(
    {StopReason.NONE, StopReason.NO_COMMAND, StopReason.OBSTACLE, StopReason.NO_OBSTACLE_DATA, StopReason.MACHINE}
)
