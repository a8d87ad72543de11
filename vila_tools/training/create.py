"""Write a new checkpoint directory in the official layout: JSON files, a tokenizer, random weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from vila_core.files.writing import naming_output
from vila_core.models.stored.checkpoint import build_model
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.tokenizer import Tokenizer
from vila_core.models.vlm import VisionLanguageModel
from vila_sim.robot import CameraConfig
from vila_tools.training.recipe import ModelSizes

BOS, EOS = "<s>", "</s>"


def create_model(
    path: Path, sizes: ModelSizes, corpus: Iterable[str], seed: int, *, vocabulary: dict[str, Any] | None = None
) -> VisionLanguageModel:
    """Write the configuration and tokenizer of a vila-nano and return the model with random weights.

    vocabulary: the words that it will know, as config.json has them; None: it may be told anything.
    """
    with naming_output(path):
        write_config(path, sizes, vocabulary)
        train_tokenizer(corpus, sizes.vocab_size).save(str(path / "llm" / "tokenizer.json"))
    torch.manual_seed(seed)
    config = read_checkpoint_config(path)
    model = build_model(config, Tokenizer(path / "llm" / "tokenizer.json"))
    model.apply(_initialise)
    return model


def train_tokenizer(corpus: Iterable[str], vocab_size: int) -> FastTokenizer:
    """Train a byte-level BPE, Qwen2's kind: any text can be written with it."""
    fast = FastTokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(corpus, trainer)
    return fast


def write_config(path: Path, sizes: ModelSizes, vocabulary: dict[str, Any] | None = None) -> None:
    """Write every JSON file of the official layout."""
    llm = _language_json(sizes)
    vision = _vision_json(sizes)
    projector = {
        "architectures": ["MultimodalProjector"],
        "mm_projector_type": "mlp_downsample_2x2_fix",
        "model_type": "v2l_projector",
    }
    top = {
        "architectures": ["LlavaLlamaModel"],
        "model_type": "llava_llama",
        "chat_template": None,
        "dynamic_s2": False,
        "fps": 0.0,
        "hidden_size": sizes.width,
        "image_aspect_ratio": "resize",
        "image_encoder": {"_target_": "llava.model.encoders.BasicImageEncoder", "end_tokens": None},
        "llm_cfg": llm,
        "mm_hidden_size": sizes.vision_width,
        "mm_projector_cfg": projector,
        "mm_vision_select_feature": "cls_patch",
        "mm_vision_select_layer": -1,
        "num_time_tokens": 0,
        "num_video_frames": sizes.num_frames,
        "vila_nav": {
            "name": "vila-nano",
            "prompt_style": "nano",
            "chat_template": "nano",
            "history_tokens": sizes.history_tokens,
            "camera_hfov_deg": CameraConfig().hfov_deg,
            **({} if vocabulary is None else {"vocabulary": vocabulary}),
        },
        "vision_tower_cfg": vision,
    }
    _write(path / "config.json", top)
    _write(path / "llm" / "config.json", llm)
    _write(path / "llm" / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False})
    _write(path / "llm" / "tokenizer_config.json", _tokenizer_json(sizes))
    _write(path / "vision_tower" / "config.json", vision)
    _write(path / "vision_tower" / "preprocessor_config.json", _preprocessor_json(sizes))
    _write(path / "mm_projector" / "config.json", projector)


def _language_json(sizes: ModelSizes) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "hidden_act": "silu",
        "hidden_size": sizes.width,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": sizes.max_positions,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "vocab_size": sizes.vocab_size,
    }


def _vision_json(sizes: ModelSizes) -> dict[str, Any]:
    return {
        "architectures": ["SiglipVisionModel"],
        "model_type": "siglip_vision_model",
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": sizes.vision_width,
        "image_size": sizes.image_size,
        "intermediate_size": 4 * sizes.vision_width,
        "layer_norm_eps": 1e-6,
        "num_attention_heads": sizes.vision_heads,
        "num_channels": 3,
        "num_hidden_layers": sizes.vision_layers,
        "patch_size": sizes.patch_size,
        "vision_use_head": False,
    }


def _preprocessor_json(sizes: ModelSizes) -> dict[str, Any]:
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": sizes.image_size, "width": sizes.image_size},
    }


def _tokenizer_json(sizes: ModelSizes) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": sizes.max_positions,
        "clean_up_tokenization_spaces": False,
    }


def _write(file: Path, value: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _initialise(module: torch.nn.Module) -> None:
    if isinstance(module, torch.nn.Linear | torch.nn.Embedding | torch.nn.Conv2d):
        torch.nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and module.bias is not None:
        torch.nn.init.zeros_(module.bias)
