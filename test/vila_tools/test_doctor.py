"""The doctor finds mistakes that are seeded into a simulated run, and says nothing of a healthy one; bags are read."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

pytest.importorskip("mujoco")

from vila_core.actions.grammar import ACTIONS
from vila_core.doctor.checks import CHECKS, Case, examine
from vila_core.doctor.findings import Level
from vila_core.doctor.gather import Gatherer
from vila_core.doctor.observations import MachineFacts, Observations
from vila_core.testing import ScriptedBackend
from vila_core.types import Choice
from vila_tools.cli import main
from vila_tools.doctor.facts import machine_facts
from vila_tools.doctor.mistakes import MISTAKES
from vila_tools.doctor.simulated import healthy_run

_RENDERED = ("camera height", "camera pitch", "camera heading", "field of view")
BY_NAME = {check.name: check for check in CHECKS}


def answers():
    """What a model might say: unlike from picture to picture, the same for a mirror image."""
    for place in range(1000):
        row = [0.05] * len(ACTIONS)
        row[1] = 0.55 - 0.01 * (place % 7)
        row[2] += 0.01 * (place % 7)
        yield Choice(1, tuple(row))


@pytest.fixture(scope="module")
def run():
    with healthy_run(0, ScriptedBackend(*answers())) as made:
        yield made


@pytest.fixture(scope="module")
def case(run):
    return Case(run.observed)


def test_a_healthy_run_is_green(case):
    told = {name: finding for name, finding in examine(case).items() if finding.level is not Level.GREEN}
    assert set(told) <= {"colour order"} and not any(finding.is_alarm for finding in told.values()), told


def test_every_check_has_a_mistake():
    assert {mistake.check for mistake in MISTAKES} == set(BY_NAME)


def cells():
    """Each check's first mistake, and its others with the whole runs where pictures are rendered for each."""
    before = {"camera heading"}  # a run of its own
    for mistake in MISTAKES:
        is_long = mistake.check in _RENDERED and mistake.check in before
        marks = [pytest.mark.long] if is_long else [pytest.mark.slow] if mistake.check in _RENDERED else []
        before.add(mistake.check)
        yield pytest.param(mistake, marks=marks, id=f"{mistake.check}: {mistake.about}")


@pytest.mark.parametrize("mistake", list(cells()))
def test_a_mistake_is_found_and_told_with_a_remedy(mistake, run, case):
    if mistake.check == "camera heading":  # seen in a blurred cut of a wide picture, so not in every flat
        with healthy_run(1, ScriptedBackend(*answers())) as other:
            finding = examine_one(mistake.check, Case(mistake.seed(other)))
            assert finding.is_alarm and WORDS[mistake.about] in finding.text
        return
    if mistake.check == "colour order":  # which not every flat has enough of
        run = dataclasses.replace(run, observed=wooden(run.observed))
    finding = examine_one(mistake.check, Case(mistake.seed(run), case))
    assert finding.is_alarm, finding
    assert finding.remedy and finding.text
    assert WORDS.get(mistake.about, "") in finding.text


WORDS = {  # that a mistake must be told by
    "mirrored": "the picture is mirrored",
    "upside down": "upside down",
    "turned to the left by 90 degrees": "turned to the left by 90 degrees",
    "turned to the right by 90 degrees": "turned to the right by 90 degrees",
    "looks 20 degrees to the left": "right of the middle",
    "turns are reversed": "to the left",
    "half of the distance": "driven 0.",
    "degrees a second": "turning of its velocity is 57",
    "stamped 0.35 s late": "0.3",
    "stamps are the time since boot": "time since boot",
    "the camera offers best effort": "/camera offers best_effort, /viewer asks for reliable",
    "two of odometry": "/base, /ekf",
    "engines of another TensorRT": "10.0.1",
    "5 s a decision": "5.00 s",
    "prefers left": "to the left",
}


def wooden(observed):
    """The run in a room with a wooden floor."""
    frames = [dataclasses.replace(frame, image=frame.image.copy()) for frame in observed.frames]
    for frame in frames:
        frame.image[:-80] = 128
        frame.image[-80:-40] = (170, 140, 110)
        frame.image[-40:] = (170, 110, 60)
    return dataclasses.replace(observed, frames=tuple(frames))


def test_a_wooden_floor_is_no_swapped_one(run):
    assert examine_one("colour order", Case(wooden(run.observed))).level is Level.GREEN


def examine_one(name, case):
    return BY_NAME[name].judge(case)


def test_nothing_observed_is_nothing_known():
    told = examine(Case(Observations("nothing", is_live=False)))
    assert {finding.level for finding in told.values()} == {Level.UNKNOWN}
    assert all(finding.text.startswith("not checked: ") for finding in told.values())


def test_a_picture_of_few_corners_says_nothing_of_motion(run):
    flat = tuple(dataclasses.replace(frame, image=frame.image * 0 + 128) for frame in run.observed.frames)
    case = Case(dataclasses.replace(run.observed, frames=flat))
    assert case.pairs == () and math.isnan(case.motion.turn_ratio)
    assert examine_one("orientation", case).level is Level.UNKNOWN


def test_pitch_height_and_heading_are_those_of_the_simulated_camera(run, case):
    assert -math.degrees(math.atan(case.motion.horizon_y)) == pytest.approx(run.camera.pitch_deg, abs=2.0)
    assert 1 / case.motion.floor_rate == pytest.approx(run.camera.height_m, rel=0.25)
    assert case.motion.ahead_x == pytest.approx(0.0, abs=0.05)
    assert case.motion.turn_ratio == pytest.approx(1.0, abs=0.05)


def test_this_machine_tells_of_itself(tmp_path):
    facts = machine_facts(tmp_path)
    assert isinstance(facts, MachineFacts) and facts.torch and facts.free_bytes


def test_a_machine_that_tells_nothing(tmp_path):
    facts = machine_facts(tmp_path, root=tmp_path)
    assert facts.cpu_governor == "" and not facts.has_nvidia and facts.strain.heat == ()
    assert "no shared memory" in facts.shared_memory_flaws[0]


@pytest.fixture
def bag(run, tmp_path):
    """A bag of the first ten seconds, as rosbag2 has it."""
    pytest.importorskip("rosbags")
    from bag_files import TYPES, write_mcap

    def kind(name):
        return TYPES.types[name]

    def header(stamp_ns, frame):
        stamp = kind("builtin_interfaces/msg/Time")(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return kind("std_msgs/msg/Header")(stamp=stamp, frame_id=frame)

    def image(frame):
        height, width, _ = frame.image.shape
        data = frame.image.ravel()
        made = kind("sensor_msgs/msg/Image")
        return made(header(frame.stamp_ns, "eye"), height, width, "rgb8", is_bigendian=0, step=3 * width, data=data)

    messages = [(frame.arrival_ns, "/image_raw", image(frame)) for frame in run.observed.frames[:100]]
    messages += [(heard.arrival_ns, "/odom", odometry_message(kind, header, heard)) for heard in run.observed.odometry]
    return write_mcap(tmp_path / "a.mcap", sorted(messages, key=lambda one: one[0]))


def odometry_message(kind, header, heard):
    told = heard.odometry
    vector, point = kind("geometry_msgs/msg/Vector3"), kind("geometry_msgs/msg/Point")
    turn = kind("geometry_msgs/msg/Quaternion")(
        0.0, 0.0, math.sin(told.pose.yaw_rad / 2), math.cos(told.pose.yaw_rad / 2)
    )
    pose = kind("geometry_msgs/msg/Pose")(point(told.pose.x_m, told.pose.y_m, 0.0), turn)
    twist = kind("geometry_msgs/msg/Twist")(vector(told.linear_mps, 0.0, 0.0), vector(0.0, 0.0, told.angular_rps))
    none = np.zeros(36)
    return kind("nav_msgs/msg/Odometry")(
        header(told.stamp_ns, "odom"),
        "base_link",
        kind("geometry_msgs/msg/PoseWithCovariance")(pose, none),
        kind("geometry_msgs/msg/TwistWithCovariance")(twist, none),
    )


def told(capsys):
    out = capsys.readouterr().out.splitlines()
    return out, json.loads(out[-1])


def test_a_bag_is_judged(bag, capsys):
    assert main(["doctor", "--bag", str(bag)]) == 0
    lines, report = told(capsys)
    found = {name: finding["level"] for name, finding in report["findings"].items()}
    green = (
        "image rate",
        "picture",
        "orientation",
        "odometry rate",
        "odometry velocity",
        "camera clock",
        "camera delay",
    )
    assert [found[name] for name in green] == ["green"] * len(green), report
    assert found["disk"] == found["dds profile"] == found["qos"] == "unknown"
    assert report["red"] == 0 and any("image rate" in line for line in lines)


def test_a_bag_without_such_a_topic_is_one_line(bag, capsys):
    assert main(["doctor", "--bag", str(bag), "--image", "/rear"]) == 2
    assert "holds no images on /rear; it holds them on /image_raw" in capsys.readouterr().err


def test_a_bag_without_images_is_one_line(run, tmp_path, capsys):
    pytest.importorskip("rosbags")
    from bag_files import TYPES, write_mcap

    text = TYPES.types["std_msgs/msg/String"]("hello")
    file = write_mcap(tmp_path / "b.mcap", [(1, "/words", text)])
    assert main(["doctor", "--bag", str(file)]) == 2
    assert capsys.readouterr().err.strip().endswith("b.mcap holds no images")


def test_a_bag_that_is_cut_is_one_line(bag, capsys):
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    assert main(["doctor", "--bag", str(bag)]) == 2
    assert "is cut" in capsys.readouterr().err


def test_options_that_make_no_sense_are_refused(tmp_path, capsys):
    assert main(["doctor", "--bag", str(tmp_path), "--drive"]) == 2
    assert main(["doctor", "--seconds", "0"]) == 2
    assert "--drive needs a robot" in capsys.readouterr().err


@pytest.mark.parametrize("floor", ["base_link", "base_footprint"])
def test_tf_tells_where_the_camera_is(floor):
    """As the simulator publishes it: the body of the camera looks down, its optical frame is turned in that."""
    from types import SimpleNamespace as Made

    def transform(parent, child, z, x_y_z_w):
        turn = Made(**dict(zip("xyzw", x_y_z_w, strict=True)))
        moved = Made(translation=Made(x=0.0, y=0.0, z=z), rotation=turn)
        return Made(header=Made(frame_id=parent), child_frame_id=child, transform=moved)

    half = math.radians(12.0) / 2
    chain = [
        transform(floor, "camera_link", 0.9, (0.0, math.sin(half), 0.0, math.cos(half))),
        transform("/camera_link", "/eye", 0.0, (-0.5, 0.5, -0.5, 0.5)),
    ]
    gatherer = Gatherer()
    gatherer.take("tf2_msgs/msg/TFMessage", "/tf_static", Made(transforms=chain), 1)
    pixels = np.zeros((48, 64, 3), np.uint8)
    stamp = Made(sec=1, nanosec=0)
    image = Made(
        header=Made(stamp=stamp, frame_id="eye"), height=48, width=64, encoding="rgb8", is_bigendian=0, step=192
    )
    image.data = pixels.tobytes()
    gatherer.take("sensor_msgs/msg/Image", "/image_raw", image, 1)
    mounting = gatherer.observations("test", is_live=True).mounting
    assert mounting.height_m == pytest.approx(0.9)
    assert math.degrees(mounting.pitch_rad) == pytest.approx(12.0, abs=0.01)
    assert mounting.yaw_rad == pytest.approx(0.0, abs=1e-3)


def test_odometry_that_is_not_finite_is_passed_over():
    from types import SimpleNamespace as Made

    gatherer, zero = Gatherer(), Made(x=0.0, y=0.0, z=0.0)
    pose = Made(position=Made(x=math.nan, y=0.0, z=0.0), orientation=Made(x=0.0, y=0.0, z=0.0, w=1.0))
    stamp = Made(sec=1, nanosec=0)
    message = Made(
        header=Made(stamp=stamp, frame_id="odom"),
        child_frame_id="base",
        pose=Made(pose=pose),
        twist=Made(twist=Made(linear=zero, angular=zero)),
    )
    gatherer.take("nav_msgs/msg/Odometry", "odom", message, 1)
    assert gatherer.is_silent


def test_a_bag_whose_writer_had_another_clock_is_not_blamed_for_it(run):
    """`ros2 bag record` beside a simulation writes wall time."""

    def simulated(observed, *, camera_ns, odometry_ns):
        frames = [dataclasses.replace(one, stamp_ns=one.stamp_ns - camera_ns) for one in observed.frames]
        heard = [
            dataclasses.replace(
                one, odometry=dataclasses.replace(one.odometry, stamp_ns=one.odometry.stamp_ns - odometry_ns)
            )
            for one in observed.odometry
        ]
        return dataclasses.replace(observed, is_live=False, frames=tuple(frames), odometry=tuple(heard))

    far_ns = run.observed.frames[0].stamp_ns - 10**9
    same = Case(simulated(run.observed, camera_ns=far_ns, odometry_ns=far_ns))
    assert examine_one("camera clock", same).level is Level.UNKNOWN
    assert examine_one("odometry clock", same).level is Level.UNKNOWN
    other = Case(simulated(run.observed, camera_ns=far_ns, odometry_ns=0))
    assert examine_one("camera clock", other).level is Level.RED
    assert examine_one("odometry clock", other).level is Level.GREEN


@pytest.mark.parametrize(("hfov_deg", "level"), [(80.0, Level.GREEN), (69.0, Level.AMBER), (110.0, Level.AMBER)])
def test_another_lens_is_told_with_what_to_set(run, hfov_deg: float, level: Level):
    optics = run.observed.optics
    other = dataclasses.replace(optics, focal_px=optics.width_px / 2 / math.tan(math.radians(hfov_deg) / 2))
    finding = examine_one("field of view", Case(dataclasses.replace(run.observed, optics=other)))
    assert finding.level is level and (level is Level.GREEN or f"image_hfov_deg to {hfov_deg:.0f}" in finding.remedy)
