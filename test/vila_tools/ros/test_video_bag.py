"""A video as a bag, and the bag as a camera."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("rosbags")

from film_files import write_film
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import Image
from vila_nav.msg import DecisionStats, NavAction

from vila_core.errors import ConfigError, MediaError, MissingDependencyError
from vila_core.media.bags import bag_images
from vila_core.types import Frame
from vila_ros.common.conversions import frame_from_image, image_from_frame
from vila_ros.common.qos import reliable_qos
from vila_ros.recorder.definitions import message_definition
from vila_tools.bags import video as video_bag
from vila_tools.bags.player import BagPlayer, PlayOptions
from vila_tools.bags.video import BagOptions, convert
from vila_tools.benchmark.ros_video import VideoOptions, playable
from vila_tools.session.recording import Recorded, write_bag

FRAMES, FPS = 20, 10.0  # of the video of conftest.py


@pytest.mark.parametrize(("is_raw", "topic"), [(False, "/camera/image_raw/compressed"), (True, "/camera/image_raw")])
def test_a_bag_holds_the_videos_frames_and_times(video, tmp_path, is_raw: bool, topic: str) -> None:
    out = tmp_path / "a.mcap"
    assert convert(BagOptions(video, out, is_raw=is_raw)) == {"topic": topic, "images": FRAMES, "duration_s": 1.9}
    seen = list(bag_images(out))
    assert {one.topic for one in seen} == {topic}
    assert [(one.time_ns - seen[0].time_ns) / 1e9 for one in seen] == pytest.approx([i / FPS for i in range(FRAMES)])
    assert [one.image.mean() for one in seen] == pytest.approx([12 * i for i in range(FRAMES)], abs=3)


def test_the_program_tells_what_it_wrote(video, tmp_path, capsys) -> None:
    out = tmp_path / "bags" / "a.mcap"
    assert video_bag.main(["--video", str(video), "--out", str(out), "--every", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == FRAMES / 5 == len(list(bag_images(out)))


def test_a_bag_keeps_the_times_of_a_film_that_pauses(tmp_path) -> None:
    ticks = [*range(10), *range(70, 80)]
    convert(BagOptions(write_film(tmp_path / "a.mkv", "libx264", ticks), tmp_path / "a.mcap"))
    times_ns = [one.time_ns for one in bag_images(tmp_path / "a.mcap")]
    assert [(time_ns - times_ns[0]) / 1e9 for time_ns in times_ns] == pytest.approx([t / 30 for t in ticks], abs=1e-3)


def test_stamps_rise_where_a_films_clock_starts_over(tmp_path) -> None:
    file = write_film(tmp_path / "a.ts", "libx264", range(50), form="mpegts")
    file.write_bytes(2 * file.read_bytes())
    convert(BagOptions(file, tmp_path / "a.mcap"))
    times_ns = [one.time_ns for one in bag_images(tmp_path / "a.mcap")]
    assert len(times_ns) == 100 and all(early < late for early, late in zip(times_ns, times_ns[1:], strict=False))


def test_of_a_cut_film_the_bag_holds_what_there_is_and_the_program_tells(tmp_path, capsys) -> None:
    file = write_film(tmp_path / "a.mkv", "libx264", range(40), is_noisy=True)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert video_bag.main(["--video", str(file), "--out", str(tmp_path / "a.mcap")]) == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert 0 < report["images"] < 40 and report["images"] == len(list(bag_images(tmp_path / "a.mcap")))
    (problem,) = report["problems"]
    assert problem in told.err and "it is cut" in problem and f"it has {report['images']} frames" in problem


def test_the_benchmark_plays_a_film_as_a_bag_of_it(video, bag) -> None:
    with playable(video) as made:
        assert len(list(bag_images(made))) == FRAMES
    assert not made.exists()
    with playable(bag) as same:
        assert same == bag


def test_a_written_bag_brings_the_definitions_of_its_messages(tmp_path) -> None:
    messages = [Odometry(child_frame_id="base_link"), NavAction(distance_m=0.75, reply="go"), DecisionStats(id=7)]
    write_bag(tmp_path / "a.mcap", [Recorded(f"/{at}", at, message) for at, message in enumerate(messages)])
    with AnyReader([tmp_path / "a.mcap"]) as reader:  # knows no type but those in the file
        read = [reader.deserialize(data, connection.msgtype) for connection, _, data in reader.messages()]
    assert (read[0].child_frame_id, read[1].distance_m, read[1].reply, read[2].id) == ("base_link", 0.75, "go", 7)
    assert len(read[0].pose.covariance) == 36 and read[1].KIND_TURN == NavAction.KIND_TURN


def test_a_definition_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingDependencyError, match=r"acme_msgs/msg/Hand is not installed"):
        message_definition("acme_msgs/msg/Hand")


def test_a_video_that_cannot_be_read_leaves_no_bag(video, tmp_path) -> None:
    video.write_bytes(video.read_bytes()[:400])
    with pytest.raises(MediaError, match=r"a\.avi"):
        convert(BagOptions(video, tmp_path / "a.mcap"))
    assert list(tmp_path.glob("*.mcap*")) == []


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (BagOptions, {"video": Path("v"), "out": Path("o"), "every": 0}, "every = 0"),
        (BagOptions, {"video": Path("v"), "out": Path("o"), "topic": "image"}, "topic = 'image'"),
        (PlayOptions, {"bag": Path("b"), "rate": 0.0}, "rate = 0.0"),
        (PlayOptions, {"bag": Path("b"), "duration_s": -1.0}, "duration = -1.0"),
        (VideoOptions, {"bag": Path("b"), "minutes": 0.0}, "minutes = 0.0"),
        (VideoOptions, {"bag": Path("b"), "queries": ()}, "--watch"),
    ],
)
def test_options_that_make_no_sense(kind, values, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        kind(**values)


def test_a_bag_is_played_at_its_pace_again_and_again_with_new_stamps(bag, spinner, wait_until) -> None:
    heard: list[Image] = []
    listener = Node("listener")
    listener.create_subscription(Image, "image_raw", heard.append, reliable_qos(200))
    spinner.add(listener)
    player = BagPlayer(PlayOptions(bag, rate=8.0, loop=True))
    player.destroy_publisher(player._publisher)
    player._publisher = player.create_publisher(Image, "image_raw", reliable_qos(200))
    wait_until(player.listeners, what="the listener to be known")
    spinner.add(player)
    wait_until(lambda: len(heard) > 2.5 * FRAMES)
    stamps = [message.header.stamp.sec * 10**9 + message.header.stamp.nanosec for message in heard]
    assert stamps == sorted(set(stamps)) and player.loops >= 2 and not player.is_over
    assert len({round(float(frame_from_image(message).image.mean()) / 12) for message in heard}) >= FRAMES - 2


def test_a_bag_ends_once_or_after_a_time(bag, ros) -> None:
    for options, count in ((PlayOptions(bag), FRAMES), (PlayOptions(bag, loop=True, duration_s=2.95), 30)):
        player = BagPlayer(options)
        due = [player._next, *player._images]
        assert len(due) == count and [round(at_s * FPS) for at_s, _ in due] == list(range(count))
        player.destroy_node()


def test_bags_that_cannot_be_played(ros, bag, tmp_path) -> None:
    message = image_from_frame(Frame(np.zeros((4, 4, 3), np.uint8), 5))
    two = tmp_path / "two.mcap"
    write_bag(two, [Recorded("/left", 5, message), Recorded("/right", 6, message)])
    for file, source, words in (
        (two, "", "left and /right"),
        (two, "/rear", "no images on /rear"),
        (tmp_path / "none.mcap", "", "none.mcap"),
    ):
        with pytest.raises(MediaError, match=words):
            list(BagPlayer(PlayOptions(file, source=source))._images)
    assert len([0, *BagPlayer(PlayOptions(two, source="/right"))._images]) == 1
