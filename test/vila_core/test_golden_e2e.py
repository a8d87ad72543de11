"""Prompt and media in, embeddings, logits and ids out: every case of the official code, float32 on CPU."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file

from vila_core.models.media_prompt import Picture, Video
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.prompts.conversation import render
from vila_tools.parity.case import Limits, run_case
from vila_tools.parity.e2e import e2e_cases
from vila_tools.parity.models import ModelStore

FOLDER = golden_dir("vila")
CASES = {f"{case.group} {case.name}": case for case in e2e_cases(FOLDER, ModelStore("cpu", "float32"), Limits())}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def test_no_file_is_left_out():
    for path in (FOLDER / "e2e").glob("*.json"):
        cases = json.loads(path.read_text())["cases"]
        checkpoint, variant = path.stem.split(".")
        assert {f"e2e {variant} {checkpoint}: {name}" for name in cases} <= set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    result = run_case(CASES[name])
    assert "remotecode nvila_tiny" in name if result.skip else result.is_within, result


PICTURES = ("landscape_160x100", "portrait_90x150", "wide_240x64")


@pytest.fixture(scope="module")
def inputs():
    return {name: tensor.numpy() for name, tensor in load_file(FOLDER / "e2e" / "inputs.safetensors").items()}


def expected(checkpoint, variant, case):
    """What the file says of a case, and every 8th row of its input embeddings."""
    tensors = load_file(FOLDER / "e2e" / f"{checkpoint}.{variant}.safetensors")
    cases = json.loads((FOLDER / "e2e" / f"{checkpoint}.{variant}.json").read_text())["cases"]
    return cases[case], tensors[f"{case}.inputs_embeds"]


@pytest.mark.parametrize("checkpoint", ["nvila_lite_tiny", "nvila_tiny"])
def test_the_only_picture_is_cut_into_tiles(checkpoint, inputs):
    model = load_checkpoint(FOLDER / "checkpoints" / checkpoint)
    case, embeddings = expected(checkpoint, "head", "one_image_portrait")
    parts = [Picture(inputs["portrait_90x150"]), "Describe the image in detail."]
    prepared = model.prepare(parts, partial(render, model.config.chat_template))
    assert list(prepared.ids) == case["input_ids"]
    assert (prepared.embeddings[::8] - embeddings).abs().max() <= 1e-5


def test_a_video_checkpoint_pools_its_frames_without_being_told(inputs):
    model = load_checkpoint(FOLDER / "checkpoints" / "nvila_video_tiny")
    case, embeddings = expected("nvila_video_tiny", "videotoken", "video8")
    parts = [Video(tuple(inputs["frames8"])), "What is happening in this video?"]
    prepared = model.prepare(parts, partial(render, model.config.chat_template))
    assert list(prepared.ids) == case["input_ids"]
    assert (prepared.embeddings[::8] - embeddings).abs().max() <= 1e-5


def test_vila15_defaults_to_the_code_that_trained_it(inputs):
    model = load_checkpoint(FOLDER / "checkpoints" / "vila15_tiny")
    case, embeddings = expected("vila15_tiny", "native", "three_images")
    parts = [*(Picture(inputs[name]) for name in PICTURES), "compare them."]
    prepared = model.prepare(parts, partial(render, model.config.chat_template))
    assert prepared.text == case["prompt"] and list(prepared.ids) == case["input_ids"]
    assert (prepared.embeddings[::8] - embeddings).abs().max() <= 1e-5


def test_media_tokens_that_the_user_types_are_taken_out(inputs):
    model = load_checkpoint(FOLDER / "checkpoints" / "nvila_tiny")
    wanted = model.prepare([Picture(inputs["wide_240x64"]), "what is this?"], partial(render, "qwen2"))
    typed = model.prepare(
        [Picture(inputs["wide_240x64"]), " <image>what is<vila/video> this?"], partial(render, "qwen2")
    )
    assert typed.ids == wanted.ids and torch.equal(typed.embeddings, wanted.embeddings)


def test_media_without_a_token_are_refused(inputs):
    model = load_checkpoint(FOLDER / "checkpoints" / "nvila_tiny")
    with pytest.raises(ValueError, match="0 media tokens"):
        model.prepare([Picture(inputs["wide_240x64"])], lambda text: "no picture here")
