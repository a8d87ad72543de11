"""Read a checkpoint's JSON files into the typed configuration. Nothing is guessed from a path."""

from __future__ import annotations

import math
import re
from pathlib import Path

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject, parse_object, show
from vila_core.files.reading import is_there, read_text
from vila_core.files.vocabulary import read_vocabulary
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
from vila_core.models.families import (
    CHAT_TEMPLATES,
    FAMILIES,
    Family,
    Generation,
    TokenOrder,
    Traits,
    family_of,
)
from vila_core.models.projector import downsample_rate
from vila_core.models.stored.config_checks import (
    MOST_FRAMES,
    MOST_HEADS,
    MOST_LAYERS,
    MOST_POSITIONS,
    MOST_SIDE,
    MOST_TILES,
    MOST_TIMES,
    MOST_TOKENS,
    MOST_WIDTH,
    check_relations,
    check_template,
)
from vila_core.models.stored.layouts import Layout, open_layout, read_json_if_there


def read_checkpoint_config(path: Path, *, token_order: TokenOrder | None = None) -> CheckpointConfig:
    """Read and check the configuration of the checkpoint directory.

    token_order: of the projector's output, where the rule (see models.families) is wrong. Raises
    CheckpointError naming the file, the key and the value at fault, and what is expected.
    """
    return config_of(open_layout(Path(path)), token_order=token_order)


def config_of(layout: Layout, *, token_order: TokenOrder | None = None) -> CheckpointConfig:
    """Give an opened layout's JSON types; see read_checkpoint_config."""
    top, own = layout.top, layout.top.object("vila_nav", {})
    generation = generation_of(layout)
    vision, language = _vision_config(layout), _language_config(layout.language)
    images = _image_config(layout, vision)
    tokens = read_json_if_there(layout.tokenizer / "tokenizer_config.json")
    template = _chat_template(layout, tokens)
    time_tokens = _time_tokens(top, language)
    video_encoder = encoder_of(top, "video_encoder")
    family = _family(layout, generation, images, video_encoder, time_tokens, template)
    max_length = _max_length(layout, tokens, language)
    config = CheckpointConfig(
        name=own.text("name", layout.root.name),
        vision=vision,
        projector=_projector_config(layout, family, vision, language, images, token_order),
        language=language,
        navigation=_navigation_config(top, family, template),
        family=family.name,
        generation=generation,
        layout=layout.kind,
        images=images,
        image_encoder=encoder_of(top, "image_encoder"),
        video_encoder=video_encoder,
        num_video_frames=top.integer("num_video_frames", 8, most=MOST_FRAMES),
        fps=top.number("fps", 0.0, most=1000.0),
        model_max_length=max_length,
        time_tokens=time_tokens,
        chat_template=template,
        decoding=_decoding_config(layout.generation, max_length, language),
    )
    check_relations(config, layout)
    return config


_NVILA_KEYS = ("dynamic_s2", "fps", "num_time_tokens", "image_encoder")
_FIRST_NVILA = (4, 40)  # transformers; checkpoints written with an older one are of VILA1.5's time


def generation_of(layout: Layout) -> Generation:
    """Which generation of the official code trained the checkpoint.

    "native" (VILA <= 2024-10, NaVILA) if config.json has none of NVILA's keys or was written by transformers < 4.40.
    """
    if layout.kind == "hf":
        return "nvila"
    version = re.match(r"(\d{1,9})\.(\d{1,9})", layout.top.text("transformers_version", ""))
    old = version is not None and (int(version[1]), int(version[2])) < _FIRST_NVILA
    return "native" if old or not any(key in layout.top.raw for key in _NVILA_KEYS) else "nvila"


def _vision_config(layout: Layout) -> VisionConfig:
    given, top = layout.vision, layout.top
    if top.flag("ps3", False):
        raise CheckpointError(f"{top.file}: ps3 true: 'ps3' is not supported; supported: siglip_vision_model")
    kind = given.raw.get("model_type")
    if kind not in ("siglip_vision_model", "siglip"):
        place = given.path("model_type")
        raise CheckpointError(
            f"{given.file}: {place}: vision tower {show(kind)} is not supported; supported: siglip_vision_model"
        )
    given.choice("hidden_act", ("gelu_pytorch_tanh",), "gelu_pytorch_tanh")
    feature = top.choice("mm_vision_select_feature", ("cls_patch", "patch"), "cls_patch")
    layers = given.integer("num_hidden_layers", most=MOST_LAYERS)
    return VisionConfig(
        hidden_size=given.integer("hidden_size", most=MOST_WIDTH),
        intermediate_size=given.integer("intermediate_size", most=MOST_WIDTH),
        layers=_running_layers(top, layers),
        heads=given.integer("num_attention_heads", most=MOST_HEADS),
        image_size=given.integer("image_size", most=MOST_SIDE),
        patch_size=given.integer("patch_size", most=MOST_SIDE),
        eps=given.number("layer_norm_eps", 1e-6, above=0.0, most=1.0),
        mean=_triple(layout.pixels, "image_mean", least=-_MOST_LEVEL),
        std=_triple(layout.pixels, "image_std", above=0.0),
        feature=feature,
        stored_layers=layers,
    )


def _running_layers(top: JsonObject, layers: int) -> int:
    """How many layers run: mm_vision_select_layer counts hidden states, the embedding's being number 0."""
    selected = top.integer("mm_vision_select_layer", -2, least=-MOST_LAYERS, most=MOST_LAYERS)
    running = selected if selected >= 0 else layers + 1 + selected
    if not 0 < running <= layers:
        raise CheckpointError(
            f"{top.file}: mm_vision_select_layer {selected} does not fit a tower of {layers} layers; it is from "
            f"{-layers} to -1, or from 1 to {layers}"
        )
    return running


def _triple(
    pixels: JsonObject, key: str, *, least: float = 0.0, above: float = -math.inf
) -> tuple[float, float, float]:
    """A number for each of red, green and blue; 0.5 of them if the key is missing."""
    if not pixels.has(key):
        return (0.5, 0.5, 0.5)
    items = pixels.items(key)
    if len(items.raw) != 3:
        raise pixels.wrong(key, "a list of three numbers")
    red, green, blue = (items.number(each, least=least, above=above, most=_MOST_LEVEL) for each in items.raw)
    return (red, green, blue)


_MOST_LEVEL = 1000.0  # of a mean or deviation; in levels they would be 255


def _image_config(layout: Layout, vision: VisionConfig) -> ImageConfig:
    if layout.kind == "hf":  # hard-coded in the official processor: three scales of the tower's size
        side = vision.image_size
        if layout.top.raw["model_type"] == "nvila_lite":
            return ImageConfig(aspect_ratio="dynamic")
        scales = (side, 2 * side, 3 * side)
        return ImageConfig("dynamic_s2", s2_scales=scales, s2_max_split_size=side, s2_resize_index=-1, dynamic_s2=True)
    top = layout.top
    dynamic, static = top.flag("dynamic_s2", False), top.flag("s2", False)
    given = _scales(top) if dynamic or static else ()
    least, most = top.integer("min_tiles", 1, most=MOST_TILES), top.integer("max_tiles", 12, most=MOST_TILES)
    if least > most:
        raise CheckpointError(f"{top.file}: min_tiles {least} and max_tiles {most} do not fit: the first is larger")
    count = len(given)
    index = top.integer("s2_resize_output_to_scale_idx", 0, least=-MOST_SIDE, most=MOST_SIDE)
    if given and not -count <= index < count:
        raise CheckpointError(f"{top.file}: s2_resize_output_to_scale_idx {index} is none of the {count} scales")
    split = top.integer("s2_max_split_size", 336, most=MOST_SIDE)
    return ImageConfig(
        aspect_ratio=top.text("image_aspect_ratio", ""),
        min_tiles=least,
        max_tiles=most,
        video_max_tiles=top.integer("video_max_tiles", 1, most=MOST_TILES),
        s2_scales=given,
        s2_max_split_size=split if given else 0,
        s2_resize_index=index,
        dynamic_s2=dynamic,
    )


def _scales(top: JsonObject) -> tuple[int, ...]:
    """Ascending scales of the key s2_scales: a comma string or a list."""
    if not top.has("s2_scales"):
        raise CheckpointError(f"{top.file} lacks the key 's2_scales', without which s2 and dynamic_s2 cannot be true")
    given = top.raw["s2_scales"]
    if isinstance(given, str) and re.fullmatch(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*", given, re.ASCII):
        given = [int(scale) for scale in given.split(",")]
    scales = given if isinstance(given, list) else []
    if not 1 <= len(scales) <= _MOST_SCALES or any(type(n) is not int or not 1 <= n <= MOST_SIDE for n in scales):
        raise top.wrong("s2_scales", f"a list of whole numbers: 1 to {_MOST_SCALES} sizes from 1 to {MOST_SIDE}")
    return tuple(sorted(scales))


_MOST_SCALES = 8


def _projector_config(
    layout: Layout,
    family: Family,
    vision: VisionConfig,
    language: LanguageConfig,
    images: ImageConfig,
    token_order: TokenOrder | None,
) -> ProjectorConfig:
    kind = layout.projector.text("mm_projector_type")
    try:
        downsample_rate(kind)
    except CheckpointError as err:
        raise CheckpointError(f"{layout.projector.file}: {err}") from err
    width = vision.hidden_size * max(1, len(images.s2_scales))
    return ProjectorConfig(
        kind=kind,
        input_size=layout.top.integer("mm_hidden_size", width, most=MOST_WIDTH),
        output_size=language.hidden_size,
        order=token_order or family.token_order(kind),
    )


def _language_config(given: JsonObject) -> LanguageConfig:
    model_type = given.choice("model_type", ("llama", "qwen2"), None)
    given.choice("hidden_act", ("silu",), "silu")
    if given.flag("use_sliding_window", False):
        raise given.wrong("use_sliding_window", "supported; supported: false")
    hidden = given.integer("hidden_size", most=MOST_WIDTH)
    heads = given.integer("num_attention_heads", most=MOST_HEADS)
    if not given.has("head_dim") and hidden % heads:
        raise CheckpointError(f"{given.file}: hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    rope, scaling = given.object("rope_parameters", {}), given.object("rope_scaling", {})
    vocab_size = given.integer("vocab_size", most=MOST_TOKENS)
    return LanguageConfig(
        model_type=model_type,
        hidden_size=hidden,
        intermediate_size=given.integer("intermediate_size", most=MOST_WIDTH),
        layers=given.integer("num_hidden_layers", most=MOST_LAYERS),
        heads=heads,
        kv_heads=given.integer("num_key_value_heads", heads, most=MOST_HEADS),
        head_dim=given.integer("head_dim", hidden // heads, most=MOST_WIDTH),
        vocab_size=vocab_size,
        max_positions=given.integer("max_position_embeddings", 4096, most=MOST_POSITIONS),
        rope_theta=(given if given.has("rope_theta") else rope).number("rope_theta", 10000.0, above=0.0),
        eps=given.number("rms_norm_eps", 1e-6, above=0.0, most=1.0),
        qkv_bias=given.flag("attention_bias", False) or model_type == "qwen2",
        tied=given.flag("tie_word_embeddings", False),
        eos_token_ids=given.integers("eos_token_id", most=vocab_size - 1),
        rope_factor=_rope_factor(scaling if scaling.raw else rope),
    )


def _rope_factor(scaling: JsonObject) -> float:
    key = "rope_type" if scaling.has("rope_type") else "type"
    kind = scaling.choice(key, ("default", "linear"), "default")
    factor = scaling.number("factor", 1.0, above=0.0)
    return factor if kind == "linear" else 1.0


def encoder_of(top: JsonObject, key: str) -> EncoderConfig:
    """The encoder of key image_encoder or video_encoder: an object or its JSON text, {} if it is missing."""
    written = top.raw.get(key)
    if isinstance(written, str) and written:
        given = JsonObject(parse_object(top.text(key), top.file, place=top.path(key)), top.file, top.path(key))
    else:
        given = JsonObject({}, top.file, key) if written == "" else top.object(key, {})
    target = given.text("_target_", "Basic").rpartition(".")[2]
    if target not in _ENCODERS:
        known = ", ".join(_ENCODERS)
        raise CheckpointError(
            f"{top.file}: {given.path('_target_')} {show(target)} is not supported; supported: {known}"
        )
    if key == "image_encoder" and _ENCODERS[target] != "basic":
        raise CheckpointError(f"{top.file}: {given.path('_target_')} {target!r} is not supported for pictures")
    pools = given.items("pool_sizes", most=_MOST_POOLS) if given.has("pool_sizes") else JsonObject({}, top.file)
    if _ENCODERS[target] == "tsp" and not pools.raw:
        raise CheckpointError(f"{top.file}: {given.path('pool_sizes')} is missing or empty, but {target} needs some")
    return EncoderConfig(
        kind=_ENCODERS[target],
        start_tokens=given.text("start_tokens", ""),
        end_tokens=given.text("end_tokens", "") if "end_tokens" in given.raw else "\n",
        sep_tokens=given.text("sep_tokens", ""),
        pool_sizes=tuple(_pool_size(pools, each) for each in pools.raw),
    )


_ENCODERS = {"Basic": "basic", "BasicImageEncoder": "basic", "BasicVideoEncoder": "basic", "TSPVideoEncoder": "tsp"}
_MOST_POOLS = 64


def _pool_size(pools: JsonObject, key: str) -> tuple[int, int, int]:
    size = pools.items(key)
    if len(size.raw) != 3:
        raise pools.wrong(key, "a pool size: [frames, rows, columns]")
    frames, rows, columns = (size.integer(each, most=MOST_FRAMES) for each in size.raw)
    return (frames, rows, columns)


def _time_tokens(top: JsonObject, language: LanguageConfig) -> TimeTokens:
    count = top.integer("num_time_tokens", 0, least=0, most=MOST_TIMES)
    if count == 1:
        raise top.wrong("num_time_tokens", "0 or at least 2")
    ids = top.integers("time_token_ids", most=language.vocab_size - 1)
    if ids and len(ids) != count:
        raise CheckpointError(f"{top.file}: num_time_tokens is {count}, but time_token_ids has {len(ids)}")
    form = top.text("time_token_format", "") or "<t{t}>"
    if form.count("{t}") != 1 or set("{}") & set(form.replace("{t}", "")):
        raise top.wrong("time_token_format", "a text with {t} in it, once, and no other braces")
    return TimeTokens(count=count, format=form, ids=ids, soft_ce_std=top.number("soft_ce_std", 1.0, above=0.0))


def _chat_template(layout: Layout, tokens: JsonObject) -> str:
    """The template's name, or Jinja source.

    VILA1.5's code picked it by the checkpoint's file name; the special tokens tell the same: llama_3 has <|eot_id|>,
    hermes-2 <|im_start|>, vicuna_v1 neither. NVILA: the name in config.json, else what the tokenizer brings.
    """
    top = layout.top
    for source in (top.object("vila_nav", {}), top):
        if name := source.text("chat_template", ""):
            return _named_template(source, name)
    source_text = tokenizer_template(layout.tokenizer, tokens)
    if source_text and generation_of(layout) == "nvila":
        return source_text
    rows = tokens.object("added_tokens_decoder", {})
    special = {rows.object(each).text("content", "") for each in rows.raw}
    special |= set(read_json_if_there(layout.tokenizer / "added_tokens.json").raw)
    if "<|eot_id|>" in special:
        return "llama_3"
    if layout.language.raw.get("model_type") == "qwen2":
        return "qwen2"
    return "hermes-2" if "<|im_start|>" in special else "vicuna_v1"


def _named_template(source: JsonObject, name: str) -> str:
    if "{{" in name or "{%" in name:
        check_template(name, source.file)
        return name
    return source.choice("chat_template", CHAT_TEMPLATES)


def tokenizer_template(folder: Path, tokens: JsonObject) -> str:
    """The tokenizer's own Jinja chat template, "" without one. tokens: its tokenizer_config.json.

    Raises CheckpointError naming the file for one that cannot be rendered.
    """
    file = folder / "chat_template.jinja"
    if is_there(file):
        source = read_text(file)
    else:
        given = tokens if tokens.has("chat_template") else read_json_if_there(folder / "chat_template.json")
        source, file = _default_template(given), given.file
    if source:
        check_template(source, file)
    return source


def _default_template(given: JsonObject) -> str:
    if not isinstance(given.raw.get("chat_template"), list):
        return given.text("chat_template", "")
    return next((row.text("template") for row in given.objects("chat_template") if row.text("name") == "default"), "")


def _family(
    layout: Layout,
    generation: Generation,
    images: ImageConfig,
    video: EncoderConfig,
    time_tokens: TimeTokens,
    template: str,
) -> Family:
    own = layout.top.object("vila_nav", {})
    traits = Traits(
        generation=generation,
        prompt_style=_prompt_style(own, ""),
        chat_template=template,
        projector=layout.projector.text("mm_projector_type"),
        aspect_ratio=images.aspect_ratio,
        pools_time=video.kind == "tsp" or time_tokens.count > 0,
    )
    named = own.choice("family", [row.name for row in FAMILIES]) if own.has("family") else None
    return family_of(traits, named)


def _prompt_style(own: JsonObject, default: str) -> str:
    if not own.has("prompt_style"):
        return default
    return own.choice("prompt_style", sorted({row.prompt_style for row in FAMILIES}))


def _max_length(layout: Layout, tokens: JsonObject, language: LanguageConfig) -> int:
    """Tokens of prompt and reply together: the tokenizer's model_max_length, or else the decoder's positions."""
    for source in (tokens, layout.language):
        if source.has("model_max_length"):
            value = source.number("model_max_length", least=1.0)
            if value < _NO_LENGTH:
                return int(value)
    return language.max_positions


_NO_LENGTH = 1e9  # transformers writes 1e30 for none


def _decoding_config(given: JsonObject, max_length: int, language: LanguageConfig) -> DecodingConfig:
    """The checkpoint's root generation_config.json over the official defaults; llm/'s is not used."""
    length, last = given.integer("max_length", 20), language.vocab_size - 1
    return DecodingConfig(
        max_length=max_length if length == 20 else length,  # 20 is transformers' default: the tokenizer decides
        do_sample=given.flag("do_sample", False),
        temperature=given.number("temperature", 1.0) or 1.0,
        top_p=given.number("top_p", 1.0, most=1.0) or 1.0,
        top_k=given.integer("top_k", 50, least=0),
        pad_id=given.integer("pad_token_id", least=-1) if given.has("pad_token_id") else None,
        bos_id=given.integer("bos_token_id", least=0, most=last) if given.has("bos_token_id") else None,
        eos_ids=given.integers("eos_token_id", most=last),
    )


def _navigation_config(top: JsonObject, family: Family, template: str) -> NavigationConfig:
    own = top.object("vila_nav", {})
    return NavigationConfig(
        prompt_style=_prompt_style(own, family.prompt_style),
        chat_template=template,
        num_frames=top.integer("num_video_frames", 8, most=MOST_FRAMES),
        history_tokens=own.integer("history_tokens") if own.has("history_tokens") else None,
        describes=family.describes,
        vocabulary=read_vocabulary(own),
        camera_hfov_deg=own.number("camera_hfov_deg", least=10, most=170) if own.has("camera_hfov_deg") else None,
    )
