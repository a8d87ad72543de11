"""Bags of every storage and compression, foreign topics, damaged and cut files."""

from __future__ import annotations

import dataclasses
import os
import random
import sqlite3
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from bag_files import (
    BAG_KINDS,
    TYPES,
    header,
    mutate_bag,
    padded_image,
    png_image,
    serialized,
    small_images,
    write_folder,
    write_mcap,
    write_ros1,
)

from vila_core.errors import MediaError
from vila_core.media.bag_storage.common import MCAP_MAGIC
from vila_core.media.bags import bag_images
from vila_core.media.encodings import ENCODINGS
from vila_core.media.messages import decode_image

rosbag2 = pytest.importorskip("rosbags.rosbag2")
zstandard = pytest.importorskip("zstandard")
lz4 = pytest.importorskip("lz4.frame")
CompressionType = pytest.importorskip("mcap.writer").CompressionType
IndexType = pytest.importorskip("mcap.writer").IndexType

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
    with pytest.raises(MediaError, match=rf"{last.name} is cut behind message \d+ of /raw at \d+ ns"):
        seen.extend(one.time_ns for one in bag_images(tmp_path / "bag"))
    assert seen[:5] == [0, 10, 20, 30, 40] and len(seen) < len(FRAMES)


@pytest.mark.parametrize("compression", ["FILE", "MESSAGE", "STORAGE"])
def test_a_compressed_bag_that_is_cut_is_named(tmp_path, compression) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES, compression=rosbag2.CompressionMode[compression])
    (file,) = (file for file in folder.iterdir() if file.suffix != ".yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(MediaError, match=rf"{file.name} is cut "):
        list(bag_images(folder))


@pytest.mark.parametrize("compression", ["none", "bz2", "lz4"])
def test_a_bag_of_ros_1(tmp_path, compression) -> None:
    check_all(write_ros1(tmp_path / "a.bag", IMAGES, compression))


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
    with pytest.raises(MediaError, match=r"a\.mcap is cut behind message 12 of /raw at 110 ns \(12 images"):
        seen.extend(one.time_ns for one in bag_images(file))
    return None


def test_a_cut_file_gives_what_is_in_front_of_the_cut(tmp_path) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, chunk_size=300)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    seen = []
    with pytest.raises(MediaError, match=r"a\.mcap is cut behind message \d of /raw at \d+ ns"):
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
        ({"encoding": "16UC1"}, "16UC1 is a depth image"),
        ({"step": 4}, "step 4 is shorter than a row"),
        ({"height": 7}, "its header says 7 rows of 32"),
        ({"width": 0}, "is empty"),
        ({"height": 0, "width": 0, "data": np.zeros(0, np.uint8)}, "0 x 0 pixels is empty"),
        ({"step": 0}, "step 0 is shorter"),
        ({"data": np.zeros(0, np.uint8)}, "holds 0 bytes"),
        ({"height": 2**31, "step": 2**32 - 1}, "its header says 2147483648 rows"),
        ({"encoding": "32FC3"}, "encoding '32FC3' is not supported"),
        ({"encoding": "bgra16"}, "step 32 is shorter than a row of 8 bgra16 pixels"),
        ({"encoding": "x" * 5000}, "encoding 'x{40}' is not"),
    ],
)
def test_what_does_not_fit_names_file_topic_and_time(tmp_path, change, words) -> None:
    odd = dataclasses.replace(IMAGES[0][2], **change)
    with pytest.raises(MediaError, match=rf"a\.mcap: message 1 of /raw at 7 ns: .*{words}"):
        list(bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/raw", odd)])))


def size_of_png(width: int, height: int) -> bytes:
    """The chunks of a PNG that claims a size and holds nothing."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b""))
    return b"".join(
        struct.pack(">I", len(data)) + n + data + struct.pack(">I", zlib.crc32(n + data)) for n, data in chunks
    )


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
        (encoded(".png", FRAMES[0][:, :, 0].astype(np.uint16) * 257), "is a depth image: grey"),
        (bytes(12) + encoded(".png", FRAMES[0]), "is a depth image"),  # compressedDepth
        (b"\0\0\0\1\x67" + bytes(60), "is a packet of video"),
        (b"\x89PNG\r\n\x1a\n" + size_of_png(6000, 6000), "claims more than"),
        (b"\x89PNG\r\n\x1a\n" + size_of_png(60000, 60000), "claims more than"),
        (encoded(".png", FRAMES[0]).replace(b"\0\0\0\0IEND", b"\xff\xff\xff\xf0IEND"), "cannot be decoded"),
    ],
)
def test_pictures_that_are_none_or_not_whole(tmp_path, data, words) -> None:
    odd = dataclasses.replace(png_image(FRAMES[0]), data=np.frombuffer(data, np.uint8))
    with pytest.raises(MediaError, match=rf"a\.mcap: message 1 of /c at 7 ns: .*{words}"):
        list(bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/c", odd)])))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_a_live_topic_is_read_from_a_bag(tmp_path, encoding: str) -> None:
    kind, height, width = ENCODINGS[encoding], 6, 8
    step = width * kind.pixel_bytes + 4
    data = np.random.default_rng(3).integers(0, 256, (kind.line_count(height), step), dtype=np.uint8)
    image = TYPES.types["sensor_msgs/msg/Image"](
        header(), height, width, encoding, is_bigendian=1, step=step, data=data.ravel()
    )
    (seen,) = bag_images(write_mcap(tmp_path / "a.mcap", [(5, "/raw", image)]))
    np.testing.assert_array_equal(seen.image, decode_image(image))
    if encoding == "8UC1":
        with pytest.raises(MediaError, match="message 1 of /depth/image at 5 ns: image in 8UC1 is a depth image"):
            list(bag_images(write_mcap(tmp_path / "b.mcap", [(5, "/depth/image", image)])))


def test_a_camera_may_fill_up_behind_the_end_of_a_jpeg(tmp_path) -> None:
    data = encoded(".jpg", np.full((8, 8, 3), 90, np.uint8)) + bytes(100)
    padded = dataclasses.replace(png_image(FRAMES[0]), data=np.frombuffer(data, np.uint8))
    (seen,) = bag_images(write_mcap(tmp_path / "a.mcap", [(7, "/c", padded)]))
    assert abs(seen.image.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("kind", BAG_KINDS)
def test_bytes_that_changed_are_told_in_one_error(tmp_path, kind) -> None:
    bag = BAG_KINDS[kind](tmp_path)
    files = {file: file.read_bytes() for file in (bag.iterdir() if bag.is_dir() else [bag])}
    wanted = len(small_images())
    assert sum(1 for _ in bag_images(bag)) == wanted
    for number in range(40):
        mutate_bag(bag, random.Random(f"{kind}/{number}"))
        try:
            assert sum(1 for _ in bag_images(bag)) == wanted, "fewer, without a word"
        except MediaError as err:
            assert bag.name in str(err) and "\n" not in str(err) and len(str(err)) < 900
        for file, data in files.items():
            file.write_bytes(data)


@pytest.mark.parametrize("kind", BAG_KINDS)
def test_a_bag_that_is_cut_anywhere_gives_what_is_in_front(tmp_path, kind) -> None:
    bag = BAG_KINDS[kind](tmp_path)
    (file,) = (file for file in (bag.iterdir() if bag.is_dir() else [bag]) if file.suffix != ".yaml")
    whole, seen = file.read_bytes(), [(one.topic, one.time_ns, one.image.tobytes()) for one in bag_images(bag)]
    for share in (0.0, 0.001, 0.3, 0.6, 0.9, 0.999):
        file.write_bytes(whole[: int(len(whole) * share)])
        found = []
        with pytest.raises(MediaError, match=rf"{file.name} is cut "):
            found.extend((one.topic, one.time_ns, one.image.tobytes()) for one in bag_images(bag))
        assert found == seen[: len(found)]
        assert found or share < 0.9 or "sqlite" in kind or "file" in kind or "bz2" in kind


def test_an_uncompressed_chunk_that_is_cut_gives_its_whole_messages(tmp_path) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, compression=CompressionType.NONE)  # one chunk
    file.write_bytes(file.read_bytes()[:2000])
    seen = []
    with pytest.raises(MediaError, match=r"a\.mcap is cut behind message \d of /raw"):
        seen.extend(one.time_ns for one in bag_images(file))
    assert 3 <= len(seen) < len(FRAMES)


@pytest.mark.parametrize("use_chunking", [True, False])
def test_zeros_that_a_loss_of_power_leaves_are_a_cut(tmp_path, use_chunking) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, chunk_size=300, use_chunking=use_chunking)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 3] + bytes(1 << 24))
    seen = []
    with pytest.raises(MediaError, match=r"a\.mcap is cut behind message \d of /raw"):
        seen.extend(one.time_ns for one in bag_images(file))
    assert 0 < len(seen) < len(FRAMES)


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda data: changed(data, data.index(b"chunk_count=") + 12, b"\1"),
            "records of kind CHUNK_INFO.* says 1",
        ),
        (lambda data: changed(data, data.index(b"conn_count=") + 11, b"\0"), "records of kind CONNECTION.* says 0"),
        (lambda data: changed(data, data.rindex(b"sensor_msgs/Comp"), b"sensor_msgs/Comb"), "is defined twice"),
        (lambda data: changed(data, data[: data.rindex(b"topic=/raw")].rindex(b"/raw"), b"/rav"), "is defined twice"),
    ],
)
def test_an_index_of_ros_1_that_would_hide_messages(tmp_path, change, words) -> None:
    file = write_ros1(tmp_path / "a.bag", small_images(), "lz4")
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(MediaError, match=rf"a\.bag is damaged before its first image: .*{words}"):
        list(bag_images(file))


@pytest.mark.parametrize("compression", ["bz2", "lz4"])
@pytest.mark.parametrize(("size", "words"), [(100, "data holds more than 100 bytes"), (2**31, f"to unpack to {2**31}")])
def test_a_chunk_of_ros_1_unpacks_to_what_it_says(tmp_path, compression, size, words) -> None:
    file = write_ros1(tmp_path / "a.bag", small_images(), compression)
    data = file.read_bytes()
    file.write_bytes(changed(data, data.index(b"size=") + 5, struct.pack("<I", size)))
    with pytest.raises(MediaError, match=rf"a\.bag is damaged .*: .*{words}"):
        list(bag_images(file))


def test_a_packed_message_that_is_cut_behind_its_first_bytes(tmp_path) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES[:1], storage="SQLITE3")
    with sqlite3.connect(folder / "bag.db3") as base:
        base.execute("UPDATE messages SET data = ?", (b"\x28\xb5\x2f\xfd\xff",))
    with pytest.raises(MediaError, match=r"bag\.db3: message 1 of /raw at 0 ns: ZstdError: error"):
        list(bag_images(folder))


def patched(file, old: bytes, new: bytes) -> None:
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new))


def raw_pixels(file) -> None:
    """One pixel of the last image in a file whose own structure stays whole."""
    data = bytearray(file.read_bytes())
    at = data.index(FRAMES[-1].tobytes()[:20])
    data[at] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("use_chunking", [True, False])
def test_a_wrong_checksum_is_told(tmp_path, use_chunking) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, compression=CompressionType.NONE, use_chunking=use_chunking)
    raw_pixels(file)
    with pytest.raises(MediaError, match=r"a\.mcap is damaged .*crc validation failed in (Chunk|DataEnd)"):
        list(bag_images(file))


def test_fewer_messages_than_the_statistics_say(tmp_path) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, use_statistics=True, use_summary_offsets=False)
    patched(file, struct.pack("<IHQ", 10, 1, 12), struct.pack("<IHQ", 10, 1, 13))
    with pytest.raises(MediaError, match=r"a\.mcap is damaged"):  # by its checksum, or by the count
        list(bag_images(file))


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_fewer_messages_than_the_metadata_says(tmp_path, storage) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES, storage=storage)
    patched(folder / "metadata.yaml", b"message_count: 12", b"message_count: 13")
    with pytest.raises(MediaError, match=r"it holds 12 messages on /raw, its metadata\.yaml says 13"):
        list(bag_images(folder))


def test_rows_of_a_topic_that_is_not_listed(tmp_path) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES, storage="SQLITE3")
    with sqlite3.connect(folder / "bag.db3") as base:
        base.execute("UPDATE messages SET topic_id = 7 WHERE id = 3")
    with pytest.raises(MediaError, match=r"bag\.db3 is damaged .*: 1 messages are of a topic that is not listed"):
        list(bag_images(folder))


def test_a_log_that_sqlite_left_beside_a_bag_is_read_with_it(tmp_path) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES[:5], storage="SQLITE3")
    base = sqlite3.connect(folder / "bag.db3")
    base.execute("PRAGMA journal_mode = WAL")
    for time_ns, _, message in IMAGES[5:]:
        row = (time_ns, serialized(message))
        base.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)", row)
    base.commit()
    check_all(folder)
    base.close()


def test_a_file_of_several_that_is_missing(tmp_path) -> None:
    first, second, _ = folder_of_files(tmp_path / "bag", "MCAP", [IMAGES[:4], IMAGES[4:8], IMAGES[8:]])
    second.unlink()
    with pytest.raises(MediaError, match=r"bag is not whole: .* lists bag_1\.mcap, which is missing"):
        list(bag_images(tmp_path / "bag"))
    (tmp_path / "bag" / "metadata.yaml").unlink()
    with pytest.raises(MediaError, match=r"bag is not whole: a file between bag_0\.mcap and bag_2\.mcap is missing"):
        list(bag_images(tmp_path / "bag"))
    second.touch()
    with pytest.raises(MediaError, match=r"bag_1\.mcap is cut behind message 4 of /raw .*: it is empty"):
        list(bag_images(tmp_path / "bag"))
    assert first.exists()


@pytest.mark.parametrize("kind", ["mcap none", "mcap unchunked", "sqlite folder", "ros1 none"])
def test_only_the_topics_asked_for_are_decoded(tmp_path, kind) -> None:
    odd = dataclasses.replace(IMAGES[0][2], encoding="16UC1")
    messages = [*small_images(), (2 * 10**9, "/depth", odd)]
    bag = rewritten(kind, tmp_path, messages)
    assert {one.topic for one in bag_images(bag, ["/raw"])} == {"/raw"}
    assert [one.topic for one in bag_images(bag, ["/raw", "/c/compressed"])] == ["/raw"] * 6 + ["/c/compressed"]
    with pytest.raises(MediaError, match=r"message 1 of /depth at 2000000000 ns: .*; to pass this topic over, name"):
        list(bag_images(bag))
    with pytest.raises(MediaError, match="holds no images on /none; it holds them on /c/compressed, /depth, /raw"):
        list(bag_images(bag, ["/none"]))


def rewritten(kind: str, folder, messages):
    if kind.startswith("mcap"):
        return write_mcap(folder / "a.mcap", messages, use_chunking="unchunked" not in kind)
    if kind.startswith("sqlite"):
        return write_folder(folder / "bag", messages, storage="SQLITE3")
    return write_ros1(folder / "a.bag", messages)


def test_chunks_that_overlap_are_read_by_their_times(tmp_path) -> None:
    mixed = [IMAGES[at] for at in (0, 11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6)]
    check_all(write_mcap(tmp_path / "a.mcap", mixed, chunk_size=300))


def test_a_topic_of_another_kind_that_is_asked_for(tmp_path) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES, foreign=True)
    with pytest.raises(MediaError, match="topic /status holds Status in the encoding json, neither"):
        list(bag_images(file, ["/status"]))


@pytest.mark.parametrize(("use_chunking", "use_chunk_index"), [(True, True), (True, False), (False, True)])
def test_messages_out_of_order_are_read_by_their_times_where_there_is_an_index(
    tmp_path, use_chunking, use_chunk_index
) -> None:
    mixed = [IMAGES[at] for at in (3, 0, 2, 1, 7, 5, 4, 6, 11, 9, 10, 8)]
    options = {"use_chunking": use_chunking, "index_types": IndexType.ALL if use_chunk_index else IndexType.NONE}
    file = write_mcap(tmp_path / "a.mcap", mixed, chunk_size=300, **options)
    if use_chunking and use_chunk_index:
        return check_all(file)
    assert [one.time_ns for one in bag_images(file)] == [time_ns for time_ns, _, _ in mixed]
    return None


def chunk_of(codec: bytes, data: bytes, size: int) -> bytes:
    """A chunk's record without a checksum."""
    body = struct.pack("<QQQII", 0, 0, size, 0, len(codec)) + codec + struct.pack("<Q", len(data)) + data
    return struct.pack("<BQ", 6, len(body)) + body


END = struct.pack("<BQI", 15, 4, 0) + struct.pack("<BQQQI", 2, 20, 0, 0, 0)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (struct.pack("<BQ", 5, 2**60) + bytes(30), f"MESSAGE record has length {2**60} that exceeds"),
        (chunk_of(b"", b"", 2**60), f"unpack to {2**60} bytes"),
        (chunk_of(b"zopf", b"", 5), "'zopf' of a chunk is unknown"),
        (chunk_of(b"zstd", zstandard.compress(bytes(1000)), 999), "zstd data claims to unpack to more than 999 bytes"),
        (chunk_of(b"lz4", lz4.compress(bytes(1000)), 999), "lz4 data holds more than 999 bytes"),
        (chunk_of(b"lz4", lz4.compress(bytes(1000)), 1001), "unpacks to 1000 bytes instead of 1001"),
        (
            struct.pack("<BQHIQQ", 7, 22, 1, 16, 0, 0) + END,
            "indexes list 1 messages of channel 1, which is not defined",
        ),
        (struct.pack("<BQHIQQ", 5, 22, 9, 0, 0, 0), "a message is of channel 9, which is not defined"),
        (bytes(9), "bytes are due at byte"),
    ],
)
def test_records_of_mcap_that_claim_too_much(tmp_path, record, words) -> None:
    file = tmp_path / "a.mcap"
    file.write_bytes(MCAP_MAGIC + struct.pack("<BQII", 1, 8, 0, 0) + record + MCAP_MAGIC)
    with pytest.raises(MediaError, match=rf"a\.mcap is damaged before its first image: .*{words}"):
        list(bag_images(file))


METADATA = "rosbag2_bagfile_information:\n  relative_file_paths: "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is damaged: ParserError"),
        ("\xff\xfe\0", "is damaged: "),
        ("[" * 50_000, "is damaged: RecursionError"),
        ("a: &a [1, 2]\nb: [*a, *a]", "holds an alias"),
        ("a: !!timestamp x", "is damaged: "),
        ("- 1", "it has no 'rosbag2_bagfile_information'"),
        ("rosbag2_bagfile_information: 5", "is not a mapping"),
        ("rosbag2_bagfile_information: {}", "it has no 'relative_file_paths'"),
        (f"{METADATA}bag.mcap", "is not a list"),
        (f"{METADATA}[7]", "holds 7, not the name of a file"),
        (f"{METADATA}[..]", "not the name of a file"),
        (f"{METADATA}[]", "lists no file"),
        (f"{METADATA}[bag.mcap, x/bag.mcap]", "names a file twice"),
        (f"{METADATA}[/etc/passwd]", "lists passwd, which is missing"),
        (f'{METADATA}["a\\0"]', "which is missing"),
        (f"{METADATA}[bag.mcap]\n  topics_with_message_count: 3", "is not a list"),
        (f"{METADATA}[bag.mcap]\n  topics_with_message_count: [3]", "not a mapping"),
        (f"{METADATA}[bag.mcap]\n  topics_with_message_count: [topic_metadata: {{name: 3}}]", "is not a text"),
    ],
)
def test_metadata_that_is_none(tmp_path, text, words) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES)
    (folder / "metadata.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(MediaError, match=rf"/bag (cannot be read as a bag|is not whole): .*{words}") as told:
        list(bag_images(folder))
    assert "\n" not in str(told.value) and len(str(told.value)) < 700


@pytest.mark.parametrize("name", ["old/path/bag.mcap", "/somewhere/bag.mcap", "../bag.mcap"])
def test_files_are_looked_for_in_the_folder_alone(tmp_path, name) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES)
    patched(folder / "metadata.yaml", b"- bag.mcap", f"- {name}".encode())
    check_all(folder)


def test_a_name_with_signs_of_an_address_and_another_suffix(tmp_path) -> None:
    folder = write_folder(tmp_path / "bag", IMAGES, storage="SQLITE3")
    check_all((folder / "bag.db3").rename(tmp_path / "a?b#c%20.sqlite"))


def test_a_file_that_was_packed_by_hand(tmp_path) -> None:
    file = tmp_path / "a.mcap.zstd"
    file.write_bytes(zstandard.compress(write_mcap(tmp_path / "a.mcap", IMAGES).read_bytes()))
    check_all(file)


def test_what_is_no_file(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo.mcap")
    (tmp_path / "bag").mkdir()
    os.mkfifo(tmp_path / "bag" / "bag_0.mcap")
    for path, words in ((tmp_path / "fifo.mcap", "it is a FIFO"), (tmp_path / "bag", "it is a FIFO")):
        with pytest.raises(MediaError, match=words):
            list(bag_images(path))
    with pytest.raises(MediaError, match="it is a device"):
        list(bag_images(Path("/dev/null")))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch) -> None:
    file = write_mcap(tmp_path / "a.mcap", IMAGES)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who is not root
    with pytest.raises(MediaError, match=r"a\.mcap cannot be read as a bag: permission denied"):
        list(bag_images(file))


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
