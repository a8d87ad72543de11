"""The families of models: how one is recognised, how it is asked, and how its projector writes. One table.

To add a family, write a row: a name, when a checkpoint is one of it, and what differs from the others; and its row of
the table in docs/checkpoints.md. Its sizes are read from its configuration, its chat template is a row of
prompts/conversation.py, its question one of prompts/navigation.py, which also says whether it is scored on the ten
sentences. The first row that recognises a checkpoint is its family; `"vila_nav": {"family": NAME}` in config.json says
it instead. Nothing is decided by a path, nor by the one that is stored in config.json.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

CHAT_TEMPLATES = ("llama_3", "vicuna_v1", "hermes-2", "qwen2", "nano", "plain")  # rows of prompts/conversation.py
TokenOrder = Literal["row", "column"]
Generation = Literal["native", "nvila"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What a family is recognised by.

    prompt_style, chat_template: names, or Jinja source. pools_time: a TSP video encoder, or time tokens.
    """

    generation: Generation
    prompt_style: str  # given by key vila_nav; "" if it is not
    chat_template: str
    projector: str
    aspect_ratio: str
    pools_time: bool


@dataclass(frozen=True, slots=True)
class Family:
    """A row of the table.

    generation: which official code trained it. recognises: by what it is told from the others of that generation.
    prompt_style: of prompts.navigation, unless key vila_nav names another. downsample_order: in which a projector of
    the type "mlp_downsample" writes its tokens; all others write rows. describes: whether it answers freely, or knows
    the ten sentences alone.
    """

    name: str
    generation: Generation
    recognises: Callable[[Traits], bool]
    prompt_style: str = "vila"
    downsample_order: TokenOrder = "row"
    describes: bool = True

    def token_order(self, projector: str) -> TokenOrder:
        """Order of a projector's output tokens.

        One name, two meanings: the code that trained VILA1.5 and NaVILA emits mlp_downsample's cells column by column,
        the same name since NVILA's release row by row.
        """
        return self.downsample_order if projector == "mlp_downsample" else "row"


FAMILIES = (
    Family("vila-nano", "nvila", lambda of: of.prompt_style == "nano", prompt_style="nano", describes=False),
    # Llama-3-VILA1.5 looks the same in every file, but nobody asks it to navigate: there say "family": "vila1.5".
    Family(
        "navila",
        "native",
        lambda of: of.chat_template == "llama_3",
        prompt_style="navila",
        downsample_order="column",
    ),
    Family("vila1.5", "native", lambda of: True, downsample_order="column"),
    Family("nvila-video", "nvila", lambda of: of.pools_time),
    Family(
        "nvila-lite",
        "nvila",
        lambda of: of.aspect_ratio == "dynamic" or of.projector == "mlp_downsample_3x3_fix",
    ),
    Family("nvila", "nvila", lambda of: True),
)


def family_of(traits: Traits, named: str | None = None) -> Family:
    """Return the named row, or the first that recognises the traits."""
    if named is not None:
        return next(row for row in FAMILIES if row.name == named)
    return next(row for row in FAMILIES if row.generation == traits.generation and row.recognises(traits))
