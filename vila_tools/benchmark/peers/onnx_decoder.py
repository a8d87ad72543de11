"""A decoder of a checkpoint's shape as an ONNX graph of onnxruntime's own operators, with random 4-bit weights.

The operators and how they are joined are those of onnxruntime-genai's model builder: fused normalisations, one
projection for queries, keys and values, GroupQueryAttention that turns them and keeps the cache, MatMulNBits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vila_core.models.config import LanguageConfig
from vila_tools.benchmark.peers.exportable import past_names

GROUP = 128
ROWS = 4096  # positions that can be turned, and so the longest cache
_BITS, _ACCURACY = 4, 4  # accuracy level 4: inputs are rounded to 8 bits, products are of integers
_OURS = "com.microsoft"
_OPSET = 21


def write_onnx_decoder(file: Path, language: LanguageConfig) -> None:
    """Write the graph: embeddings [1, L, D], seen and total, the cache -> logits [1, V] of the last token, the cache.

    seen: [1] int32, the tokens seen by the last one less one. total: scalar int32. The cache's arrays are
    [1, H, rows, d] and may be the same before and after.
    """
    graph = _Graph(language)
    graph.add_layers()
    model = helper.make_model(
        graph.proto(), opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_OURS, 1)], ir_version=10
    )
    onnx.save_model(model, str(file), save_as_external_data=True, location=file.name + ".data")


class _Graph:
    """Nodes and weights as they are added, each under the name of its output."""

    def __init__(self, language: LanguageConfig) -> None:
        self._language = language
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        self._rng = np.random.default_rng(0)
        width = language.head_dim
        angles = np.arange(ROWS)[:, None] / language.rope_theta ** (np.arange(0, width, 2) / width)
        self._turns = [self._add("cos", np.cos(angles)), self._add("sin", np.sin(angles))]

    def add_layers(self) -> None:
        """Everything between embeddings and logits."""
        language = self._language
        normed = self._node(
            "SimplifiedLayerNormalization",
            "first",
            ["embeddings", self._scale("first")],
            "",
            axis=-1,
            epsilon=language.eps,
        )
        hidden = "embeddings"
        for layer in range(language.layers):
            hidden, normed = self._skip(f"{layer}.middle", hidden, self._attention(layer, normed))
            hidden, normed = self._skip(f"{layer}.end", hidden, self._mlp(layer, normed))
        last = self._node("Gather", "last", [normed, self._add("minus_one", np.array(-1), np.int64)], "", axis=1)
        self._matrix("logits", last, language.hidden_size, language.vocab_size)

    def proto(self) -> onnx.GraphProto:
        """The graph with its inputs and outputs."""
        language, single = self._language, TensorProto.FLOAT
        rows: list[str | int | None] = [1, language.kv_heads, "rows", language.head_dim]
        inputs = [
            helper.make_tensor_value_info("embeddings", single, [1, "length", language.hidden_size]),
            helper.make_tensor_value_info("seen", TensorProto.INT32, [1]),
            helper.make_tensor_value_info("total", TensorProto.INT32, []),
            *(helper.make_tensor_value_info(name, single, rows) for name in past_names(language, "past")),
        ]
        outputs = [
            helper.make_tensor_value_info("logits", single, [1, language.vocab_size]),
            *(helper.make_tensor_value_info(name, single, rows) for name in past_names(language, "present")),
        ]
        return helper.make_graph(self._nodes, "decoder", inputs, outputs, self._weights)

    def _attention(self, layer: int, normed: str) -> str:
        language = self._language
        queries, keys = language.heads * language.head_dim, language.kv_heads * language.head_dim
        joined = self._matrix(f"{layer}.qkv", normed, language.hidden_size, queries + 2 * keys, language.qkv_bias)
        kinds = [f"{layer}_{kind}" for kind in ("key", "value")]
        past = [f"past_{kind}" for kind in kinds]
        out = f"{layer}.attended"
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                [joined, "", "", *past, "seen", "total", *self._turns],
                [out, *(f"present_{kind}" for kind in kinds)],
                domain=_OURS,
                num_heads=language.heads,
                kv_num_heads=language.kv_heads,
                do_rotary=1,
            )
        )
        return self._matrix(f"{layer}.out", out, queries, language.hidden_size)

    def _mlp(self, layer: int, normed: str) -> str:
        width, inner = self._language.hidden_size, self._language.intermediate_size
        gate, up = (self._matrix(f"{layer}.{name}", normed, width, inner) for name in ("gate", "up"))
        opened = self._node("Mul", f"{layer}.silu", [gate, self._node("Sigmoid", f"{layer}.sigmoid", [gate], "")], "")
        return self._matrix(f"{layer}.down", self._node("Mul", f"{layer}.mlp", [opened, up], ""), inner, width)

    def _skip(self, name: str, hidden: str, added: str) -> tuple[str, str]:
        """Add to the hidden states; returns these and what a normalisation makes of them."""
        outputs = [f"{name}.normed", "", "", f"{name}.sum"]
        inputs = [hidden, added, self._scale(name)]
        self._nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization", inputs, outputs, domain=_OURS, epsilon=self._language.eps
            )
        )
        return outputs[3], outputs[0]

    def _matrix(self, name: str, x: str, width: int, rows: int, bias: bool = False) -> str:
        """[..., width] -> [..., rows] with a random weight in 4 bits, 8 being zero."""
        blocks = -(-width // GROUP)
        values = self._rng.integers(0, 256, (rows, blocks, GROUP // 2), np.uint8)
        inputs = [x, self._add(f"{name}.weight", values, np.uint8)]
        inputs.append(self._add(f"{name}.scales", np.full(rows * blocks, 0.005)))
        if bias:
            inputs += ["", "", self._add(f"{name}.bias", np.zeros(rows))]
        sizes = {"K": width, "N": rows, "bits": _BITS, "block_size": GROUP, "accuracy_level": _ACCURACY}
        return self._node("MatMulNBits", name, inputs, _OURS, **sizes)

    def _scale(self, name: str) -> str:
        return self._add(f"{name}.scale", np.ones(self._language.hidden_size))

    def _add(self, name: str, values: NDArray[np.generic], dtype: type[np.generic] = np.float32) -> str:
        self._weights.append(numpy_helper.from_array(values.astype(dtype, copy=False), name))
        return name

    def _node(self, kind: str, name: str, inputs: list[str], domain: str, **attributes: float) -> str:
        node = helper.make_node(kind, inputs, [name], domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self._nodes.append(node)
        return name
