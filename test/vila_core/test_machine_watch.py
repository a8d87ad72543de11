"""The ladder of heat and memory: what raises it, what it says, and how slowly it comes down."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import StrainConfig
from vila_core.control.machine_watch import MachineWatch, StrainLadder, StrainLevel, zone_limits
from vila_core.errors import ConfigError
from vila_core.machine.strain import MemoryLeft, Strain
from vila_core.machine.thermal import Heat, ThermalZone

NORMAL, SLOW, LOW, STOP = StrainLevel
S, MB = 10**9, 10**6
CONFIG = StrainConfig()
PLAIN = ThermalZone(Path(), "cpu-thermal")
ORIN = ThermalZone(Path(), "tj-thermal", passive_c=99.0, critical_c=104.5)


def heat(temperature_c: float | None, zone: ThermalZone = PLAIN) -> Strain:
    return Strain(heat=(Heat(zone, temperature_c),))


def memory(left_mb: float, total_mb: float = 8192.0) -> Strain:
    return Strain(memory=(MemoryLeft("the machine", round(left_mb * MB), round(total_mb * MB)),))


def pressure(share: float) -> Strain:
    return Strain(memory_pressure=share)


def levels(*strains: Strain, config: StrainConfig = CONFIG) -> list[StrainLevel]:
    """Levels of a ladder that reads once a second."""
    ladder = StrainLadder(config)
    return [ladder.update(strain, i * S).level for i, strain in enumerate(strains)]


@pytest.mark.parametrize(
    ("strain", "level", "text"),
    [
        (Strain(), NORMAL, "no sensors of heat"),
        (heat(None), NORMAL, "no sensors of heat"),
        (memory(4000), NORMAL, "no sensors of heat"),
        (heat(54.0), NORMAL, "cpu-thermal at 54.0 C"),
        (heat(85.0), SLOW, "cpu-thermal at 85.0 C, limit 85"),
        (heat(92.5), LOW, "cpu-thermal at 92.5 C, limit 92"),
        (heat(97.0), STOP, "cpu-thermal at 97.0 C, limit 97"),
        (heat(98.0, ORIN), NORMAL, "tj-thermal at 98.0 C"),
        (heat(99.0, ORIN), SLOW, "tj-thermal at 99.0 C, limit 99"),
        (heat(101.0, ORIN), LOW, "tj-thermal at 101.0 C, limit 100.25"),
        (heat(101.5, ORIN), STOP, "tj-thermal at 101.5 C, limit 101.5"),
        (heat(140.0, ThermalZone(Path(), "iwlwifi_1")), NORMAL, "no sensors of heat"),
        (heat(100.0, ThermalZone(Path(), "PMIC-Die")), NORMAL, "no sensors of heat"),
        (memory(400), SLOW, "the machine has 400 MB of memory left, limit 410 MB"),
        (memory(240), LOW, "the machine has 240 MB of memory left, limit 246 MB"),
        (memory(100), STOP, "the machine has 100 MB of memory left, limit 123 MB"),
        (memory(1000, 128_000), NORMAL, "no sensors of heat"),
        (memory(0, 64), STOP, "the machine has 0 MB of memory left, limit 1 MB"),
        (pressure(9.9), NORMAL, "no sensors of heat"),
        (pressure(10.0), SLOW, "processes wait for memory 10 % of the time, limit 10 %"),
        (pressure(60.0), STOP, "processes wait for memory 60 % of the time, limit 50 %"),
        (Strain(cpu_pressure=100.0), NORMAL, "no sensors of heat"),
    ],
)
def test_what_is_seen_first_counts_at_once_and_is_named(strain: Strain, level: StrainLevel, text: str) -> None:
    verdict = StrainLadder(CONFIG).update(strain, 0)
    assert (verdict.level, verdict.text) == (level, text)
    assert verdict.speed_scale == {LOW: 0.5, STOP: 0.0}.get(level, 1.0)
    assert verdict.decision_delay_s == (0.0 if level is NORMAL else 0.5)


def test_a_busy_processor_slows_decisions_where_that_is_wanted() -> None:
    ladder = StrainLadder(dataclasses.replace(CONFIG, slow_cpu_pressure=90.0))
    verdict = ladder.update(Strain(cpu_pressure=99.0), 0)
    assert verdict.level is SLOW and verdict.text == "processes wait for a processor 99 % of the time, limit 90 %"


@pytest.mark.parametrize(
    ("zone", "limits"),
    [
        (PLAIN, (85.0, 92.0, 97.0)),
        (ORIN, (99.0, 100.25, 101.5)),
        (ThermalZone(Path(), "a", passive_c=90.0, hot_c=96.0, critical_c=105.0), (90.0, 96.0, 102.0)),
        (ThermalZone(Path(), "a", critical_c=110.0), (85.0, 96.0, 107.0)),
        (ThermalZone(Path(), "a", critical_c=80.0), (77.0, 77.0, 77.0)),
        (ThermalZone(Path(), "a", passive_c=120.0), (97.0, 97.0, 97.0)),  # nobody says where it is switched off
        (ThermalZone(Path(), "a", hot_c=70.0), (85.0, 85.0, 97.0)),
    ],
)
def test_the_kernels_own_trip_points_count(zone: ThermalZone, limits: tuple[float, float, float]) -> None:
    assert zone_limits(zone, CONFIG) == limits


def test_the_worst_of_all_counts() -> None:
    both = Strain(heat=(Heat(PLAIN, 50.0), Heat(ORIN, 60.0)), memory=memory(240).memory, memory_pressure=12.0)
    verdict = StrainLadder(CONFIG).update(both, 0)
    assert verdict.level is LOW and verdict.text.startswith("the machine has 240 MB")


def test_one_wild_reading_raises_nothing_and_two_do() -> None:
    assert levels(heat(60), heat(120), heat(60)) == [NORMAL] * 3
    assert levels(heat(60), heat(120), heat(120)) == [NORMAL, NORMAL, STOP]
    assert levels(heat(60), heat(86), heat(93), heat(98)) == [NORMAL, NORMAL, SLOW, LOW]


def test_it_comes_down_step_by_step_and_says_why_it_is_not_down_yet() -> None:
    ladder = StrainLadder(CONFIG)
    told = [ladder.update(heat(98 if t < 1 else 60), t * S) for t in range(33)]
    assert [verdict.level for verdict in told] == [STOP] * 11 + [LOW] * 10 + [SLOW] * 10 + [NORMAL] * 2
    assert told[5].text == "recovering: cpu-thermal at 98.0 C, limit 97" and told[32].text == "cpu-thermal at 60.0 C"


def test_a_little_cooler_is_not_cool() -> None:
    assert levels(*[heat(98)] * 2, *[heat(93)] * 40)[-1] is STOP
    assert levels(*[heat(98)] * 2, *[heat(91)] * 40)[-1] is LOW
    assert levels(*[memory(100)] * 2, *[memory(130)] * 40)[-1] is STOP
    assert levels(*[pressure(60)] * 2, *[pressure(45)] * 40)[-1] is STOP


def test_a_killed_process_stops_the_robot() -> None:
    kills = [0, 0, 1, *[1] * 60]
    told = levels(*(Strain(kills=count) for count in kills))
    assert told[:4] == [NORMAL, NORMAL, NORMAL, STOP] and told[-1] is NORMAL
    assert levels(*[Strain(kills=9)] * 5) == [NORMAL] * 5  # of before we looked
    assert levels(Strain(kills=9), Strain(), Strain(kills=2), Strain(kills=2)) == [NORMAL] * 4


OTHER = ThermalZone(Path(), "gpu-thermal")


@pytest.mark.parametrize(
    ("before", "after", "level", "text"),
    [
        (heat(60), heat(None), LOW, "cpu-thermal gave no reading for 5 s, last 60.0 C"),
        (heat(60), Strain(), LOW, "cpu-thermal gave no reading for 5 s, last 60.0 C"),
        (heat(98), Strain(), STOP, "cpu-thermal gave no reading for 5 s, last 98.0 C"),
        (heat(5), heat(None), NORMAL, "cpu-thermal at 5.0 C"),  # it freezes
        (
            Strain(heat=(Heat(PLAIN, 40.0), Heat(OTHER, 50.0))),
            Strain(heat=(Heat(PLAIN, None), Heat(OTHER, 50.0))),
            SLOW,
            "cpu-thermal gave no reading for 5 s, last 40.0 C",
        ),
        (
            Strain(heat=(Heat(PLAIN, 80.0), Heat(OTHER, 50.0))),
            Strain(heat=(Heat(OTHER, 50.0),)),
            LOW,
            "cpu-thermal gave no reading for 5 s, last 80.0 C",
        ),
        (heat(60, ThermalZone(Path(), "iwlwifi_1")), Strain(), NORMAL, "no sensors of heat"),
    ],
)
def test_a_sensor_that_goes_silent_is_doubted(before: Strain, after: Strain, level, text: str) -> None:
    ladder = StrainLadder(CONFIG)
    told = [ladder.update(before if t == 0 else after, t * S) for t in range(6)]
    assert told[2].level is told[0].level  # a short silence is none
    assert (told[5].level, told[5].text) == (level, text)


def test_zones_of_one_name_are_told_apart() -> None:
    twins = Strain(heat=(Heat(PLAIN, 60.0), Heat(PLAIN, 50.0)))
    assert levels(*[twins] * 8)[-1] is NORMAL
    assert levels(twins, *[heat(60)] * 8)[-1] is SLOW
    assert levels(*[Strain(heat=(Heat(PLAIN, 60.0), Heat(PLAIN, 98.0)))] * 2)[-1] is STOP


def test_a_sensor_that_never_read_is_no_sensor() -> None:
    assert levels(*[heat(None)] * 20) == [NORMAL] * 20


reading = st.tuples(
    st.floats(1, 150), st.floats(0, 9000), st.floats(0, 100), st.integers(1, 40)
)  # temperature, MB left, pressure, tenths of a second until the next
worse = st.tuples(st.floats(0, 149), st.floats(0, 9000), st.floats(0, 100))


def strain_of(temperature: float, left_mb: float, share: float) -> Strain:
    return Strain(heat(min(temperature, 150.0)).heat, memory(max(left_mb, 0.0)).memory, min(share, 100.0))


@given(st.lists(st.tuples(reading, worse), min_size=1, max_size=60))
def test_more_strain_never_gives_a_milder_level(steps) -> None:
    mild, hard, now_ns = StrainLadder(CONFIG), StrainLadder(CONFIG), 0
    for (temperature, left, share, tenths), (hotter, taken, more) in steps:
        below = mild.update(strain_of(temperature, left, share), now_ns).level
        assert hard.update(strain_of(temperature + hotter, left - taken, share + more), now_ns).level >= below
        now_ns += tenths * S // 10


@given(st.lists(reading, min_size=2, max_size=60))
def test_it_never_comes_down_more_than_a_step_in_a_dwell(steps) -> None:
    ladder, now_ns, told = StrainLadder(CONFIG), 0, []
    for temperature, left, share, tenths in steps:
        told.append((now_ns, ladder.update(strain_of(temperature, left, share), now_ns).level))
        now_ns += tenths * S // 10
    changed_ns = 0
    for (_, before), (at_ns, after) in pairwise(told):
        assert after >= before - 1
        if after < before:
            assert at_ns - changed_ns >= CONFIG.dwell_s * S
        changed_ns = at_ns if after != before else changed_ns


@given(st.lists(reading, min_size=1, max_size=20))
def test_strain_that_lasts_is_answered(steps) -> None:
    ladder, now_ns = StrainLadder(CONFIG), 0
    for temperature, left, share, tenths in steps:
        ladder.update(strain_of(temperature, left, share), now_ns)
        now_ns += tenths * S // 10
    ladder.update(heat(98), now_ns)
    assert ladder.update(heat(98), now_ns + round(CONFIG.confirm_s * S)).level is STOP


def test_the_watch_reads_the_tree_and_finds_what_is_plugged_in_later(tmp_path: Path) -> None:
    watch = MachineWatch(CONFIG, tmp_path)
    assert watch.update(0).text == "no sensors of heat"
    folder = tmp_path / "sys/class/thermal/thermal_zone0"
    folder.mkdir(parents=True)
    (folder / "type").write_text("tj-thermal\n")
    (folder / "temp").write_text("98000\n")
    assert watch.update(S).level is NORMAL
    verdict = watch.update(2 * S)
    assert (verdict.level, verdict.speed_scale) == (STOP, 0.0)
    assert verdict.text == "tj-thermal at 98.0 C, limit 97"


def test_this_computer_can_be_read() -> None:
    verdict = MachineWatch(CONFIG).update(0)
    assert verdict.level in StrainLevel and 0 <= verdict.speed_scale <= 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"low_speed_c": 99.0}, "stop_c = 97.0: must be at least low_speed_c = 99"),
        ({"stop_memory": 0.04}, "low_speed_memory = 0.03: must be at least stop_memory = 0.04"),
        ({"slow_memory": 1.0}, "slow_memory = 1.0: must be above 0 and below 1"),
        ({"slow_pressure": 30.0}, "low_speed_pressure = 25.0: must be at least slow_pressure = 30"),
        ({"slow_cpu_pressure": -1.0}, "slow_cpu_pressure = -1.0: must be from 0 to 100"),
        ({"easing": 1.0}, "easing = 1.0: must be at least 0 and below 1"),
        ({"low_speed_scale": 1.5}, "low_speed_scale = 1.5: must be above 0 and at most 1"),
        ({"dwell_s": 0.0}, "dwell_s = 0.0: must be above 0 and at most 3600"),
    ],
)
def test_impossible_limits_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        StrainConfig(**values)
