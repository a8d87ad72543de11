"""What a random checkpoint says of itself: its JSON files, in the official layouts."""

from __future__ import annotations

import json
from pathlib import Path

from vila_core.models.stored.layouts import Json
from vila_core.random_checkpoints.shapes import ModelShape

SPECIAL_TOKENS = {
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


def vocab_size(shape: ModelShape) -> int:
    """Rows of the embedding: the decoder's, and the time tokens."""
    return shape.decoder.vocab_size + shape.time_tokens


def language_json(shape: ModelShape) -> Json:
    """The decoder's config.json."""
    decoder, llama = shape.decoder, shape.decoder.tokenizer != "qwen2"
    first = decoder.vocab_size - len(SPECIAL_TOKENS[decoder.tokenizer])
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


def write_json(file: Path, value: Json) -> None:
    """Write an object as indented JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
