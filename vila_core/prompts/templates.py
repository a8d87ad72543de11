"""Chat templates: what stands before and after the user's text, per model family.

The strings are those that the official code renders for one user turn with the generation
prompt (VILA's Conversation.get_prompt, the Qwen2 template of NVILA, NaVILA's conversation).
"""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """One user turn and the opening of the reply: prefix + user text + suffix.

    stop: the texts of the tokens that end a reply, besides the tokenizer's own end of text.
    """

    prefix: str
    suffix: str
    stop: tuple[str, ...] = ()


TEMPLATES: dict[str, ChatTemplate] = {
    "llama_3": ChatTemplate(
        prefix=(
            "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
            "You are a helpful language and vision assistant. "
            "You are able to understand the visual content that the user provides, "
            "and assist the user with a variety of tasks using natural language."
            "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        ),
        suffix="<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        stop=("<|eot_id|>", "<|end_of_text|>"),
    ),
    "vicuna_v1": ChatTemplate(
        prefix=(
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
        ),
        suffix=" ASSISTANT:",
        stop=("</s>",),
    ),
    "hermes-2": ChatTemplate(
        prefix="<|im_start|>system\nAnswer the questions.<|im_end|><|im_start|>user\n",
        suffix="<|im_end|><|im_start|>assistant\n",
        stop=("<|im_end|>",),
    ),
    "qwen2": ChatTemplate(
        prefix="<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n",
        suffix="<|im_end|>\n<|im_start|>assistant\n",
        stop=("<|im_end|>",),
    ),
    "nano": ChatTemplate(prefix="<s>", suffix="\nAct: ", stop=("</s>",)),
    "plain": ChatTemplate(prefix="", suffix="\n"),
}


def chat_template(name: str) -> ChatTemplate:
    """Return the named template; ConfigError, naming those known, for another name."""
    if name not in TEMPLATES:
        raise ConfigError(f"unknown chat template {name!r}; known: {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[name]


def render(template: str, user_text: str) -> str:
    """Return the full prompt for one user turn, up to where the reply begins.

    Raises ConfigError for an unknown template.
    """
    chat = chat_template(template)
    return chat.prefix + user_text + chat.suffix
