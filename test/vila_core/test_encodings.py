"""Every encoding of an Image against pictures that are worked out here, by numpy alone."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vila_core.errors import FrameError
from vila_core.media.encodings import DEPTH_ENCODINGS, ENCODINGS
from vila_core.media.messages import decode_compressed, decode_image

HEIGHT, WIDTH = 6, 10
PADDING = 6  # bytes behind each line
Reference = Callable[[np.ndarray], np.ndarray]  # what is stored -> [H, W, 3] uint8

PACKED: dict[str, tuple[int, Reference]] = {  # channels, and those that make RGB
    "rgb": (3, lambda p: p),
    "bgr": (3, lambda p: p[:, :, ::-1]),
    "rgba": (4, lambda p: p[:, :, :3]),
    "bgra": (4, lambda p: p[:, :, 2::-1]),
    "mono": (1, lambda p: np.repeat(p, 3, axis=2)),
}
PACKED_TYPES = {"8UC1": ("mono", 1), "8UC3": ("bgr", 1), "8UC4": ("bgra", 1), "16UC3": ("bgr", 2), "16UC4": ("bgra", 2)}
PACKED_TYPES |= {f"{name}{8 * item}": (name, item) for name in PACKED for item in (1, 2)}
YUV_422 = {"uyvy": (1, 0), "yuv422": (1, 0), "yuyv": (0, 1), "yuv422_yuy2": (0, 1)}  # where Y lies, and where U or V
ORDERS = ("rggb", "bggr", "gbrg", "grbg")


def message(encoding: str, lines: np.ndarray, width: int = WIDTH, height: int = HEIGHT, **more) -> SimpleNamespace:
    """An image whose data are these lines of bytes."""
    fields = {"is_bigendian": 0, "step": lines.shape[1], "data": lines.tobytes()}
    return SimpleNamespace(encoding=encoding, width=width, height=height, **(fields | more))


def padded(lines: np.ndarray, bytes_behind: int) -> np.ndarray:
    return np.pad(lines, ((0, 0), (0, bytes_behind)), constant_values=201)


def random(*shape: int, item: int = 1) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256**item, shape, dtype=np.uint8 if item == 1 else np.uint16)


def in_8_bits(pixels: np.ndarray) -> np.ndarray:
    """65535 becomes 255, and what lies between is rounded to the nearest."""
    return ((pixels.astype(np.int64) + 128) // 257 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)


def rgb_of_yuv(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, Y from 16 to 235, in fixed point of 20 bits."""
    luma = np.maximum(y.astype(np.int64) - 16, 0) * 1220542 + (1 << 19)
    u, v = u.astype(np.int64) - 128, v.astype(np.int64) - 128
    channels = luma + 1673527 * v, luma - 852492 * v - 409993 * u, luma + 2116026 * u
    return np.clip(np.stack(channels, axis=-1) >> 20, 0, 255).astype(np.uint8)


def demosaiced(mosaic: np.ndarray, order: str) -> np.ndarray:
    """Each missing colour is the mean of its neighbours, half up; the border is what lies beside it."""
    height, width = mosaic.shape
    colour_at = [["rgb".index(order[2 * (row % 2) + column % 2]) for column in range(width)] for row in range(height)]
    picture = np.zeros((height, width, 3), np.int64)
    for row in range(1, height - 1):
        for column in range(1, width - 1):
            for colour in range(3):
                near = [
                    int(mosaic[row + down, column + right])
                    for down in (-1, 0, 1)
                    for right in (-1, 0, 1)
                    if colour_at[row + down][column + right] == colour
                ]
                if colour_at[row][column] == colour:
                    near = [int(mosaic[row, column])]
                picture[row, column, colour] = (sum(near) + len(near) // 2) // len(near)
    picture = picture[1:-1, 1:-1]
    return np.pad(picture, ((1, 1), (1, 1), (0, 0)), mode="edge").astype(mosaic.dtype)


def as_lines(pixels: np.ndarray, *, is_bigendian: bool = False) -> np.ndarray:
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if is_bigendian else "<"))
    return np.ascontiguousarray(stored).reshape(len(pixels), -1).view(np.uint8)


def case(encoding: str, *, is_bigendian: bool = False, bytes_behind: int = 0) -> tuple[SimpleNamespace, np.ndarray]:
    """A random image of the encoding, and what it shows."""
    if encoding in PACKED_TYPES:
        name, item = PACKED_TYPES[encoding]
        channels, reference = PACKED[name]
        pixels = random(HEIGHT, WIDTH, channels, item=item)
        lines, wanted = as_lines(pixels, is_bigendian=is_bigendian), in_8_bits(reference(pixels))
    elif encoding in YUV_422:
        luma, colour = YUV_422[encoding]
        pixels = random(HEIGHT, WIDTH, 2)
        u, v = (np.repeat(pixels[:, start::2, colour], 2, axis=1) for start in (0, 1))
        lines, wanted = as_lines(pixels), rgb_of_yuv(pixels[:, :, luma], u, v)
    elif encoding in ("nv12", "nv21"):
        lines = random(HEIGHT * 3 // 2, WIDTH)
        pairs = lines[HEIGHT:].reshape(HEIGHT // 2, WIDTH // 2, 2).repeat(2, axis=0).repeat(2, axis=1)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        wanted = rgb_of_yuv(lines[:HEIGHT], *((first, second) if encoding == "nv12" else (second, first)))
    elif encoding == "nv24":
        y, pairs = random(HEIGHT, WIDTH), random(HEIGHT, WIDTH, 2)
        wanted = rgb_of_yuv(y, pairs[:, :, 0], pairs[:, :, 1])
        lines = padded(y, bytes_behind)
        below = padded(pairs.reshape(HEIGHT, -1), 2 * bytes_behind).reshape(2 * HEIGHT, -1)
        return message(encoding, np.vstack([lines, below])), wanted
    else:
        order, item = encoding[6:10], int(encoding[10:]) // 8
        mosaic = random(HEIGHT, WIDTH, item=item)
        lines, wanted = as_lines(mosaic, is_bigendian=is_bigendian), in_8_bits(demosaiced(mosaic, order))
    return message(encoding, padded(lines, bytes_behind), is_bigendian=int(is_bigendian)), wanted


@pytest.mark.parametrize("bytes_behind", [0, PADDING, 5])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_shows_what_it_holds(encoding: str, bytes_behind: int) -> None:
    image, wanted = case(encoding, bytes_behind=bytes_behind)
    shown = decode_image(image)
    assert shown.dtype == np.uint8 and shown.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize("encoding", [name for name, one in ENCODINGS.items() if one.item_bytes == 2])
def test_big_endian_channels_are_turned_round(encoding: str) -> None:
    image, wanted = case(encoding, is_bigendian=True, bytes_behind=PADDING)
    np.testing.assert_array_equal(decode_image(image), wanted)


@pytest.mark.parametrize("encoding", ["rgb8", "bayer_grbg8", "nv21"])
def test_a_byte_has_no_order(encoding: str) -> None:
    image, wanted = case(encoding)
    image.is_bigendian = 1
    np.testing.assert_array_equal(decode_image(image), wanted)


def test_all_depths_of_16_bits_are_rounded_to_the_nearest() -> None:
    grey = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    shown = decode_image(message("mono16", as_lines(grey), 256, 256))
    np.testing.assert_array_equal(shown[:, :, 0], in_8_bits(grey))


@pytest.mark.parametrize("order", ORDERS)
def test_a_red_scene_is_red_through_every_mosaic(order: str) -> None:
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    at = order.index("r")
    mosaic[at // 2 :: 2, at % 2 :: 2] = 240
    shown = decode_image(message(f"bayer_{order}8", mosaic))
    assert (shown == (240, 0, 0)).all()


def test_rgb8_without_padding_is_a_view() -> None:
    image, _ = case("rgb8")
    image.data = bytearray(image.data)
    shown = decode_image(image)
    before = int(shown[0, 0, 0])
    image.data[0] ^= 255
    assert int(shown[0, 0, 0]) == before ^ 255


@pytest.mark.parametrize("encoding", [name for name, one in ENCODINGS.items() if one.width_step == 2])
def test_colours_that_two_pixels_share_need_an_even_width(encoding: str) -> None:
    image, _ = case(encoding)
    image.width -= 1
    with pytest.raises(FrameError, match=f"9 x 6 pixels in {encoding}: its width must be a multiple of 2"):
        decode_image(image)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_colours_that_two_lines_share_need_an_even_height(encoding: str) -> None:
    image, _ = case(encoding)
    image.height -= 1
    with pytest.raises(FrameError, match=f"10 x 5 pixels in {encoding}: its height must be a multiple of 2"):
        decode_image(image)


@pytest.mark.parametrize("encoding", ["nv24", "bayer_rggb8", "bgr16", "mono8"])
def test_odd_sizes_are_fine_where_no_two_pixels_share_a_colour(encoding: str) -> None:
    height, width = 5, 7
    kind = ENCODINGS[encoding]
    lines = random(kind.line_count(height), width * kind.pixel_bytes)
    assert decode_image(message(encoding, lines, width, height)).shape == (height, width, 3)


@pytest.mark.parametrize(("width", "height"), [(2, 6), (10, 2), (1, 1)])
def test_a_mosaic_too_small_for_a_picture_is_refused(width: int, height: int) -> None:
    with pytest.raises(FrameError, match=f"{width} x {height} pixels is too small for bayer_gbrg8"):
        decode_image(message("bayer_gbrg8", random(height, width), width, height))


@pytest.mark.parametrize("encoding", ["mono16", "uyvy", "nv12", "nv24", "bayer_bggr16", "bgra16"])
@pytest.mark.parametrize(
    ("change", "words"), [({"step": 4}, "step 4 is shorter than a row"), ({"data": b"12"}, "data holds 2 bytes")]
)
def test_data_that_do_not_fit_are_refused(encoding: str, change: dict, words: str) -> None:
    image, _ = case(encoding)
    vars(image).update(change)
    with pytest.raises(FrameError, match=words):
        decode_image(image)


@pytest.mark.parametrize("encoding", DEPTH_ENCODINGS)
def test_depth_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(FrameError, match=f"{encoding} is a depth image; choose the topic of a colour camera"):
        decode_image(message(encoding, random(HEIGHT, 4 * WIDTH)))


@pytest.mark.parametrize("topic", ["/camera/depth/image_raw", "/depth", "/camera/aligned_depth_to_color/image_raw"])
def test_bytes_on_a_topic_of_depth_are_no_grey_picture(topic: str) -> None:
    image, wanted = case("8UC1")
    with pytest.raises(FrameError, match="8UC1 is a depth image"):
        decode_image(image, topic)
    np.testing.assert_array_equal(decode_image(image, "/camera/infra1/image_raw"), wanted)


@pytest.mark.parametrize("encoding", ["", "32FC3", "nv42", "RGB8", "x" * 5000])
def test_an_unknown_encoding_is_told_with_those_that_are_known(encoding: str) -> None:
    with pytest.raises(FrameError) as caught:
        decode_image(message(encoding, random(HEIGHT, 4 * WIDTH)))
    assert all(name in str(caught.value) for name in ENCODINGS) and len(str(caught.value)) < 600


@given(
    st.sampled_from([*ENCODINGS, *DEPTH_ENCODINGS, "8UC2"]),
    st.integers(0, 7),
    st.integers(0, 7),
    st.integers(0, 70),
    st.integers(0, 500),
    st.booleans(),
)
def test_whatever_the_header_says_it_is_a_picture_or_an_error(encoding, width, height, step, size, is_fitting) -> None:
    kind = ENCODINGS.get(encoding)
    if is_fitting and kind is not None:
        step = max(step, width * kind.pixel_bytes)
        size = kind.line_count(height) * step
    data = np.resize(np.arange(256, dtype=np.uint8), size).tobytes()
    image = message(encoding, np.zeros((1, 1), np.uint8), width, height, step=step, data=data, is_bigendian=1)
    try:
        shown = decode_image(image)
    except FrameError:
        return
    assert shown.shape == (height, width, 3) and shown.dtype == np.uint8


# EXIF's Orientation -> the stored picture of an upright one
STORED: dict[int, Reference] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


def compressed(data: bytes, text: str = "jpeg") -> SimpleNamespace:
    return SimpleNamespace(format=text, data=data)


@pytest.mark.parametrize("orientation", STORED)
def test_a_jpeg_is_shown_upright_by_its_exif(orientation: int) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    tags = Image.Exif()
    tags[0x0112] = orientation
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    picture.save(stream, "jpeg", quality=100, subsampling=0, exif=tags)
    shown = decode_compressed(compressed(stream.getvalue()))
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright).max() < 12


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_16_bits_a_channel_become_8() -> None:
    pixels = random(HEIGHT, WIDTH, 3, item=2)
    shown = decode_compressed(compressed(png(pixels), "rgb16; png compressed bgr16"))
    np.testing.assert_array_equal(shown, in_8_bits(pixels[:, :, ::-1]))
    grey = decode_compressed(compressed(png(pixels[:, :, 0]), "mono16; png compressed "))
    np.testing.assert_array_equal(grey[:, :, 0], in_8_bits(pixels[:, :, 0]))


@pytest.mark.parametrize(("text", "item"), [("png", 2), ("16UC1; png compressed ", 2), ("32FC1; jpeg compressed", 1)])
def test_grey_of_16_bits_is_depth_unless_it_says_otherwise(text: str, item: int) -> None:
    with pytest.raises(FrameError, match="is a depth image"):
        decode_compressed(compressed(png(random(HEIGHT, WIDTH, item=item)), text))


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name.startswith("bayer")])
def test_a_mosaic_that_was_compressed_as_it_was_becomes_colour(encoding: str) -> None:
    image, wanted = case(encoding)
    mosaic = np.frombuffer(image.data, np.uint8 if encoding.endswith("8") else np.uint16).reshape(HEIGHT, WIDTH)
    shown = decode_compressed(compressed(png(mosaic), f"{encoding}; png compressed "))
    np.testing.assert_array_equal(shown, wanted)


def test_a_colour_picture_stays_one_whatever_it_was_made_of() -> None:
    pixels = random(HEIGHT, WIDTH, 3)
    shown = decode_compressed(compressed(png(pixels), "bayer_rggb8; png compressed bgr8"))
    np.testing.assert_array_equal(shown, pixels[:, :, ::-1])
