"""A decoder of a checkpoint's shape as a GGUF file with random weights, plain or in blocks of a few bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from vila_core.models.config import LanguageConfig

_BLOCK = 1 << 16  # values that are drawn, then repeated: which values they are changes no time


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A row of the file. kind: "weight" in the file's type; "norm" and "bias" in float32."""

    name: str
    shape: tuple[int, ...]
    kind: str = "weight"


def write_gguf(path: Path, language: LanguageConfig, weights: str = "BF16") -> None:
    """Write the file a tensor at a time; it holds no tokenizer.

    weights: the GGMLQuantizationType of every matrix, embedding and head included; one that the gguf package can make.
    """
    kind = gguf.GGMLQuantizationType[weights]
    writer = gguf.GGUFWriter(path, "qwen2" if language.model_type == "qwen2" else "llama")
    writer.add_context_length(language.max_positions)
    writer.add_embedding_length(language.hidden_size)
    writer.add_block_count(language.layers)
    writer.add_feed_forward_length(language.intermediate_size)
    writer.add_head_count(language.heads)
    writer.add_head_count_kv(language.kv_heads)
    writer.add_layer_norm_rms_eps(language.eps)
    writer.add_rope_freq_base(language.rope_theta)
    writer.add_rope_dimension_count(language.head_dim)
    writer.add_vocab_size(language.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    tensors = list(_tensors(language))
    for tensor in tensors:
        _announce(writer, tensor, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(_values(tensor, kind))
    writer.close()


def _tensors(language: LanguageConfig) -> Iterator[_Tensor]:
    width, inner = language.hidden_size, language.intermediate_size
    query, key = language.heads * language.head_dim, language.kv_heads * language.head_dim
    yield _Tensor("token_embd.weight", (language.vocab_size, width))
    for layer in range(language.layers):
        head = f"blk.{layer}."
        yield _Tensor(head + "attn_norm.weight", (width,), "norm")
        for part, rows in (("q", query), ("k", key), ("v", key)):
            yield _Tensor(f"{head}attn_{part}.weight", (rows, width))
            if language.qkv_bias:
                yield _Tensor(f"{head}attn_{part}.bias", (rows,), "bias")
        yield _Tensor(head + "attn_output.weight", (width, query))
        yield _Tensor(head + "ffn_norm.weight", (width,), "norm")
        yield _Tensor(head + "ffn_gate.weight", (inner, width))
        yield _Tensor(head + "ffn_up.weight", (inner, width))
        yield _Tensor(head + "ffn_down.weight", (width, inner))
    yield _Tensor("output_norm.weight", (width,), "norm")
    if not language.tied:
        yield _Tensor("output.weight", (language.vocab_size, width))


def _announce(writer: gguf.GGUFWriter, tensor: _Tensor, kind: gguf.GGMLQuantizationType) -> None:
    if tensor.kind == "weight":
        stored = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
        writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
    else:
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), 4 * int(np.prod(tensor.shape)))


def _values(tensor: _Tensor, kind: gguf.GGMLQuantizationType) -> NDArray[np.generic]:
    if tensor.kind != "weight":
        return np.full(tensor.shape, 1.0 if tensor.kind == "norm" else 0.0, np.float32)
    block = np.random.default_rng(0).normal(0.0, 0.02, _BLOCK).astype(np.float32)
    stored = gguf.quant_shape_to_byte_shape(tensor.shape, kind)
    return np.resize(gguf.quants.quantize(block, kind).view(np.uint8), stored)
