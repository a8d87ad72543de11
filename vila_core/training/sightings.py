"""Questions about what is in view, from the frames of `vila data`: many flats, one moment each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vila_core.models.relevance import THUMBNAIL_PX, thumbnail
from vila_core.training.shards import Drives

FRAMES = 2  # of a sighting: the one asked about, behind the one before it
LEAST_SHARE = 2 / 48**2  # of the picture, that an object must cover to be in view
_ASK_SEEN, _ASK_LIKE = 0.5, 0.4  # for an object in view; for its like in colour or kind; the rest for any pair at all
_OTHER_KIND = 0.6  # of the likes, that differ in kind and not in colour


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """A batch of questions about runs of frames.

    tokens: [B, T, N, C] visual tokens. thumbnails: [B, T, 48, 48, 3] uint8. active: [B, T] float, 1 where what the
    text names goes on.
    """

    tokens: Tensor
    thumbnails: Tensor
    texts: list[str]
    active: Tensor


class Sightings:
    """Draws pairs of frames that follow each other, and whether a named object is in view."""

    def __init__(
        self, drives: Drives, tokens: Tensor, in_view: NDArray[np.bool_], templates: tuple[str, ...], rows: range
    ) -> None:
        """tokens: [frames, N, C] visual tokens of the drives. in_view: as objects_in_view gives it.

        templates: sentences with {colour} and {kind}. rows: the frames that are drawn from.
        """
        self.drives, self.tokens, self.in_view = drives, tokens, in_view
        self.templates, self.rows = templates, rows

    def draw(self, count: int, rng: np.random.Generator) -> Lesson:
        """Draw so many pairs of frames with a question each."""
        rows = rng.integers(self.rows.start, self.rows.stop - 1, count)[:, None] + np.arange(FRAMES)
        asked = [self._pair(int(row[-1]), rng) for row in rows]
        active = np.array(
            [[self._shows(int(row), pair) for row in pairs] for pairs, pair in zip(rows, asked, strict=True)]
        )
        texts = [self._worded(pair, rng) for pair in asked]
        pictures = torch.from_numpy(thumbnails(self.drives.images[rows]))
        return Lesson(self.tokens[torch.from_numpy(rows)], pictures, texts, torch.from_numpy(active).float())

    def _pair(self, row: int, rng: np.random.Generator) -> tuple[int, int]:
        """Choose a kind and a colour to ask for."""
        drives = self.drives
        kind, colour = int(rng.integers(len(drives.kind_names))), int(rng.integers(len(drives.colour_names)))
        seen = np.flatnonzero(self.in_view[row])
        way = rng.random()
        if len(seen) == 0 or way >= _ASK_SEEN + _ASK_LIKE:
            return kind, colour
        item = rng.choice(seen)
        own_kind, own_colour = int(drives.kinds[row, item]), int(drives.colours[row, item])
        if way < _ASK_SEEN:
            return own_kind, own_colour
        return (kind, own_colour) if rng.random() < _OTHER_KIND else (own_kind, colour)

    def _shows(self, row: int, pair: tuple[int, int]) -> bool:
        drives = self.drives
        named = (drives.kinds[row] == pair[0]) & (drives.colours[row] == pair[1])
        return bool((named & self.in_view[row]).any())

    def _worded(self, pair: tuple[int, int], rng: np.random.Generator) -> str:
        template = self.templates[rng.integers(len(self.templates))]
        kind, colour = self.drives.kind_names[pair[0]], self.drives.colour_names[pair[1]]
        return template.format(colour=colour, kind=kind.replace("_", " "))


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[..., S, S, 3] -> [..., 48, 48, 3]."""
    flat = images.reshape(-1, *images.shape[-3:])
    return np.stack([thumbnail(picture) for picture in flat]).reshape(*images.shape[:-3], THUMBNAIL_PX, THUMBNAIL_PX, 3)


def objects_in_view(seg: NDArray[np.uint8], objects: int) -> NDArray[np.bool_]:
    """[frames, S, S] object index or 255 -> [frames, objects]: which cover enough of the picture to count as seen."""
    least = LEAST_SHARE * seg.shape[1] * seg.shape[2]
    rows = [np.bincount(picture.ravel(), minlength=256)[:objects] >= least for picture in seg]
    return np.stack(rows)
