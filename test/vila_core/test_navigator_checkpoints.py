"""The navigator with checkpoints in the official layouts: NaVILA's own, and those not trained to navigate."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import golden_dir

from vila_core.actions.grammar import SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.torch_backend import TorchBackend
from vila_core.history.navila_policy import select_frames
from vila_core.models.media_prompt import Turn, variant_of
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.navigator import Navigator, decision_prompt
from vila_core.prompts.conversation import render
from vila_core.prompts.navigation import navila_text
from vila_core.testing import make_frame
from vila_core.types import HoldReason, Instruction

CHECKPOINTS = golden_dir("vila") / "checkpoints"
STEP_NS = 100_000_000
LENIENT = NavigatorConfig(decision_deadline_s=600.0, max_image_age_s=60.0)


def backend_of(name):
    return TorchBackend(load_checkpoint(CHECKPOINTS / name), "float32")


class Recorded:
    """A backend that notes the prompts."""

    def __init__(self, backend):
        self.backend, self.info, self.prompts, self.replies = backend, backend.info, [], []

    def choose(self, prompt, replies):
        self.prompts.append(prompt)
        self.replies.append(tuple(replies))
        return self.backend.choose(prompt, replies)

    def generate(self, prompt, max_new_tokens):
        self.prompts.append(prompt)
        return self.backend.generate(prompt, max_new_tokens)


def decide(backend, frames):
    navigator = Navigator(backend, LENIENT, HistoryConfig())
    navigator.start(Instruction("go to the kitchen."))
    for frame in frames:
        navigator.observe(frame, None)
    return navigator.decide(frames[-1].stamp_ns + 1)


def test_navila_sees_eight_frames_is_asked_in_its_words_and_chooses_among_ten_sentences():
    backend = Recorded(backend_of("navila_tiny"))
    frames = [make_frame(STEP_NS * number) for number in range(20)]
    decision = decide(backend, frames)
    (prompt,) = backend.prompts
    assert prompt.text == render("llama_3", navila_text("Go to the kitchen.", 8))
    assert [visual.frame for visual in prompt.visuals] == [frames[index] for index in select_frames(20, 8)]
    assert backend.replies == [SENTENCES]
    assert decision.action is not None and decision.reply in SENTENCES
    assert sum(decision.probabilities) == pytest.approx(1.0) and len(decision.probabilities) == 10
    assert decision.frames_used == tuple(visual.frame.stamp_ns for visual in prompt.visuals)


def test_navila_with_a_short_history_sees_black_frames_first():
    backend = Recorded(backend_of("navila_tiny"))
    decision = decide(backend, [make_frame(STEP_NS * number) for number in range(3)])
    (prompt,) = backend.prompts
    assert [bool(visual.frame.image.any()) for visual in prompt.visuals] == [False] * 5 + [True] * 3
    assert decision.action is not None and len(decision.frames_used) == 3


@pytest.mark.parametrize("name", ["nvila_tiny", "nvila_lite_tiny"])
def test_nvila_is_told_the_sentences_and_holds_when_it_says_something_else(name):
    backend = Recorded(backend_of(name))
    decision = decide(backend, [make_frame(STEP_NS * number) for number in range(9)])
    (prompt,) = backend.prompts
    assert len(prompt.visuals) == 8 and all(sentence in prompt.text for sentence in SENTENCES)
    assert prompt.text.startswith(
        "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nYou steer a robot."
    )
    assert "<image>\n" * 8 in prompt.text
    assert decision.action is None and decision.hold is HoldReason.UNPARSEABLE_REPLY  # random weights say nothing


@pytest.mark.parametrize(
    "name", ["navila_tiny", "vila15_tiny", "vila15_s2_tiny", "nvila_tiny", "nvila_lite_tiny", "nvila_video_tiny"]
)
def test_the_cached_frames_make_the_same_prompt_as_the_official_code(name):
    backend = backend_of(name)
    model = backend.model
    frames = [make_frame(STEP_NS * number, height=60, width=80) for number in range(8)]
    prompt = decision_prompt(backend.info, Instruction("go to the kitchen."), frames)
    variant = variant_of(model.config)
    with torch.inference_mode():
        media = model.encode_media(Turn("", tuple(frame.image for frame in frames)), variant)
        wanted = model.splice(prompt.text, media, variant)
        got = backend.embeddings(prompt)
    assert got.shape == wanted.embeddings.shape
    assert (got - wanted.embeddings).abs().max() <= 1e-5
    assert sum(backend.choose(prompt, SENTENCES).probabilities) == pytest.approx(1.0)


@pytest.mark.parametrize("policy", ["streaming", "window"])
@pytest.mark.parametrize("name", ["navila_tiny", "nvila_lite_tiny", "nvila_video_tiny"])
def test_an_appended_history_read_ahead_decides_as_if_all_were_read_anew(name, policy):
    model = load_checkpoint(CHECKPOINTS / name)
    backends = TorchBackend(model, "float32"), NaiveBackend(model, "float32")
    config = dataclasses.replace(LENIENT, reply="choice", avoid_repeats=False)
    history = HistoryConfig(policy=policy, window_frames=5, memory_frames=2)
    quick, naive = (Navigator(backend, config, history) for backend in backends)
    for navigator in (quick, naive):
        navigator.start(Instruction("go to the kitchen."))
    for number in range(1, 25):
        frame = make_frame(STEP_NS * number, height=24, width=32)
        for navigator in (quick, naive):
            navigator.observe(frame, None)
        if number % 2:
            decisions = [navigator.decide(frame.stamp_ns) for navigator in (quick, naive)]
            assert decisions[0].probabilities == pytest.approx(decisions[1].probabilities, abs=1e-5)
            assert decisions[0].frames_used == decisions[1].frames_used
        while quick.idle():
            pass


def test_a_reply_ends_at_the_token_that_closes_the_turn(monkeypatch):
    """Llama-3's checkpoints name one end of text, but close a turn with another token."""
    backend = backend_of("navila_tiny")
    model = backend.model
    prompt = decision_prompt(backend.info, Instruction("go to the kitchen."), [make_frame(0)])
    end = model.tokenizer.id_of("<|eot_id|>")
    assert end not in model.config.language.eos_token_ids
    said = iter([*model.tokenizer.encode("stop"), end, *model.tokenizer.encode("and more")])

    def logits(hidden):
        row = torch.zeros(model.config.language.vocab_size)
        row[next(said)] = 1.0
        return row

    monkeypatch.setattr(model.language_model, "logits", logits)
    assert backend.generate(prompt, 30) == "stop"
