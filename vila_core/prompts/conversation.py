"""Conversations as text: what each model family puts before, between and after the turns, and what ends a reply.

The strings are those that the official code renders (VILA's Conversation.get_prompt, the Qwen2 template of NVILA,
NaVILA's conversation). A template is a name of TEMPLATES or, from a checkpoint's tokenizer, Jinja source.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vila_core.errors import ConfigError

IGNORE = -100  # the label of a token that is not trained
_SENTINEL = "<vila/sentinel>"
_DUMMY_TURNS = 10
_END_MARK = re.compile(r"<\|[^<>|]*\|>|</s>")


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """A conversation: opening, then openers[i % 2] + text + seps[i % 2] for turn i, user and assistant in turn.

    opening: (head, system text, separator); without a system text the head is left out unless keep_head. last_sep: in
    place of the last turn's separator. reply: what asks for one, "" for the assistant's opener. stop: the texts of
    the tokens that end a reply, besides the tokenizer's own end of text.
    """

    opening: tuple[str, str, str]
    openers: tuple[str, str]
    seps: tuple[str, str]
    reply: str = ""
    last_sep: str | None = None
    stop: tuple[str, ...] = ()
    keep_head: bool = False


_LLAMA_3_SYSTEM = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
_VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)

TEMPLATES: dict[str, ChatTemplate] = {
    "llama_3": ChatTemplate(
        opening=("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n", _LLAMA_3_SYSTEM, "<|eot_id|>"),
        openers=(
            "<|start_header_id|>user<|end_header_id|>\n\n",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        seps=("<|eot_id|>", "<|eot_id|>"),
        last_sep="<|end_of_text|>",
        stop=("<|eot_id|>", "<|end_of_text|>"),
    ),
    "vicuna_v1": ChatTemplate(
        opening=("", _VICUNA_SYSTEM, " "),
        openers=("USER: ", "ASSISTANT: "),
        seps=(" ", "</s>"),
        reply="ASSISTANT:",
        stop=("</s>",),
    ),
    "hermes-2": ChatTemplate(
        opening=("<|im_start|>system\n", "Answer the questions.", "<|im_end|>"),
        openers=("<|im_start|>user\n", "<|im_start|>assistant\n"),
        seps=("<|im_end|>", "<|im_end|>"),
        stop=("<|im_end|>",),
    ),
    "qwen2": ChatTemplate(
        opening=("<|im_start|>system\n", "You are a helpful assistant", "<|im_end|>\n"),
        openers=("<|im_start|>user\n", "<|im_start|>assistant\n"),
        seps=("<|im_end|>\n", "<|im_end|>\n"),
        stop=("<|im_end|>",),
        keep_head=True,
    ),
    "nano": ChatTemplate(
        opening=("<s>", "", ""), openers=("", "\nAct: "), seps=("", "</s>"), stop=("</s>",), keep_head=True
    ),
    "plain": ChatTemplate(opening=("", "", ""), openers=("", ""), seps=("\n", "\n")),
    "none": ChatTemplate(opening=("", "", ""), openers=("", ""), seps=("", "")),  # who is asked has its own
}


class TextCodec(Protocol):
    """What of a tokenizer the stop tokens and labels need; models.tokenizer.Tokenizer has it."""

    eos_id: int | None

    def encode(self, text: str, add_bos: bool = False) -> list[int]:
        """Token ids of a text."""
        ...

    def id_of(self, token: str) -> int | None:
        """The id of a token's exact text, or None."""
        ...


def chat_template(name: str) -> ChatTemplate:
    """Return the named template; ConfigError, naming those known, for another name."""
    if name not in TEMPLATES:
        raise ConfigError(f"unknown chat template {name!r}; known: {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]


def render(template: str, user_text: str) -> str:
    """Return the full prompt for one user turn, up to where the reply begins; see render_conversation."""
    return render_conversation(template, [user_text])


def render_conversation(
    template: str,
    turns: Sequence[str],
    *,
    generation_prompt: bool = True,
    system_prompt: bool = True,
    system: str | None = None,
) -> str:
    """Return the turns as text, the user's first and the assistant's in between.

    template: a name, or Jinja source. generation_prompt: end with what opens a reply. system_prompt: False leaves
    the system text empty, as the official option no_system_prompt does. system: another one in its place. Raises
    ConfigError for an unknown template or Jinja that fails.
    """
    if _is_jinja(template):
        return _render_jinja(template, turns, generation_prompt, system if system_prompt else "")
    chat = chat_template(template)
    head, usual, separator = chat.opening
    told = (usual if system is None else system) if system_prompt else ""
    text = (head if system_prompt or chat.keep_head else "") + told + separator
    for index, turn in enumerate(turns):
        is_last = index == len(turns) - 1 and not generation_prompt and chat.last_sep is not None
        text += chat.openers[index % 2] + turn + (str(chat.last_sep) if is_last else chat.seps[index % 2])
    return text + (chat.reply or chat.openers[1]) if generation_prompt else text


def stop_texts(template: str) -> tuple[str, ...]:
    """Texts of the tokens that end a reply: for Jinja source, what looks like one directly behind a reply.

    Raises ConfigError as render_conversation does.
    """
    if not _is_jinja(template):
        return chat_template(template).stop
    text = render_conversation(template, ["question", _SENTINEL] * 2, generation_prompt=False)
    found = (_END_MARK.match(rest) for rest in text.split(_SENTINEL)[1:])
    return tuple(sorted({match[0] for match in found if match}))


def stop_token_ids(template: str, tokenizer: TextCodec) -> tuple[int, ...]:
    """Ids of the tokens that end a reply: end of text, and each that follows the assistant's text.

    Found as the official code does, by rendering a conversation of sentinels. Ascending. Raises ConfigError as
    render_conversation does, and if the tokenizer has neither an end-of-text nor a sentinel token.
    """
    sentinel = tokenizer.id_of(_SENTINEL)
    if sentinel is None or tokenizer.eos_id is None:
        raise ConfigError(f"the tokenizer lacks an end-of-text token or {_SENTINEL!r}; stop tokens cannot be found")
    text = render_conversation(template, ["question", _SENTINEL] * _DUMMY_TURNS, generation_prompt=False)
    ids = tokenizer.encode(text, add_bos=True)
    following = {after for token, after in zip(ids, ids[1:], strict=False) if token == sentinel}
    return tuple(sorted(following | {tokenizer.eos_id}))


def training_labels(template: str, turns: Sequence[str], tokenizer: TextCodec) -> tuple[list[int], list[int]]:
    """Token ids of a conversation and its labels: the assistant's tokens and what ends them, IGNORE elsewhere.

    A token is trained if it is not matched, in order, by the same conversation with the replies cut out; all are
    IGNORE if that one is not matched to its end, as in the official code.
    """
    ids = tokenizer.encode(render_conversation(template, turns, generation_prompt=False), add_bos=True)
    silenced = [_SENTINEL if index % 2 else turn for index, turn in enumerate(turns)]
    frame = _without_replies(
        tokenizer.encode(render_conversation(template, silenced, generation_prompt=False), True),
        tokenizer.id_of(_SENTINEL),
    )
    labels, matched = [], 0
    for token in ids:
        same = matched < len(frame) and token == frame[matched]
        labels.append(IGNORE if same else token)
        matched += same
    return ids, labels if matched == len(frame) else [IGNORE] * len(ids)


def _without_replies(ids: list[int], sentinel: int | None) -> list[int]:
    """Cut out each sentinel and the token behind it, which ends the reply; one at the very end stays."""
    starts = {index for index, token in enumerate(ids[:-1]) if token == sentinel}
    return [token for index, token in enumerate(ids) if index not in starts and index - 1 not in starts]


def _is_jinja(template: str) -> bool:
    return "{{" in template or "{%" in template


def _render_jinja(template: str, turns: Sequence[str], generation_prompt: bool, system: str | None) -> str:
    from vila_core.chat_sandbox import render_template  # only templates of checkpoints need Jinja

    messages = [{"role": "assistant" if i % 2 else "user", "content": turn} for i, turn in enumerate(turns)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return render_template(template, messages, generation_prompt)
