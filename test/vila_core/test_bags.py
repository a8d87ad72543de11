"""Bags of every storage and compression, foreign topics, damaged and cut files."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from bag_files import TYPES, padded_image, png_image, serialized, write_folder, write_mcap

from vila_core.errors import MediaError
from vila_core.media.bags import bag_images

rosbag1 = pytest.importorskip("rosbags.rosbag1")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
typesys = pytest.importorskip("rosbags.typesys")

ROS1_TYPES = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)

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


def folder_of_files(folder, storage: str, parts) -> list:
    """A rosbag2 directory in several files, as rosbag2 splits and names them; returns the files."""
    files = []
    for number, part in enumerate(parts):
        source = write_folder(folder.with_name(f"part{number}"), part, storage=storage)
        (file,) = (file for file in source.iterdir() if file.suffix != ".yaml")
        folder.mkdir(exist_ok=True)
        files.append(file.rename(folder / f"{folder.name}_{number}{file.suffix}"))
    listed = "".join(f"\n  - {file.name}" for file in files)
    text = (source / "metadata.yaml").read_text()
    (folder / "metadata.yaml").write_text(text.replace(f"\n  - {file.name}", listed, 1))
    return files


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_a_bag_in_several_files_with_and_without_their_list(tmp_path, storage, is_listed) -> None:
    files = folder_of_files(tmp_path / "bag", storage, [[one] for one in IMAGES])
    assert files[-1].stem == "bag_11"  # behind bag_9
    if not is_listed:  # the recording was killed
        (tmp_path / "bag" / "metadata.yaml").unlink()
    check_all(tmp_path / "bag")


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_the_last_of_several_files_is_cut(tmp_path, storage) -> None:
    *_, last = folder_of_files(tmp_path / "bag", storage, [IMAGES[:5], IMAGES[5:]])
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    seen = []
    with pytest.raises(MediaError, match=rf"{last.name} (is cut|cannot be read)"):
        seen.extend(one.time_ns for one in bag_images(tmp_path / "bag"))
    assert seen[:5] == [0, 10, 20, 30, 40] and len(seen) < len(FRAMES)


@pytest.mark.parametrize("compression", ["FILE", "MESSAGE", "STORAGE"])
def test_a_compressed_bag_that_is_cut_is_named(tmp_path, compression) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES, compression=rosbag2.CompressionMode[compression])
    (file,) = (file for file in folder.iterdir() if file.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"/bag.* (is cut|cannot be read)"):
        list(bag_images(folder))


def test_a_bag_of_ros_1(tmp_path) -> None:
    with rosbag1.Writer(tmp_path / "a.bag") as writer:
        image, foreign = "sensor_msgs/msg/Image", "std_msgs/msg/String"
        images = writer.add_connection("/raw", image, typestore=ROS1_TYPES)
        words = writer.add_connection("/words", foreign, typestore=ROS1_TYPES)
        writer.write(words, 0, bytes(ROS1_TYPES.serialize_ros1(ROS1_TYPES.types[foreign]("a"), foreign)))
        for time_ns, _, message in IMAGES:
            stamp = ROS1_TYPES.types["builtin_interfaces/msg/Time"](0, 0)
            header = ROS1_TYPES.types["std_msgs/msg/Header"](0, stamp, "camera")
            fields = {"step": message.step, "encoding": "rgb8", "is_bigendian": 0, "data": message.data}
            old = ROS1_TYPES.types[image](header, message.height, message.width, **fields)
            writer.write(images, time_ns, bytes(ROS1_TYPES.serialize_ros1(old, image)))
    check_all(tmp_path / "a.bag")


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_messages_of_a_type_that_nobody_knows_are_passed_over(tmp_path, storage) -> None:
    folder = tmp_path / "bag"
    with rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin[storage]) as writer:
        odd = {"msgdef": "acme_msgs/Gripper gripper\n", "rihs01": "RIHS01_0"}
        acme = writer.add_connection("/gripper", "acme_msgs/msg/Hand", **odd)
        images = writer.add_connection("/raw", "sensor_msgs/msg/Image", typestore=TYPES)
        for time_ns, _, message in IMAGES:
            writer.write(acme, time_ns, b"\0\1\0\0?")
            writer.write(images, time_ns, serialized(message))
    check_all(folder)


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


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no data"),
        (b"no picture", "of 10 bytes cannot be decoded"),
        (encoded(".png", FRAMES[0])[:-20], "cannot be decoded"),
        (encoded(".jpg", FRAMES[0])[:-20], "is cut short"),
        (encoded(".jpg", FRAMES[0])[:-1], "is cut short"),
        (encoded(".png", FRAMES[0][:, :, 0].astype(np.uint16) * 257), "holds uint16 pixels"),  # a depth image
    ],
)
def test_pictures_that_are_none_or_not_whole(tmp_path, data, words) -> None:
    odd = dataclasses.replace(png_image(FRAMES[0]), data=np.frombuffer(data, np.uint8))
    with pytest.raises(MediaError, match=rf"a\.mcap: /c at 7 ns: .*{words}"):
        list(bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/c", odd)])))


def test_a_camera_may_fill_up_behind_the_end_of_a_jpeg(tmp_path) -> None:
    data = encoded(".jpg", np.full((8, 8, 3), 90, np.uint8)) + bytes(100)
    padded = dataclasses.replace(png_image(FRAMES[0]), data=np.frombuffer(data, np.uint8))
    (seen,) = bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/c", padded)]))
    assert abs(seen.image.astype(int) - 90).max() <= 2


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
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    for name in ("a.mcap", "b.db3", "folder", "listed", "nothing.mcap"):
        with pytest.raises(MediaError, match=f"{name} cannot be read as a bag") as told:
            list(bag_images(tmp_path / name))
        assert "\n" not in str(told.value)
