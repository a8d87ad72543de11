"""Still pictures: every kind of pixel as the field reads it; what is no whole picture is named."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vila_core.errors import MediaError
from vila_core.media.pictures import list_images, read_image

GREY = np.linspace(0, 65535, 48 * 64).reshape(48, 64).round().astype(np.uint16)
SCALED = np.round(GREY / 257).astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (48, 64, 4), dtype=np.uint8)


def save(folder, name, pixels, **how):
    Image.fromarray(pixels).save(folder / name, **how)
    return folder / name


def write_png(file, kind, rows):
    """Write a PNG of 64 x 48 with 16 bits a channel. kind: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", 64, 48, 16, kind, 0, 0, 0)
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return file


def write_pgm(file, pixels, white):
    file.write_bytes(b"P5\n64 48\n%d\n" % white + pixels.astype(">u2").tobytes())
    return file


def tiff_of_12_bits():
    """Two pixels in three bytes, black is 0."""
    pairs = (GREY >> 4).astype(np.uint32).reshape(-1, 2)
    whole = pairs[:, 0] << 12 | pairs[:, 1]
    data = np.stack([whole >> 16, whole >> 8 & 255, whole & 255], -1).astype(np.uint8).tobytes()
    tags = [(256, 64), (257, 48), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 48), (279, len(data))]
    rows = b"".join(struct.pack("<HHII", tag, 4 if tag > 272 else 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + rows + bytes(4)


WIDE = {
    "png": lambda folder: save(folder, "a.png", GREY),
    "tiff": lambda folder: save(folder, "a.tif", GREY),
    "tiff, deflated": lambda folder: save(folder, "a.tif", GREY, compression="tiff_adobe_deflate"),
    "tiff, big endian": lambda folder: save(folder, "a.tif", GREY.astype(">u2")),
    "tiff, white is 0": lambda folder: save(folder, "a.tif", 65535 - GREY, tiffinfo={262: 0}),
    "tiff of 12 bits": lambda folder: written(folder, tiff_of_12_bits()),
    "pgm": lambda folder: write_pgm(folder / "a.pgm", GREY, 65535),
    "pgm of 10 bits": lambda folder: write_pgm(folder / "a.pgm", GREY // 64, 1023),
    "grey and alpha": lambda folder: write_png(folder / "a.png", 4, np.stack([GREY, GREY], -1)),
    "colours": lambda folder: write_png(folder / "a.png", 2, np.stack([GREY] * 3, -1)),
    "colours and alpha": lambda folder: write_png(folder / "a.png", 6, np.stack([GREY] * 4, -1)),
}


EXACT = ("png", "tiff", "tiff, deflated", "tiff, big endian", "tiff, white is 0", "pgm")


@pytest.mark.parametrize("kind", WIDE)
def test_sixteen_bits_become_eight_by_their_full_range(tmp_path, kind):
    image = read_image(WIDE[kind](tmp_path))
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - SCALED[..., None]).max() <= (0 if kind in EXACT else 1)


UNTOLD = {
    "12 bits in 16": (lambda folder: save(folder, "a.png", GREY >> 4), "its brightest pixel 4095 of 65535"),
    "10 bits in 16": (lambda folder: save(folder, "a.tif", GREY >> 6), "its brightest pixel 1023 of 65535"),
    "32 bits": (lambda folder: save(folder, "a.tif", GREY.astype(np.int32) * 9), "32-bit pixels from 0 to 589815"),
    "floats": (lambda folder: save(folder, "a.tif", GREY.astype(np.float32)), "floating-point pixels from 0 to 65535"),
}


@pytest.mark.parametrize("kind", UNTOLD)
def test_a_range_that_tells_no_white_is_named_and_never_black_or_white(tmp_path, kind):
    make, words = UNTOLD[kind]
    file = make(tmp_path)
    with pytest.raises(MediaError, match=words) as caught:
        read_image(file)
    assert str(file) in str(caught.value) and "convert it to 8 bits" in str(caught.value)


def test_a_black_picture_of_16_bits_is_black(tmp_path):
    assert not read_image(save(tmp_path, "a.png", np.zeros((48, 64), np.uint16))).any()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_is_read_as_the_official_code_does(tmp_path, mode):
    """PIL.Image.open(file).convert("RGB"): colours under alpha as they are stored."""
    file = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr", "PA") else "a.png")
    Image.fromarray(COLOURS).convert(mode if mode != "PA" else "P").save(file)
    assert np.array_equal(read_image(file), np.array(Image.open(file).convert("RGB")))
    if mode == "RGBA":
        assert np.array_equal(read_image(file), COLOURS[..., :3])


def test_a_transparent_palette_and_an_animation_are_pictures(tmp_path):
    first, second = (Image.fromarray(COLOURS[::step, :, :3]).convert("P") for step in (1, -1))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second], transparency=3)
    image = read_image(tmp_path / "a.gif")
    assert np.array_equal(image, np.array(Image.open(tmp_path / "a.gif").convert("RGB")))


def test_a_rotation_in_exif_is_left_as_it_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(save(tmp_path, "a.jpg", COLOURS[..., :3], exif=exif)).shape == (48, 64, 3)


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"a.jpg", b"a.mp4", b"no suffix", "\u6a5f.png".encode()])
def test_the_name_does_not_matter(tmp_path, name):
    file = save(tmp_path, "a.png", COLOURS[..., :3]).rename(tmp_path / os.fsdecode(name))
    assert np.array_equal(read_image(file), COLOURS[..., :3])


def bomb(folder):
    """Claims 30000 x 30000 pixels in some hundred bytes."""
    file = write_png(folder / "a.png", 0, GREY)
    data = bytearray(file.read_bytes())
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    file.write_bytes(data)
    return file


def pipe(folder):
    os.mkfifo(folder / "a.png")
    return folder / "a.png"


def written(folder, data):
    (folder / "a.png").write_bytes(data)
    return folder / "a.png"


REFUSED = {
    "directory": (lambda folder: folder, "is a directory, expected a file"),
    "pipe": (pipe, "is a device, pipe or socket"),
    "missing": (lambda folder: folder / "a.png", "does not exist"),
    "no bytes": (lambda folder: written(folder, b""), "is empty: 0 bytes"),
    "text": (lambda folder: written(folder, b"hello\n"), "is not an image that can be read"),
    "bomb": (bomb, "is too large: .*900000000 pixels"),
    "long name": (lambda folder: folder / ("a" * 300), "cannot be read"),
    "below a file": (lambda folder: written(folder, b"x") / "b.png", "cannot be read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_picture_is_named_in_one_line(tmp_path, kind):
    make, words = REFUSED[kind]
    file = make(tmp_path)
    with pytest.raises(MediaError, match=words) as caught:
        read_image(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_args, **_how):
        raise PermissionError(13, "Permission denied")

    file = save(tmp_path, "a.png", COLOURS)
    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(MediaError, match="permission denied"):
        read_image(file)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"])
@pytest.mark.parametrize("kept", [20, 0.5, 0.9])
def test_a_cut_picture_is_named(tmp_path, form, kept):
    file = save(tmp_path, "cut.img", COLOURS[..., :3], format=form)
    data = file.read_bytes()
    file.write_bytes(data[: kept if isinstance(kept, int) else int(kept * len(data))])
    with pytest.raises(MediaError, match=r"cut\.img"):
        read_image(file)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"])
def test_random_changes_are_read_or_named(tmp_path, form):
    rng = np.random.default_rng(0)
    whole = save(tmp_path, "a.img", COLOURS[..., :3], format=form).read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 400), 3):
            data[at] = rng.integers(0, 256)
        (tmp_path / "a.img").write_bytes(data)
        try:
            image = read_image(tmp_path / "a.img")
        except MediaError as err:
            assert "a.img" in str(err)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def test_what_is_no_folder_of_pictures_is_named(tmp_path):
    for path, words in ((tmp_path / "no", "is not a folder"), (tmp_path, "holds no image")):
        with pytest.raises(MediaError, match=words):
            list_images(path)
