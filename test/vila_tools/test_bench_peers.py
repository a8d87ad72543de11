"""The peers compute what transformers computes: each where its libraries are installed."""

from __future__ import annotations

import importlib
import importlib.util

import numpy as np
import pytest
import torch

from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.benchmark.peers.table import PEERS, STEP, peers_for
from vila_tools.benchmark.target import StepJob

TOKENS, CUT = 40, 30


def installed(name):
    absent = [library for library in PEERS[name][STEP].libraries if importlib.util.find_spec(library) is None]
    return pytest.param(name, marks=pytest.mark.skipif(bool(absent), reason=f"not installed: {absent}"))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    make_random(folder / "lite", tiny(SHAPES["nvila-lite-2b"]), name="nvila-lite-2b")
    return StepJob(str(folder / "lite"), 3, 5, 1, "bfloat16", prompt_tokens=100, folder=str(folder))


def load(name, job):
    module, attribute = PEERS[name][STEP].target.split(":")
    return getattr(importlib.import_module(module), attribute)(job)


@pytest.mark.parametrize("name", [installed(name) for name in peers_for(STEP)])
def test_a_peer_makes_steps_and_says_what_it_runs(name, job):
    peer = load(name, job)
    for _ in range(2):
        peer.prepare(name)
        assert peer.step(name) == {}
    assert peer.facts["precision"] in ("bfloat16", "float32")
    assert peer.facts["versions"]


def in_two_passes(name, peer, embeddings):
    """Logits [V] behind each of two passes, the second on the keys and values of the first."""
    first, second = embeddings[:, :CUT], embeddings[:, CUT:]
    if name == "openvino":
        peer._decoder.reset_state()
        return [peer._read(first, 0)[0].numpy(), peer._read(second, CUT)[0].numpy()]
    language = peer.config.language
    past = [np.zeros((1, language.kv_heads, 0, language.head_dim), np.float32)] * (2 * language.layers)
    logits, *past = peer._read(first, past)
    return [logits[0], peer._read(second, past)[0][0]]


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance"),
    [
        pytest.param("openvino", torch.bfloat16, 0.05, marks=installed("openvino").marks),
        pytest.param("onnxruntime", torch.float32, 1e-4, marks=installed("onnxruntime").marks),
    ],
)
def test_a_converted_decoder_computes_what_transformers_does(name, dtype, tolerance, job):
    from vila_tools.benchmark.peers.hugging_face import decoder

    peer = load(name, job)
    embeddings = peer._table[torch.arange(TOKENS)][None]
    with torch.inference_mode():
        expected = decoder(peer.config.language, dtype)(inputs_embeds=embeddings).logits[0].float().numpy()
    for computed, at in zip(in_two_passes(name, peer, embeddings), (CUT - 1, TOKENS - 1), strict=True):
        np.testing.assert_allclose(computed, expected[at], atol=tolerance * np.abs(expected).max())
