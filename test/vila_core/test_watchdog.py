"""When silence ends a motion."""

import pytest

from vila_core.config import ControlConfig
from vila_core.control.watchdog import Receipt, decision_refusal, silence

CONFIG = ControlConfig()
NOW, STEADY = 100_000_000_000, 7_000_000_000


def receipt(age_s=0.0, silent_s=0.0):
    return Receipt(NOW - round(age_s * 1e9), STEADY - round(silent_s * 1e9))


def reason(odometry, heartbeat):
    return silence(odometry, heartbeat, now_ns=NOW, steady_ns=STEADY, config=CONFIG)


@pytest.mark.parametrize("heartbeat", [receipt(), receipt(0.4, 0.4), receipt(0.95, 0.1), receipt(-0.05)])
def test_all_is_well(heartbeat):
    assert reason(receipt(0.1, 0.1), heartbeat) is None


@pytest.mark.parametrize(
    ("odometry", "heartbeat", "words"),
    [
        (None, receipt(), "no odometry yet"),
        (receipt(), None, "no heartbeat yet"),
        (receipt(0.1, 0.6), receipt(), "no odometry for 0.60 s"),
        (receipt(0.6, 0.0), receipt(), "odometry stamped 0.60 s ago"),
        (receipt(-0.2), receipt(), "odometry stamped 0.20 s in the future"),
        (receipt(), receipt(0.1, 0.6), "no heartbeat for 0.60 s"),
        (receipt(), receipt(1.1, 0.0), "heartbeat stamped 1.10 s ago"),
        (receipt(), receipt(-1.0, 0.0), "in the future"),
    ],
)
def test_silence(odometry, heartbeat, words):
    assert words in reason(odometry, heartbeat)


def test_simulated_time_that_stands_still_is_silence():
    frozen = Receipt(NOW, STEADY)
    later = STEADY + 600_000_000
    assert silence(frozen, frozen, now_ns=NOW, steady_ns=later, config=CONFIG)


@pytest.mark.parametrize(("age_s", "words"), [(0.0, None), (3.9, None), (4.1, "4.10 s old"), (-0.2, "in the future")])
def test_decision_age(age_s, words):
    got = decision_refusal(NOW - round(age_s * 1e9), NOW, CONFIG)
    assert got is None if words is None else words in got
