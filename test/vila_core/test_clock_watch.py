"""How simulated time goes, and what is wrong with stamps."""

import pytest

from vila_core.control.clock_watch import ClockWatch
from vila_core.control.limits import MAX_FUTURE_S
from vila_core.control.stamp_watch import Clocks, StampWatch

S = 1_000_000_000


def ticking(rate_hz, *, speed=1.0, seconds=3.0, max_step_s=1.0):
    """A watch of a clock that ran for so many real seconds, and the steady time of its last message."""
    watch, count = ClockWatch(0, max_step_s), round(rate_hz * speed * seconds)
    for number in range(count + 1):
        watch.note(5 * S + round(number * S / rate_hz), round(number * S / rate_hz / speed))
    return watch, round(count * S / rate_hz / speed)


@pytest.mark.parametrize(("rate_hz", "max_future_s"), [(8, 0.35), (10, 0.3), (20, 0.2), (50, 0.14), (1000, 0.102)])
def test_a_clock_to_drive_by(rate_hz, max_future_s):
    watch, steady_ns = ticking(rate_hz)
    assert watch.fault(steady_ns) == "" and watch.is_known and not watch.is_doubtful(steady_ns)
    assert watch.max_future_s == pytest.approx(max_future_s, abs=1e-6)


@pytest.mark.parametrize(
    ("clock", "silent_s", "words"),
    [
        ({"rate_hz": 7}, 0.0, "/clock is at 7 Hz, too slow for control; 50 is usual"),
        ({"rate_hz": 5}, 0.0, "/clock is at 5 Hz, too slow for control; 50 is usual"),
        ({"rate_hz": 1}, 0.9, "/clock is at 1 Hz, too slow for control; 50 is usual"),
        ({"rate_hz": 0.5, "seconds": 10.0}, 0.0, "/clock is at 0.5 Hz, too slow"),
        (
            {"rate_hz": 10, "max_step_s": 0.05},
            0.0,
            "at 10 Hz, too slow for control with time limits of 0.1 s",
        ),
        ({"rate_hz": 50}, 0.6, "/clock has stood still at 8.00 s for 0.6 s"),
        ({"rate_hz": 50, "speed": 10.0}, 0.0, "/clock runs 10.0 times as fast as real time"),
        ({"rate_hz": 50, "speed": 0.1}, 0.4, ""),
        ({"rate_hz": 50, "speed": 2.0}, 0.0, ""),
    ],
)
def test_the_fault_of_a_clock(clock, silent_s, words):
    watch, steady_ns = ticking(**clock)
    fault = watch.fault(steady_ns + round(silent_s * S))
    assert words in fault if words else fault == ""
    assert watch.max_future_s < MAX_FUTURE_S + 0.28


def test_a_clock_that_never_came_is_waited_for_first():
    watch = ClockWatch(7 * S)
    assert watch.fault(8 * S) == "" and "no /clock yet" in watch.fault(10 * S) and not watch.is_known


def test_one_long_step_is_a_doubt_and_no_fault():
    watch, steady_ns = ticking(10)
    watch.note(8 * S + S // 5, steady_ns + S // 5)
    assert watch.fault(steady_ns + S // 5) == "" and watch.is_doubtful(steady_ns + S // 5)


def test_one_jump_ahead_is_no_speed():
    watch, steady_ns = ticking(50)
    for number in range(1, 60):
        at_ns = steady_ns + number * S // 50
        watch.note(1000 * S + number * S // 50, at_ns)
        assert watch.fault(at_ns) == ""


def test_a_reset_begins_anew_and_a_second_clock_is_named():
    watch, at_ns = ticking(50)
    watch.note(S, at_ns + S // 50)
    assert watch.step_s is None and watch.fault(at_ns + S // 50) == ""
    for number in range(6):
        watch.note((9 if number % 2 else 2) * S, at_ns + number * S // 10)
    assert "/clock jumps back again and again" in watch.fault(at_ns + S // 2)


WALL, BOOT = 1_790_000_000, 4_000_000


def faults(stamps, *, now_s=100.0, is_simulated=True, period_s=0.1):
    """What is said at each stamp (sec, nanosec), on a clock that goes on from now_s."""
    watch, said = StampWatch("/odom", 0.5), []
    for number, (sec, nanosec) in enumerate(stamps):
        since_ns = round(number * period_s * S)
        times = [round(begun_s * S) + since_ns for begun_s in (now_s, WALL, BOOT)]
        watch.note(sec, nanosec, Clocks(*times, is_simulated=is_simulated, max_future_s=0.14))
        said.append(watch.fault)
    return said


def passing(sec, nanosec=0, step_ns=S // 10, count=12):
    return [divmod(sec * S + nanosec + number * step_ns, S) for number in range(count)]


@pytest.mark.parametrize(
    ("stamps", "more", "words"),
    [
        ([(0, 0)] * 12, {}, "/odom: all stamps are zero"),
        ([(0, 0)] * 12, {"now_s": WALL, "is_simulated": False}, "/odom: all stamps are zero"),
        ([(100, 0)] * 12, {}, "/odom: all stamps are the same, 100.000 s"),
        (passing(100, step_ns=-S // 20), {}, "run backward"),
        ([(nanosec, sec) for sec, nanosec in passing(100)], {}, "are swapped"),
        ([(n, s) for s, n in passing(WALL)], {"now_s": WALL, "is_simulated": False}, "are swapped"),
        ([(-3, 0)] * 12, {}, "sec = -3, nanosec = 0 is no time"),
        ([(100, S + 7)] * 12, {}, "nanosec = 1000000007 is no time"),
        (passing(WALL), {}, "wall time, but this node has simulated time; set use_sim_time for both or for neither"),
        (passing(12), {"now_s": WALL, "is_simulated": False}, "simulated time (13.1 s), but this node has wall time"),
        (passing(BOOT), {}, "time since boot, but this node has simulated time"),
        (passing(BOOT), {"now_s": WALL, "is_simulated": False}, "time since boot, but this node has wall time"),
        (passing(105), {}, "5.00 s in the future"),
        (passing(99), {}, "1.00 s old"),
        (passing(1000), {}, "900.00 s in the future"),
    ],
)
def test_the_fault_of_stamps(stamps, more, words):
    said = faults(stamps, **more)
    assert said[:3] == ["", "", ""] and words in said[-1]


@pytest.mark.parametrize(
    ("stamps", "more"),
    [
        (passing(100), {}),
        (passing(99, S // 2 + 100), {}),  # late, and not too late
        (passing(100, S // 10), {}),  # ahead, and not too far
        ([(0, 0), *passing(100, S // 10, count=11)], {}),  # the first image of some cameras
        ([(0, 0)] * 12, {"now_s": -2.0}),  # nobody knows the time yet
        ([stamp for stamp in passing(100, count=6) for _ in "ab"], {"period_s": 0.05}),  # a clock of 10 Hz stamps twice
    ],
)
def test_stamps_that_will_do(stamps, more):
    assert set(faults(stamps, **more)) == {""}


def test_good_stamps_end_the_fault():
    said = faults([(0, 0)] * 8 + passing(100, 8 * S // 10, count=1))
    assert said[-2] and not said[-1]


def test_time_that_stands_still_freezes_stamps_without_a_fault():
    watch = StampWatch("/odom", 0.5)
    for number in range(20):
        watch.note(100, 0, Clocks(100 * S, WALL * S, BOOT * S + number * S // 10, is_simulated=True, max_future_s=0.1))
    assert watch.fault == ""
