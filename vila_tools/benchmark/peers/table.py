"""The peers: what runs them, what they need, and whether that is here."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vila_core.errors import ConfigError
from vila_tools.benchmark.resident import available_mb

_SPARE_MB = 500.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A row of the table.

    target: "module:class" of a Contender. libraries: what it imports. memory: the most that it holds while it gets
    ready, as a multiple of the model's weights in bfloat16. about: what is run, in words. follows: whether its weights
    are in the precision that the job asks for, which takes twice that memory in float32.
    """

    target: str
    libraries: tuple[str, ...]
    memory: float
    about: str
    follows: bool = field(default=False, kw_only=True)


_ROOM = "vila_tools.benchmark.peers"
PEERS: dict[str, Peer] = {
    "transformers": Peer(
        f"{_ROOM}.transformers:TransformersPeer",
        ("transformers",),
        1.25,
        "SiglipVisionModel, then model.generate on embeddings, sdpa attention",
        follows=True,
    ),
    "openvino": Peer(
        f"{_ROOM}.openvino:OpenVinoPeer",
        ("openvino", "transformers"),
        2.4,
        "tower and stateful decoder, converted from transformers, the precision as a hint",
        follows=True,
    ),
    "onnxruntime": Peer(
        f"{_ROOM}.onnxruntime:OnnxRuntimePeer",
        ("onnxruntime", "onnx", "onnxscript", "transformers"),
        3.6,
        "tower and decoder with its cache as inputs, exported from transformers, float32",
    ),
    "llama_cpp": Peer(
        f"{_ROOM}.llama_cpp:LlamaCppPeer",
        ("llama_cpp", "gguf", "transformers"),
        1.2,
        "decoder from a GGUF file; the tower is transformers', since llama.cpp has none of this shape",
        follows=True,
    ),
}


def chosen_peers(names: str, known: Iterable[str] = PEERS) -> list[str]:
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


def why_missing(peer: Peer, weights_mb: float) -> str | None:
    """Why the peer cannot be run here: a library is not installed, or there is too little memory; None if it can."""
    absent = [name for name in peer.libraries if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}; run `pip install '.[peers]'`"
    needed, free = peer.memory * weights_mb + _SPARE_MB, available_mb()
    if needed > free:
        return f"needs about {needed:.0f} MB to get ready, {free:.0f} MB are free; ask for fewer peers at once"
    return None
