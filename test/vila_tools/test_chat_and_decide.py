"""`vila chat` and `vila decide` from the command line."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import golden_dir
from film_files import write_film
from PIL import Image
from safetensors.torch import load_file

from vila_core.actions.grammar import SENTENCES
from vila_tools.ask.chat import stream_text
from vila_tools.cli import main

GOLDEN = golden_dir("vila")
CHECKPOINTS = GOLDEN / "checkpoints"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """The reference pictures as files, the eight frames as a folder and as a video of 16 frames, 4 a second."""
    folder = tmp_path_factory.mktemp("media")
    inputs = load_file(GOLDEN / "e2e" / "inputs.safetensors")
    frames = inputs.pop("frames8").numpy()
    for name, picture in inputs.items():
        Image.fromarray(picture.numpy()).save(folder / f"{name}.png")
    (folder / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "frames" / f"{number:03}.png")
    writer = cv2.VideoWriter(str(folder / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 4.0, frames.shape[2:0:-1])
    for number in range(16):
        writer.write(np.ascontiguousarray(frames[number // 2][..., ::-1]))
    writer.release()
    return folder


def golden_case(checkpoint, variant, case):
    return json.loads((GOLDEN / "e2e" / f"{checkpoint}.{variant}.json").read_text())["cases"][case]


@pytest.fixture
def chat(capsys, media):
    """Run a chat of at most 16 tokens in the folder of media; return what streamed and the report."""

    def run(checkpoint, *arguments, status=0):
        given = [str(media / text) if (media / text).exists() else text for text in arguments]
        assert main(["chat", str(CHECKPOINTS / checkpoint), *given, "--max-new-tokens", "16"]) == status
        captured = capsys.readouterr()
        if status:
            return captured.err
        streamed, brace, report = captured.out.rpartition("\n{")
        return streamed, json.loads(brace.strip() + report)

    return run


@pytest.mark.parametrize("checkpoint", ["nvila_tiny", "nvila_lite_tiny", "nvila_video_tiny"])
def test_interleaved_pictures_answer_as_the_official_code(chat, checkpoint):
    wanted = golden_case(checkpoint, "head", "three_interleaved")
    streamed, report = chat(
        checkpoint,
        *("--text", "first picture ", "--image", "landscape_160x100.png"),
        *("--text", " second picture ", "--image", "portrait_90x150.png"),
        *("--text", " third picture ", "--image", "wide_240x64.png"),
        " compare them.",
    )
    assert report["reply"] == wanted["response"] and report["prompt_tokens"] == wanted["spliced_length"]
    assert report["reply_tokens"] == 16
    assert streamed.strip() == report["reply"]


def test_marks_place_the_pictures(chat):
    wanted = golden_case("nvila_tiny", "head", "three_interleaved")
    pictures = [f"--image={name}" for name in ("landscape_160x100.png", "portrait_90x150.png", "wide_240x64.png")]
    text = "first picture <image> second picture <image> third picture <image> compare them."
    arguments = [part for picture in pictures for part in picture.split("=")]
    assert chat("nvila_tiny", *arguments, text)[1]["reply"] == wanted["response"]


def test_one_picture_is_tiled(chat):
    wanted = golden_case("nvila_lite_tiny", "head", "one_image")
    _, report = chat("nvila_lite_tiny", "--image", "landscape_160x100.png", "Describe the image in detail.")
    assert report["reply"] == wanted["response"] and report["visual_tokens"] == 7 * 5


def test_vila15_as_it_was_trained_and_as_today(chat):
    arguments = ["--image", "landscape_160x100.png", "Describe the image in detail."]
    _, native = chat("vila15_tiny", *arguments)
    assert native["reply"] == golden_case("vila15_tiny", "native", "one_image")["response"]
    _, head = chat("vila15_tiny", *arguments, "--variant", "head")
    assert head["prompt_tokens"] == golden_case("vila15_tiny", "head", "one_image")["spliced_length"]
    assert head["reply"] != native["reply"]


def test_a_folder_as_a_video(chat):
    wanted = golden_case("nvila_video_tiny", "videotoken", "video8")
    _, report = chat("nvila_video_tiny", "--video", "frames", "What is happening in this video?")
    assert report["reply"] == wanted["response"] and report["prompt_tokens"] == wanted["spliced_length"]


@pytest.mark.parametrize(("options", "frames"), [((), 8), (("--frames", "3"), 3), (("--fps", "1"), 4)])
def test_how_many_frames_of_a_video(chat, options, frames):
    _, report = chat("nvila_tiny", "--video", "v.mp4", *options, "What is happening?")
    assert report["visual_tokens"] == frames * 5 if frames > 1 else report["visual_tokens"]


def test_a_cut_video_is_asked_about_and_told(media, capsys):
    cut = write_film(media / "cut.mkv", "libx264", range(30), is_noisy=True)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    arguments = ["chat", str(CHECKPOINTS / "nvila_tiny"), "--video", str(cut), "What?", "--max-new-tokens", "2"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    (problem,) = json.loads(told.out.splitlines()[-1])["problems"]
    assert problem in told.err and "cut.mkv is not read as a whole: it is cut" in problem


def test_times_are_told_in_seconds(chat):
    _, report = chat("nvila_video_tiny", "--video", "v.mp4", "When?")
    assert "<t" not in report["reply_in_seconds"]


@pytest.mark.parametrize("name", ["cut.jpg", "missing.jpg"])
def test_a_bad_picture_is_named(chat, media, name):
    whole = media / "whole.jpg"
    Image.open(media / "wide_240x64.png").save(whole)
    (media / "cut.jpg").write_bytes(whole.read_bytes()[:500])
    assert name in chat("nvila_tiny", "--image", str(media / name), "What?", status=2)


def test_what_cannot_be_shown_is_told(chat):
    told = chat("nvila_video_tiny", "--video", "frames", "--frames", "6", "What?", status=2)
    assert "6 frames" in told and "4" in told
    assert "2 <image> for 1 --image" in chat(
        "nvila_tiny", "--image", "wide_240x64.png", "<image> and <image>", status=2
    )


class Spelled:
    """A tokenizer whose tokens are single bytes."""

    def decode(self, ids):
        return bytes(ids).decode("utf-8", errors="replace")


@pytest.mark.parametrize("text", ["plain", "caf\u00e9 \u8d70\u5230 \U0001f916!", ""])
def test_characters_stream_whole(text):
    pieces = list(stream_text(Spelled(), text.encode()))
    assert "".join(pieces) == text and all(piece.isprintable() for piece in pieces)


def test_what_stays_unfinished_is_told_at_the_end():
    assert "".join(stream_text(Spelled(), "ab\u8d70".encode()[:-1])) == "ab\ufffd"


@pytest.mark.parametrize("checkpoint", ["navila_tiny", "nvila_tiny", "nvila_lite_tiny", "vila15_tiny"])
def test_decide_prints_ten_actions(capsys, media, checkpoint):
    arguments = ["decide", str(CHECKPOINTS / checkpoint), "--images", str(media / "frames"), "go to the kitchen"]
    assert main(arguments) == 0
    *rows, last = capsys.readouterr().out.strip("\n").splitlines()
    report = json.loads(last)
    assert [row.split("  ")[-1].strip() for row in rows] == list(SENTENCES)
    assert sum(report["probabilities"].values()) == pytest.approx(1.0) and len(report["probabilities"]) == 10
    (chosen,) = [row for row in rows if row.startswith(">")]
    assert report["action"] in chosen and report["frames_used"] == 8


def test_decide_refuses_what_could_break_the_prompt(capsys, media):
    arguments = ["decide", str(CHECKPOINTS / "navila_tiny"), "--images", str(media / "frames"), "go <image> there"]
    assert main(arguments) == 2
    assert "<image>" in capsys.readouterr().err
