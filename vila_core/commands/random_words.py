"""Words that a random tokenizer knows: those of the house's prompts and replies, and how BPE puts them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vila_core.actions.grammar import SENTENCES
from vila_core.prompts.navigation import STYLES, navigation_prompt
from vila_core.types import IMAGE_TOKEN, Frame, Instruction, Visual

_TEMPLATES = ("qwen2", "llama_3", "vicuna_v1")
_COMMAND = "Walk down the hall, turn left at the red chair and stop in front of the table. Go to the blue door."


def plain_texts() -> list[str]:
    """Prompts of every style in every chat template, without pictures, and the replies."""
    frame = Visual(Frame(np.zeros((1, 1, 3), np.uint8), 0))
    prompts = [
        navigation_prompt(style, template, Instruction(_COMMAND), [frame], SENTENCES).text.replace(IMAGE_TOKEN, "")
        for style in STYLES
        for template in _TEMPLATES
    ]
    return [*prompts, *SENTENCES, *(" " + sentence for sentence in SENTENCES), _COMMAND, " " + _COMMAND]


def chains(words: Sequence[str], first: str) -> list[tuple[str, str]]:
    """BPE merges that build each word from the left, letter by letter.

    Words that begin with the character `first`, which stands at beginnings alone, come first: no merge of another
    word can then break one of them up.
    """
    known = sorted(set(words), key=lambda word: (not word.startswith(first), word))
    merges = ((word[:end], word[end]) for word in known for end in range(1, len(word)))
    return list(dict.fromkeys(merges))
