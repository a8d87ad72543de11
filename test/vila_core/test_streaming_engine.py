"""The engine's caches change what a step costs, never what it says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.actions.grammar import SENTENCES
from vila_core.engine import cached_decoder
from vila_core.engine.cached_decoder import _ahead
from vila_core.engine.naive_backend import NaiveBackend
from vila_core.engine.reply_trie import grammar_of
from vila_core.engine.static_decoder import StaticDecoder
from vila_core.engine.torch_backend import TorchBackend
from vila_core.errors import BackendError
from vila_core.models.stored.checkpoint import load_checkpoint, save_weights
from vila_core.testing import make_frame
from vila_core.types import Prompt, Visual
from vila_tools.training.create import create_model
from vila_tools.training.recipe import ModelSizes

SIZES = ModelSizes(vision_width=32, vision_layers=1, vision_heads=2, width=32, layers=2, heads=4, kv_heads=2)
FRAMES = [make_frame(stamp, height=96, width=96) for stamp in range(1, 7)]
WORDS = ("go to the red chair", "turn left", "what is there", "go to the")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save_weights(create_model(folder, SIZES, [*WORDS, *SENTENCES], seed=1), folder, torch.float32)
    model = load_checkpoint(folder)
    rng = torch.Generator().manual_seed(0)
    for weight in model.parameters():  # far from the small weights of a start: attention must matter
        if weight.dim() > 1:
            weight.data.normal_(0.0, 0.3, generator=rng)
    return model


visuals = st.builds(
    lambda frame, tokens, merged: Visual(FRAMES[frame], tokens, tuple(FRAMES[m] for m in merged)),
    st.integers(0, 5),
    st.sampled_from([None, 4, 1]),
    st.lists(st.integers(0, 5), max_size=2),
)
prompts = st.builds(
    lambda words, shown, end, cache_slot: Prompt(words + "<image>" * len(shown) + end, tuple(shown), (), cache_slot),
    st.sampled_from(WORDS),
    st.lists(visuals, max_size=4),
    st.sampled_from(WORDS),
    st.sampled_from(["navigation", "door", "chat"]),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(prompts, st.sampled_from(["choose", "generate", "prefill"])), min_size=1, max_size=6))
def test_whatever_was_asked_before_the_answer_is_that_of_a_fresh_start(model, steps):
    cached, plain = TorchBackend(model, "float32"), NaiveBackend(model, "float32")
    for prompt, call in steps:
        if call == "prefill":
            cached.prefill(prompt)
        elif call == "generate":
            assert cached.generate(prompt, 6) == plain.generate(prompt, 6)
        else:
            got, wanted = cached.choose(prompt, SENTENCES), plain.choose(prompt, SENTENCES)
            assert got.index == wanted.index
            assert got.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.lists(prompts, min_size=1, max_size=4))
def test_fixed_shapes_change_nothing(model, shown):
    """What a GPU records as graphs, run as it is: padding to the next length and extent."""
    fixed, plain = TorchBackend(model, "float32"), NaiveBackend(model, "float32")
    fixed.decoder._forward = StaticDecoder(model.language_model, fixed.decoder._kv, record=False)
    for prompt in shown:
        got, wanted = fixed.choose(prompt, SENTENCES), plain.choose(prompt, SENTENCES)
        assert got.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)
        assert fixed.generate(prompt, 4) == plain.generate(prompt, 4)


def test_a_shape_is_made_once(model):
    backend = TorchBackend(model, "float32")
    fixed = backend.decoder._forward = StaticDecoder(model.language_model, backend.decoder._kv, record=False)
    for shown in (1, 2, 3, 4, 3, 4):
        backend.choose(Prompt("turn left" + "<image>" * shown, tuple(Visual(f) for f in FRAMES[:shown])), SENTENCES)
    assert len(fixed._shapes) <= 3


def test_decoding_ahead_says_the_same():
    assert list(_ahead(iter("abc"))) == ["a", "b", "c"] and list(_ahead(iter(""))) == []


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_change_nothing(model, chunk, monkeypatch):
    prompt = Prompt("go to the red chair<image>turn left<image>", tuple(Visual(frame) for frame in FRAMES[:2]))
    whole = TorchBackend(model, "float32").choose(prompt, SENTENCES)
    monkeypatch.setattr(cached_decoder, "CHUNK", chunk)
    parts = TorchBackend(model, "float32").choose(prompt, SENTENCES)
    assert parts.probabilities == pytest.approx(whole.probabilities, abs=1e-5)


def test_a_grown_history_costs_its_new_frame_alone(model, monkeypatch):
    backend = TorchBackend(model, "float32")
    read = []
    forward = model.language_model.forward
    monkeypatch.setattr(
        model.language_model,
        "forward",
        lambda inputs, *a, **k: read.append(inputs.shape[1]) or forward(inputs, *a, **k),
    )
    for shown in (1, 2, 3, 4):
        text = "go to the red chair" + "<image>" * shown + "what"
        backend.choose(Prompt(text, tuple(Visual(frame) for frame in FRAMES[:shown])), SENTENCES)
    step = backend.info.visual_tokens + len(model.tokenizer.encode("what")) + 1
    assert read[1:] == [read[1]] * 3 and read[1] < 2 * step  # one pass each: the frame, the end, the reply's nodes
    assert backend.visual_cache.misses == 4


def test_a_step_that_failed_leaves_nothing_behind(model, monkeypatch):
    backend = TorchBackend(model, "float32")
    prompt = Prompt("go to the red chair<image>", (Visual(FRAMES[0]),))
    with monkeypatch.context() as broken:
        broken.setattr(model.language_model, "forward", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            backend.choose(prompt, SENTENCES)
    wanted = NaiveBackend(model, "float32").choose(prompt, SENTENCES)
    assert backend.choose(prompt, SENTENCES).probabilities == pytest.approx(wanted.probabilities, abs=1e-5)


def test_a_prompt_longer_than_the_cache_makes_it_grow(model, monkeypatch):
    monkeypatch.setattr(cached_decoder, "_ROWS", 8)
    monkeypatch.setattr(cached_decoder, "_ROUND", 4)
    backend = TorchBackend(model, "float32")
    prompt = Prompt("turn left<image>", (Visual(FRAMES[0], 4),))
    wanted = NaiveBackend(model, "float32").choose(prompt, SENTENCES)
    assert backend.choose(prompt, SENTENCES).probabilities == pytest.approx(wanted.probabilities, abs=1e-5)


def test_more_than_the_model_has_positions_for_is_refused(model):
    backend = TorchBackend(model, "float32")
    with pytest.raises(BackendError, match=r"need \d+ tokens, the model has \d+ positions"):
        backend.generate(Prompt("go to the " * 2000), 3)


@torch.inference_mode()
def test_time_tokens_are_scored_as_a_tree_too(model):
    """Start and end of an event: each pair start < end of 12 time tokens, with words between."""
    times = list(range(100, 112))
    words = model.tokenizer.encode(" to")
    pairs = [(start, *words, end, 1) for start in times for end in times if start < end]
    backend = TorchBackend(model, "float32")
    prompt = Prompt("what is there<image>", (Visual(FRAMES[0]),))
    grammar = grammar_of(model, pairs)
    hidden = backend.decoder.prefill("door", backend._pieces(prompt), backend._embed(prompt), grammar.tree)
    choice = grammar.choose(hidden)
    assert pairs[choice.index] == _greedy(model, backend.embeddings(prompt), pairs)
    assert sum(choice.probabilities) == pytest.approx(1.0)
    assert len(grammar.tree.depths) < 12 * (len(words) + 1)  # what is forced at the end is not read


def _greedy(model, embeddings, replies):
    path: tuple[int, ...] = ()
    while path not in replies:
        inputs = torch.cat((embeddings, model.embed_ids(path)))
        logits = model.language_model.logits(model.language_model(inputs[None], torch.arange(len(inputs)))[0, -1])
        allowed = sorted({reply[len(path)] for reply in replies if reply[: len(path)] == path})
        path = (*path, allowed[int(logits[allowed].argmax())])
    return path


def test_one_reply_needs_no_reading_of_it(model):
    choice = TorchBackend(model, "float32").choose(Prompt("turn left"), ["stop"])
    assert (choice.index, choice.probabilities) == (0, (1.0,))


def test_the_ten_sentences_equal_greedy_decoding_under_their_grammar(model):
    backend = TorchBackend(model, "float32")
    paths = [(*model.tokenizer.encode(s), model.config.language.eos_token_ids[0]) for s in SENTENCES]
    seen = set()
    for frame in FRAMES:
        for words in WORDS:
            prompt = Prompt(words + "<image>", (Visual(frame),))
            index = backend.choose(prompt, SENTENCES).index
            with torch.inference_mode():
                assert paths[index] == _greedy(model, backend.embeddings(prompt), paths)
            seen.add(index)
    assert len(seen) > 1
