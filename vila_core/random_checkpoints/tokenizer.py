"""The tokenizer of a random checkpoint: it spells any text in bytes, and knows the words of the house's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

from vila_core.actions.grammar import SENTENCES
from vila_core.models.stored.layouts import Json
from vila_core.prompts.localization import localization_prompt, pair_replies
from vila_core.prompts.navigation import STYLES, navigation_prompt
from vila_core.random_checkpoints.description import SPECIAL_TOKENS, write_json
from vila_core.random_checkpoints.shapes import DecoderShape, ModelShape
from vila_core.types import IMAGE_TOKEN, Frame, Instruction, LocalizationMethod, Visual

QWEN2_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}"
    "{% endif %}{% for message in messages if message['content'] is not none %}{{ '<|im_start|>' + message['role'] + "
    "'\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LEAST_RELEASED = 16000  # tokens; a tiny vocabulary has no room for words
_ROLES: dict[str, Json] = {
    "qwen2": {
        "bos_token": "[BOS]",
        "eos_token": "<|im_end|>",
        "pad_token": "[PAD]",
        "tokenizer_class": "Qwen2Tokenizer",
    },
    "llama_3": {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    "llama": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<unk>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "legacy": False,
        "tokenizer_class": "LlamaTokenizer",
    },
}
_TEMPLATES = ("qwen2", "llama_3", "vicuna_v1")
_COMMAND = "Walk down the hall, turn left at the red chair and stop in front of the table. Go to the blue door."
_QUERY = (
    "a person opens the door, a red ball moves, the light goes on, someone picks up the blue box, a chair falls over, "
    "a dog walks past, two people shake hands, the window is open, the yellow cone is taken away and in view, "
    "the robot stands by the green table, it was not seen"
)


def write_tokenizer(folder: Path, shape: ModelShape) -> None:
    """Write a tokenizer of the shape's kind and size that spells any text in bytes; the other tokens are fillers.

    One of a released size has the words of the house's prompts besides, one token each: so prompts are about as long
    as with the released tokenizer.
    """
    kind = shape.decoder.tokenizer
    fast = _llama_tokenizer(shape.decoder) if kind == "llama" else _byte_tokenizer(shape.decoder)
    fast.add_tokens([AddedToken(f"<t{t}>", special=False) for t in range(shape.time_tokens)])
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(str(folder / "tokenizer.json"))
    special = {str(fast.token_to_id(text)): {"content": text, "special": True} for text in SPECIAL_TOKENS[kind]}
    config: Json = {
        **_ROLES[kind],
        "added_tokens_decoder": special,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.decoder.max_length,
    }
    if kind == "qwen2":
        config["chat_template"] = QWEN2_TEMPLATE
    write_json(folder / "tokenizer_config.json", config)


def _byte_tokenizer(decoder: DecoderShape) -> FastTokenizer:
    special = SPECIAL_TOKENS[decoder.tokenizer]
    texts = sorted(pre_tokenizers.ByteLevel.alphabet())
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [word for text in _known_texts(decoder) for word, _ in cut.pre_tokenize_str(text)]
    merges = chains(words, first="\u0120")
    texts += [left + right for left, right in merges]
    texts += [f"w{n}" for n in range(decoder.vocab_size - len(special) - len(texts))]
    fast = FastTokenizer(models.BPE({text: n for n, text in enumerate(texts)}, merges))
    fast.pre_tokenizer = cut
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(list(special))
    if decoder.tokenizer == "llama_3":
        bos = special[0]
        fast.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, fast.token_to_id(bos))]
        )
    return fast


def _known_texts(decoder: DecoderShape) -> list[str]:
    return plain_texts() if decoder.vocab_size >= _LEAST_RELEASED else []


def _llama_tokenizer(decoder: DecoderShape) -> FastTokenizer:
    texts = [*SPECIAL_TOKENS["llama"], *(f"<0x{n:02X}>" for n in range(256)), "\u2581"]
    words = ["\u2581" + word for text in _known_texts(decoder) for word in text.split()]
    merges = chains(words, first="\u2581")
    texts += sorted({letter for word in words for letter in word} - {"\u2581"})
    texts += [left + right for left, right in merges]
    texts += [f"w{n}" for n in range(decoder.vocab_size - len(texts))]
    vocab = {text: n for n, text in enumerate(texts)}
    fast = FastTokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    fast.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast.add_special_tokens(list(SPECIAL_TOKENS["llama"]))
    return fast


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
