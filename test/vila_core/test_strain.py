"""What Linux tells of heat and memory, read from fake trees: desktops, Jetsons, containers, and broken sensors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vila_core.machine.strain import MemoryLeft, Strain, find_sources, read_strain

MB = 2**20
ROOM = {"proc/meminfo": "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 4000 kB\n"}
MACHINE = MemoryLeft("the machine", 4000 * 1024, 8000 * 1024)
PSI = "some avg10={some} avg60=0.00 avg300=0.00 total=1\nfull avg10={full} avg60=0.00 avg300=0.00 total=1\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    """Write the files below a root; a text that ends in / makes a folder of that name, which can't be read."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text == "/":
            (root / name).mkdir()
        else:
            (root / name).write_text(text)
    return root


def zone(number: int, name: str, temp: str, **trips: str) -> dict[str, str]:
    """The files of a zone; trips: kind=thousandths of a degree."""
    folder = f"sys/class/thermal/thermal_zone{number}"
    files = {f"{folder}/type": f"{name}\n", f"{folder}/temp": temp}
    for index, (kind, at) in enumerate(trips.items()):
        files |= {f"{folder}/trip_point_{index}_type": f"{kind}\n", f"{folder}/trip_point_{index}_temp": f"{at}\n"}
    return files


@pytest.mark.parametrize(
    ("temp", "read"),
    [
        ("54500\n", 54.5),
        ("104000", 104.0),
        ("150000", 150.0),
        ("151000", None),
        ("0", None),
        ("-5000", None),
        ("-274000", None),
        ("127000000", None),  # 127 kC
        ("65", 65.0),  # an old driver that counts in degrees
        ("54.5", None),
        ("", None),
        ("hot", None),
        ("1" * 5000, None),
        ("/", None),
    ],
)
def test_a_temperature_is_read_or_told_to_be_missing(tmp_path: Path, temp: str, read: float | None) -> None:
    heat = read_strain(tree(tmp_path, zone(0, "cpu-thermal", temp))).heat
    assert [(one.zone.name, one.temperature_c) for one in heat] == [("cpu-thermal", read)]


@pytest.mark.parametrize(
    ("trips", "found"),
    [
        ({"passive": "99000", "hot": "101000", "critical": "104500"}, (99.0, 101.0, 104.5)),
        ({"critical": "110000"}, (None, None, 110.0)),
        ({"active": "50000"}, (None, None, None)),
        ({"passive": "0", "hot": "-274000", "critical": "250000"}, (None, None, None)),
        ({"passive": "45000", "critical": "junk"}, (None, None, None)),  # of a skin or a battery
    ],
)
def test_trip_points_are_those_that_make_sense(tmp_path: Path, trips: dict[str, str], found: tuple) -> None:
    (one,) = find_sources(tree(tmp_path, zone(0, "tj-thermal", "50000", **trips))).zones
    assert (one.passive_c, one.hot_c, one.critical_c) == found


def test_the_lowest_trip_point_of_a_kind_counts(tmp_path: Path) -> None:
    files = zone(0, "acpitz", "50000", passive="95000", critical="105000")
    folder = "sys/class/thermal/thermal_zone0"
    files |= {f"{folder}/trip_point_7_type": "passive\n", f"{folder}/trip_point_7_temp": "85000\n"}
    assert find_sources(tree(tmp_path, files)).zones[0].passive_c == 85.0


def test_zones_come_by_number_and_one_without_a_name_has_its_folders(tmp_path: Path) -> None:
    names = ("cpu-thermal", "gpu-thermal", *(f"soc{i}-thermal" for i in range(3)), "tj-thermal", "CPU-therm")
    files: dict[str, str] = {"sys/class/thermal/cooling_device0/type": "pwm-fan\n"}
    for number, name in enumerate((*names, "soctherm", "Tboard_tegra", "thermal-fan-est", "acpitz", "acpitz")):
        files |= zone(number, name, "50000")
    files["sys/class/thermal/thermal_zone12/temp"] = "41000"
    read = [one.zone.name for one in read_strain(tree(tmp_path, files)).heat]
    assert read == [*names, "soctherm", "Tboard_tegra", "thermal-fan-est", "acpitz", "acpitz", "thermal_zone12"]


def test_a_bare_tree_tells_nothing_rather_than_zero(tmp_path: Path) -> None:
    assert read_strain(tmp_path) == Strain()


@pytest.mark.parametrize(
    ("memory", "cpu", "own", "read"),
    [
        (PSI.format(some="30.00", full="12.50"), PSI.format(some="96.65", full="0.00"), None, (12.5, 96.65)),
        (PSI.format(some="30.00", full="2.50"), None, PSI.format(some="1.00", full="40.00"), (40.0, None)),
        (None, None, PSI.format(some="1.00", full="3.00"), (3.0, None)),
        ("some avg10=5.00 avg60=0 avg300=0 total=1\n", "", None, (None, None)),
        (PSI.format(some="nan", full="nan"), PSI.format(some="-1", full="0"), None, (None, None)),
        ("/", "full\n", "garbage", (None, None)),  # a kernel that is told not to count refuses the read
    ],
)
def test_pressure_is_unknown_where_the_kernel_does_not_count(tmp_path: Path, memory, cpu, own, read) -> None:
    named = {"proc/pressure/memory": memory, "proc/pressure/cpu": cpu, "sys/fs/cgroup/memory.pressure": own}
    files = {"sys/fs/cgroup/cgroup.controllers": "memory\n", "proc/self/cgroup": "0::/\n"}
    strain = read_strain(tree(tmp_path, files | {name: text for name, text in named.items() if text is not None}))
    assert (strain.memory_pressure, strain.cpu_pressure) == read


V2 = {"sys/fs/cgroup/cgroup.controllers": "cpu memory\n"}
UNIT = "sys/fs/cgroup/system.slice/vila.service"
V1 = "sys/fs/cgroup/memory"
V1_MAX = "9223372036854771712"


@pytest.mark.parametrize(
    ("files", "left", "kills"),
    [
        ({}, [], None),
        (  # in a container, which sees itself as the root; pages of files are not held
            V2
            | {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": f"{100 * MB}\n",
                "sys/fs/cgroup/memory.current": f"{90 * MB}\n",
                "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {40 * MB}\nactive_file {10 * MB}\n",
                "sys/fs/cgroup/memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n",
            },
            [MemoryLeft("control group /", 60 * MB, 100 * MB)],
            1,
        ),
        (  # a service: what stands around it limits it too
            V2
            | {
                "proc/self/cgroup": "0::/system.slice/vila.service\n",
                f"{UNIT}/memory.max": "max\n",
                f"{UNIT}/memory.current": f"{5 * MB}\n",
                f"{UNIT}/memory.events": "oom 0\noom_kill 0\n",
                "sys/fs/cgroup/system.slice/memory.max": f"{10 * MB}\n",
                "sys/fs/cgroup/system.slice/memory.current": f"{12 * MB}\n",
            },
            [MemoryLeft("control group /system.slice", 0, 10 * MB)],
            0,
        ),
        (  # version 1
            {
                "proc/self/cgroup": "4:memory:/docker/a\n3:cpuset:/\n0::/\n",
                f"{V1}/docker/a/memory.limit_in_bytes": f"{40 * MB}\n",
                f"{V1}/docker/a/memory.usage_in_bytes": f"{30 * MB}\n",
                f"{V1}/docker/a/memory.stat": f"total_inactive_file {6 * MB}\ntotal_active_file {4 * MB}\n",
                f"{V1}/docker/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
                f"{V1}/memory.limit_in_bytes": V1_MAX,
                f"{V1}/memory.usage_in_bytes": "5",
            },
            [MemoryLeft("control group /docker/a", 20 * MB, 40 * MB)],
            7,
        ),
        (  # a container of version 1, whose path names what it can't see
            {
                "proc/self/cgroup": "4:cpu,memory:/docker/b\n",
                f"{V1}/memory.limit_in_bytes": f"{8 * MB}",
                f"{V1}/memory.usage_in_bytes": f"{2 * MB}",
            },
            [MemoryLeft("control group /", 6 * MB, 8 * MB)],
            None,
        ),
        (  # moved out of what its mount shows
            V2 | {"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": "max"},
            [],
            None,
        ),
        (  # a limit whose use nobody tells
            V2 | {"proc/self/cgroup": "garbage\n0::\n", "sys/fs/cgroup/memory.max": "1000"},
            [],
            None,
        ),
    ],
)
def test_control_groups_count_as_the_machine_does(tmp_path: Path, files, left, kills) -> None:
    strain = read_strain(tree(tmp_path, ROOM | files))
    assert list(strain.memory) == [MACHINE, *left]
    assert strain.kills == kills


@pytest.mark.parametrize(
    "text", ["", "MemTotal: 8000 kB\n", "MemTotal: x\nMemAvailable: 1 kB\n", "MemTotal\n", "MemTotal:\nMemAvailable:\n"]
)
def test_a_machine_that_does_not_tell_its_memory_is_left_out(tmp_path: Path, text: str) -> None:
    assert read_strain(tree(tmp_path, {"proc/meminfo": text})).memory == ()


READ = ("sys/class/thermal/thermal_zone0/temp", "sys/class/thermal/thermal_zone0/trip_point_0_temp")
READ += ("sys/class/thermal/thermal_zone0/type", "proc/meminfo", "proc/pressure/memory", "proc/self/cgroup")
READ += ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({name: st.binary(max_size=40) for name in READ}))
def test_whatever_the_files_hold_nothing_is_raised(tmp_path: Path, contents: dict[str, bytes]) -> None:
    tree(tmp_path, V2 | {"sys/class/thermal/thermal_zone0/trip_point_0_type": "critical\n"})
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    strain = read_strain(tmp_path)
    assert all(one.temperature_c is None or 0 < one.temperature_c <= 150 for one in strain.heat)
    assert all(left.left_bytes >= 0 for left in strain.memory)
