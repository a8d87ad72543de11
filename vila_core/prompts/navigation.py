"""The navigation prompt: instruction and frames -> Prompt, in the words each model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vila_core.errors import ConfigError
from vila_core.prompts.conversation import render, stop_texts
from vila_core.prompts.instruction import normalise
from vila_core.types import IMAGE_TOKEN, Instruction, Prompt, Visual


def navila_text(instruction: str, num_frames: int, replies: Sequence[str] = ()) -> str:
    """Return NaVILA's question, letter for letter, for num_frames images, the last one current; it lists no replies."""
    return (
        "Imagine you are a robot programmed for navigation tasks. "
        f"You have been given a video of historical observations {(IMAGE_TOKEN + chr(10)) * (num_frames - 1)}"
        f", and current observation {IMAGE_TOKEN}\n"
        f'. Your assigned task is: "{instruction}" '
        "Analyze this series of images to decide your next action, "
        "which could be turning left or right by a specific degree, moving forward a certain distance, "
        "or stop if the task is completed."
    )


def nano_text(instruction: str, num_frames: int, replies: Sequence[str] = ()) -> str:
    """Return vila-nano's short form, without replies; the fixed words come first, so that their keys can be reused."""
    return f"Task: {instruction}\nSeen:{IMAGE_TOKEN * (num_frames - 1)}\nNow:{IMAGE_TOKEN}"


def vila_text(instruction: str, num_frames: int, replies: Sequence[str] = ()) -> str:
    """Return a question for a VILA checkpoint that was not trained to navigate.

    What stays the same in a mission comes first, then the images in order of time, and the cue is the same after
    any number of them: whatever is appended, all before it keeps its keys.
    """
    listed = "".join(f"{reply}\n" for reply in replies)
    return (
        f'You steer a robot. Its task is: "{instruction}"\n'
        f"Its next action must be exactly one of these sentences:\n{listed}"
        f"These images are what it saw, the oldest first:\n{(IMAGE_TOKEN + chr(10)) * num_frames}"
        "The last image is now. What is next? Reply with one of the sentences and nothing else."
    )


@dataclass(frozen=True, slots=True)
class Style:
    """How a family of models is asked.

    text: (instruction, number of frames, replies to list) -> user text. form: how the instruction is written.
    closed: the model was trained on the ten sentences, so it is best asked to choose; otherwise they are
    listed in the prompt and the model's own words are parsed.
    """

    text: Callable[[str, int, Sequence[str]], str]
    form: Callable[[str], str]
    closed: bool = True


def _lower(text: str) -> str:
    return text.strip().lower()


STYLES: dict[str, Style] = {
    "navila": Style(navila_text, normalise),
    "nano": Style(nano_text, _lower),
    "vila": Style(vila_text, str.strip, closed=False),
}


def navigation_style(name: str) -> Style:
    """Return the named style; ConfigError, naming those known, for another name."""
    if name not in STYLES:
        raise ConfigError(f"unknown prompt style {name!r}; known: {', '.join(sorted(STYLES))}")
    return STYLES[name]


def navigation_prompt(
    style: str,
    chat_template: str,
    instruction: Instruction,
    visuals: Sequence[Visual],
    replies: Sequence[str] = (),
) -> Prompt:
    """Build the prompt that asks for the next action.

    visuals: the frames, oldest first, the last one current. replies: the sentences to list
    for a style that was not trained on them; others ignore them. Raises ConfigError for an unknown style
    or chat template, ValueError without visuals or for an instruction that holds `<image>`.
    """
    if not visuals:
        raise ValueError("a navigation prompt needs at least the current frame")
    row = navigation_style(style)
    text = row.text(row.form(instruction.text), len(visuals), replies)
    return Prompt(render(chat_template, text), tuple(visuals), stop_texts(chat_template))
