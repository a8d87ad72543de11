"""What a case's prompt held: its parts with the pictures they name, or the pictures that it may have held."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.history.navila_policy import BLANK, select_frames
from vila_core.history.video_sampling import native_frames, uniform_frames
from vila_core.models.media_prompt import Part, Picture, Video
from vila_tools.parity.case import read_json, read_tensors

Image = NDArray[np.uint8]  # [H, W, 3] RGB

_MAX_ORDERS = 120  # of pictures that are tried for a case that does not name them


@dataclass(frozen=True, slots=True)
class Source:
    """The pictures of e2e/inputs.safetensors: stills [H, W, 3] and videos [T, H, W, 3], as other cases order them."""

    stills: Mapping[str, Image]
    videos: Mapping[str, Image]

    @classmethod
    def read(cls, folder: Path) -> Source:
        """Read the folder's inputs.safetensors and sort it by the order in which its JSON files name them."""
        file = folder / "inputs.safetensors"
        known = {name: tensor.numpy() for name, tensor in read_tensors(file).items()}
        named: list[str] = []
        for path in sorted(folder.glob("*.json")):
            for case in read_json(path).get("cases", {}).values():
                for part in case.get("prompt_parts", ()):
                    named += [word for word in _words(part) if word in known]
        order = dict.fromkeys([*named, *sorted(known)])
        return cls(
            {name: known[name] for name in order if known[name].ndim == 3},
            {name: known[name] for name in order if known[name].ndim == 4},
        )


def parts_of(texts: Sequence[str], source: Source, num_video_frames: int) -> list[Part]:
    """Turn a case's prompt_parts into parts: `<PIL image NAME>`, `<Video: ... NAME ...>`, anything else is text.

    Raises ConfigError for a picture that inputs.safetensors lacks.
    """
    return [_part(text, source, num_video_frames) for text in texts]


def _part(text: str, source: Source, num_video_frames: int) -> Part:
    if not re.fullmatch(r"<(PIL|Image|Video)\b[^<>]*>", text):
        return text
    for word in _words(text):
        if word in source.stills:
            return Picture(source.stills[word])
        if word in source.videos:
            frames = source.videos[word]
            return Video(tuple(frames[index] for index in uniform_frames(len(frames), num_video_frames)))
    raise ConfigError(f"inputs.safetensors has no picture for the prompt part {text!r}")


def sibling_parts(folder: Path, data: Mapping[str, Any], case: str) -> list[str] | None:
    """Return the prompt_parts that another file of the folder's e2e/ lists for a case of this name, or None.

    Files of the same checkpoint come first.
    """
    files = [read_json(path) for path in sorted((folder / "e2e").glob("*.json"))]
    files.sort(key=lambda other: other.get("checkpoint") != data.get("checkpoint"))
    found = (other.get("cases", {}).get(case, {}).get("prompt_parts") for other in files)
    return next((parts for parts in found if parts), None)


def candidate_pictures(count: int, source: Source, siblings: Sequence[str] | None) -> Iterator[list[Image]]:
    """Yield lists of `count` pictures that a prompt may have held, the likeliest first.

    siblings: the parts of a case of the same name. Then: the stills in every order, the frames of a video, and a
    history of a video's first frames as NaVILA fills it up, black in front.
    """
    if siblings is not None:
        images = [image for part in parts_of(siblings, source, count) for image in _images(part)]
        if len(images) == count:
            yield images
    stills = list(source.stills.values())
    if count <= len(stills):
        yield from (list(order) for order in islice(permutations(stills, count), _MAX_ORDERS))
    for frames in source.videos.values():
        if len(frames) >= count:
            yield [frames[index] for index in native_frames(len(frames), count)]
            yield [frames[index] for index in uniform_frames(len(frames), count)]
        black = np.zeros_like(frames[0])
        for seen in range(len(frames), 0, -1):
            indices = select_frames(seen, count)
            yield [black if index == BLANK else frames[index] for index in indices]
            yield [black if index == BLANK else frames[len(frames) - seen + index] for index in indices]


def every_picture(source: Source) -> list[Image]:
    """Return all stills, all frames of all videos and a black one."""
    frames = [frame for video in source.videos.values() for frame in video]
    every = [*source.stills.values(), *frames]
    return [*every, np.zeros_like(every[0])] if every else []


def _images(part: Part) -> list[Image]:
    if isinstance(part, Picture):
        return [part.image]
    return list(part.frames) if isinstance(part, Video) else []


def _words(text: str) -> list[str]:
    return re.findall(r"[\w.-]+", text)
