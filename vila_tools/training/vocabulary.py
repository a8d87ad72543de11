"""The words of vila-nano: what people call the kinds and colours that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FORM = "go to the {thing}"  # the sentence that training says most
SPELLINGS = {
    "armchair": ("arm chair", "easy chair", "recliner"),
    "ball": (),
    "bear": ("teddy", "teddy bear", "plush bear"),
    "bed": (),
    "bin": ("waste bin", "trash can", "garbage can", "rubbish bin", "dustbin", "trash bin", "wastebasket"),
    "bookshelf": ("book shelf", "bookcase", "book case", "shelf"),
    "cabinet": ("cupboard", "sideboard"),
    "chair": (),
    "cone": ("traffic cone", "pylon"),
    "crate": ("wooden box", "box"),
    "lamp": ("floor lamp", "standing lamp", "light"),
    "plant": ("potted plant", "house plant", "houseplant"),
    "sofa": ("couch", "settee"),
    "stool": (),
    "suitcase": ("case", "luggage"),
    "table": ("desk",),
    "television": ("tv", "television set", "tv set", "screen"),
    "vase": (),
    "red": ("crimson", "scarlet"),
    "purple": ("violet",),
}


def vocabulary(kinds: Sequence[str], colours: Sequence[str]) -> dict[str, Any]:
    """Return the key `vocabulary` of `vila_nav` in config.json, see vila_core.types.Vocabulary."""
    return {"form": FORM} | {
        key: {name: list(SPELLINGS.get(name, ())) for name in names}
        for key, names in (("colours", colours), ("kinds", kinds))
    }
