"""From the parts of a user's turn to the text that is rendered, as each generation of the official code does it.

`head`: parts glued together, each picture `<image>`, a video as many `<image>` as it has frames.
`videotoken`: as head, a video one `<vila/video>` (the NVILA release, and what -Video checkpoints were trained with).
`native`: each picture and each frame `<image>` and a line break (VILA1.5, NaVILA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vila_core.models.config import CheckpointConfig
from vila_core.types import IMAGE_TOKEN

VIDEO_TOKEN = "<vila/video>"
Variant = Literal["head", "native", "videotoken"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An image of a prompt, [H, W, 3] uint8 RGB."""

    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """The frames of a video that the model is to see, in order of time, [H, W, 3] uint8 RGB each."""

    frames: tuple[NDArray[np.uint8], ...]


Part = str | Picture | Video


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A user's turn: text with a token for each picture and video, in order."""

    text: str
    pictures: tuple[NDArray[np.uint8], ...] = ()
    videos: tuple[Video, ...] = ()


def variant_of(config: CheckpointConfig) -> Variant:
    """Return the generation of code that the checkpoint was trained with."""
    if config.generation == "native":
        return "native"
    return "videotoken" if config.video_encoder.kind == "tsp" else "head"


def compose_turn(parts: Sequence[Part], variant: Variant) -> Turn:
    """Join the parts of a turn. Media tokens that the user typed are taken out, as the official code does.

    Raises ValueError for an unknown variant and a video without frames.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is not known; known: {', '.join(VARIANTS)}")
    text = ""
    pictures: list[NDArray[np.uint8]] = []
    videos: list[Video] = []
    mark = IMAGE_TOKEN + "\n" if variant == "native" else IMAGE_TOKEN
    for part in parts:
        if isinstance(part, str):
            text += _without_media_tokens(part)
        elif isinstance(part, Picture):
            pictures.append(part.image)
            text += mark
        elif not part.frames:
            raise ValueError("a video of a prompt has no frames")
        elif variant == "videotoken":
            videos.append(part)
            text += VIDEO_TOKEN
        else:
            pictures += part.frames
            text += mark * len(part.frames)
    return Turn(text if variant == "native" else text.strip(), tuple(pictures), tuple(videos))


def repeat_for_tiles(text: str, tiles: int) -> str:
    """Give each tile of the prompt's only picture a token and a line break of its own, as for "dynamic"."""
    return text.replace(IMAGE_TOKEN, (IMAGE_TOKEN + "\n") * tiles).strip()


def _without_media_tokens(text: str) -> str:
    for token in (IMAGE_TOKEN, VIDEO_TOKEN):
        if token in text:
            text = text.replace(token, "").strip()
    return text
