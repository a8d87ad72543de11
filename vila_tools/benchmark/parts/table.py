"""The parts that are measured, and the peers in the quantized form that each is quickest in."""

from __future__ import annotations

from dataclasses import dataclass

from vila_tools.benchmark.peers.table import Peer


@dataclass(frozen=True, slots=True)
class Part:
    """What is timed: a pass over `tokens` new tokens, or, of none, a picture.

    behind_prompt: the pass reads behind a prompt in the cache. In a turn it is run `untimed` times, then `repeats`: a
    contender comes from idling, its weights out of every cache, and is to be measured at work.
    """

    tokens: int
    behind_prompt: bool
    untimed: int
    repeats: int
    about: str


PROMPT_TOKENS = 1300  # a navigation prompt of nine frames

PARTS: dict[str, Part] = {
    "decode": Part(1, True, 5, 10, "one token behind the prompt, head and all"),
    "pass8": Part(8, True, 2, 3, "8 tokens behind the prompt, the head for the last"),
    "pass12": Part(12, True, 2, 3, "12 tokens behind the prompt, the head for the last"),
    "prefill256": Part(256, False, 1, 1, "256 tokens from nothing, the head for the last"),
    "image": Part(0, False, 1, 1, "one picture, resized already, through tower and projector"),
}


@dataclass(frozen=True, slots=True)
class Form(Peer):
    """A peer's half of a model.

    converter: "module:function" that writes what it loads, once; "" if it loads without. conversion: the most memory
    that this takes, as a multiple of the model's weights in bfloat16.
    """

    converter: str = ""
    conversion: float = 0.0


HALVES: dict[str, tuple[str, ...]] = {
    "decoder": tuple(name for name, part in PARTS.items() if part.tokens),
    "tower": tuple(name for name, part in PARTS.items() if not part.tokens),
}
_ROOM = "vila_tools.benchmark.parts"
OURS = {half: f"{_ROOM}.ours:{half.capitalize()}" for half in HALVES}
CONVERT_OURS = f"{_ROOM}.ours:convert"

# peer -> half -> what is run, or why it has none
PART_PEERS: dict[str, dict[str, Form | str]] = {
    "llama_cpp": {
        "decoder": Form(
            f"{_ROOM}.llama_cpp:Decoder",
            ("llama_cpp", "gguf"),
            0.9,
            "Q4_0, head and all; without flash attention, which makes its short passes slower",
            f"{_ROOM}.llama_cpp:convert",
            0.3,
        ),
        "tower": "llama.cpp has no vision tower of this shape",
    },
    "openvino": {
        "decoder": Form(
            f"{_ROOM}.openvino_decoder:Decoder",
            ("openvino", "nncf", "transformers"),
            1.5,
            "NNCF int4 in groups of 128, head and all; arithmetic hint f32, dynamic quantization in groups of 128",
            f"{_ROOM}.openvino_decoder:convert",
            2.5,
        ),
        "tower": Form(
            f"{_ROOM}.openvino_tower:Tower",
            ("openvino", "nncf", "transformers"),
            0.6,
            "NNCF post-training int8, SmoothQuant at 0.3; the rest in the precision asked for",
            f"{_ROOM}.openvino_tower:convert",
            2.0,
        ),
    },
    "onnxruntime": {
        "decoder": Form(
            f"{_ROOM}.onnxruntime_decoder:Decoder",
            ("onnxruntime", "onnx"),
            1.2,
            "MatMulNBits of 4 bits in groups of 128 at accuracy level 4, GroupQueryAttention on one shared cache",
            f"{_ROOM}.onnxruntime_decoder:convert",
            0.9,
        ),
        "tower": Form(
            f"{_ROOM}.onnxruntime_tower:Tower",
            ("onnxruntime", "onnx", "onnxscript", "transformers"),
            0.6,
            "dynamic int8 by channel, arithmetic otherwise in float32",
            f"{_ROOM}.onnxruntime_tower:convert",
            2.0,
        ),
    },
    "torch_int8": {
        "decoder": Form(
            f"{_ROOM}.torch_decoder:Int8Decoder", ("transformers",), 1.5, "transformers, dynamic int8 linears"
        ),
        "tower": Form(f"{_ROOM}.torch_tower:Int8Tower", ("transformers",), 0.6, "transformers, dynamic int8 linears"),
    },
    "torch_int4": {
        "decoder": Form(
            f"{_ROOM}.torch_decoder:Int4Decoder",
            ("transformers",),
            1.2,
            "torch int4 operator",
        ),
        "tower": "not measured: its int4 is for few tokens, a picture has a thousand",
    },
    "torch_plain": {
        "decoder": "measured whole by `vila bench step` without --parts",
        "tower": Form(f"{_ROOM}.torch_tower:PlainTower", ("transformers",), 0.5, "transformers, not quantized"),
    },
}
