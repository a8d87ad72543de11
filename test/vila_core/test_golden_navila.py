"""The model against what NaVILA's own code computed on a tiny checkpoint, float32 on CPU."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file

from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.torch_backend import TorchBackend
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.types import Frame, Prompt, Visual

CASES = {"one_image": ["landscape_160x100"], "three_images": ["landscape_160x100", "portrait_90x150", "wide_240x64"]}


@pytest.fixture(scope="module")
def golden():
    folder = golden_dir("vila")
    backend = TorchBackend(load_checkpoint(folder / "checkpoints" / "navila_tiny"), "float32")
    cases = json.loads((folder / "e2e" / "navila_tiny.navila.json").read_text())["cases"]
    tensors = load_file(folder / "e2e" / "navila_tiny.navila.safetensors")
    return backend, cases, tensors, load_file(folder / "e2e" / "inputs.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_embeddings_logits_and_ids_equal_the_official_code(golden, case):
    backend, cases, tensors, inputs = golden
    visuals = tuple(Visual(Frame(inputs[name].numpy(), index)) for index, name in enumerate(CASES[case]))
    prompt = Prompt(cases[case]["prompt"], visuals)
    with torch.inference_mode():
        embeddings = backend.embeddings(prompt)
        positions = torch.arange(len(embeddings))
        logits = backend.model.language_model.logits(backend.model.language_model(embeddings[None], positions)[0])
    assert (embeddings[::8] - tensors[f"{case}.inputs_embeds"]).abs().max() <= 1e-5
    assert (logits[-4:] - tensors[f"{case}.logits_last4"]).abs().max() <= 1e-4
    wanted = cases[case]["generated_ids"]
    assert backend.generate(prompt, len(wanted)) == backend.model.tokenizer.decode(wanted)


def test_choice_in_one_pass_equals_one_reply_at_a_time(golden):
    backend, cases, _, inputs = golden
    prompt = Prompt(cases["one_image"]["prompt"], (Visual(Frame(inputs["landscape_160x100"].numpy(), 0)),))
    replies = ["turn left 15 degree.", "turn left 30 degree.", "turn right 15 degree.", "stop"]
    choice = backend.choose(prompt, replies)
    assert sum(choice.probabilities) == pytest.approx(1.0)
    expected = NaiveBackend(backend.model, "float32").choose(prompt, replies)
    assert choice.index == expected.index
    assert choice.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
