"""The recorder: what it keeps is what was published, on a bounded disk, whatever ends it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("mcap")

from conftest import HANG_S
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image
from std_msgs.msg import String
from vila_nav.msg import NavAction

from vila_core.errors import ConfigError, OutputError
from vila_core.media.bags import bag_images
from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.recorder import run_folder
from vila_ros.recorder.bag_file import Channel
from vila_ros.recorder.bag_writer import BagWriter, Heard
from vila_ros.recorder.node import RecorderConfig, RecorderNode
from vila_ros.recorder.pictures import jpeg_from_image, png_from_image
from vila_ros.recorder.run_folder import DiskLimits, RunFolder

TEXT = Channel("/text", "std_msgs/msg/String")
STATE = Channel("/state", "std_msgs/msg/String", (latched_qos(),))
SMALL = DiskLimits(most_bytes=60_000, file_bytes=10_000, file_s=1e9, free_bytes=0)


def text(words: str) -> bytes:
    return serialize_message(String(data=words))


def messages(*files: Path) -> Iterator[tuple[str, str]]:
    """Topic and words of all texts in the files."""
    with AnyReader([*files]) as bag:
        texts = [connection for connection in bag.connections if connection.msgtype == TEXT.kind]
        for connection, _, data in bag.messages(texts):
            yield connection.topic, bag.deserialize(data, connection.msgtype).data


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)


class TestFiles:
    def test_each_file_can_be_read_by_itself_and_begins_with_what_is_latched(self, tmp_path: Path) -> None:
        run = RunFolder(tmp_path, SMALL)
        run.add(STATE, 1, text("ready"), is_latched=True)
        for number in range(30):
            run.add(TEXT, 10 + number, text(f"{number:04d}" + os.urandom(1000).hex()))
            run.flush()
        run.close()
        files = sorted(run.run.iterdir())
        assert [file.name for file in files] == [f"{number:04d}.mcap" for number in range(len(files))]
        assert len(files) > 2 and run.path == files[-1]
        kept = [list(messages(file)) for file in files]
        assert all(found[0] == ("/state", "ready") for found in kept)
        assert [words[:4] for found in kept for topic, words in found if topic == "/text"] == [
            f"{number:04d}" for number in range(30)
        ]

    def test_the_oldest_files_of_all_runs_make_place_and_others_are_let_alone(self, tmp_path: Path) -> None:
        old = tmp_path / "2020-01-01_00-00-00"
        old.mkdir()
        (old / "0000.mcap").write_bytes(bytes(30_000))
        (tmp_path / "2020-01-01_00-00-00.txt").write_text("mine")
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "0000.mcap").write_bytes(bytes(90_000))
        run = RunFolder(tmp_path, SMALL)
        for number in range(300):
            run.add(TEXT, number, text(os.urandom(500).hex()))
            run.flush()
        run.close()
        assert not old.exists() and (tmp_path / "notes" / "0000.mcap").stat().st_size == 90_000
        files = sorted(run.run.iterdir())
        assert sum(file.stat().st_size for file in files) <= SMALL.most_bytes
        assert files[0].name != "0000.mcap" and run.removed_files > 1
        assert list(messages(files[-1]))

    def test_a_full_disk_ends_it_with_words(self, tmp_path: Path, monkeypatch) -> None:
        run = RunFolder(tmp_path, SMALL)
        (tmp_path / "2020-01-01_00-00-00").mkdir()
        (tmp_path / "2020-01-01_00-00-00" / "0000.mcap").write_bytes(b"old")
        monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=-1))
        with pytest.raises(OutputError, match="MB are free"):
            for number in range(300):
                run.add(TEXT, number, text(os.urandom(1000).hex()))
                run.flush()
        assert not (tmp_path / "2020-01-01_00-00-00").exists()

    def test_runs_of_one_second_do_not_meet(self, tmp_path: Path) -> None:
        runs = {RunFolder(tmp_path, SMALL).run for _ in range(3)}
        assert len(runs) == 3 and all(run.parent == tmp_path for run in runs)


class TestWriter:
    def test_what_a_slow_disk_cannot_take_is_lost_and_counted_and_nobody_waits(self, tmp_path: Path) -> None:
        held = []

        def open_run() -> RunFolder:
            held.append(time.sleep(0.3))
            return RunFolder(tmp_path, SMALL)

        writer = BagWriter(open_run, most_bytes=1000, flush_s=0.05)
        for number in range(100):
            writer.put(Heard(TEXT, number, text("a" * 92)))
        writer.close()
        assert writer.written + writer.lost == 100 and 9 <= writer.written <= 11
        assert writer.run is not None and len(list(messages(*writer.run.run.iterdir()))) == writer.written

    def test_a_picture_that_is_none_is_left_out_with_its_reason(self, tmp_path: Path) -> None:
        writer = BagWriter(lambda: RunFolder(tmp_path, SMALL), most_bytes=10**7, flush_s=0.05)
        bad = serialize_message(Image(height=2, width=2, step=6, encoding="rgb8"))
        channel = Channel("/frames/compressed", "sensor_msgs/msg/CompressedImage")
        writer.put(Heard(channel, 1, bad, pack=png_from_image))
        writer.put(Heard(TEXT, 2, text("after it")))
        writer.close()
        assert (writer.written, writer.lost, writer.fault) == (1, 1, "") and "/frames/compressed: " in writer.refusal

    def test_where_nothing_can_be_written_it_says_so_and_takes_nothing_more(self, tmp_path: Path, wait_until) -> None:
        def open_run() -> RunFolder:
            raise OutputError("no disk")

        writer = BagWriter(open_run, most_bytes=1000, flush_s=0.05)
        writer.put(Heard(TEXT, 1, text("a")))
        wait_until(lambda: writer.fault)
        writer.put(Heard(TEXT, 2, text("b")))
        writer.close()
        assert (writer.fault, writer.written, writer.lost) == ("no disk", 0, 1)


@pytest.mark.parametrize("pack", [png_from_image, lambda data: jpeg_from_image(data, 95)])
def test_pictures_are_packed_with_their_colours_and_stamps(tmp_path: Path, pack) -> None:
    smooth = np.zeros((48, 64, 3), np.uint8)
    smooth[:, :32, 0], smooth[:, 32:, 2] = 200, 100
    data = pack(serialize_message(image_from_frame(Frame(smooth, 5_000_000_007), "camera")))
    run = RunFolder(tmp_path, SMALL)
    run.add(Channel("/frames/compressed", "sensor_msgs/msg/CompressedImage"), 1, data)
    run.close()
    (image,) = bag_images(run.path)
    assert np.abs(image.image.astype(int) - smooth).max() <= (0 if pack is png_from_image else 40)


class Robot(Node):
    """Publishes what the recorder keeps; each kind with a quality of service of its own."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.action = self.create_publisher(NavAction, "navigator/action", reliable_qos())
        self.status = self.create_publisher(String, "more", latched_qos())
        self.odom = self.create_publisher(OdometryMsg, "odom", sensor_qos(depth=5))
        self.frames = self.create_publisher(Image, "navigator/frames", reliable_qos())
        self.camera = self.create_publisher(Image, "image_raw", sensor_qos())

    def is_heard(self) -> bool:
        publishers = (self.action, self.status, self.odom, self.frames, self.camera)
        return all(publisher.get_subscription_count() for publisher in publishers)


def test_what_was_published_is_kept_as_it_was(spinner, wait_until, tmp_path: Path) -> None:
    values = {"folder": str(tmp_path), "more_topics": "more nobody/publishes/this", "video_rate_hz": 100.0}
    recorder = RecorderNode([Parameter(name, value=value) for name, value in values.items()])
    robot = Robot()
    robot.status.publish(String(data="latched before"))
    spinner.add(recorder)
    spinner.add(robot)
    wait_until(robot.is_heard, "the recorder to hear")
    stamp_ns = 7_000_000_123
    robot.action.publish(NavAction(id=5, probability=0.25, detail="why"))
    robot.odom.publish(OdometryMsg())
    robot.frames.publish(image_from_frame(Frame(picture(), stamp_ns), "camera"))
    robot.camera.publish(image_from_frame(Frame(picture(1), stamp_ns), "camera"))
    topics = Counter({"/navigator/action": 1, "/more": 1, "/odom": 1})
    topics |= {"/navigator/frames/compressed": 1, "/image_raw/compressed": 1}
    wait_until(lambda: recorder.writer.written >= sum(topics.values()), "all to be written")
    spinner.remove(recorder)
    (run,) = tmp_path.iterdir()
    with AnyReader([*run.iterdir()]) as bag:
        found = Counter(connection.topic for connection, _, _ in bag.messages())
        assert {topic: found[topic] for topic in topics} == topics, found
        told = {c.topic: bag.deserialize(data, c.msgtype) for c, _, data in bag.messages()}
        offered = {c.topic: c.ext.offered_qos_profiles[0] for c in bag.connections}
    assert (told["/navigator/action"].id, told["/navigator/action"].detail) == (5, "why")
    assert told["/more"].data == "latched before"
    assert offered["/more"].durability.name == "TRANSIENT_LOCAL" and offered["/odom"].reliability.name == "BEST_EFFORT"
    (frame,) = (image for file in run.iterdir() for image in bag_images(file, ["/navigator/frames/compressed"]))
    assert np.array_equal(frame.image, picture())
    stamp = told["/navigator/frames/compressed"].header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == stamp_ns


def until_the_cut(file: Path) -> list[str]:
    """The words in a file that nobody has finished."""
    words = []
    with file.open("rb") as opened, contextlib.suppress(McapError, EOFError):
        for _, channel, message in NonSeekingReader(opened).iter_messages(log_time_order=False):
            if channel.topic == "/words":
                words.append(deserialize_message(message.data, String).data)
    return words


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_whatever_ends_the_process_what_was_flushed_can_be_read(
    ros, ros_environment, wait_until, tmp_path: Path, ending: signal.Signals
) -> None:
    arguments = ["-p", f"folder:={tmp_path}", "-p", "more_topics:=words", "-p", "flush_s:=0.1"]
    command = [sys.executable, "-m", "vila_ros.recorder.node", "--ros-args", *arguments]
    process = subprocess.Popen(command, env=ros_environment, stderr=subprocess.PIPE, text=True)
    node = Node("speaker")
    said = [str(number) for number in range(50)]
    try:
        words = node.create_publisher(String, "words", reliable_qos(100))
        wait_until(words.get_subscription_count, "the recorder")
        for word in said:
            words.publish(String(data=word))
        wait_until(lambda: [until_the_cut(file) for file in tmp_path.glob("*/*.mcap")] == [said], "a flush")
        process.send_signal(ending)
        _, errors = process.communicate(timeout=HANG_S)
    finally:
        process.kill()
        node.destroy_node()
    assert process.returncode == (0 if ending == signal.SIGINT else -signal.SIGKILL), errors
    assert "Traceback" not in errors
    (file,) = tmp_path.glob("*/*.mcap")
    if ending == signal.SIGINT:
        assert [told for topic, told in messages(file) if topic == "/words"] == said


@pytest.mark.slow
def test_a_kill_loses_no_more_than_the_last_second(ros, ros_environment, wait_until, lateness, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vila_ros.recorder.node", "--ros-args"]
    command += ["-p", f"folder:={tmp_path}", "-p", "more_topics:=words"]
    process = subprocess.Popen(command, env=ros_environment, stderr=subprocess.DEVNULL)
    node, said = Node("speaker"), list[str]()
    try:
        words = node.create_publisher(String, "words", reliable_qos(100))
        wait_until(words.get_subscription_count, "the recorder")
        begun_s = time.monotonic()

        def speak() -> bool:
            said.append(str(time.monotonic()))
            words.publish(String(data=said[-1]))
            return time.monotonic() > begun_s + 3.0

        wait_until(speak)
    finally:
        process.kill()
        killed_s = time.monotonic()
        process.wait()
        node.destroy_node()
    (file,) = tmp_path.glob("*/*.mcap")
    kept = until_the_cut(file)
    assert kept == said[: len(kept)] and killed_s - float(kept[-1]) < 1.0 + lateness.since(begun_s)


def test_a_video_of_fewer_images_a_second_and_none_where_none_is_asked_for() -> None:
    from vila_ros.recorder.node import _wanted

    assert [one.period_s for one in _wanted(RecorderConfig()) if "image_raw" in one.topics] == [pytest.approx(0.18)]
    topics = {topic for one in _wanted(RecorderConfig(video_rate_hz=0.0, frames=False)) for topic in one.topics}
    assert "image_raw" not in topics and "navigator/frames" not in topics and "navigator/stats" in topics


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_total_mb": 100.0, "max_file_mb": 60.0}, "max_total_mb = 100"),
        ({"video_quality": 0}, "video_quality"),
        ({"folder": "/dev/null/runs"}, "no folder that can be written"),
    ],
)
def test_impossible_parameters_are_refused(ros, values, words) -> None:
    with pytest.raises(ConfigError, match=words):
        RecorderNode([Parameter(name, value=value) for name, value in values.items()])


def test_robots_in_namespaces_keep_their_runs_apart(ros, tmp_path: Path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    monkeypatch.setattr(RecorderNode, "get_logger", lambda _: SimpleNamespace(info=said.append))
    for name in ("/robot_0", "/a/robot_1", ""):
        RecorderNode(arguments=["--ros-args", "-r", f"__ns:={name}"] if name else ()).destroy_node()
    ours = tmp_path / "vila_nav"
    assert [Path(line.split()[-1]) for line in said if "is kept in" in line] == [
        ours / "robot_0",
        ours / "a" / "robot_1",
        ours,
    ]


def test_a_message_whose_definition_is_missing_is_told_and_the_rest_is_kept(ros, tmp_path: Path, monkeypatch) -> None:
    recorder = RecorderNode([Parameter("folder", value=str(tmp_path))])
    said = []
    monkeypatch.setattr(recorder, "get_logger", lambda: SimpleNamespace(warning=said.append, info=said.append))
    from vila_ros.recorder.node import Wanted

    for kind in ("no_such_msgs/msg/Thing", "../../msg/Evil", "os/system"):
        recorder._hear("odom", Wanted(("odom",)), [SimpleNamespace(topic_type=kind, qos_profile=QoSProfile(depth=1))])
        assert "/odom is not recorded" in said[-1] and kind.split("/")[0] in said[-1]
    recorder.destroy_node()
