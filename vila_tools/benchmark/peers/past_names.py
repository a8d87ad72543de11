"""What a graph calls its cached keys and values: the same for all that read and write such graphs."""

from __future__ import annotations

from vila_core.models.config import LanguageConfig


def past_names(language: LanguageConfig, head: str) -> list[str]:
    """Names of the keys and values, in the decoder's order; head: "past" or "present"."""
    return [f"{head}_{layer}_{kind}" for layer in range(language.layers) for kind in ("key", "value")]
