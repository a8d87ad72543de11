"""Tiny random checkpoints of Hugging Face's families, with their own processors, chat templates and a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForImageTextToText, BatchFeature, PreTrainedTokenizerFast

_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "vocab_size": 320,
}
_VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_SPECIAL = [
    *("<s>", "</s>", "<pad>", "<image>", "<video>", "<|im_start|>", "<|im_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<fake_token_around_image>"),
    *("<global-img>", "<end_of_utterance>", "<img>", "</img>", "<IMG_CONTEXT>", "<row_1_col_1>"),
]
_ID = {token: number for number, token in enumerate(_SPECIAL)}


def _template(image: str) -> str:
    return (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for p in m['content'] %}"
        "{% if p['type'] == 'image' %}" + image + "{% else %}{{ p['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _tokenizer(**named: str) -> PreTrainedTokenizerFast:
    """Spells any text in bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*_SPECIAL, *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>", extra_special_tokens=named
    )


def _llava() -> tuple[Any, Any]:
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaProcessor

    config = LlavaConfig(
        text_config={"model_type": "llama", **_TEXT},
        vision_config={"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14, **_VISION},
        image_token_index=_ID["<image>"],
    )
    size = {"height": 28, "width": 28}
    pictures = CLIPImageProcessorPil(size=size, crop_size=size)
    processor = LlavaProcessor(
        pictures,
        _tokenizer(image_token="<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template("<image>"),
    )
    return config, processor


def _smolvlm() -> tuple[Any, Any]:
    """The first SmolVLM is an Idefics 3."""
    from transformers import Idefics3Config, Idefics3ImageProcessorPil, Idefics3Processor

    config = Idefics3Config(
        text_config={"model_type": "llama", **_TEXT},
        vision_config={"image_size": 28, "patch_size": 7, **_VISION},
        scale_factor=2,
        image_token_id=_ID["<image>"],
    )
    pictures = Idefics3ImageProcessorPil(
        size={"longest_edge": 28}, max_image_size={"longest_edge": 28}, do_image_splitting=False
    )
    processor = Idefics3Processor(pictures, _tokenizer(), image_seq_len=4, chat_template=_template("<image>"))
    return config, processor


def _qwen() -> tuple[Any, Any]:
    from transformers import Qwen2_5_VLConfig, Qwen2VLImageProcessorPil

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    config = Qwen2_5_VLConfig(
        text_config={**_TEXT, "rope_parameters": rope},
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
            "window_size": 56,
        },
        image_token_id=_ID["<|image_pad|>"],
        video_token_id=_ID["<|video_pad|>"],
        vision_start_token_id=_ID["<|vision_start|>"],
        vision_end_token_id=_ID["<|vision_end|>"],
    )
    pictures = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=56 * 56)
    template = _template("<|vision_start|><|image_pad|><|vision_end|>")
    return config, PlainProcessor(pictures, _tokenizer(), template, "<|image_pad|>", _merged)


def _internvl() -> tuple[Any, Any]:
    from transformers import GotOcr2ImageProcessorPil, InternVLConfig

    config = InternVLConfig(
        text_config={"model_type": "qwen2", **_TEXT},
        vision_config={"image_size": [28, 28], "patch_size": [7, 7], **_VISION},
        image_token_id=_ID["<IMG_CONTEXT>"],
        image_seq_length=4,
    )
    pictures = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, crop_to_patches=False)
    return config, PlainProcessor(pictures, _tokenizer(), _template("<img><IMG_CONTEXT></img>"), "<IMG_CONTEXT>", _four)


class PlainProcessor:
    """A processor of pictures and texts alone: the families' own need torchvision, for videos."""

    def __init__(
        self,
        image_processor: Any,
        tokenizer: PreTrainedTokenizerFast,
        template: str,
        token: str,
        counts: Callable[[Any], list[int]],
    ) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer
        tokenizer.chat_template = template
        self._token, self._counts = token, counts

    def apply_chat_template(self, messages: Any, **options: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **options)

    def __call__(self, text: list[str], images: Any = None, return_tensors: str = "pt") -> Any:
        made = {} if images is None else dict(self.image_processor(images=images, return_tensors=return_tensors))
        first, *others = text[0].split(self._token)
        counts = self._counts(made) if made else []
        whole = first + "".join(self._token * n + rest for n, rest in zip(counts, others, strict=True))
        made.pop("num_patches", None)
        texts = self.tokenizer([whole], return_tensors=return_tensors)
        if "image_grid_thw" in made:  # from which Qwen's positions in three dimensions come
            made["mm_token_type_ids"] = (texts["input_ids"] == _ID[self._token]).long()
        return BatchFeature({**texts, **made})


def _merged(made: Any) -> list[int]:
    return [int(grid.prod()) // 4 for grid in made["image_grid_thw"]]


def _four(made: Any) -> list[int]:
    return [4] * len(made["pixel_values"])


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "smolvlm": _smolvlm,
    "qwen2_5_vl": _qwen,
    "internvl": _internvl,
}


OWN_PROCESSOR = ("llava", "smolvlm")  # of transformers, without torchvision


def make_model(family: str) -> tuple[Any, Any]:
    """Return a random model of a family, and its processor."""
    torch.manual_seed(5)
    config, processor = FAMILIES[family]()
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # else all replies are alike
    return model, processor


def write_checkpoint(family: str, folder: Path) -> Path:
    """Write a random checkpoint of a family that has its own processor."""
    model, processor = make_model(family)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
