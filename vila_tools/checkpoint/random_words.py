"""Words that a random tokenizer knows: those of the house's prompts and replies, and how BPE puts them together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vila_core.actions.grammar import SENTENCES
from vila_core.prompts.localization import localization_prompt, pair_replies
from vila_core.prompts.navigation import STYLES, navigation_prompt
from vila_core.types import IMAGE_TOKEN, Frame, Instruction, LocalizationMethod, Visual

_TEMPLATES = ("qwen2", "llama_3", "vicuna_v1")
_COMMAND = "Walk down the hall, turn left at the red chair and stop in front of the table. Go to the blue door."
_QUERY = (
    "a person opens the door, a red ball moves, the light goes on, someone picks up the blue box, a chair falls over, "
    "a dog walks past, two people shake hands, the window is open, the yellow cone is taken away and in view, "
    "the robot stands by the green table, it was not seen"
)


def plain_texts() -> list[str]:
    """Prompts of every style in every chat template, without pictures, and the replies."""
    frame = Visual(Frame(np.zeros((1, 1, 3), np.uint8), 0))
    prompts = [
        navigation_prompt(style, template, Instruction(_COMMAND), [frame], SENTENCES).text.replace(IMAGE_TOKEN, "")
        for style in STYLES
        for template in _TEMPLATES
    ]
    methods = (LocalizationMethod.TIME_TOKENS, LocalizationMethod.TIMESTAMPS)
    prompts += [localization_prompt(method, "qwen2", _QUERY, (), (), cache_slot="").text for method in methods]
    replies = [*SENTENCES, *pair_replies(LocalizationMethod.TIMESTAMPS, ("1", "2"), (0,))]
    return [*prompts, *replies, *(" " + reply for reply in replies), _COMMAND, " " + _COMMAND]


def chains(words: Sequence[str], first: str) -> list[tuple[str, str]]:
    """BPE merges that build each word from the left, letter by letter.

    Words that begin with the character `first`, which stands at beginnings alone, come first: no merge of another
    word can then break one of them up.
    """
    known = sorted(set(words), key=lambda word: (not word.startswith(first), word))
    merges = ((word[:end], word[end]) for word in known for end in range(1, len(word)))
    return list(dict.fromkeys(merges))
