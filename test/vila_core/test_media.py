"""Images and videos from files: read as they are, or refused by name."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from vila_core.errors import MediaError
from vila_core.history.video_sampling import frames_at_rate, uniform_frames
from vila_core.media.film_reader import Film
from vila_core.media.films import read_video
from vila_core.media.pictures import list_images, read_image

FRAMES, FPS = 30, 10.0


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png", pixels


@pytest.fixture
def video(tmp_path):
    """A video whose frame i is grey of brightness 8 * i."""
    file = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (64, 48))
    for index in range(FRAMES):
        writer.write(np.full((48, 64, 3), 8 * index, np.uint8))
    writer.release()
    return file


def first(count):
    return lambda total, fps: list(range(count))


def test_an_image_is_read_as_rgb(picture, tmp_path):
    file, pixels = picture
    assert np.array_equal(read_image(file), pixels)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(pixels[..., :1], 3, axis=2))


def test_frames_of_a_video_by_index_and_by_rate(video):
    seen = read_video(video, lambda count, fps: uniform_frames(count, 4))
    assert seen.indices == (0, 10, 19, 29) and seen.frame_count == FRAMES and seen.duration_s == pytest.approx(3.0)
    assert [image.shape for image in seen.images] == [(48, 64, 3)] * 4
    for image, index in zip(seen.images, seen.indices, strict=True):
        assert abs(float(image.mean()) - 8 * index) < 4
    assert read_video(video, lambda count, fps: frames_at_rate(count, fps, 1.0, 8)).indices == (0, 10, 20)


def test_a_short_video_repeats_its_frames(video):
    seen = read_video(video, lambda count, fps: [0, 0, 3])
    assert seen.images[0] is seen.images[1] and len(seen.images) == 3


def test_a_folder_is_a_video(tmp_path, picture):
    Image.fromarray(255 - picture[1]).save(tmp_path / "b.png")
    (tmp_path / "notes.txt").write_text("not an image")
    seen = read_video(tmp_path, lambda count, fps: [count - 1, 0])
    assert seen.frame_count == 2 and seen.duration_s == 0.0
    assert np.array_equal(seen.images[0], 255 - picture[1]) and np.array_equal(seen.images[1], picture[1])


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0, 20, 0.5, 0.9])
def test_a_cut_image_is_named(tmp_path, picture, form, kept):
    file = tmp_path / "cut.img"
    Image.fromarray(picture[1]).save(file, form)
    whole = file.read_bytes()
    file.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(MediaError, match=r"cut\.img"):
        read_image(file)


def test_what_is_missing_or_no_image_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    for name in ("text.jpg", "missing.jpg"):
        with pytest.raises(MediaError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(MediaError, match="is not a folder"):
        list_images(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="holds no image"):
        read_video(tmp_path / "empty", first(1))


@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_cut_video_is_named(video, kept):
    whole = video.read_bytes()
    video.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        read_video(video, first(1))


def test_a_video_with_a_hole_is_named(video, tmp_path):
    """The index stands at the end and is whole, the frames before it are not."""
    whole = bytearray(video.read_bytes())
    data = whole.index(b"mdat") + 4
    end = whole.index(b"moov") - 4
    whole[data:end] = bytes(end - data)
    video.write_bytes(whole)
    with pytest.raises(MediaError, match=r"a\.mp4"):
        read_video(video, lambda count, fps: uniform_frames(count, 8))


def test_frames_that_are_not_there_are_refused(video):
    with pytest.raises(MediaError, match="30 frames"):
        read_video(video, lambda count, fps: [30])
    with pytest.raises(MediaError, match="30 frames"):
        read_video(video, lambda count, fps: [])
    with pytest.raises(MediaError, match="does not exist"):
        read_video(video.with_name("b.mp4"), first(1))


def test_a_video_is_streamed_with_its_times(video):
    frames = [(frame.time_s, frame.image()) for frame in Film(video).frames()]
    assert [time_s for time_s, _ in frames] == pytest.approx([index / FPS for index in range(FRAMES)])
    assert [image.mean() for _, image in frames] == pytest.approx([8 * index for index in range(FRAMES)], abs=4)
    assert frames[0][1].shape == (48, 64, 3) and frames[0][1].dtype == np.uint8


def test_a_video_that_cannot_be_streamed_is_named(video, tmp_path):
    with pytest.raises(MediaError, match=r"none\.mp4 does not exist"):
        list(Film(tmp_path / "none.mp4").frames())
    video.write_bytes(video.read_bytes()[:200])
    with pytest.raises(MediaError, match=r"a\.mp4"):
        list(Film(video).frames())
