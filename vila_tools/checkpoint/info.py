"""`vila info CHECKPOINT`: family, sizes, tokens per frame and memory, from its JSON files and files' headers.

Also which of the CPU's kernels this machine runs, or why none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vila_core.models.config import CheckpointConfig
from vila_core.models.costs import count_parameters
from vila_core.models.encoders import frame_tokens
from vila_core.models.stored.checkpoint import DTYPES
from vila_core.models.stored.config_reader import config_of
from vila_core.models.stored.layouts import open_layout
from vila_core.models.stored.quantized_weights import stored_quantization
from vila_core.models.stored.weight_check import check_weights, require_undamaged
from vila_core.models.tokenizer import Tokenizer
from vila_tools.report import with_kernels

_TOLD = 20  # odd tensors at most


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the checkpoint is; the last line on stdout is one JSON object."""
    parser = argparse.ArgumentParser(prog="vila info", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--check", action="store_true", help="read all weights, too: are any NaN, infinite or zero?")
    args = parser.parse_args(argv)
    facts = with_kernels(checkpoint_facts(args.checkpoint))
    for line in _lines(facts):
        print(line)
    if args.check:
        return _check(args.checkpoint, facts)
    print(json.dumps(facts))
    return 0


def _check(checkpoint: Path, facts: dict[str, Any]) -> int:
    """Look through the weights; CheckpointError, behind the tensors and the JSON object, if any are not finite."""
    layout = open_layout(checkpoint)
    faults = check_weights(layout, partial(tqdm, desc="weights", unit="tensor", disable=None))
    for fault in sorted(faults, key=lambda fault: not fault.is_damaged)[:_TOLD]:
        print(fault)
    if len(faults) > _TOLD:
        print(f"and {len(faults) - _TOLD} more")
    damaged = sum(fault.is_damaged for fault in faults)
    print(json.dumps(facts | {"odd_tensors": len(faults), "damaged_tensors": damaged}))
    require_undamaged(layout, faults)
    return 0


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """What the checkpoint's JSON files say. Raises CheckpointError as load_checkpoint does for them."""
    layout = open_layout(path)
    config = config_of(layout)
    tokenizer = Tokenizer(layout.tokenizer, slow=config.generation == "native")
    parameters = count_parameters(config)
    total = sum(parameters.values())
    language, vision = config.language, config.vision
    frame = frame_tokens(config) + _around(config, tokenizer)
    return {
        "name": config.name,
        "family": config.family,
        "generation": config.generation,
        "layout": config.layout,
        "parameters": parameters | {"all": total},
        "language_model": {
            "type": language.model_type,
            "hidden_size": language.hidden_size,
            "layers": language.layers,
            "heads": language.heads,
            "kv_heads": language.kv_heads,
            "vocab_size": language.vocab_size,
            "tied_head": language.tied,
        },
        "vision_tower": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_size": vision.hidden_size,
            "layers_run": vision.layers,
            "layers_stored": vision.stored_layers,
        },
        "projector": config.projector.kind,
        "token_order": config.projector.order,
        "image_aspect_ratio": config.images.aspect_ratio,
        "scales": list(config.images.s2_scales),
        "tokens_per_frame": frame,
        "max_tokens_per_single_image": _most_tokens(config, tokenizer),
        "tokens_per_video": _video_tokens(config, tokenizer),
        "num_video_frames": config.num_video_frames,
        "fps": config.fps,
        "time_tokens": config.time_tokens.count,
        "max_length": config.decoding.max_length,
        "chat_template": _template_name(config.chat_template),
        "quantized": stored_quantization(layout),
        "weights_mb": {name: round(total * dtype.itemsize / 1e6, 1) for name, dtype in DTYPES.items()},
        "kv_cache_mb_per_1000_tokens": {
            name: round(2 * language.layers * language.kv_heads * language.head_dim * dtype.itemsize / 1e3, 2)
            for name, dtype in DTYPES.items()
        },
    }


def _around(config: CheckpointConfig, tokenizer: Tokenizer) -> int:
    """Tokens that the image encoder puts around a picture."""
    if config.generation == "native":
        return 0
    texts = (config.image_encoder.start_tokens, config.image_encoder.end_tokens)
    return sum(len(tokenizer.encode(text, add_bos=True)) for text in texts if text)


def _most_tokens(config: CheckpointConfig, tokenizer: Tokenizer) -> int:
    """Visual tokens of a prompt's only picture, cut into as many tiles as may be."""
    images, tile = config.images, frame_tokens(config)
    if images.aspect_ratio == "dynamic":
        tiles = images.max_tiles + (images.max_tiles > 1)
        return tiles * (tile + _around(config, tokenizer) + len(tokenizer.encode("\n")))
    return tile * (images.max_tiles if images.aspect_ratio == "dynamic_s2" else 1) + _around(config, tokenizer)


def _video_tokens(config: CheckpointConfig, tokenizer: Tokenizer) -> int:
    """Tokens of a whole video at num_video_frames."""
    frames, tile, encoder = config.num_video_frames, frame_tokens(config), config.video_encoder
    if encoder.kind != "tsp":
        return frames * (tile + _around(config, tokenizer))
    around = sum(len(tokenizer.encode(text, True)) for text in (encoder.start_tokens, encoder.end_tokens) if text)
    after = len(tokenizer.encode(encoder.sep_tokens, True)) if encoder.sep_tokens else 0
    return sum(frames // t * (tile // (rows * columns) + around) + after for t, rows, columns in encoder.pool_sizes)


def _template_name(template: str) -> str:
    return "the tokenizer's own" if "{{" in template or "{%" in template else template


def _lines(facts: dict[str, Any]) -> list[str]:
    parameters = {name: f"{count / 1e6:.1f} M" for name, count in facts["parameters"].items()}
    rows = {**facts, "parameters": parameters}
    width = max(map(len, rows))
    return [f"{name.replace('_', ' '):<{width}}  {_value(value)}" for name, value in rows.items()]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_value(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
