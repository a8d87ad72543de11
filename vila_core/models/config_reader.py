"""Read a checkpoint's JSON files into the typed configuration. Nothing is guessed from a path."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vila_core.errors import CheckpointError
from vila_core.models.config import (
    CheckpointConfig,
    DecodingConfig,
    EncoderConfig,
    ImageConfig,
    LanguageConfig,
    NavigationConfig,
    ProjectorConfig,
    TimeTokens,
    VisionConfig,
)
from vila_core.models.families import Family, Generation, TokenOrder, Traits, family_of
from vila_core.models.layouts import Json, Layout, Source, open_layout, read_json_if_there


def read_checkpoint_config(path: Path, *, token_order: TokenOrder | None = None) -> CheckpointConfig:
    """Read and check the configuration of the checkpoint directory.

    token_order: of the projector's output, where the rule (see models.families) is wrong. Raises
    CheckpointError naming the file and the key or value at fault.
    """
    return config_of(open_layout(Path(path)), token_order=token_order)


def config_of(layout: Layout, *, token_order: TokenOrder | None = None) -> CheckpointConfig:
    """Give an opened layout's JSON types; see read_checkpoint_config."""
    generation = generation_of(layout)
    vision, language = _vision_config(layout), _language_config(layout.language)
    images = _image_config(layout, vision)
    tokens = read_json_if_there(layout.tokenizer / "tokenizer_config.json")
    template = _chat_template(layout, tokens)
    time_tokens = _time_tokens(layout.top)
    video_encoder = encoder_of(layout.top, "video_encoder")
    family = _family(layout, generation, images, video_encoder, time_tokens, template)
    max_length = _max_length(layout, tokens, language)
    return CheckpointConfig(
        name=str(layout.top.raw.get("vila_nav", {}).get("name", layout.root.name)),
        vision=vision,
        projector=_projector_config(layout, family, vision, language, images, token_order),
        language=language,
        navigation=_navigation_config(layout.top, family, template),
        family=family.name,
        generation=generation,
        layout=layout.kind,
        images=images,
        image_encoder=encoder_of(layout.top, "image_encoder"),
        video_encoder=video_encoder,
        num_video_frames=int(layout.top.raw.get("num_video_frames") or 8),
        fps=float(layout.top.raw.get("fps") or 0.0),
        model_max_length=max_length,
        time_tokens=time_tokens,
        chat_template=template,
        decoding=_decoding_config(layout.generation, max_length),
    )


_NVILA_KEYS = ("dynamic_s2", "fps", "num_time_tokens", "image_encoder")
_FIRST_NVILA = (4, 40)  # transformers; checkpoints written with an older one are of VILA1.5's time


def generation_of(layout: Layout) -> Generation:
    """Which generation of the official code trained the checkpoint.

    "native" (VILA <= 2024-10, NaVILA) if config.json has none of NVILA's keys or was written by transformers < 4.40.
    """
    top = layout.top.raw
    if layout.kind == "hf":
        return "nvila"
    version = re.match(r"(\d+)\.(\d+)", str(top.get("transformers_version", "")))
    old = version is not None and (int(version[1]), int(version[2])) < _FIRST_NVILA
    return "native" if old or not any(key in top for key in _NVILA_KEYS) else "nvila"


def _vision_config(layout: Layout) -> VisionConfig:
    raw, top = layout.vision, layout.top
    kind = "ps3" if top.raw.get("ps3") else raw.raw.get("model_type")
    if kind not in ("siglip_vision_model", "siglip"):
        raise CheckpointError(f"{raw.file}: vision tower {kind!r} is not supported; supported: siglip_vision_model")
    activation = raw.raw.get("hidden_act", "gelu_pytorch_tanh")
    if activation != "gelu_pytorch_tanh":
        raise CheckpointError(f"{raw.file}: hidden_act {activation!r} is not supported; supported: gelu_pytorch_tanh")
    feature = str(top.raw.get("mm_vision_select_feature") or "cls_patch")
    if feature not in ("cls_patch", "patch"):
        raise CheckpointError(f"mm_vision_select_feature {feature!r} is not supported; supported: cls_patch, patch")
    layers = int(raw.need("num_hidden_layers"))
    return VisionConfig(
        hidden_size=int(raw.need("hidden_size")),
        intermediate_size=int(raw.need("intermediate_size")),
        layers=_running_layers(top, layers),
        heads=int(raw.need("num_attention_heads")),
        image_size=int(raw.need("image_size")),
        patch_size=int(raw.need("patch_size")),
        eps=float(raw.raw.get("layer_norm_eps", 1e-6)),
        mean=_triple(layout.pixels.get("image_mean") or (0.5, 0.5, 0.5)),
        std=_triple(layout.pixels.get("image_std") or (0.5, 0.5, 0.5)),
        feature=feature,
        stored_layers=layers,
    )


def _running_layers(top: Source, layers: int) -> int:
    """How many layers run: mm_vision_select_layer counts hidden states, the embedding's being number 0."""
    given = top.raw.get("mm_vision_select_layer")
    selected = -2 if given is None else int(given)
    running = selected if selected >= 0 else layers + 1 + selected
    if not 0 < running <= layers:
        raise CheckpointError(f"mm_vision_select_layer {selected} does not fit a tower of {layers} layers")
    return running


def _image_config(layout: Layout, vision: VisionConfig) -> ImageConfig:
    if layout.kind == "hf":  # hard-coded in the official processor: three scales of the tower's size
        side = vision.image_size
        if layout.top.raw["model_type"] == "nvila_lite":
            return ImageConfig(aspect_ratio="dynamic")
        scales = (side, 2 * side, 3 * side)
        return ImageConfig("dynamic_s2", s2_scales=scales, s2_max_split_size=side, s2_resize_index=-1, dynamic_s2=True)
    top = layout.top.raw
    dynamic = bool(top.get("dynamic_s2"))
    given = _scales(layout.top) if dynamic or top.get("s2") else ()
    images = ImageConfig(
        aspect_ratio=str(top.get("image_aspect_ratio") or ""),
        min_tiles=_int(top, "min_tiles", 1),
        max_tiles=_int(top, "max_tiles", 12),
        video_max_tiles=_int(top, "video_max_tiles", 1),
        s2_scales=given,
        s2_max_split_size=_int(top, "s2_max_split_size", 336) if given else 0,
        s2_resize_index=_int(top, "s2_resize_output_to_scale_idx", 0),
        dynamic_s2=dynamic,
    )
    _check_images(images, layout.top)
    return images


def _check_images(images: ImageConfig, top: Source) -> None:
    if not 1 <= images.min_tiles <= images.max_tiles:
        raise CheckpointError(f"{top.file}: min_tiles {images.min_tiles} and max_tiles {images.max_tiles} do not fit")
    count = len(images.s2_scales)
    if count and not -count <= images.s2_resize_index < count:
        raise CheckpointError(
            f"{top.file}: s2_resize_output_to_scale_idx {images.s2_resize_index} is none of the {count} scales"
        )


def _scales(top: Source) -> tuple[int, ...]:
    """Ascending scales of the key s2_scales: a comma string or a list."""
    raw = top.need("s2_scales")
    try:
        return tuple(sorted(int(scale) for scale in (raw.split(",") if isinstance(raw, str) else raw)))
    except (TypeError, ValueError) as err:
        raise CheckpointError(f"{top.file}: s2_scales {raw!r} is not a list of whole numbers") from err


def _projector_config(
    layout: Layout,
    family: Family,
    vision: VisionConfig,
    language: LanguageConfig,
    images: ImageConfig,
    token_order: TokenOrder | None,
) -> ProjectorConfig:
    kind = layout.projector.get("mm_projector_type")
    if kind is None:
        folder = layout.parts["mm_projector"].folder
        raise CheckpointError(f"{folder / 'config.json'} lacks the key 'mm_projector_type'")
    return ProjectorConfig(
        kind=str(kind),
        input_size=int(layout.top.raw.get("mm_hidden_size") or vision.hidden_size * max(1, len(images.s2_scales))),
        output_size=language.hidden_size,
        order=token_order or family.token_order(str(kind)),
    )


def _language_config(source: Source) -> LanguageConfig:
    raw, need = source.raw, source.need
    model_type = str(need("model_type"))
    _require(source, "model_type", model_type, ("llama", "qwen2"))
    _require(source, "hidden_act", raw.get("hidden_act", "silu"), ("silu",))
    _require(source, "use_sliding_window", bool(raw.get("use_sliding_window")), (False,))
    hidden, heads = int(need("hidden_size")), int(need("num_attention_heads"))
    rope = raw.get("rope_parameters") or {}
    eos = raw.get("eos_token_id")
    return LanguageConfig(
        model_type=model_type,
        hidden_size=hidden,
        intermediate_size=int(need("intermediate_size")),
        layers=int(need("num_hidden_layers")),
        heads=heads,
        kv_heads=int(raw.get("num_key_value_heads") or heads),
        head_dim=int(raw.get("head_dim") or hidden // heads),
        vocab_size=int(need("vocab_size")),
        max_positions=int(raw.get("max_position_embeddings") or 4096),
        rope_theta=float(raw.get("rope_theta") or rope.get("rope_theta") or 10000.0),
        eps=float(raw.get("rms_norm_eps", 1e-6)),
        qkv_bias=model_type == "qwen2" or bool(raw.get("attention_bias", False)),
        tied=bool(raw.get("tie_word_embeddings", False)),
        eos_token_ids=_ids(eos),
        rope_factor=_rope_factor(source, raw.get("rope_scaling") or rope),
    )


def _rope_factor(source: Source, scaling: Json) -> float:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    _require(source, "rope_scaling", kind, ("default", "linear"))
    return float(scaling.get("factor", 1.0)) if kind == "linear" else 1.0


def _require(source: Source, key: str, value: Any, supported: tuple[Any, ...]) -> None:
    if value not in supported:
        names = ", ".join(map(str, supported))
        raise CheckpointError(f"{source.file}: {key} {value!r} is not supported; supported: {names}")


def encoder_of(top: Source, key: str) -> EncoderConfig:
    """The encoder of key image_encoder or video_encoder: an object or its JSON text, {} if it is missing."""
    raw = top.raw.get(key) or {}
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError as err:
            raise CheckpointError(f"{top.file}: {key} {raw!r} is not JSON") from err
    target = str(raw.get("_target_", "Basic")).rpartition(".")[2]
    kinds = {"Basic": "basic", "BasicImageEncoder": "basic", "BasicVideoEncoder": "basic", "TSPVideoEncoder": "tsp"}
    _require(top, key, target, tuple(kinds))
    return EncoderConfig(
        kind=kinds[target],
        start_tokens=raw.get("start_tokens") or "",
        end_tokens=raw.get("end_tokens", "\n") or "",
        sep_tokens=raw.get("sep_tokens") or "",
        pool_sizes=tuple(_pool_size(top, size) for size in raw.get("pool_sizes") or ()),
    )


def _pool_size(top: Source, size: Any) -> tuple[int, int, int]:
    if not isinstance(size, list) or len(size) != 3 or any(not isinstance(n, int) or n < 1 for n in size):
        raise CheckpointError(f"{top.file}: pool size {size!r} is not [frames, rows, columns]")
    return (size[0], size[1], size[2])


def _time_tokens(top: Source) -> TimeTokens:
    count = _int(top.raw, "num_time_tokens", 0)
    ids = _ids(top.raw.get("time_token_ids"))
    if ids and len(ids) != count:
        raise CheckpointError(f"{top.file}: num_time_tokens is {count}, but time_token_ids has {len(ids)}")
    return TimeTokens(
        count=count,
        format=str(top.raw.get("time_token_format") or "<t{t}>"),
        ids=ids,
        soft_ce_std=float(top.raw.get("soft_ce_std") or 1.0),
    )


def _chat_template(layout: Layout, tokens: Json) -> str:
    """The template's name, or Jinja source.

    VILA1.5's code picked it by the checkpoint's file name; the special tokens tell the same: llama_3 has <|eot_id|>,
    hermes-2 <|im_start|>, vicuna_v1 neither. NVILA: the name in config.json, else what the tokenizer brings.
    """
    top = layout.top.raw
    name = top.get("vila_nav", {}).get("chat_template") or top.get("chat_template")
    if name:
        return str(name)
    source = tokenizer_template(layout.tokenizer, tokens)
    if source and generation_of(layout) == "nvila":
        return source
    special = {str(token.get("content")) for token in tokens.get("added_tokens_decoder", {}).values()}
    special |= set(read_json_if_there(layout.tokenizer / "added_tokens.json"))
    if "<|eot_id|>" in special:
        return "llama_3"
    if layout.language.raw.get("model_type") == "qwen2":
        return "qwen2"
    return "hermes-2" if "<|im_start|>" in special else "vicuna_v1"


def tokenizer_template(folder: Path, tokens: Json) -> str:
    """The tokenizer's own Jinja chat template, "" without one. tokens: its tokenizer_config.json."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    source = tokens.get("chat_template") or read_json_if_there(folder / "chat_template.json").get("chat_template")
    if isinstance(source, list):  # several, by name
        source = next((row.get("template") for row in source if row.get("name") == "default"), "")
    return str(source or "")


def _family(
    layout: Layout,
    generation: Generation,
    images: ImageConfig,
    video: EncoderConfig,
    time_tokens: TimeTokens,
    template: str,
) -> Family:
    own = layout.top.raw.get("vila_nav", {})
    traits = Traits(
        generation=generation,
        prompt_style=str(own.get("prompt_style", "")),
        chat_template=template,
        projector=str(layout.projector.get("mm_projector_type")),
        aspect_ratio=images.aspect_ratio,
        pools_time=video.kind == "tsp" or time_tokens.count > 0,
    )
    return family_of(traits, own.get("family"))


def _max_length(layout: Layout, tokens: Json, language: LanguageConfig) -> int:
    """Tokens of prompt and reply together: the tokenizer's model_max_length, or else the decoder's positions."""
    for value in (tokens.get("model_max_length"), layout.language.raw.get("model_max_length")):
        if value is not None and 0 < float(value) < 1e9:  # transformers writes 1e30 for none
            return int(value)
    return language.max_positions


def _decoding_config(raw: Json, max_length: int) -> DecodingConfig:
    """The checkpoint's root generation_config.json over the official defaults; llm/'s is not used."""
    given = _int(raw, "max_length", 20)
    return DecodingConfig(
        max_length=max_length if given == 20 else given,  # 20 is transformers' default: the tokenizer decides
        do_sample=bool(raw.get("do_sample", False)),
        temperature=float(raw.get("temperature") or 1.0),
        top_p=float(raw.get("top_p") or 1.0),
        top_k=_int(raw, "top_k", 50),
        pad_id=raw.get("pad_token_id"),
        bos_id=raw.get("bos_token_id"),
        eos_ids=_ids(raw.get("eos_token_id")),
    )


def _navigation_config(top: Source, family: Family, template: str) -> NavigationConfig:
    own = top.raw.get("vila_nav", {})
    return NavigationConfig(
        prompt_style=str(own.get("prompt_style", family.prompt_style)),
        chat_template=template,
        num_frames=int(top.raw.get("num_video_frames") or 8),
        history_tokens=own.get("history_tokens"),
        describes=family.describes,
    )


def _int(raw: Json, key: str, default: int) -> int:
    value = raw.get(key)
    return default if value is None else int(value)


def _ids(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(item) for item in value) if isinstance(value, list) else (int(value),)


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)
