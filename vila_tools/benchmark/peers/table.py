"""The peers: what each runs for a whole step and for the halves of a quantized model, and what that needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vila_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Form:
    """What a peer runs of a model.

    target: "module:class" of a BenchmarkTarget. libraries: what it imports. memory: the most that it holds while it
    gets ready, as a multiple of the model's weights in bfloat16. about: what is run, in words. converter:
    "module:function" that writes what it loads, once; "" if it loads without. conversion: the most memory that this
    takes, as a multiple of the same. follows: whether its weights are in the precision that the job asks for, which
    takes twice that memory in float32.
    """

    target: str
    libraries: tuple[str, ...]
    memory: float
    about: str
    converter: str = ""
    conversion: float = 0.0
    follows: bool = field(default=False, kw_only=True)


STEP = "step"  # a whole step, the model not quantized
_ROOM = "vila_tools.benchmark.peers"
_OPENVINO = ("openvino", "nncf", "transformers")

# peer -> "step", "decoder", "tower" -> what is run, or why it has none. A peer without "step" makes no whole steps, one
# without both halves has no quantized form.
PEERS: dict[str, dict[str, Form | str]] = {
    "transformers": {
        STEP: Form(
            f"{_ROOM}.transformers:TransformersPeer",
            ("transformers",),
            1.25,
            "SiglipVisionModel, then model.generate on embeddings, sdpa attention",
            follows=True,
        ),
    },
    "llama_cpp": {
        STEP: Form(
            f"{_ROOM}.llama_cpp:LlamaCppPeer",
            ("llama_cpp", "gguf", "transformers"),
            1.2,
            "decoder from a GGUF file; the tower is transformers', since llama.cpp has none of this shape",
            follows=True,
        ),
        "decoder": Form(
            f"{_ROOM}.llama_cpp:Decoder",
            ("llama_cpp", "gguf"),
            0.9,
            "Q4_0, head and all; without flash attention, which makes its short passes slower",
            f"{_ROOM}.llama_cpp:convert_decoder",
            0.3,
        ),
        "tower": "llama.cpp has no vision tower of this shape",
    },
    "openvino": {
        STEP: Form(
            f"{_ROOM}.openvino:OpenVinoPeer",
            ("openvino", "transformers"),
            2.4,
            "tower and stateful decoder, converted from transformers, the precision as a hint",
            follows=True,
        ),
        "decoder": Form(
            f"{_ROOM}.openvino:Decoder",
            _OPENVINO,
            1.5,
            "NNCF int4 in groups of 128, head and all; arithmetic hint f32, dynamic quantization in groups of 128",
            f"{_ROOM}.openvino:convert_decoder",
            2.5,
        ),
        "tower": Form(
            f"{_ROOM}.openvino:Tower",
            _OPENVINO,
            0.6,
            "NNCF post-training int8, SmoothQuant at 0.3; the rest in the precision asked for",
            f"{_ROOM}.openvino:convert_tower",
            2.0,
        ),
    },
    "onnxruntime": {
        STEP: Form(
            f"{_ROOM}.onnxruntime:OnnxRuntimePeer",
            ("onnxruntime", "onnx", "onnxscript", "transformers"),
            3.6,
            "tower and decoder with its cache as inputs, exported from transformers, float32",
        ),
        "decoder": Form(
            f"{_ROOM}.onnxruntime:Decoder",
            ("onnxruntime", "onnx"),
            1.2,
            "MatMulNBits of 4 bits in groups of 128 at accuracy level 4, GroupQueryAttention on one shared cache",
            f"{_ROOM}.onnxruntime:convert_decoder",
            0.9,
        ),
        "tower": Form(
            f"{_ROOM}.onnxruntime:Tower",
            ("onnxruntime", "onnx", "onnxscript", "transformers"),
            0.6,
            "dynamic int8 by channel, arithmetic otherwise in float32",
            f"{_ROOM}.onnxruntime:convert_tower",
            2.0,
        ),
    },
    "torch_int8": {
        "decoder": Form(
            f"{_ROOM}.transformers:Int8Decoder", ("transformers",), 1.5, "transformers, dynamic int8 linears"
        ),
        "tower": Form(f"{_ROOM}.transformers:Int8Tower", ("transformers",), 0.6, "transformers, dynamic int8 linears"),
    },
    "torch_int4": {
        "decoder": Form(f"{_ROOM}.transformers:Int4Decoder", ("transformers",), 1.2, "torch int4 operator"),
        "tower": "not measured: its int4 is for few tokens, a picture has a thousand",
    },
    "torch_plain": {
        "decoder": "measured whole by `vila bench step` without --parts",
        "tower": Form(f"{_ROOM}.transformers:PlainTower", ("transformers",), 0.5, "transformers, not quantized"),
    },
}


def peers_for(*works: str) -> list[str]:
    """Names of the peers that have an entry, a form or a reason, for any of "step", "decoder", "tower"."""
    return [name for name, row in PEERS.items() if row.keys() & set(works)]


def chosen_peers(names: str, known: Iterable[str]) -> list[str]:
    """Read "all", "none" or known names joined by commas; ConfigError for another one."""
    return [] if names == "none" else chosen_names(names, ("all", "none"), known, "peer")


def chosen_names(names: str, words: Sequence[str], known: Iterable[str], kind: str) -> list[str]:
    """Read "all" or known names joined by commas; ConfigError, with the words and the names, for another one."""
    rows = list(known)
    if names == "all":
        return rows
    wanted = list(dict.fromkeys(filter(None, names.split(","))))
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise ConfigError(f"unknown {kind} {unknown[0]!r}; known: {', '.join((*words, *rows))}")
    return wanted
