"""The fault drill: what its faults make of messages, how it judges, and its short form on real processes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import LaserScan

from vila_core.errors import ConfigError, VilaError
from vila_core.testing import make_frame
from vila_core.types import Odometry, Pose
from vila_ros.common.conversions import (
    OdometryError,
    image_from_frame,
    message_from_odometry,
    ns_from_stamp,
    odometry_from_message,
    stamp_from_ns,
)
from vila_ros.navigator.mission.mission import MissionError
from vila_tools.inject import faults, run
from vila_tools.inject.corridor import Corridor
from vila_tools.inject.faults import Edit, Heard, Moment
from vila_tools.inject.lateness import Lateness
from vila_tools.inject.report import Seen, as_json, judge, standstill_s, table
from vila_tools.inject.rig import FoundProcesses
from vila_tools.inject.rows import PARTS, QUICK, ROWS, Limits, Needs, Row

S = 1_000_000_000
HZ = 8  # so that times are exact
BEFORE, AFTER = 30, 15  # messages


def image(number: int) -> Any:
    return image_from_frame(make_frame((100 + number) * S // HZ, seed=number))


def odometry(number: int) -> Any:
    return message_from_odometry(Odometry((100 + number) * S // HZ, Pose(0.03 * number, 0.0, 0.0), 0.3, 0.0))


def passed(edit: Edit, make: Any) -> list[list[Any]]:
    """What is passed on of each message after the fault began."""
    before = [Heard(number / HZ, make(number)) for number in range(BEFORE)]
    since: list[Heard] = []
    told = []
    for number in range(AFTER):
        since.append(Heard((BEFORE + number) / HZ, make(BEFORE + number)))
        told.append(list(edit(make(BEFORE + number), Moment(before, since, number))))
    return told


def seeds(images: list[list[Any]]) -> list[int]:
    """Which picture each message shows, and that its stamp is its own."""
    known = {image(number).data.tobytes(): number for number in range(BEFORE + AFTER)}
    for number, messages in enumerate(images):
        assert ns_from_stamp(messages[0].header.stamp) == ns_from_stamp(image(BEFORE + number).header.stamp)
    return [known[messages[0].data.tobytes()] for messages in images]


def test_a_frozen_camera_shows_one_picture_and_a_loop_the_last_two_seconds() -> None:
    assert seeds(passed(faults.freeze, image)) == [BEFORE - 1] * AFTER
    shown = list(range(BEFORE - 2 * HZ - 1, BEFORE))
    assert seeds(passed(faults.loop, image)) == [shown[number % len(shown)] for number in range(AFTER)]


def test_nothing_passes_or_a_second_late() -> None:
    assert passed(faults.drop, image) == [[]] * AFTER
    late = [[ns_from_stamp(m.header.stamp) // (S // HZ) - 100 for m in told] for told in passed(faults.delay, image)]
    assert late == [[]] * HZ + [[number] for number in range(BEFORE, BEFORE + AFTER - HZ)]


@pytest.mark.parametrize("seconds", [1.0, -30.0])
def test_stamps_and_clocks_are_skewed(seconds: float) -> None:
    moment = Moment((), (), 0)
    (skewed,) = faults.skew(seconds)(image(0), moment)
    assert ns_from_stamp(skewed.header.stamp) == max(0, 100 * S // HZ + seconds * S)
    (clock,) = faults.skew(seconds)(Clock(clock=stamp_from_ns(50 * S)), moment)
    assert ns_from_stamp(clock.clock) == (50 + seconds) * S


def test_pictures_that_show_nothing() -> None:
    spread = {
        edit.__name__: np.frombuffer(passed(edit, image)[0][0].data, np.uint8).std()
        for edit in (faults.black, faults.covered, faults.blur)
    }
    assert spread["black"] == 0.0 and 3 < spread["covered"] < 5 and spread["blur"] < 10, spread
    (bad,) = passed(faults.bad_encoding, image)[0]
    (short,) = passed(faults.short_data, image)[0]
    assert bad.encoding == "rgb7" and len(short.data) == 100
    stamps = {ns_from_stamp(told[0].header.stamp) for told in passed(faults.same_stamp, image)}
    assert stamps == {ns_from_stamp(image(BEFORE - 1).header.stamp)}


@pytest.mark.parametrize(
    ("edit", "x_m", "yaw_rad", "linear_mps"),
    [
        (faults.jump(-0.3), 0.9 - 0.3, 0.0, 0.3),
        (faults.jump(radians=0.5), 0.9, 0.5, 0.3),
        (faults.scale(0.1), 0.87 + 0.003, 0.0, 0.03),
        (faults.scale(2.0), 0.87 + 0.06, 0.0, 0.6),
        (faults.scale(0.0), 0.87, 0.0, 0.0),
    ],
)
def test_odometry_that_lies(edit: Edit, x_m: float, yaw_rad: float, linear_mps: float) -> None:
    told = odometry_from_message(passed(edit, odometry)[0][0])
    assert (told.pose.x_m, told.pose.yaw_rad, told.linear_mps) == pytest.approx((x_m, yaw_rad, linear_mps))


def test_odometry_that_is_none() -> None:
    with pytest.raises(OdometryError):
        odometry_from_message(passed(faults.not_finite, odometry)[0][0])
    assert passed(faults.other_frame, odometry)[0][0].header.frame_id == "map"


def test_an_obstacle_comes_nearer_as_the_robot_drives() -> None:
    scan = LaserScan(angle_min=-math.pi, angle_increment=math.pi / 2, range_min=0.05, ranges=[4.0] * 4)
    (told,) = faults.obstacle(0.5)(scan, Moment((), (), 0, driven_m=0.1))
    assert list(told.ranges) == pytest.approx([4.0, 4.0, 0.4, 4.0])


def test_lies_are_told_by_name() -> None:
    assert faults.lie("drop").edit() is faults.drop
    (told,) = passed(faults.lie("scale", factor=2.0).edit(), odometry)[0]
    assert odometry_from_message(told).linear_mps == pytest.approx(0.6)
    for lie, error in ((faults.lie("bribe"), KeyError), (faults.lie("skew", metres=1.0), TypeError)):
        with pytest.raises(error):
            lie.edit()


def test_the_corridor_moves_with_the_robot() -> None:
    corridor = Corridor()
    here, again, ahead = (corridor.view(Pose(x_m, 0.0, 0.0)).astype(float) for x_m in (5.0, 5.0, 5.05))
    assert abs(here - again).mean() < 5 < abs(here - ahead).mean()


ROW = Row("row", "camera", "a fault", lambda rig: None, Limits(0.5, 0.15), frozenset({"IMAGE_LOST"}))  # type: ignore[arg-type, return-value]
GOOD = {"begun_s": 10.0, "gone_s": 15.0, "until_s": 17.0, "driven_m": 0.1, "ended": "IMAGE_LOST"}
STOPS = ((9.9, False), (10.2, False), (10.3, True), (10.4, True))


@pytest.mark.parametrize(
    ("commands", "seconds"),
    [
        (STOPS, 0.3),
        ((), 0.0),
        (((9.9, True),), 0.0),
        (((9.9, False),), math.inf),
        ((*STOPS, (12.0, False), (12.5, True)), 2.5),  # it drove on: the last zero counts
        ((*STOPS, (14.0, False)), math.inf),
        ((*STOPS, (15.5, False)), 0.3),  # after the fault: another matter
    ],
)
def test_standstill(commands: Sequence[tuple[float, bool]], seconds: float) -> None:
    assert standstill_s(commands, 10.0, 15.0) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, ""),
        ({"commands": ((9.9, False), (10.6, True))}, "0.60 s until it stood"),
        ({"commands": ((9.9, False),)}, "it never stood"),
        ({"commands": (*STOPS, (15.1, False), (15.2, True))}, "it moved again by itself"),
        ({"driven_m": 0.16}, "0.16 m driven"),
        ({"commands": ((9.9, False), (10.6, True)), "late_s": 0.05}, "0.60 s until it stood"),
        ({"commands": ((9.9, False),), "late_s": 60.0}, "it never stood"),
        ({"ended": ""}, "the mission did not end"),
        ({"ended": "STUCK"}, "the mission ended as STUCK, not as IMAGE_LOST"),
        ({"undrivable": "no odometry"}, "the robot did not drive before: no odometry"),
    ],
)
def test_verdict(change: dict[str, Any], problem: str) -> None:
    result = judge(ROW, Seen(**({"commands": STOPS} | GOOD | change)))
    assert "; ".join((*result.wrong, *result.exceeded)) == problem
    assert result.passed == (problem == "")
    moves = ("it never", "it moved again", "the robot did not drive")
    assert result.stood != problem.startswith(moves)
    text, told = "\n".join(table([result])), as_json([result])
    assert (problem or "pass") in text and told["passed"] == result.passed
    json.dumps(told, allow_nan=False)


def test_a_machine_that_is_late_is_told_and_allowed_for() -> None:
    late = {"commands": ((9.9, False), (10.6, True)), "driven_m": 0.17, "late_s": 0.12}
    result = judge(ROW, Seen(**(GOOD | late)))
    assert result.passed and "machine was late, 0.12 s" in result.verdict
    assert as_json([result])["rows"][0]["late_s"] == 0.12
    on_time = judge(ROW, Seen(**(GOOD | {"commands": STOPS, "late_s": 0.12})))
    assert on_time.verdict == "pass"


def test_only_what_was_late_before_the_robot_stood_counts() -> None:
    lateness = Lateness()
    for at_s, late_s in ((1.0, 0.4), (2.0, 0.01), (2.5, 0.1), (3.4, 0.5)):
        lateness.note(at_s, late_s)
    assert lateness.worst_s(1.5, 2.4) == pytest.approx(0.01)
    assert lateness.worst_s(1.5, 2.45) == pytest.approx(0.1)  # the sleep had begun
    assert lateness.worst_s(0.5, 9.0) == 0.5 and lateness.worst_s(4.0, 5.0) == 0.0


def test_rows_are_told_apart_and_end_with_codes_that_exist() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names) and set(QUICK) <= set(names) and not set(PARTS) & set(names)
    for row in ROWS:
        assert row.ends <= set(MissionError.__members__), row.name
        assert len(row.name) <= 20
        for lie in getattr(row.inject, "keywords", {}).values():
            assert not isinstance(lie, faults.Lie) or callable(lie.edit()), row.name


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"quick": True}, set(QUICK)),
        ({"only": ("process",)}, {row.name for row in ROWS if row.part == "process"}),
        ({"only": ("camera-drop", "scan-old")}, {"camera-drop", "scan-old"}),
        ({"quick": True, "only": ("camera",)}, {"camera-freeze"}),
        ({"running": ("kill-governor",)}, {"kill-governor"}),
        ({}, {row.name for row in ROWS}),
    ],
)
def test_choice_of_rows(options: dict[str, Any], names: set[str]) -> None:
    assert {row.name for row in run.chosen(run.InjectOptions(**options))} == names


@pytest.mark.parametrize(
    "options", [{"only": ("brakes",)}, {"running": ("camera",)}, {"running": ("kill-governor",), "quick": True}]
)
def test_options_that_fit_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        run.InjectOptions(**options)


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.needs in (Needs.MODEL, Needs.CLOCK)])
def test_rows_that_need_the_drills_own_nodes_are_refused_on_running_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        run.drill(run.InjectOptions(running=(name,)))


def test_the_list_starts_nothing(capsys) -> None:
    assert run.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.name for row in ROWS]


def process(proc: Path, number: int, command: str, domain: str | None) -> None:
    folder = proc / str(number)
    folder.mkdir()
    (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode())
    environment = "A=1\0" if domain is None else f"A=1\0ROS_DOMAIN_ID={domain}\0"
    (folder / "environ").write_bytes(environment.encode())


def test_a_running_node_is_found_by_its_command_line_and_domain(tmp_path: Path) -> None:
    process(tmp_path, 10, "python -m vila_ros.governor.node --ros-args", "7")
    process(tmp_path, 11, "/usr/bin/python3 /opt/lib/vila_nav/governor_node --ros-args", None)
    process(tmp_path, 12, "python -m vila_ros.controller.node", "7")
    process(tmp_path, 13, "vi governor_node.txt", "7")
    (tmp_path / "14").mkdir()  # it has just ended
    assert FoundProcesses("7", tmp_path).find("governor") == 10
    assert FoundProcesses("0", tmp_path).find("governor") == 11
    with pytest.raises(VilaError, match="none"):
        FoundProcesses("7", tmp_path).find("watchdog")
    process(tmp_path, 15, "governor_node", "7")
    with pytest.raises(VilaError, match=r"10, 15|15, 10"):
        FoundProcesses("7", tmp_path).find("governor")


@pytest.mark.long
def test_the_short_form_is_carried_out_and_leaves_no_robot_moving(tmp_path: Path, capsys) -> None:
    file = tmp_path / "drill.json"
    run.main(["--quick", "--simulator", "--json", str(file), "--out", str(tmp_path)])  # whatever its times are
    told = json.loads(file.read_text())
    assert [row["row"] for row in told["rows"]] == [row.name for row in ROWS if row.name in QUICK]
    for row in told["rows"]:
        assert row["stood"], row
    assert capsys.readouterr().out.splitlines()[-1] == file.read_text().strip()
