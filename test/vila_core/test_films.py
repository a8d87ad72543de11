"""Films of every container: all frames at their own times; what is cut, damaged or no film is named."""

from __future__ import annotations

import os
import struct
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from film_files import LEVELS, MS, THIRTIETH, write_film, write_silence
from PIL import Image

from vila_core.errors import MediaError, MissingDependencyError
from vila_core.history.video_sampling import frames_at_rate, uniform_frames
from vila_core.media.film_clock import FilmClock
from vila_core.media.film_reader import Film
from vila_core.media.films import read_video

N = 40
EVEN = range(N)
PAUSE = [*range(20), *range(80, 100)]  # 2 s without a frame
DARK = [*range(20), *range(20, 60, 2)]  # 30 a second, then 15
DROPPED = [i for i in range(54) if i % 9 not in (3, 4)]
JITTER = [i * 33 + (0, 9, -8, 4, -5)[i % 5] + 10 for i in EVEN]  # milliseconds
LATE = [i + 150 for i in EVEN]  # begins at 5 s
CENTI = Fraction(1, 100)
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}

WHOLE = {  # name of the file, codec, ticks, and how it is made
    "mp4": ("a.mp4", "libx264", EVEN, {}),
    "mp4, old codec": ("a.mp4", "mpeg4", EVEN, {"coding": {"bf": "2"}}),
    "mp4 in fragments": ("a.mp4", "libx264", EVEN, {"options": FRAGMENTS}),
    "mp4, H.265": ("a.mp4", "libx265", EVEN, {}),
    "mp4, AV1": ("a.mp4", "libsvtav1", range(6), {}),
    "mp4, 10 bits": ("a.mp4", "libx264", EVEN, {"pixels": "yuv420p10le"}),
    "mp4, every colour": ("a.mp4", "libx264", EVEN, {"pixels": "yuv444p"}),
    "mp4, one frame": ("a.mp4", "libx264", [0], {}),
    "mp4, two frames": ("a.mp4", "libx264", [0, 1], {}),
    "mp4, late": ("a.mp4", "libx264", LATE, {}),
    "mp4, pause": ("a.mp4", "libx264", PAUSE, {}),
    "mp4, dark": ("a.mp4", "libx264", DARK, {}),
    "mp4, dropped": ("a.mp4", "libx264", DROPPED, {}),
    "mp4, jitter": ("a.mp4", "libx264", JITTER, {"tick": MS}),
    "mp4, longer sound": ("a.mp4", "libx264", EVEN, {"sound_s": 3.0}),
    "mov, intra": ("a.mov", "prores_ks", EVEN, {"pixels": "yuv422p10le"}),
    "mkv": ("a.mkv", "libx264", EVEN, {}),
    "mkv, late": ("a.mkv", "libx264", LATE, {}),
    "mkv, pause": ("a.mkv", "libx264", PAUSE, {}),
    "mkv, dark": ("a.mkv", "libx264", DARK, {}),
    "mkv, jitter": ("a.mkv", "libx264", JITTER, {"tick": MS}),
    "mkv, longer sound": ("a.mkv", "libx264", EVEN, {"sound_s": 3.0}),
    "mkv, grey of 16 bits": ("a.mkv", "ffv1", EVEN, {"pixels": "gray16le"}),
    "mkv, odd size": ("a.mkv", "ffv1", EVEN, {"pixels": "bgr0", "size": (63, 47)}),
    "webm": ("a.webm", "libvpx", EVEN, {}),
    "webm, VP9": ("a.webm", "libvpx-vp9", EVEN, {}),
    "webm, live": ("a.webm", "libvpx", EVEN, {"form": "webm", "options": {"live": "1"}}),
    "ts": ("a.ts", "libx264", EVEN, {"form": "mpegts"}),
    "ts, H.265": ("a.ts", "libx265", EVEN, {"form": "mpegts"}),
    "ts, MPEG-2": ("a.ts", "mpeg2video", EVEN, {"form": "mpegts"}),
    "ps": ("a.mpg", "mpeg2video", EVEN, {}),
    "avi": ("a.avi", "mjpeg", EVEN, {"pixels": "yuvj420p"}),
    "avi, dropped": ("a.avi", "mjpeg", DROPPED, {"pixels": "yuvj420p"}),
    "avi, pictures that wait": ("a.avi", "libx264", EVEN, {}),
    "flv": ("a.flv", "libx264", EVEN, {}),
    "wmv": ("a.wmv", "wmv2", EVEN, {}),
    "raw H.264": ("a.h264", "libx264", EVEN, {"form": "h264"}),
    "raw H.265": ("a.hevc", "libx265", EVEN, {"form": "hevc"}),
    "raw MJPEG": ("a.mjpeg", "mjpeg", EVEN, {"form": "mjpeg", "pixels": "yuvj420p", "tick": Fraction(1, 25)}),
    "gif": ("a.gif", "gif", [i * 4 for i in EVEN], {"tick": CENTI, "pixels": "rgb8"}),
    "gif, pause": ("a.gif", "gif", [i * 3 for i in PAUSE], {"tick": CENTI, "pixels": "rgb8"}),
    "gif, fast": ("a.gif", "gif", EVEN, {"tick": CENTI, "pixels": "rgb8"}),
    "apng": ("a.apng", "apng", EVEN, {"pixels": "rgb24"}),
    "apng, pause": ("a.png", "apng", PAUSE, {"pixels": "rgb24", "form": "apng"}),
}


def times_of(film):
    return [frame.time_s for frame in film.frames()]


@pytest.mark.parametrize("label", WHOLE)
def test_times_are_the_containers_and_nothing_is_lost(tmp_path, label):
    name, codec, ticks, how = WHOLE[label]
    ticks = list(ticks)
    film = Film(write_film(tmp_path / name, codec, ticks, **how))
    frames = [(frame.time_s, frame.image()) for frame in film.frames()]
    truth = [float((tick - ticks[0]) * how.get("tick", THIRTIETH)) for tick in ticks]
    assert [time_s for time_s, _ in frames] == pytest.approx(truth, abs=1e-3)
    slack = 40 if codec == "gif" else 6  # of a palette; of a codec
    assert [image.mean() for _, image in frames] == pytest.approx([LEVELS * i for i in range(len(ticks))], abs=slack)
    assert film.problems == ()
    width, height = how.get("size", (64, 48))
    assert {image.shape for _, image in frames} == {(height, width, 3)}


def test_an_animated_webp_keeps_its_times_whole_or_cut(tmp_path):
    lengths_ms, file = [40, 100, 30, 500, 40], tmp_path / "a.webp"
    noise = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    first, *others = map(Image.fromarray, noise)
    first.save(file, save_all=True, append_images=others, duration=lengths_ms, lossless=True)
    film = Film(file)
    frames = [(frame.time_s, frame.image()) for frame in film.frames()]
    assert [time_s for time_s, _ in frames] == pytest.approx([0, 0.04, 0.14, 0.17, 0.67]) and film.problems == ()
    assert all(np.array_equal(image, true) for (_, image), true in zip(frames, noise, strict=True))
    file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    assert times_of(film) == pytest.approx([0, 0.04, 0.14])
    assert "it is cut" in film.problems[0]
    first.save(file)
    assert times_of(film) == [0.0] and film.problems == ()


def test_frames_by_index_and_by_rate_are_those_of_the_official_code(tmp_path):
    film = write_film(tmp_path / "a.mkv", "libx264", EVEN)
    seen = read_video(film, lambda count, fps: uniform_frames(count, 8))
    assert seen.indices == (0, 6, 11, 17, 22, 28, 33, 39) and seen.duration_s == pytest.approx(N / 30)
    assert read_video(film, lambda count, fps: frames_at_rate(count, fps, 10.0, 99)).indices == tuple(range(0, N, 3))


def test_of_uneven_frames_the_rate_is_counted(tmp_path):
    film = write_film(tmp_path / "a.mkv", "libx264", PAUSE)
    told = []
    seen = read_video(film, lambda count, fps: told.append(fps) or [count - 1])
    assert told == pytest.approx([39 / 3.3], rel=1e-3) and seen.duration_s == pytest.approx(100 / 30, abs=2e-3)


ONE = 1 << 16
TURNS = {  # a, b, c, d of the display matrix, and what it does to an image
    "as it is": ((ONE, 0, 0, ONE), lambda image: image),
    "upright phone": ((0, ONE, -ONE, 0), lambda image: np.rot90(image, -1)),
    "upside down": ((-ONE, 0, 0, -ONE), lambda image: np.rot90(image, 2)),
    "upright, the other way": ((0, -ONE, ONE, 0), lambda image: np.rot90(image, 1)),
    "selfie": ((-ONE, 0, 0, ONE), lambda image: image[:, ::-1]),
    "upright selfie": ((0, ONE, ONE, 0), lambda image: image.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_film_is_turned_as_its_header_says(tmp_path, turn):
    pixels = np.kron(np.random.default_rng(3).integers(0, 256, (3, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    file = tmp_path / "a.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    (stored,) = [frame.image() for frame in Film(file).frames()]
    (a, b, c, d), expected = TURNS[turn]
    data = bytearray(file.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    file.write_bytes(data)
    (shown,) = [frame.image() for frame in Film(file).frames()]
    assert np.array_equal(shown, expected(stored))


FASTSTART = {"movflags": "faststart"}
CUT = {
    "mp4": ("a.mp4", "libx264", {"options": FASTSTART}),
    "mp4 in fragments": ("a.mp4", "libx264", {"options": FRAGMENTS}),
    "mkv": ("a.mkv", "libx264", {}),
    "webm": ("a.webm", "libvpx", {}),
    "webm, live": ("a.webm", "libvpx", {"form": "webm", "options": {"live": "1"}}),
    "ts": ("a.ts", "libx264", {"form": "mpegts"}),
    "ps": ("a.mpg", "mpeg2video", {}),
    "avi": ("a.avi", "mjpeg", {"pixels": "yuvj420p"}),
    "flv": ("a.flv", "libx264", {}),
    "wmv": ("a.wmv", "wmv2", {}),
    "raw H.264": ("a.h264", "libx264", {"form": "h264"}),
    "raw MJPEG": ("a.mjpeg", "mjpeg", {"form": "mjpeg", "pixels": "yuvj420p"}),
    "gif": ("a.gif", "gif", {"pixels": "rgb8"}),
    "apng": ("a.apng", "apng", {"pixels": "rgb24"}),
}


@pytest.mark.parametrize("label", CUT)
def test_a_cut_film_gives_what_it_holds_and_says_that_it_is_cut(tmp_path, label):
    name, codec, how = CUT[label]
    file = write_film(tmp_path / name, codec, EVEN, is_noisy=True, **how)
    whole = times_of(Film(file))
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    film = Film(file)
    times = times_of(film)
    assert 0 < len(times) < N and times == pytest.approx(whole[: len(times)], abs=1e-3)
    assert str(file) in film.problems[0]
    assert read_video(file, lambda count, fps: [0]).problems == film.problems


def test_a_film_without_its_index_is_named_as_cut(tmp_path):
    file = write_film(tmp_path / "a.mp4", "libx264", EVEN, is_noisy=True)  # the index comes last
    file.write_bytes(file.read_bytes()[: int(0.6 * file.stat().st_size)])
    with pytest.raises(MediaError, match=r"a\.mp4 cannot be opened: it is cut: \d+ bytes of at least \d+"):
        times_of(Film(file))


@pytest.mark.parametrize(("name", "how"), [("a.mkv", {}), ("a.ts", {"form": "mpegts"}), ("a.mp4", {})])
def test_a_film_with_a_hole_in_it_is_told(tmp_path, name, how):
    file = write_film(tmp_path / name, "libx264", EVEN, is_noisy=True, **how)
    data = bytearray(file.read_bytes())
    at, length = len(data) // 2, len(data) // 4
    data[at : at + length] = bytes(length)
    file.write_bytes(data)
    film = Film(file)
    assert len(times_of(film)) > N / 4 and "is not read as a whole" in film.problems[0]


def test_ten_hours_that_are_not_there_are_told(tmp_path):
    file = write_film(tmp_path / "a.mkv", "libx264", EVEN)
    data = bytearray(file.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # Duration, in milliseconds
    data[at : at + 8] = struct.pack(">d", 36e6)
    file.write_bytes(data)
    seen = read_video(file, lambda count, fps: [count - 1])
    assert seen.frame_count == N and seen.duration_s == pytest.approx(N / 30)
    assert "announces 36000.000 s" in seen.problems[0]


def test_films_that_were_joined_go_on_in_time(tmp_path):
    file = write_film(tmp_path / "a.ts", "libx264", EVEN, form="mpegts")
    file.write_bytes(2 * file.read_bytes())
    film = Film(file)
    assert times_of(film) == pytest.approx([i / 30 for i in range(2 * N)], abs=1e-3)
    assert "do not rise" in film.problems[-1]


def test_what_an_edit_list_leaves_out_is_not_missing(tmp_path):
    file = write_film(tmp_path / "a.mp4", "libx264", EVEN)
    data = bytearray(file.read_bytes())
    at = data.index(b"elst") + 12
    _, begin = struct.unpack(">Ii", data[at : at + 8])
    data[at : at + 8] = struct.pack(">Ii", 500, begin + 15 * 512)  # half a second from the 16th frame on
    file.write_bytes(data)
    film = Film(file)
    frames = [(frame.time_s, float(frame.image().mean())) for frame in film.frames()]
    assert [time_s for time_s, _ in frames] == pytest.approx([i / 30 for i in range(15)], abs=1e-3)
    assert frames[0][1] == pytest.approx(LEVELS * 15, abs=6) and film.problems == ()


CLOCKS = {
    "even": ([5.0, 5.1, 5.2], [0, 0.1, 0.2], 0),
    "no times": ([None, None, None], [0, 0.1, 0.2], 0),
    "one is missing": ([0.0, None, 0.2], [0, 0.1, 0.2], 0),
    "twice": ([0.0, 0.1, 0.1, 0.2], [0, 0.1, 0.1 + 1e-6, 0.2], 1),
    "a little back": ([0.0, 0.1, 0.05, 0.2], [0, 0.1, 0.1 + 1e-6, 0.2], 1),
    "starts over": ([50.0, 60.0, 0.0, 1.0], [0, 10.0, 10.1, 11.1], 1),
}


@pytest.mark.parametrize("label", CLOCKS)
def test_times_always_rise(label):
    given, expected, repaired = CLOCKS[label]
    clock = FilmClock(0.1)
    times = [clock.place(time_s) for time_s in given]
    assert times == pytest.approx(expected, abs=1e-9) and clock.repaired == repaired
    assert all(early < late for early, late in zip(times, times[1:], strict=False))


def sound(folder):
    file = folder / "a.mp4"
    with av.open(str(file), "w") as container:
        write_silence(container, container.add_stream("aac", rate=48000, layout="mono"), 0.5)
    return file


def two_sizes(folder):
    small = write_film(folder / "a.h264", "libx264", range(5), form="h264")
    large = write_film(folder / "b.h264", "libx264", range(5), form="h264", size=(96, 64))
    small.write_bytes(small.read_bytes() + large.read_bytes())
    return small


def pipe(folder):
    os.mkfifo(folder / "a.mp4")
    return folder / "a.mp4"


def playlist(folder):
    write_film(folder / "a.ts", "libx264", range(5), form="mpegts")
    return written(folder, b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n", "a.m3u8")


def written(folder, data, name="a.mp4"):
    (folder / name).write_bytes(data)
    return folder / name


def giant_webp(folder):
    Image.new("RGB", (64, 48)).save(folder / "a.webp", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])
    data = bytearray((folder / "a.webp").read_bytes())
    data[24:30] = 2 * (12000 - 1).to_bytes(3, "little")  # width and height of VP8X
    return written(folder, data, "a.webp")


def giant_gif(folder):
    data = bytearray(write_film(folder / "a.gif", "gif", range(3), pixels="rgb8", tick=CENTI).read_bytes())
    data[6:10] = struct.pack("<HH", 60000, 60000)
    return written(folder, data, "a.gif")


REFUSED = {
    "giant webp": (giant_webp, "claims 12000 x 12000 pixels"),
    "giant gif": (giant_gif, "has no frame that can be decoded"),
    "sound alone": (sound, "holds sound but no pictures"),
    "another size": (two_sizes, "64 x 48 then 96 x 64 at frame 5"),
    "no bytes": (lambda folder: written(folder, b""), "is empty: 0 bytes"),
    "text": (lambda folder: written(folder, b"hello world\n" * 99), "is no video"),
    "text by name": (lambda folder: written(folder, b"hello world\n" * 99, "a.txt"), "is no video"),
    "zeros": (lambda folder: written(folder, bytes(4096)), "is no video"),
    "names of other files": (playlist, "is no video"),
    "directory": (lambda folder: folder, "is a directory"),
    "pipe": (pipe, "is a device, pipe or socket"),
    "nothing": (lambda folder: folder / "a.mp4", "does not exist"),
    "no name": (lambda folder: folder / "a\0.mp4", "cannot be read"),
    "long name": (lambda folder: folder / ("a" * 300), "cannot be read"),
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_is_no_film_is_named(tmp_path, label):
    make, words = REFUSED[label]
    file = make(tmp_path)
    with pytest.raises(MediaError, match=words) as caught:
        times_of(Film(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [b"12:30.mp4", b"\xff\xfe.mp4", b"http:a.mp4", b"%03d.mp4", b"-i a.mp4"])
def test_a_name_is_a_name(tmp_path, name):
    file = write_film(tmp_path / "a.mp4", "libx264", range(3)).rename(tmp_path / os.fsdecode(name))
    assert len(times_of(Film(file))) == 3


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    file = write_film(tmp_path / "a.mp4", "libx264", range(3))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[video\]'"):
        times_of(Film(file))


def test_random_changes_are_read_or_named(tmp_path):
    """A hundred of each; the seed is fixed, so that it is the same hundred everywhere."""
    rng = np.random.default_rng(0)
    for name, codec, how in (CUT["mp4"], CUT["mkv"], CUT["avi"], CUT["gif"]):
        whole = write_film(tmp_path / name, codec, range(8), **how).read_bytes()
        for _ in range(100):
            data = bytearray(whole)
            for at in rng.integers(0, len(data), 4):
                data[at] = rng.integers(0, 256)
            film = Film(written(tmp_path, data, name))
            try:
                times = times_of(film)
            except MediaError as err:
                assert str(film.file) in str(err)
            else:
                assert all(early < late for early, late in zip(times, times[1:], strict=False))


@pytest.mark.parametrize("kept", range(50, 100, 3))
def test_a_cut_stream_of_packets_is_told_wherever_it_ends(tmp_path, kept):
    file = write_film(tmp_path / "a.ts", "libx264", EVEN, form="mpegts", is_noisy=True)
    size = file.stat().st_size * kept // 100
    file.write_bytes(file.read_bytes()[: size + (size % 188 == 0)])
    film = Film(file)
    assert len(times_of(film)) <= N and film.problems
