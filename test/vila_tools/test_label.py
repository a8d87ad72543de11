"""`vila label`: from odometry to the ten sentences, and from a bag to annotations."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vila_core.actions.grammar import ACTIONS, SENTENCES, format_action
from vila_core.media.bags import BagImage
from vila_core.types import MoveForward, Pose, Stop, Turn
from vila_tools.cli import main as vila
from vila_tools.finetune.annotations import read_annotations
from vila_tools.label.recording import MISSION_FIELDS
from vila_tools.label.samples import frames_at
from vila_tools.label.steps import BACKWARDS, GAP, JUMP, SIDEWAYS, TimedPose, decisions, unit_track

bag_files = pytest.importorskip("bag_files")

PERIOD_NS = 50_000_000
ROOT = Path(__file__).parents[2]
LEFT_45, FORWARD_75, FORWARD_25 = ACTIONS[6], ACTIONS[3], ACTIONS[1]


def drive(actions, *, speed_mps=0.5, speed_rps=0.6, still_s=1.5, scale=1.0, start=None, begin_ns=10**9):
    """Odometry of a robot that carries out actions and stands for a while before each and at the end."""
    pose, time_ns, poses = start or Pose(), begin_ns, []

    def stand():
        nonlocal time_ns
        for _ in range(round(still_s * 1e9 / PERIOD_NS)):
            poses.append(TimedPose(time_ns, pose))
            time_ns += PERIOD_NS

    stand()
    for action in actions:
        whole = action.distance_m if isinstance(action, MoveForward) else action.angle_rad
        speed = speed_mps if isinstance(action, MoveForward) else speed_rps
        count = max(1, math.ceil(abs(whole) * scale / (speed * PERIOD_NS / 1e9)))
        for _ in range(count):
            step = whole * scale / count
            pose = pose.advanced(step) if isinstance(action, MoveForward) else pose.turned(step)
            poses.append(TimedPose(time_ns, pose))
            time_ns += PERIOD_NS
        if still_s:
            stand()
    return poses


def said(track):
    return [one.action for one in decisions(track)]


@pytest.mark.parametrize("scale", [0.98, 1.0, 1.02])
def test_what_a_robot_was_told_is_found_in_its_odometry(scale):
    told = [LEFT_45, FORWARD_75, Turn(-math.radians(30)), MoveForward(0.5), Turn(math.radians(15)), FORWARD_25]
    track = unit_track(drive(told, scale=scale))
    assert [format_action(a) for a in said(track)] == [format_action(a) for a in [*told, Stop()]]
    assert track.stopped and track.fault == "" and abs(track.rest_m) < 0.1


def test_runs_of_the_same_unit_are_three_at_a_time():
    track = unit_track(drive([MoveForward(1.25), Turn(math.radians(60))]))
    assert said(track) == [FORWARD_75, MoveForward(0.5), LEFT_45, ACTIONS[4], Stop()]
    assert [one.frames for one in decisions(track)] == [0, 3, 5, 8, 9]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS[1:]), min_size=1, max_size=12), st.floats(0.93, 1.04))
def test_no_error_adds_up(told, scale):
    """What the sentences say leads to where the robot is, but for less than a unit of each."""
    poses = drive(told, scale=scale)
    track = unit_track(poses)
    ahead = sum(unit.action.distance_m for unit in track.units if isinstance(unit.action, MoveForward))
    turned = sum(unit.action.angle_rad for unit in track.units if isinstance(unit.action, Turn))
    driven = scale * sum(action.distance_m for action in told if isinstance(action, MoveForward))
    angle = scale * sum(action.angle_rad for action in told if isinstance(action, Turn))
    assert ahead + track.rest_m == pytest.approx(driven, abs=1e-6) and abs(track.rest_m) < 0.25
    assert turned + track.rest_rad == pytest.approx(angle, abs=1e-6) and abs(track.rest_rad) < math.radians(15)


def test_an_arc_becomes_both():
    poses, pose = [], Pose()
    for number in range(200):
        poses.append(TimedPose(number * PERIOD_NS, pose))
        pose = pose.turned(math.radians(30) / 100).advanced(0.01)
    units = unit_track(poses).units
    assert sum(isinstance(unit.action, MoveForward) for unit in units) == pytest.approx(8, abs=1)
    assert sum(isinstance(unit.action, Turn) for unit in units) == pytest.approx(4, abs=1)


def test_a_decision_is_made_where_the_robot_stands():
    """The frame is the last one before it moves, not the one in which the motion before was nearly done."""
    track = unit_track(drive([FORWARD_25, LEFT_45], still_s=2.0))
    first, second = track.units[0], track.units[1]
    assert first.start_ns == 10**9 + 39 * PERIOD_NS
    assert second.start_ns - first.end_ns > 1.9e9


def test_a_robot_that_moves_at_the_end_has_not_stopped():
    assert said(unit_track(drive([FORWARD_75], still_s=0)))[-1] == FORWARD_75
    assert said(unit_track(drive([FORWARD_75], still_s=0), has_stopped=True))[-1] == Stop()


def test_what_no_sentence_says_is_told():
    back = drive([FORWARD_75]) + drive([MoveForward(-0.5), FORWARD_25], start=Pose(0.75), begin_ns=10**10)
    back = [TimedPose(number * PERIOD_NS, one.pose) for number, one in enumerate(back)]
    told = list(decisions(unit_track(back)))
    assert [one.fault for one in told if one.action is None] == [BACKWARDS] * 2
    aside = [TimedPose(number * PERIOD_NS, Pose(0, 0.01 * number)) for number in range(60)]
    assert {unit.fault for unit in unit_track(aside).units} == {SIDEWAYS}


@pytest.mark.parametrize(("later", "fault"), [(TimedPose(9 * 10**9, Pose(0.75)), GAP), (TimedPose(0, Pose(9.0)), JUMP)])
def test_odometry_that_cannot_be_followed_ends_the_drive(later, fault):
    poses = drive([FORWARD_75], still_s=0.5)
    end = poses[-1].time_ns
    later = TimedPose(max(later.time_ns, end + PERIOD_NS), later.pose)
    track = unit_track([*poses, later])
    assert track.fault == fault and not track.stopped and said(track) == [FORWARD_75]


def test_a_moment_gets_the_newest_image_before_it():
    images = [BagImage("/a", time_ns, np.full((1, 1, 3), time_ns, np.uint8)) for time_ns in (2, 4, 10)]
    late = [BagImage("/a", 10**9 + image.time_ns, image.image) for image in images]
    dues = [(10**9 + time_ns, 0, number) for number, time_ns in enumerate((0, 4, 5, 9, 30, 10**9))]
    found = {due[2]: int(image[0, 0, 0]) for due, image in frames_at(late, dues)}
    assert found == {0: 2, 1: 4, 2: 4, 3: 4, 4: 10}


def odometry(pose):
    types = bag_files.TYPES.types
    point = types["geometry_msgs/msg/Point"](x=pose.x_m, y=pose.y_m, z=0.0)
    turn = types["geometry_msgs/msg/Quaternion"](
        x=0.0, y=0.0, z=math.sin(pose.yaw_rad / 2), w=math.cos(pose.yaw_rad / 2)
    )
    zero = types["geometry_msgs/msg/Vector3"](x=0.0, y=0.0, z=0.0)
    spread = np.zeros(36)
    return types["nav_msgs/msg/Odometry"](
        header=bag_files.header("odom"),
        child_frame_id="base_link",
        pose=types["geometry_msgs/msg/PoseWithCovariance"](
            pose=types["geometry_msgs/msg/Pose"](position=point, orientation=turn), covariance=spread
        ),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=types["geometry_msgs/msg/Twist"](linear=zero, angular=zero), covariance=spread
        ),
    )


def words(text):
    return bag_files.TYPES.types["std_msgs/msg/String"](data=text)


def recorded(poses, *others, image_every=4):
    messages = [(one.time_ns, "/odom", odometry(one.pose)) for one in poses]
    for number, one in enumerate(poses[::image_every]):
        picture = np.full((12, 16, 3), min(255, 4 * number), np.uint8)
        messages.append((one.time_ns + 1, "/camera/compressed", bag_files.png_image(picture)))
    return sorted([*messages, *others], key=lambda row: row[0])


TOLD = [LEFT_45, FORWARD_75, FORWARD_75, FORWARD_25]


def label(capsys, *arguments):
    status = vila(["label", *map(str, arguments)])
    told = capsys.readouterr()
    return status, json.loads(told.out.splitlines()[-1]) if status == 0 else told.err, told.out


@pytest.mark.parametrize("kind", ["mcap", "sqlite"])
def test_a_bag_becomes_annotations(kind, tmp_path, capsys):
    messages = recorded(drive(TOLD))
    bag = (
        bag_files.write_mcap(tmp_path / "a.mcap", messages)
        if kind == "mcap"
        else bag_files.write_folder(tmp_path / "bag", messages, storage="SQLITE3")
    )
    status, report, out = label(capsys, bag, "--instruction", "go to the door", "--out", tmp_path / "out")
    assert status == 0 and report["samples"] == 5 and report["drives_used"] == 1 and report["dropped"] == {}
    assert report["answers"] == {SENTENCES[3]: 2, SENTENCES[6]: 1, SENTENCES[1]: 1, SENTENCES[0]: 1}
    assert report["metres"] == 1.75 and SENTENCES[6] in out
    rows, folder = read_annotations(tmp_path / "out")
    assert [row.answer for row in rows] == [SENTENCES[n] for n in (6, 3, 3, 1, 0)]
    assert [len(row.frames) for row in rows] == [1, 4, 7, 10, 11]
    assert all(row.instruction == "go to the door" and row.frames[0] == rows[0].frames[0] for row in rows)
    shades = [int(np.asarray(Image.open(folder / name)).mean()) for name in rows[-1].frames]
    assert shades == sorted(shades) and shades[-1] > shades[0]
    assert json.loads((tmp_path / "out" / "label.json").read_text())["samples"] == 5


def test_each_text_of_a_topic_is_a_drive(tmp_path, capsys):
    first = drive([FORWARD_75])
    second = drive([LEFT_45], start=first[-1].pose, begin_ns=first[-1].time_ns + PERIOD_NS)
    texts = [(first[0].time_ns - 1, "/go", words("ahead")), (second[0].time_ns - 1, "/go", words("turn"))]
    end = (second[-1].time_ns + 1, "/go", words(""))
    bag = bag_files.write_mcap(tmp_path / "a.mcap", recorded(first + second, *texts, end))
    status, report, _ = label(capsys, bag, "--instruction-topic", "/go", "--out", tmp_path / "out")
    assert status == 0 and report["drives"] == 2 and report["samples"] == 4
    rows, _ = read_annotations(tmp_path / "out")
    assert [(row.instruction, row.answer) for row in rows] == [
        ("ahead", SENTENCES[3]),
        ("ahead", SENTENCES[0]),
        ("turn", SENTENCES[6]),
        ("turn", SENTENCES[0]),
    ]


def test_missions_tell_what_was_reached(tmp_path, capsys):
    from rosbags.typesys import get_types_from_msg

    if "vila_nav/msg/Mission" not in bag_files.TYPES.types:
        bag_files.TYPES.register(get_types_from_msg(MISSION_FIELDS, "vila_nav/msg/Mission"))
    kind = bag_files.TYPES.types["vila_nav/msg/Mission"]

    def mission(time_ns, number, running, outcome=0):
        text = f"task {number}"
        return time_ns, "/navigator/mission", kind(bag_files.header(), number, running, text, "", outcome, 0, "")

    first = drive([FORWARD_75], still_s=0.5)
    second = drive([LEFT_45], start=first[-1].pose, begin_ns=first[-1].time_ns + PERIOD_NS, still_s=0.5)
    told = [
        *(mission(time_ns, 1, True) for time_ns in (first[0].time_ns - 2, first[3].time_ns)),
        mission(first[-1].time_ns + 1, 1, False),
        mission(second[0].time_ns - 2, 2, True),
        mission(second[-1].time_ns + 1, 2, False, outcome=2),
    ]
    bag = bag_files.write_mcap(tmp_path / "a.mcap", recorded(first + second, *told))
    status, report, _ = label(capsys, bag, "--out", tmp_path / "out")
    assert status == 0 and report["dropped"] == {"the mission was not reached": 1}
    assert [row.answer for row in read_annotations(tmp_path / "out")[0]] == [SENTENCES[3], SENTENCES[0]]


def test_the_missions_fields_are_those_of_the_message():
    lines = (ROOT / "msg" / "Mission.msg").read_text().splitlines()
    fields = [" ".join(line.split("#")[0].split()) for line in lines]
    assert [field for field in fields if field] == MISSION_FIELDS.splitlines()


def test_what_is_left_out_is_told(tmp_path, capsys):
    poses = drive(TOLD, still_s=0.6)
    lost = [row for row in recorded(poses) if row[1] == "/odom" or not poses[40].time_ns < row[0] < poses[110].time_ns]
    bag = bag_files.write_mcap(tmp_path / "a.mcap", lost)
    status, report, out = label(capsys, bag, "--instruction", "go", "--out", tmp_path / "out")
    assert status == 0 and report["dropped"]["no image was taken at that time"] >= 1
    assert report["dropped"]["the robot does not stand for a second at the end: no stop"] == 1 and "left out:" in out


@pytest.mark.parametrize(
    ("messages", "options", "told"),
    [
        (lambda: recorded(drive(TOLD)), (), "does not tell what the robot was told"),
        (lambda: recorded(drive(TOLD)), ("--instruction-topic", "/go"), "no std_msgs/msg/String on /go"),
        (lambda: recorded(drive(TOLD)), ("--instruction", "go", "--odometry", "/o"), "no nav_msgs/msg/Odometry on /o"),
        (lambda: recorded(drive(TOLD)), ("--instruction", "go", "--topic", "/c"), "no images on /c"),
        (lambda: recorded(drive(TOLD)), ("--instruction", "a <image>"), "holds '<image>'"),
        (lambda: recorded(drive([])), ("--instruction", "go"), "gives no sample: the robot did not move (1)"),
        (
            lambda: recorded(drive(TOLD))[:0] + [(1, "/c", words("a"))],
            ("--instruction", "go"),
            "no nav_msgs/msg/Odometry",
        ),
        (
            lambda: [*recorded(drive(TOLD)), (5 * 10**9, "/other", odometry(Pose()))],
            ("--instruction", "go"),
            "name one with --odometry",
        ),
        (lambda: [(1, "/odom", odometry(Pose(math.nan)))], ("--instruction", "go"), "is not finite"),
    ],
)
def test_a_bag_that_gives_nothing_is_one_line(messages, options, told, tmp_path, capsys):
    bag = bag_files.write_mcap(tmp_path / "a.mcap", sorted(messages(), key=lambda row: row[0]))
    status, err, _ = label(capsys, bag, *options, "--out", tmp_path / "out")
    assert status == 2 and told in err and not (tmp_path / "out").exists()
    assert vila(["label", "--out", str(tmp_path / "out")]) == 2


def test_the_oracles_drives_are_labelled_too(tmp_path, capsys):
    pytest.importorskip("mujoco")
    from vila_sim.episodes.episode_files import write_episodes
    from vila_sim.episodes.splits import generate_episodes

    write_episodes(tmp_path / "episodes.json", generate_episodes("train", 1, 0))
    status, report, _ = label(capsys, "--episodes", tmp_path / "episodes.json", "--out", tmp_path / "out")
    rows, folder = read_annotations(tmp_path / "out")
    assert status == 0 and report["samples"] == len(rows) and rows[-1].answer == SENTENCES[0]
    assert all((folder / name).is_file() for row in rows for name in row.frames)
    assert all(a.frames == b.frames[: len(a.frames)] for a, b in itertools.pairwise(rows))
