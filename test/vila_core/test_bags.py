"""Bags of every storage and compression, foreign topics, damaged and cut files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bag_files import padded_image, png_image, write_folder, write_mcap

from vila_core.errors import MediaError
from vila_core.media.bags import bag_images

rosbag2 = pytest.importorskip("rosbags.rosbag2")

FRAMES = [np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8) for number in range(12)]
IMAGES = [(10 * number, "/raw", padded_image(pixels)) for number, pixels in enumerate(FRAMES)]


def check_all(path) -> None:
    seen = list(bag_images(path))
    assert [one.time_ns for one in seen] == [10 * number for number in range(len(FRAMES))]
    assert all(one.topic == "/raw" for one in seen)
    assert all(np.array_equal(one.image, wanted) for one, wanted in zip(seen, FRAMES, strict=True))


@pytest.mark.parametrize("compression", [None, "FILE", "MESSAGE", "STORAGE"])
@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_directories_of_both_storages(tmp_path, storage, compression) -> None:
    if storage == "SQLITE3" and compression == "STORAGE":
        pytest.skip("SQLite has no compression of its own")
    mode = compression and rosbag2.CompressionMode[compression]
    folder = write_folder(tmp_path / "bag", IMAGES, storage=storage, compression=mode)
    check_all(folder)
    (file,) = (file for file in folder.iterdir() if file.suffix != ".yaml")
    if compression in (None, "STORAGE"):
        check_all(file)


def test_a_bag_in_several_files(tmp_path) -> None:
    for name, part in (("a", IMAGES[:5]), ("b", IMAGES[5:])):
        write_folder(tmp_path / name, part, storage="SQLITE3")
    (tmp_path / "b" / "b.db3").rename(tmp_path / "a" / "b.db3")
    metadata = tmp_path / "a" / "metadata.yaml"
    text = (
        metadata.read_text()
        .replace("- a.db3", "- a.db3\n  - b.db3", 1)
        .replace("message_count: 5", "message_count: 12")
    )
    metadata.write_text(text)
    check_all(tmp_path / "a")


@pytest.mark.parametrize("is_cut", [False, True])
def test_topics_of_any_other_kind_are_passed_over(tmp_path, is_cut) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, foreign=True)
    if not is_cut:
        check_all(file)
        folder = write_folder(tmp_path / "bag", IMAGES)
        write_mcap(folder / "bag.mcap", IMAGES, foreign=True)
        return check_all(folder)
    file.write_bytes(file.read_bytes()[:-20])
    seen = []
    with pytest.raises(MediaError, match=r"a\.mcap is cut or damaged behind 12 images"):
        seen.extend(one.time_ns for one in bag_images(file))
    return None


def test_a_cut_file_gives_what_is_in_front_of_the_cut(tmp_path) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, chunk_size=300)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    seen = []
    with pytest.raises(MediaError, match=r"a\.mcap is cut or damaged behind \d images"):
        for one in bag_images(file):
            seen.append(one.image)
    assert 0 < len(seen) < len(FRAMES)
    assert all(np.array_equal(one, wanted) for one, wanted in zip(seen, FRAMES, strict=False))


def test_compressed_images_are_decoded_by_their_own_bytes(tmp_path) -> None:
    (seen,) = bag_images(write_mcap(tmp_path / "a.mcap", [(5, "/camera/compressed", png_image(FRAMES[0]))]))
    assert seen.topic == "/camera/compressed" and np.array_equal(seen.image, FRAMES[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "16UC1"}, "encoding '16UC1' is not supported"),
        ({"step": 4}, "step 4 is shorter than a row"),
        ({"height": 7}, "its header says 7 rows of 32"),
        ({"width": 0}, "is empty"),
    ],
)
def test_what_does_not_fit_names_file_topic_and_time(tmp_path, change, words) -> None:
    odd = dataclasses.replace(IMAGES[0][2], **change)
    with pytest.raises(MediaError, match=rf"a\.mcap: /raw at 7 ns: .*{words}"):
        list(bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/raw", odd)])))


def test_pictures_that_are_none(tmp_path) -> None:
    for data, words in ((b"", "holds no data"), (b"no picture", "of 10 bytes cannot be decoded")):
        odd = dataclasses.replace(png_image(FRAMES[0]), data=np.frombuffer(data, np.uint8))
        with pytest.raises(MediaError, match=words):
            list(bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/c", odd)])))


def test_bytes_that_changed_are_told_in_one_error(tmp_path) -> None:
    whole = write_mcap(tmp_path / "a.mcap", IMAGES, chunk_size=500).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "b.mcap").write_bytes(changed)
        try:
            count = sum(1 for _ in bag_images(tmp_path / "b.mcap"))
        except MediaError as err:
            assert "b.mcap" in str(err) and "\n" not in str(err)
        else:
            assert count <= len(FRAMES)


def test_what_is_no_bag(tmp_path) -> None:
    (tmp_path / "a.mcap").write_bytes(b"no bag")
    (tmp_path / "b.db3").write_bytes(b"no bag")
    (tmp_path / "folder").mkdir()
    for name in ("a.mcap", "b.db3", "folder", "nothing.mcap"):
        with pytest.raises(MediaError, match=f"{name} cannot be read as a bag"):
            list(bag_images(tmp_path / name))
