"""What a checkpoint says of itself, typed."""

from __future__ import annotations

from dataclasses import dataclass

from vila_core.models.families import Generation, TokenOrder
from vila_core.types import Vocabulary


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """A SigLIP vision tower.

    layers counts those that run: what lies behind the selected one does not, though the file holds stored_layers
    (0: the same). feature: "cls_patch": all tokens | "patch": the first one, taken for a class token, is dropped.
    """

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    image_size: int
    patch_size: int
    eps: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature: str = "cls_patch"
    stored_layers: int = 0

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
    rope_factor: float = 1.0  # positions are divided by it: "linear" rope_scaling


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """How a picture becomes the tiles that the tower reads.

    aspect_ratio: "resize" | "pad" | "dynamic" | "dynamic_s2" | "" (squashed to the tower's square).
    s2_scales: pixels per side, ascending; () for a plain tower. s2_resize_index: the scale, an index that may be
    negative, whose grid all scales' features take (s2_resize_output_to_scale_idx).
    """

    aspect_ratio: str = "resize"
    min_tiles: int = 1
    max_tiles: int = 12
    video_max_tiles: int = 1
    s2_scales: tuple[int, ...] = ()
    s2_max_split_size: int = 0
    s2_resize_index: int = 0
    dynamic_s2: bool = False


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What surrounds and pools the visual tokens of a picture or video.

    kind: "basic" | "tsp". The texts are tokenised with the tokenizer's automatic BOS, if it has one.
    pool_sizes: (frames, rows, columns) averaged together; "tsp" only.
    """

    kind: str = "basic"
    start_tokens: str = ""
    end_tokens: str = "\n"
    sep_tokens: str = ""
    pool_sizes: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TimeTokens:
    """The tokens `<t0>` .. that stand for parts of a video's duration; count 0 for none.

    ids: their token ids in order. soft_ce_std: the deviation, in tokens, of the soft training target.
    """

    count: int = 0
    format: str = "<t{t}>"
    ids: tuple[int, ...] = ()
    soft_ce_std: float = 1.0


@dataclass(frozen=True, slots=True)
class DecodingConfig:
    """Decoding defaults of the official code: those of the checkpoint's root, else greedy.

    max_length: tokens of prompt and reply together. None of an id: the tokenizer's own, see Tokenizer.
    eos_ids: (): the family's stop tokens.
    """

    max_length: int
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 50
    pad_id: int | None = None
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class NavigationConfig:
    """How the navigator prompts a checkpoint: key `vila_nav` of config.json, or its family's custom.

    num_frames: the current one included. history_tokens: visual tokens of an older frame, None for all. describes:
    whether the model answers freely; False for one that knows its own sentences alone. vocabulary: the words that it
    knows, None for a model that may be told anything. camera_hfov_deg: from left to right and from above to below, of
    the square pictures that it was trained with; None if that is not known, or any will do.
    """

    prompt_style: str
    chat_template: str
    num_frames: int
    history_tokens: int | None
    describes: bool = True
    vocabulary: Vocabulary | None = None
    camera_hfov_deg: float | None = None


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """All that a checkpoint says of itself.

    family: name of a row of models.families. generation: "native" for what the code of 2024 trained (text `<image>`, no
    encoder end tokens, column-major mlp_downsample), "nvila" for later.
    layout: "classic" | "hf-preview" | "hf". fps: frames a second taken of a video, 0 for num_video_frames in all.
    chat_template: a name known to prompts.conversation, or Jinja source.
    """

    name: str
    vision: VisionConfig
    projector: ProjectorConfig
    language: LanguageConfig
    navigation: NavigationConfig
    family: str
    generation: Generation
    layout: str
    images: ImageConfig
    image_encoder: EncoderConfig
    video_encoder: EncoderConfig
    num_video_frames: int
    fps: float
    model_max_length: int
    time_tokens: TimeTokens
    chat_template: str
    decoding: DecodingConfig
