"""`vila replay`: a recorded run decided again, bit for bit; and what else may be replayed."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from conftest import golden_dir
from PIL import Image

pytest.importorskip("rosbags")
import bag_files
from recorded_runs import CAMERA, FRAMES, INSTRUCTION, Run, altered, make_run, odometry, picture

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HISTORY_POLICIES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.history.policy import is_blank
from vila_core.kernels.library import kernels
from vila_core.media.bags import BagImage
from vila_core.testing import make_frame
from vila_core.types import Frame, HoldReason, Odometry, Pose
from vila_tools.cli import main as vila
from vila_tools.replay.definitions import DEFINITIONS
from vila_tools.replay.prompts import NO_FRAME, NOT_ASKED, TWO_FRAMES, rebuilt
from vila_tools.replay.recording import RecordedDecision, Shown
from vila_tools.replay.report import Machine
from vila_tools.replay.source import SAMPLE
from vila_tools.replay.stream import Pace, StreamedNavigator, frames_of_bag

ROOT = Path(__file__).parents[2]


@pytest.fixture
def replay(capsys):
    """replay(bag, ...): exit status, the lines for people, the last line."""

    def run(bag, *more):
        status = vila(["replay", *([] if bag is None else [str(bag)]), *map(str, more)])
        lines = capsys.readouterr().out.splitlines()
        return status, lines[:-1], json.loads(lines[-1])

    return run


@pytest.fixture(scope="module")
def nano():
    backend = load_backend("torch", EMBEDDED_CHECKPOINT)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def run(nano) -> Run:
    return make_run(nano)


class TestARunOfOurs:
    @pytest.mark.parametrize("policy", HISTORY_POLICIES)
    @pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
    def test_every_bit_is_there_again(self, tmp_path, replay, policy, storage):
        backend = load_backend("torch", EMBEDDED_CHECKPOINT)
        made = make_run(backend, 12, policy=policy)
        backend.close()
        status, lines, report = replay(made.write(tmp_path / "bag", storage=storage))
        assert (status, report["verdict"], report["identical"], report["decisions"]) == (0, "identical", 12, 12)
        assert report["same_machine"] is True and report["history_policy"] == policy and report["mode"] == "prompts"
        assert report["first_difference"] is None and report["largest_difference"] == 0
        assert sum(line.startswith("= ") for line in lines) == 12

    @pytest.mark.parametrize("policy", HISTORY_POLICIES)
    def test_also_where_events_were_looked_for_at_the_same_time(self, tmp_path, replay, policy):
        backend = load_backend("torch", EMBEDDED_CHECKPOINT)
        made = make_run(backend, 8, policy=policy, queries=3)
        backend.close()
        assert replay(made.write(tmp_path / "bag"))[2]["verdict"] == "identical"

    def test_a_probability_that_differs_in_its_last_bit_is_found(self, tmp_path, replay, run):
        recorded = np.array(run.decisions[3].probabilities, np.float32)
        recorded[2] = np.nextafter(recorded[2], np.float32(1))
        status, lines, report = replay(altered(run, 4, probabilities=recorded).write(tmp_path / "bag"))
        assert (status, report["verdict"], report["identical"]) == (0, "same choices", 5)
        found = report["first_difference"]
        assert (found["decision"], found["differs_in"]) == (4, "probabilities") and 0 < found[
            "largest_difference"
        ] < 1e-6
        assert report["first_other_choice"] is None
        assert any("First difference: decision 4 at " in line and "in its probabilities" in line for line in lines)

    def test_another_choice_is_found_and_is_a_failure(self, tmp_path, replay, run):
        other = next(sentence for sentence in SENTENCES if sentence != run.decisions[2].reply)
        status, lines, report = replay(altered(run, 3, reply=other).write(tmp_path / "bag"))
        assert (status, report["verdict"], report["same_choice"]) == (1, "differs", 5)
        found = report["first_other_choice"]
        assert (found["decision"], found["recorded"], found["now"]) == (3, other, run.decisions[2].reply)
        assert sum(line.startswith("x ") for line in lines) == 1

    def test_another_prompt_is_told_as_such(self, tmp_path, replay, run):
        status, _, report = replay(altered(run, 2, prompt_sha256="0" * 64).write(tmp_path / "bag"))
        assert (status, report["same_prompt"], report["identical"]) == (0, 5, 5)
        assert report["first_difference"]["differs_in"] == "prompt"

    def test_what_had_been_ruled_out_is_ruled_out_again(self, tmp_path, replay, run):
        said = run.decisions[1].reply
        allowed = np.array([sentence != said for sentence in SENTENCES])
        best = max(
            (p, s)
            for p, s in zip(run.decisions[1].probabilities, SENTENCES, strict=True)
            if s not in (said, SENTENCES[0])
        )
        recorded = altered(run, 2, allowed=allowed, reply=best[1])
        assert replay(recorded.write(tmp_path / "bag"))[2]["verdict"] == "identical"
        is_frame = lambda topic: topic == FRAMES  # noqa: E731
        assert replay(recorded.write(tmp_path / "stream", drop=is_frame))[2]["same_choice"] == 6

    def test_something_else_can_be_asked_of_it(self, tmp_path, replay, run):
        status, _, report = replay(run.write(tmp_path / "bag"), "--instruction", "go to the green plant")
        assert (status, report["same_prompt"], report["asked_again"]) == (0, 0, 6)
        assert report["instruction"] == "go to the green plant" and report["first_difference"]["decision"] == 1

    def test_with_another_history_the_camera_is_seen_again(self, tmp_path, replay, run):
        status, _, report = replay(run.write(tmp_path / "bag"), "--policy", "streaming")
        assert (status, report["mode"], report["history_policy"]) == (0, "stream", "streaming")
        assert report["asked_again"] == 6 and report["identical"] < 6
        assert replay(run.write(tmp_path / "again"), "--policy", "navila")[2]["verdict"] == "identical"

    def test_the_stream_of_a_lossless_camera_gives_the_same_bits(self, tmp_path, replay, run):
        bag = run.write(tmp_path / "bag", drop=lambda topic: topic == FRAMES)
        status, _, report = replay(bag)
        assert (status, report["mode"], report["verdict"], report["same_prompt"]) == (0, "stream", "identical", 6)

    def test_another_precision_is_told_with_how_far_it_agrees(self, tmp_path, replay, run):
        status, lines, report = replay(run.write(tmp_path / "bag"), "--precision", "bfloat16")
        eyes = "relevance w8a8, " if kernels() else ""
        assert (status, report["precision"], report["same_machine"]) == (0, f"{eyes}bfloat16", False)
        assert report["identical"] < 6 and 0 < report["largest_difference"] < 0.1
        assert any(f"precision: '{eyes}float32' then, '{eyes}bfloat16' now" in line for line in lines)

    def test_another_checkpoint_is_told_with_how_far_it_agrees(self, tmp_path, replay, run):
        other = golden_dir("vila") / "checkpoints" / "nvila_tiny"
        status, _, report = replay(run.write(tmp_path / "bag"), "--checkpoint", other)
        assert (status, report["asked_again"], report["same_prompt"]) == (0, 6, 0)
        assert report["checkpoint"] != "vila-nano" and report["first_difference"]["decision"] == 1

    def test_decisions_whose_images_are_gone_are_counted(self, tmp_path, replay, run):
        frames = [timed for timed in run.messages if timed[1] == FRAMES]
        left = Run([timed for timed in run.messages if timed is not frames[1]])
        _, _, report = replay(left.write(tmp_path / "bag"))
        assert report["not_asked_again"][NO_FRAME] >= 1
        assert report["asked_again"] == report["identical"] == 6 - report["not_asked_again"][NO_FRAME] > 0

    def test_two_images_of_one_stamp_are_not_guessed_at(self, tmp_path, replay, run):
        number, (time_ns, topic, image) = next((n, timed) for n, timed in enumerate(run.messages) if timed[1] == FRAMES)
        other = dataclasses.replace(picture(make_frame(1, height=64, width=64)), header=image.header)
        twice = Run([*run.messages[: number + 1], (time_ns - 1, topic, other), *run.messages[number + 1 :]])
        assert replay(twice.write(tmp_path / "bag"))[2]["not_asked_again"][TWO_FRAMES] >= 1

    def test_a_decision_without_a_prompt_is_not_asked_again(self, tmp_path, replay, run):
        empty = {"prompt_sha256": "", "frames": [], "frame_visuals": np.array([], np.uint32)}
        _, _, report = replay(altered(run, 1, **empty).write(tmp_path / "bag"))
        assert report["not_asked_again"] == {NOT_ASKED: 1} and report["identical"] == 5

    def test_a_run_of_another_model_asks_for_it(self, tmp_path, capsys, run):
        told = Run([(t, n, _renamed(m)) for t, n, m in run.messages])
        assert vila(["replay", str(told.write(tmp_path / "bag"))]) == 2
        assert "recorded with 'other'; give its directory with --checkpoint" in capsys.readouterr().err

    def test_a_bag_that_tells_nothing_of_its_machine(self, tmp_path, replay, run):
        _, lines, report = replay(run.write(tmp_path / "bag", drop=lambda topic: topic == "/diagnostics"))
        assert report["same_machine"] is None and report["identical"] == 6
        assert "The bag does not tell what kind of machine it was recorded on." in lines


def _renamed(message):
    """The message, of a navigator with another model if it tells of one."""
    for status in getattr(message, "status", []):
        for pair in status.values:
            if pair.key == "checkpoint":
                status = dataclasses.replace(status)
                values = [
                    dataclasses.replace(one, value="other") if one.key == "checkpoint" else one for one in status.values
                ]
                return dataclasses.replace(message, status=[dataclasses.replace(status, values=values)])
    return message


def test_a_robot_that_was_told_word_for_word_is_told_so_again(tmp_path, replay, nano):
    """Also what the model would be spared otherwise, as it knows no such word."""
    made = make_run(nano, 4, told="dance around a bit")
    assert replay(made.write(tmp_path / "bag"))[2]["verdict"] == "identical"
    stream = made.write(tmp_path / "stream", drop=lambda topic: topic == FRAMES)
    assert replay(stream)[2]["verdict"] == "identical"


class TestBagsOfOthers:
    """Image or CompressedImage, MCAP or SQLite, packed or not, with or without odometry; and folders."""

    @staticmethod
    def bag(path, count=8, *, topic="/cam", raw=True, moves=True, **options):
        messages, pose = [], Pose()
        for number in range(count):
            stamp_ns = 10**9 + number * 250_000_000
            frame = make_frame(stamp_ns, height=48, width=64)
            image = bag_files.padded_image(frame.image) if raw else picture(frame)
            messages.append((stamp_ns, topic, image))
            if moves:
                messages.append((stamp_ns - 1, "/odom", odometry(stamp_ns - 1, pose)))
                pose = pose.advanced(0.125)
        return bag_files.write_folder(path, sorted(messages, key=lambda one: one[0]), **options)

    @pytest.mark.parametrize("raw", [True, False])
    @pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
    def test_with_odometry_it_decides_as_the_robot_moves(self, tmp_path, replay, raw, storage):
        bag = self.bag(tmp_path / "bag", raw=raw, storage=storage)
        status, lines, report = replay(bag, "--instruction", INSTRUCTION)
        assert (status, report["mode"], report["decisions"]) == (0, "stream", 4)  # each 25 cm
        assert [row["at_s"] for row in report["log"]] == [0.0, 0.5, 1.0, 1.5]
        assert "nothing is recorded to compare them with" in lines[-1]

    def test_packed_as_a_whole(self, tmp_path, replay):
        from rosbags.rosbag2 import CompressionMode

        bag = self.bag(tmp_path / "bag", storage="SQLITE3", compression=CompressionMode.FILE)
        assert replay(bag, "--instruction", INSTRUCTION)[2]["decisions"] == 4

    def test_without_odometry_it_decides_each_second_or_as_told(self, tmp_path, replay):
        bag = self.bag(tmp_path / "bag", moves=False)
        assert replay(bag, "--instruction", INSTRUCTION)[2]["decisions"] == 2
        assert replay(bag, "--instruction", INSTRUCTION, "--every", "0.5")[2]["decisions"] == 4

    def test_one_of_several_cameras_is_named(self, tmp_path, replay, capsys):
        frame = make_frame(1, height=48, width=64).image
        messages = [(10**9 + n, topic, bag_files.padded_image(frame)) for n, topic in enumerate(("/left", "/right"))]
        bag = bag_files.write_folder(tmp_path / "bag", messages)
        assert vila(["replay", str(bag), "--instruction", INSTRUCTION]) == 2
        assert "holds images on /left, /right; name one with --topic" in capsys.readouterr().err
        assert replay(bag, "--instruction", INSTRUCTION, "--topic", "/right")[2]["decisions"] == 1
        assert vila(["replay", str(bag), "--instruction", INSTRUCTION, "--topic", "/up"]) == 2
        assert "no images on /up; it holds them on /left, /right" in capsys.readouterr().err

    def test_a_folder_of_pictures(self, tmp_path, replay):
        for number in range(3):
            Image.fromarray(make_frame(number, height=48, width=64).image).save(tmp_path / f"{number}.png")
        status, _, report = replay(tmp_path, "--instruction", INSTRUCTION, "--json", tmp_path / "report.json")
        assert (status, report["decisions"], report["history_policy"]) == (0, 3, "navila")
        assert json.loads((tmp_path / "report.json").read_text())["log"] == report["log"]

    def test_nothing_tells_what_to_do(self, tmp_path, capsys):
        assert vila(["replay", str(self.bag(tmp_path / "bag"))]) == 2
        assert "does not tell what the robot was told; give --instruction" in capsys.readouterr().err


class TestBadBags:
    def refused(self, capsys, *arguments) -> str:
        assert vila(["replay", *map(str, arguments)]) == 2
        told = capsys.readouterr().err.splitlines()
        assert [line.startswith("vila: ") for line in told].count(True) == 1 and "Traceback" not in "".join(told)
        return told[-1]

    def test_without_images(self, tmp_path, capsys, run):
        bag = run.write(tmp_path / "bag", drop=lambda topic: topic in (FRAMES, CAMERA))
        assert "holds no images, so there is nothing to replay" in self.refused(capsys, bag)

    @pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
    def test_cut(self, tmp_path, capsys, replay, run, share):
        whole = bag_files.write_mcap(
            tmp_path / "whole.mcap", sorted(run.messages, key=lambda one: one[0]), chunk_size=2000
        )
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        told = self.refused(capsys, cut, "--json", tmp_path / "report.json")
        assert "is cut" in told and told.endswith("; --cut takes what is in front of that")
        assert not (tmp_path / "report.json").exists()
        _, lines, report = replay(cut, "--cut")
        assert report["cut"] and report["identical"] == report["asked_again"] < 6 and "The bag is cut" in lines[-1]

    def test_of_several_robots(self, tmp_path, capsys, run):
        other = [(time_ns + 1, f"/robot2{topic}", one) for time_ns, topic, one in run.messages]
        told = self.refused(capsys, Run(run.messages + other).write(tmp_path / "bag"))
        assert "holds decisions of several robots: /navigator/action, /robot2/navigator/action" in told

    def test_no_such_checkpoint_topic_or_time(self, tmp_path, capsys, run):
        bag = run.write(tmp_path / "bag")
        assert "gone" in self.refused(capsys, bag, "--checkpoint", tmp_path / "gone")
        assert "no images on /up" in self.refused(capsys, bag, "--topic", "/up")
        assert "no odometry on /up; it holds it on /odom" in self.refused(capsys, bag, "--odometry", "/up")
        assert "--every -1" in self.refused(capsys, bag, "--every", "-1")
        assert "instruction" in self.refused(capsys, bag, "--instruction", "<image>")


class TestTheSample:
    """A short run that comes with the package; its bits are those of the processor that recorded it."""

    def test_it_is_small_and_decides_as_it_did_on_any_processor(self, replay):
        assert SAMPLE.stat().st_size <= 2_000_000
        status, _, report = replay(None)
        assert status == 0 and report["mode"] == "prompts" and report["not_asked_again"] == {NOT_ASKED: 1}
        assert report["asked_again"] == report["same_choice"] == report["same_prompt"] == 14
        assert report["largest_difference"] < 1e-3
        assert not report["same_machine"] or report["verdict"] == "identical"

    def test_it_is_in_the_package(self):
        assert 'vila_tools = ["replay/sample/*"]' in (ROOT / "pyproject.toml").read_text()


class TestParts:
    def test_definitions_are_those_of_the_messages(self):
        for name, text in DEFINITIONS.items():
            file = ROOT / "msg" / f"{name.rpartition('/')[2]}.msg"
            rows = (line.partition("#")[0].split() for line in file.read_text().splitlines())
            fields = [" ".join(row) for row in rows if len(row) == 2 and "=" not in row[1]]
            assert fields == text.splitlines()

    def test_a_stream_comes_by_stamps_each_once_and_lossless_first(self):
        def image(stamp, time, topic, level):
            return BagImage(topic, time, np.full((1, 1, 3), level, np.uint8), stamp)

        seconds = 10**9
        images = [
            image(1 * seconds, 1 * seconds, "/c", 1),
            image(2 * seconds, 2 * seconds, "/c", 2),
            image(3 * seconds, 3 * seconds, "/c", 3),
            image(2 * seconds, 4 * seconds, "/navigator/frames", 20),
            image(4 * seconds, 4 * seconds, "/c", 4),
            image(1 * seconds, 30 * seconds, "/navigator/frames", 10),
            image(2 * seconds, 31 * seconds, "/c", 2),  # too late
        ]
        levels = [int(frame.image[0, 0, 0]) for frame in frames_of_bag(images, reorder_s=10)]
        assert levels == [10, 20, 3, 4]
        assert [frame.stamp_ns for frame in frames_of_bag([image(0, 7, "/c", 1)])] == [7]

    def test_images_are_kept_as_long_as_a_decision_needs_them(self):
        def decision(number, *stamps):
            shown = tuple(Shown((stamp,), None) for stamp in stamps)
            return RecordedDecision(
                number, 1, 10 * number, stamps[-1], "go", "", HoldReason.NONE, "", (), (), "a", shown
            )

        read = []

        def images():
            for stamp in (1, 2, 3, 4):
                read.append(stamp)
                yield BagImage("/navigator/frames", 10 * stamp + 1, np.zeros((2, 2, 3), np.uint8), stamp)

        made = rebuilt([decision(1, 0, 1), decision(2, 1, 2), decision(4, 3, 4)], images())
        first, second = next(made), next(made)
        assert read == [1, 2], "a decision comes as soon as its images are there"
        assert [one.frame.stamp_ns for one in first.visuals] == [0, 1] and is_blank(first.visuals[0].frame)
        assert second.visuals[0].frame is first.visuals[1].frame
        frame = weakref.ref(first.visuals[1].frame.image)
        del first, second
        assert [one.frame.stamp_ns for one in next(made).visuals] == [3, 4]
        gc.collect()
        assert frame() is None, "nobody needs the first image any more"

    def test_a_stream_that_stands_still_is_decided_once(self, nano):
        still = [Odometry(n * 10**8, Pose()) for n in range(50)]
        frames = [Frame(make_frame(n, height=48, width=64).image, n * 10**8) for n in range(1, 50)]
        navigator = StreamedNavigator(nano, _history(), still)
        assert len(list(navigator.along(frames, INSTRUCTION, Pace()))) == 1

    def test_machines(self):
        here = Machine("a processor", "avx2", 1, "float32")
        assert here.is_same(here) and here.is_same(Machine()) is None
        assert here.is_same(dataclasses.replace(here, threads=2)) is False
        facts = {"computed_on": "a processor", "kernels": "avx2, cached", "threads": "1", "precision": "float32: why"}
        assert Machine.told(facts) == here


def _history():
    from vila_core.config import HistoryConfig

    return HistoryConfig()
