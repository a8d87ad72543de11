"""Read a checkpoint directory's JSON files into typed configurations.

The layout is the official one of VILA, NVILA and NaVILA: `config.json`, `llm/`,
`vision_tower/`, `mm_projector/`. Everything is read, nothing is guessed from a path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vila_core.errors import CheckpointError

TokenOrder = Literal["row", "column"]


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """A SigLIP vision tower. layers counts those that run: what lies behind the selected one does not."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    eps: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, slots=True)
class ProjectorConfig:
    """A space-to-channel projector; order is that of its output tokens."""

    kind: str
    input_size: int
    output_size: int
    order: TokenOrder


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """A Llama or Qwen2 decoder."""

    model_type: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    rope_theta: float
    eps: float
    qkv_bias: bool
    tied: bool
    eos_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NavigationConfig:
    """How the navigator prompts a checkpoint: key `vila_nav` of config.json, or its family's custom.

    num_frames: the current one included. history_tokens: visual tokens of an older frame, None for all.
    """

    prompt_style: str
    chat_template: str
    num_frames: int
    history_tokens: int | None


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """All that a checkpoint says of itself."""

    name: str
    vision: VisionConfig
    projector: ProjectorConfig
    language: LanguageConfig
    navigation: NavigationConfig
    image_end_text: str  # its embeddings follow each image; "" for none


def read_checkpoint_config(path: Path) -> CheckpointConfig:
    """Read and check the configuration of the checkpoint directory.

    Raises CheckpointError naming the file and the key or value at fault.
    """
    top = _read_json(path / "config.json")
    vision = _vision_config(path, top)
    language = _language_config(path)
    return CheckpointConfig(
        name=str(top.get("vila_nav", {}).get("name", path.name)),
        vision=vision,
        projector=_projector_config(path, top, vision, language),
        language=language,
        navigation=_navigation_config(top, language),
        image_end_text=_image_end_text(top),
    )


def _vision_config(path: Path, top: dict[str, Any]) -> VisionConfig:
    file = path / "vision_tower" / "config.json"
    raw = _read_json(file)
    if raw.get("model_type") not in ("siglip_vision_model", "siglip"):
        raise CheckpointError(f"{file}: model_type {raw.get('model_type')!r} is not supported; supported: siglip")
    pixels = _read_json(path / "vision_tower" / "preprocessor_config.json")
    layers = int(_need(raw, "num_hidden_layers", file))
    selected = int(top.get("mm_vision_select_layer", -2))
    running = selected if selected >= 0 else layers + 1 + selected
    if not 0 < running <= layers:
        raise CheckpointError(f"mm_vision_select_layer {selected} does not fit a tower of {layers} layers")
    return VisionConfig(
        hidden_size=int(_need(raw, "hidden_size", file)),
        intermediate_size=int(_need(raw, "intermediate_size", file)),
        layers=running,
        heads=int(_need(raw, "num_attention_heads", file)),
        image_size=int(_need(raw, "image_size", file)),
        patch_size=int(_need(raw, "patch_size", file)),
        eps=float(raw.get("layer_norm_eps", 1e-6)),
        mean=_triple(pixels.get("image_mean", (0.5, 0.5, 0.5))),
        std=_triple(pixels.get("image_std", (0.5, 0.5, 0.5))),
    )


def _projector_config(
    path: Path, top: dict[str, Any], vision: VisionConfig, language: LanguageConfig
) -> ProjectorConfig:
    file = path / "mm_projector" / "config.json"
    kind = str(_need(_read_json(file), "mm_projector_type", file))
    return ProjectorConfig(
        kind=kind,
        input_size=int(top.get("mm_hidden_size", vision.hidden_size)),
        output_size=language.hidden_size,
        order="column" if kind == "mlp_downsample" and _is_vila15_era(top) else "row",
    )


def _is_vila15_era(top: dict[str, Any]) -> bool:
    """True for checkpoints from before NVILA, which knew none of these keys.

    Their `mlp_downsample` emits its cells column by column (VILA <= 2024-10, NaVILA).
    """
    return not any(key in top for key in ("dynamic_s2", "fps", "num_time_tokens", "image_encoder"))


def _language_config(path: Path) -> LanguageConfig:
    file = path / "llm" / "config.json"
    raw = _read_json(file)
    model_type = str(_need(raw, "model_type", file))
    if model_type not in ("llama", "qwen2"):
        raise CheckpointError(f"{file}: model_type {model_type!r} is not supported; supported: llama, qwen2")
    if raw.get("rope_scaling"):
        raise CheckpointError(f"{file}: rope_scaling {raw['rope_scaling']!r} is not supported; supported: null")
    hidden, heads = int(_need(raw, "hidden_size", file)), int(_need(raw, "num_attention_heads", file))
    eos = raw.get("eos_token_id")
    return LanguageConfig(
        model_type=model_type,
        hidden_size=hidden,
        intermediate_size=int(_need(raw, "intermediate_size", file)),
        layers=int(_need(raw, "num_hidden_layers", file)),
        heads=heads,
        kv_heads=int(raw.get("num_key_value_heads", heads)),
        head_dim=int(raw.get("head_dim") or hidden // heads),
        vocab_size=int(_need(raw, "vocab_size", file)),
        max_positions=int(raw.get("max_position_embeddings", 4096)),
        rope_theta=float(raw.get("rope_theta", 10000.0)),
        eps=float(raw.get("rms_norm_eps", 1e-6)),
        qkv_bias=model_type == "qwen2" or bool(raw.get("attention_bias", False)),
        tied=bool(raw.get("tie_word_embeddings", False)),
        eos_token_ids=tuple(eos) if isinstance(eos, list) else (int(eos),) if eos is not None else (),
    )


def _navigation_config(top: dict[str, Any], language: LanguageConfig) -> NavigationConfig:
    own = top.get("vila_nav", {})
    template = "qwen2" if language.model_type == "qwen2" else "llama_3" if _is_vila15_era(top) else "vicuna_v1"
    return NavigationConfig(
        prompt_style=str(own.get("prompt_style", "navila")),
        chat_template=str(own.get("chat_template", template)),
        num_frames=int(top.get("num_video_frames", 8)),
        history_tokens=own.get("history_tokens"),
    )


def _image_end_text(top: dict[str, Any]) -> str:
    if _is_vila15_era(top):
        return ""
    encoder = top.get("image_encoder") or {}
    if isinstance(encoder, str):
        encoder = json.loads(encoder)
    return str(encoder.get("end_tokens", "\n") or "")


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as err:
        raise CheckpointError(
            f"cannot read {file}: {err.strerror}; a checkpoint is a directory with config.json, llm/, vision_tower/ "
            "and mm_projector/"
        ) from err
    except ValueError as err:
        raise CheckpointError(f"{file} is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{file}: expected an object, got {type(value).__name__}")
    return value


def _need(raw: dict[str, Any], key: str, file: Path) -> Any:
    if key not in raw:
        raise CheckpointError(f"{file} lacks the key {key!r}")
    return raw[key]


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)
