"""When silence ends a motion."""

import math

import pytest

from vila_core.config import ControlConfig
from vila_core.control.reasons import MotionFault, StopReason
from vila_core.control.watchdog import GovernorWatch, HoldUpWatch, Receipt, decision_refusal, silence

CONFIG = ControlConfig()
NOW, STEADY = 100_000_000_000, 7_000_000_000


def receipt(age_s=0.0, silent_s=0.0):
    return Receipt(NOW - round(age_s * 1e9), STEADY - round(silent_s * 1e9))


def reason(odometry, heartbeat):
    return silence(odometry, heartbeat, now_ns=NOW, steady_ns=STEADY, config=CONFIG)


@pytest.mark.parametrize("heartbeat", [receipt(), receipt(0.25, 0.25), receipt(0.95, 0.1), receipt(-0.05)])
def test_all_is_well(heartbeat):
    assert reason(receipt(0.1, 0.1), heartbeat) is None


@pytest.mark.parametrize(
    ("odometry", "heartbeat", "fault", "words"),
    [
        (None, receipt(), MotionFault.ODOMETRY_SILENT, "no odometry yet"),
        (receipt(), None, MotionFault.HEARTBEAT_LOST, "no heartbeat yet"),
        (receipt(0.1, 0.6), receipt(), MotionFault.ODOMETRY_SILENT, "no odometry for 0.60 s"),
        (receipt(0.6, 0.0), receipt(), MotionFault.ODOMETRY_SILENT, "odometry stamped 0.60 s ago"),
        (receipt(-0.2), receipt(), MotionFault.CLOCK, "odometry stamped 0.20 s in the future"),
        (receipt(), receipt(0.1, 0.35), MotionFault.HEARTBEAT_LOST, "no heartbeat for 0.35 s"),
        (receipt(), receipt(1.1, 0.0), MotionFault.HEARTBEAT_LOST, "heartbeat stamped 1.10 s ago"),
        (receipt(), receipt(-1.0, 0.0), MotionFault.CLOCK, "in the future"),
    ],
)
def test_silence(odometry, heartbeat, fault, words):
    doubt = reason(odometry, heartbeat)
    assert doubt.fault is fault and words in doubt.detail


def test_simulated_time_that_stands_still_is_silence():
    frozen = Receipt(NOW, STEADY)
    later = STEADY + 600_000_000
    assert silence(frozen, frozen, now_ns=NOW, steady_ns=later, config=CONFIG)


@pytest.mark.parametrize(
    ("age_s", "fault", "words"),
    [
        (0.0, None, ""),
        (3.9, None, ""),
        (4.1, MotionFault.LATE, "4.10 s old"),
        (-0.2, MotionFault.CLOCK, "in the future"),
    ],
)
def test_decision_age(age_s, fault, words):
    got = decision_refusal(NOW - round(age_s * 1e9), NOW, CONFIG)
    assert got is None if fault is None else got.fault is fault and words in got.detail


MS = 1_000_000


IDLE, READY, LIMITED, STOPPED, REVOKED = range(5)  # GovernorState


def test_a_governor_that_was_never_heard_is_not_missed():
    watch = GovernorWatch(0.5)
    assert watch.doubt(STEADY) is None and watch.speed_share == 1.0


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (IDLE, StopReason.NONE, None),
        (IDLE, StopReason.NO_COMMAND, None),
        (IDLE, StopReason.NO_MISSION, "NO_MISSION"),
        (READY, StopReason.NONE, None),
        (LIMITED, StopReason.OBSTACLE, None),
        (STOPPED, StopReason.OBSTACLE, None),
        (STOPPED, StopReason.NO_OBSTACLE_DATA, None),
        (REVOKED, StopReason.EMERGENCY_STOP, "EMERGENCY_STOP"),
        (REVOKED, StopReason.OPERATOR, "OPERATOR"),
        (REVOKED, 999, "nothing pass"),
    ],
)
def test_a_governor_that_lets_nothing_pass_ends_a_motion(state, reason, words):
    watch = GovernorWatch(0.5)
    watch.note(READY, StopReason.NONE, 1.0, STEADY)
    watch.begin(STEADY)
    watch.note(state, reason, 1.0, STEADY + 50 * MS)
    doubt = watch.doubt(STEADY + 60 * MS)
    assert doubt is None if words is None else doubt.fault is MotionFault.GOVERNOR and words in doubt.detail


def test_a_governor_may_learn_a_little_late_that_a_mission_began():
    watch = GovernorWatch(0.5)
    watch.note(REVOKED, StopReason.OPERATOR, 1.0, STEADY)
    watch.begin(STEADY + 10 * MS)
    watch.note(REVOKED, StopReason.OPERATOR, 1.0, STEADY + 50 * MS)
    assert watch.doubt(STEADY + 60 * MS) is None
    watch.note(REVOKED, StopReason.OPERATOR, 1.0, STEADY + 200 * MS)
    assert watch.doubt(STEADY + 210 * MS).fault is MotionFault.GOVERNOR


def test_a_governor_that_falls_silent_ends_a_motion():
    watch = GovernorWatch(0.5)
    watch.note(READY, StopReason.NONE, 1.0, STEADY)
    assert watch.doubt(STEADY + 490 * MS) is None
    assert "no word of the governor" in watch.doubt(STEADY + 510 * MS).detail


@pytest.mark.parametrize(
    ("state", "reason", "scale", "share"),
    [
        (READY, StopReason.NONE, 1.0, 1.0),
        (LIMITED, StopReason.OBSTACLE, 0.4, 0.4),
        (LIMITED, StopReason.OBSTACLE, math.nan, 1.0),
        (STOPPED, StopReason.OBSTACLE, 0.0, 0.0),
        (STOPPED, StopReason.NO_COMMAND, 0.0, 1.0),
    ],
)
def test_the_share_of_the_speed_that_passes(state, reason, scale, share):
    watch = GovernorWatch(0.5)
    watch.note(state, reason, scale, STEADY)
    assert watch.speed_share == share


def test_a_timer_that_comes_late_tells_that_the_process_was_held_up():
    watch = HoldUpWatch(STEADY)
    assert watch.tick(STEADY + 50 * MS) is None
    assert watch.tick(STEADY + 340 * MS) is None and watch.queued(STEADY + 340 * MS) is None
    late = STEADY + 2_000 * MS
    assert watch.notice(late).fault is MotionFault.HELD_UP  # a message is looked at before the timer has run
    assert watch.tick(late + MS).fault is MotionFault.HELD_UP
    assert watch.queued(late + 100 * MS).fault is MotionFault.HELD_UP
    assert watch.tick(late + 51 * MS) is None
    assert watch.queued(late + 400 * MS) is None
