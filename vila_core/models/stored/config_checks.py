"""What a checkpoint's numbers must be to fit each other, and how large they may be at all.

The limits are far above every model that there is: what is beyond them is a slip of the pen, and would hang a program
or fill its memory before the weights could tell.
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path

from vila_core.chat_sandbox import render_template
from vila_core.errors import CheckpointError, ConfigError
from vila_core.models.config import CheckpointConfig, ImageConfig, VisionConfig
from vila_core.models.encoders import frame_tokens
from vila_core.models.stored.layouts import Layout

MOST_WIDTH = 1 << 20  # of hidden states, and inside an MLP
MOST_LAYERS = 1000
MOST_HEADS = 4096
MOST_TOKENS = 10_000_000  # of a vocabulary
MOST_POSITIONS = 1 << 30
MOST_SIDE = 16384  # pixels
MOST_TILES = 128  # candidate grids are as many as its third power
MOST_FRAMES = 100_000
MOST_TIMES = 100_000


def check_relations(config: CheckpointConfig, layout: Layout) -> None:
    """Raise CheckpointError, with file, keys and values, where two numbers do not fit each other."""
    _check_language(config, layout)
    _check_vision(config.vision, layout)
    if config.images.s2_scales and layout.kind != "hf":
        _check_scales(config.images, config.vision, layout)
    _check_pooling(config, layout)
    wide = config.vision.hidden_size * max(1, len(config.images.s2_scales))
    if config.projector.input_size != wide:
        raise CheckpointError(
            f"{layout.top.file}: mm_hidden_size {config.projector.input_size} is not what the tower gives: hidden_size "
            f"times the scales of s2 or dynamic_s2, {wide}"
        )


def check_template(source: str, file: Path) -> None:
    """Raise CheckpointError if a chat template does not render a conversation; it names the file."""
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"text {n}"} for n in range(4)]
    try:
        for messages in (turns[:1], turns, [{"role": "system", "content": ""}, *turns[:3]]):
            render_template(source, messages, add_generation_prompt=len(messages) % 2 == 1)
    except ConfigError as err:
        raise CheckpointError(f"{file}: {err}") from err


def _check_language(config: CheckpointConfig, layout: Layout) -> None:
    given, language = layout.language, config.language
    if language.heads % language.kv_heads:
        raise CheckpointError(
            f"{given.file}: {given.path('num_attention_heads')} {language.heads} is no multiple of "
            f"num_key_value_heads {language.kv_heads}"
        )
    if language.head_dim % 2:
        key = "head_dim" if given.has("head_dim") else "hidden_size"
        raise CheckpointError(
            f"{given.file}: {given.path(key)} {given.raw[key]} gives heads {language.head_dim} wide; they must be even"
        )


def _check_vision(vision: VisionConfig, layout: Layout) -> None:
    given = layout.vision
    if vision.hidden_size % vision.heads:
        raise CheckpointError(
            f"{given.file}: {given.path('hidden_size')} {vision.hidden_size} is no multiple of num_attention_heads "
            f"{vision.heads}"
        )
    if vision.patch_size > vision.image_size:
        raise CheckpointError(
            f"{given.file}: {given.path('patch_size')} {vision.patch_size} is larger than image_size "
            f"{vision.image_size}"
        )


def _check_scales(images: ImageConfig, vision: VisionConfig, layout: Layout) -> None:
    """The squares that each scale is cut into have the tower's size."""
    file, side, scales = layout.top.file, vision.image_size, images.s2_scales
    if images.dynamic_s2:
        if scales[0] != side or any(scale % side for scale in scales):
            raise CheckpointError(
                f"{file}: s2_scales {list(scales)} are not the tower's image_size {side} and multiples"
            )
        return
    for scale in scales:
        squares = -(-scale // images.s2_max_split_size)
        if scale != squares * side:
            raise CheckpointError(
                f"{file}: s2_scales {list(scales)} with s2_max_split_size {images.s2_max_split_size} cannot be cut "
                f"into squares of the tower's image_size {side}"
            )


def _check_pooling(config: CheckpointConfig, layout: Layout) -> None:
    """What is averaged must be whole squares of visual tokens."""
    side, file = isqrt(frame_tokens(config)), layout.top.file
    history = config.navigation.history_tokens
    if history is not None and (isqrt(history) ** 2 != history or history > side**2):
        raise CheckpointError(f"{file}: vila_nav.history_tokens {history} is not the square of a number up to {side}")
    for _, rows, columns in config.video_encoder.pool_sizes if config.video_encoder.kind == "tsp" else ():
        if side % rows or side % columns:
            raise CheckpointError(
                f"{file}: video_encoder.pool_sizes: {rows} x {columns} does not divide a grid of {side} x {side} tokens"
            )
