"""Small films for tests: what is in them and when is known, for each is made frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 64, 48
LEVELS = 3  # of grey between a frame and the next
MS, THIRTIETH = Fraction(1, 1000), Fraction(1, 30)
QUIET = {"libx265": {"x265-params": "log-level=none"}}


def write_film(
    file: Path,
    codec: str,
    ticks: Iterable[int],
    *,
    tick: Fraction = THIRTIETH,
    form: str | None = None,
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    coding: Mapping[str, str] | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sound_s: float = 0.0,
    is_noisy: bool = False,
) -> Path:
    """Write a film whose frame i is of one grey, LEVELS * i, and is shown at ticks[i].

    sound_s: of silence beside. is_noisy: with noise instead of the grey, so that pictures fill the file.
    """
    with av.open(str(file), "w", format=form, options=dict(options or {})) as container:
        stream = container.add_stream(codec, rate=30, options=dict(coding or QUIET.get(codec, {})))
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.time_base, stream.codec_context.gop_size = tick, 12
        sound = container.add_stream("aac", rate=48000, layout="mono") if sound_s else None
        for number, time in enumerate(ticks):
            pixels_of = noise if is_noisy else grey
            frame = av.VideoFrame.from_ndarray(pixels_of(number, size), "rgb24")
            frame.pts, frame.time_base = time, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            write_silence(container, sound, sound_s)
    return file


def grey(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.full((size[1], size[0], 3), LEVELS * number % 256, np.uint8)


def noise(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def write_silence(container: av.container.OutputContainer, stream: av.AudioStream, length_s: float) -> None:
    for at in range(0, int(length_s * 48000), 960):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, at, Fraction(1, 48000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
