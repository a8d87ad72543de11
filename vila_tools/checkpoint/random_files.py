"""The files of a random checkpoint: JSON in the official layouts, a byte tokenizer, weights as they are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as FastTokenizer

from vila_core.models.weights_writer import file_header
from vila_tools.checkpoint.model_shapes import DecoderShape, ModelShape
from vila_tools.checkpoint.random_words import chains, plain_texts

Json = dict[str, Any]

QWEN2_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n' }}"
    "{% endif %}{% for message in messages if message['content'] is not none %}{{ '<|im_start|>' + message['role'] + "
    "'\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LEAST_RELEASED = 16000  # tokens; a tiny vocabulary has no room for words
_SPECIAL = {
    "qwen2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "[BOS]", "[PAD]"),
    "llama_3": (
        "<|begin_of_text|>",
        "<|end_of_text|>",
        *(f"<|reserved_special_token_{n}|>" for n in range(4)),
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|reserved_special_token_4|>",
        "<|eot_id|>",
        *(f"<|reserved_special_token_{n}|>" for n in range(5, 251)),
    ),
    "llama": ("<unk>", "<s>", "</s>"),
}
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


def vocab_size(shape: ModelShape) -> int:
    """Rows of the embedding: the decoder's, and the time tokens."""
    return shape.decoder.vocab_size + shape.time_tokens


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
    special = {str(fast.token_to_id(text)): {"content": text, "special": True} for text in _SPECIAL[kind]}
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
    special = _SPECIAL[decoder.tokenizer]
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
    texts = [*_SPECIAL["llama"], *(f"<0x{n:02X}>" for n in range(256)), "\u2581"]
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
    fast.add_special_tokens(list(_SPECIAL["llama"]))
    return fast


def language_json(shape: ModelShape) -> Json:
    """The decoder's config.json."""
    decoder, llama = shape.decoder, shape.decoder.tokenizer != "qwen2"
    first = decoder.vocab_size - len(_SPECIAL[decoder.tokenizer])
    bos, eos = {"qwen2": (first, first + 2), "llama_3": (first, first + 1), "llama": (1, 2)}[decoder.tokenizer]
    return {
        "architectures": ["LlamaForCausalLM" if llama else "Qwen2ForCausalLM"],
        "model_type": "llama" if llama else "qwen2",
        "hidden_act": "silu",
        "hidden_size": decoder.hidden_size,
        "intermediate_size": decoder.intermediate_size,
        "num_hidden_layers": decoder.layers,
        "num_attention_heads": decoder.heads,
        "num_key_value_heads": decoder.kv_heads,
        "vocab_size": vocab_size(shape),
        "max_position_embeddings": decoder.max_positions,
        "rms_norm_eps": decoder.eps,
        "rope_theta": decoder.rope_theta,
        "tie_word_embeddings": decoder.tied,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "torch_dtype": "bfloat16",
    }


def vision_json(shape: ModelShape) -> Json:
    """The vision tower's config.json."""
    tower = shape.tower
    return {
        "architectures": ["SiglipVisionModel"],
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": tower.hidden_size,
        "intermediate_size": tower.intermediate_size,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "layer_norm_eps": 1e-6,
        "vision_use_head": False,
        "torch_dtype": "bfloat16",
    }


def pixels_json(shape: ModelShape) -> Json:
    """The image processor's preprocessor_config.json."""
    side = shape.tower.image_size
    return {
        "image_processor_type": "SiglipImageProcessor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def projector_json(shape: ModelShape) -> Json:
    """The projector's config.json."""
    return {
        "architectures": ["MultimodalProjector"],
        "model_type": "v2l_projector",
        "mm_projector_type": shape.projector,
    }


def top_json(shape: ModelShape, name: str, layout: str) -> Json:
    """The checkpoint's config.json."""
    parts: Json = {"text_config": language_json(shape), "vision_config": vision_json(shape)}
    if layout == "hf":
        lite = shape.projector == "mlp_downsample_3x3_fix"
        architecture = f"NVILA{'Lite' if lite else ''}ForConditionalGeneration"
        return {"model_type": "nvila_lite" if lite else "nvila", "architectures": [architecture], **parts}
    base: Json = {
        "_name_or_path": f"./{name}",
        "model_type": "vila" if layout == "hf-preview" else "llava_llama",
        "architectures": ["VILAForCausalLM" if layout == "hf-preview" else "LlavaLlamaModel"],
        "llm_cfg": parts["text_config"],
        "vision_tower_cfg": parts["vision_config"],
        "mm_projector_cfg": projector_json(shape),
        "hidden_size": shape.decoder.hidden_size,
        "mm_hidden_size": shape.tower.hidden_size * max(1, len(shape.scales)),
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "cls_patch",
        "image_aspect_ratio": shape.aspect_ratio,
        "num_video_frames": shape.num_video_frames,
        "s2": bool(shape.scales) and shape.native,
        "transformers_version": "4.36.2" if shape.native else "4.46.0",
    }
    side = shape.tower.image_size
    if shape.scales:
        base |= {"s2_scales": ",".join(str(side * scale) for scale in shape.scales), "s2_max_split_size": side}
    return base if shape.native else base | _nvila_keys(shape)


def _nvila_keys(shape: ModelShape) -> Json:
    count, first = shape.time_tokens, shape.decoder.vocab_size
    encoders = "llava.model.encoders."
    video: Json = {"_target_": f"{encoders}TSPVideoEncoder", "pool_sizes": [list(size) for size in shape.pool_sizes]}
    return {
        "chat_template": None,
        "dynamic_s2": shape.aspect_ratio == "dynamic_s2",
        "fps": 0.0,
        "s2_resize_output_to_scale_idx": -1 if shape.scales else 0,
        "image_encoder": {"_target_": f"{encoders}BasicImageEncoder"},
        "video_encoder": video if shape.pool_sizes else {"_target_": f"{encoders}BasicVideoEncoder"},
        "num_time_tokens": count,
        "time_token_format": "<t{t}>",
        "time_token_ids": list(range(first, first + count)),
        "soft_ce_std": 1.0,
    }


@dataclass(frozen=True, slots=True)
class Blank:
    """A tensor to be drawn: a norm's weight is one, a bias zero, any other normal with deviation 0.02."""

    name: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Its size in bfloat16."""
        return 2 * torch.Size(self.shape).numel()


def write_weights(folder: Path, blanks: Sequence[Blank], seed: int, shard_mb: float) -> None:
    """Write the tensors to model.safetensors, or to shards of at most shard_mb and an index; 0 for one file.

    Drawn and written a piece at a time: no tensor is in memory as a whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = torch.Generator().manual_seed(seed)
    shards = list(_shards(blanks, shard_mb))
    if len(shards) == 1:
        _write_file(folder / "model.safetensors", shards[0], rng)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_file(folder / name, shard, rng)
        weight_map |= {blank.name: name for blank in shard}
    total = sum(blank.bytes for blank in blanks)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(blanks: Sequence[Blank], shard_mb: float) -> Iterator[list[Blank]]:
    limit = shard_mb * 1e6 if shard_mb > 0 else float("inf")
    shard: list[Blank] = []
    for blank in blanks:
        if shard and sum(other.bytes for other in shard) + blank.bytes > limit:
            yield shard
            shard = []
        shard.append(blank)
    yield shard


def _write_file(file: Path, blanks: Sequence[Blank], rng: torch.Generator) -> None:
    with file.open("wb") as stream:
        stream.write(file_header((blank.name, torch.bfloat16, blank.shape) for blank in blanks))
        for blank in blanks:
            for piece in _draw(blank, rng):
                stream.write(piece.view(torch.uint8).numpy().data)


def _draw(blank: Blank, rng: torch.Generator, piece: int = 1 << 22) -> Iterator[torch.Tensor]:
    """The tensor's values in bfloat16, a piece at a time."""
    count = blank.bytes // 2
    leaf = blank.name.rpartition(".")[2]
    for begin in range(0, count, piece):
        size = min(piece, count - begin)
        if leaf == "bias":
            yield torch.zeros(size, dtype=torch.bfloat16)
        elif len(blank.shape) == 1:
            yield torch.ones(size, dtype=torch.bfloat16)
        else:
            yield torch.empty(size).normal_(0.0, 0.02, generator=rng).bfloat16()


def write_json(file: Path, value: Json) -> None:
    """Write an object as indented JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
