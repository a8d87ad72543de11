"""Sizes of the released checkpoints, for random ones of the same shape."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """A decoder's sizes. tokenizer: "qwen2" | "llama_3" | "llama"."""

    tokenizer: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    vocab_size: int
    tied: bool = False
    rope_theta: float = 1e6
    eps: float = 1e-6
    max_positions: int = 32768
    max_length: int = 8192


@dataclass(frozen=True, slots=True)
class TowerShape:
    """A SigLIP tower's sizes."""

    image_size: int
    hidden_size: int = 1152
    intermediate_size: int = 4304
    layers: int = 27
    heads: int = 16
    patch_size: int = 14


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A checkpoint's sizes and what its config.json says of pictures. scales: of S2, as multiples of the tower's side.

    native: written as in 2024, without NVILA's keys. time_tokens come in addition to the decoder's vocabulary.
    """

    decoder: DecoderShape
    tower: TowerShape
    projector: str
    aspect_ratio: str
    native: bool = False
    scales: tuple[int, ...] = ()
    num_video_frames: int = 8
    time_tokens: int = 0
    pool_sizes: tuple[tuple[int, int, int], ...] = ()


_QWEN_1B = DecoderShape("qwen2", 1536, 8960, 28, 12, 2, 151648, tied=True)
_QWEN_3B = DecoderShape("qwen2", 2048, 11008, 36, 16, 2, 151648, tied=True)
_QWEN_7B = DecoderShape("qwen2", 3584, 18944, 28, 28, 4, 151648)
_QWEN_14B = DecoderShape("qwen2", 5120, 13824, 48, 40, 8, 151648)
_LLAMA_3 = DecoderShape(
    "llama_3", 4096, 14336, 32, 32, 8, 128256, rope_theta=5e5, eps=1e-5, max_positions=8192, max_length=4096
)
_SHEARED = DecoderShape(
    "llama", 2560, 6912, 32, 20, 20, 32000, rope_theta=1e4, eps=1e-5, max_positions=4096, max_length=4096
)
_VICUNA = DecoderShape(
    "llama", 5120, 13824, 40, 40, 40, 32000, rope_theta=1e4, eps=1e-5, max_positions=4096, max_length=4096
)
_SMALL = DecoderShape("qwen2", 512, 1408, 6, 8, 2, 16384, tied=True)  # for a quick benchmark; nobody released it
_S384, _S448 = TowerShape(384), TowerShape(448)


def _lite(decoder: DecoderShape) -> ModelShape:
    return ModelShape(decoder, _S448, "mlp_downsample_3x3_fix", "dynamic")


def _dynamic_s2(decoder: DecoderShape) -> ModelShape:
    return ModelShape(decoder, _S448, "mlp_downsample", "dynamic_s2", scales=(1, 2, 3))


def _native(decoder: DecoderShape, scales: tuple[int, ...] = ()) -> ModelShape:
    return ModelShape(decoder, _S384, "mlp_downsample", "resize", native=True, scales=scales)


SHAPES: dict[str, ModelShape] = {
    "vila1.5-3b": _native(_SHEARED),
    "vila1.5-3b-s2": _native(_SHEARED, scales=(1, 2)),
    "vila1.5-8b": _native(_LLAMA_3),
    "vila1.5-13b": _native(_VICUNA),
    "navila-8b": _native(_LLAMA_3),
    "nvila-lite-small": ModelShape(
        _SMALL,
        TowerShape(224, hidden_size=256, intermediate_size=1024, layers=5, heads=4),
        "mlp_downsample_3x3_fix",
        "dynamic",
    ),
    "nvila-lite-2b": _lite(_QWEN_1B),
    "nvila-lite-3b": _lite(_QWEN_3B),
    "nvila-lite-8b": _lite(_QWEN_7B),
    "nvila-lite-15b": _lite(_QWEN_14B),
    "nvila-8b": _dynamic_s2(_QWEN_7B),
    "nvila-15b": _dynamic_s2(_QWEN_14B),
    "nvila-8b-video": ModelShape(
        _QWEN_7B,
        _S448,
        "mlp_downsample_2x2_fix",
        "resize",
        num_video_frames=256,
        time_tokens=100,
        pool_sizes=((8, 1, 1),),
    ),
}


def model_shape(name: str) -> ModelShape:
    """Return the named shape; ConfigError, naming those known, for another name."""
    if name not in SHAPES:
        raise ConfigError(f"no model is called {name!r}; known: {', '.join(SHAPES)}")
    return SHAPES[name]


def with_time_tokens(shape: ModelShape, count: int | None) -> ModelShape:
    """The shape with so many time tokens, None for its own. ConfigError for less than 2, or an older model."""
    if count is None:
        return shape
    if count < 2 or shape.native:
        raise ConfigError(f"{count} time tokens: at least 2 are needed, and an NVILA model")
    return dataclasses.replace(shape, time_tokens=count)


def tiny(shape: ModelShape) -> ModelShape:
    """The same kind of model small enough for tests: a few hundred thousand weights, 8 frames at most."""
    base = {"qwen2": 512, "llama_3": 768, "llama": 512}[shape.decoder.tokenizer]
    decoder = dataclasses.replace(
        shape.decoder,
        hidden_size=64,
        intermediate_size=128,
        layers=2,
        heads=4,
        kv_heads=4 if shape.decoder.kv_heads == shape.decoder.heads else 2,
        vocab_size=base,
    )
    side = 56 if shape.tower.image_size == 448 else 70
    tower = TowerShape(side, hidden_size=32, intermediate_size=64, layers=3, heads=4)
    frames = min(shape.num_video_frames, 8)
    return dataclasses.replace(
        shape, decoder=decoder, tower=tower, num_video_frames=frames, time_tokens=min(shape.time_tokens, 10)
    )
