"""The benchmark of a step: the order of rounds, what each method computes, and a whole small run."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import BackendError, ConfigError
from vila_core.models.tokenizer import Tokenizer
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_core.random_checkpoints.tokenizer import chains, write_tokenizer
from vila_tools.benchmark import whole_step
from vila_tools.benchmark.ours import Ours
from vila_tools.benchmark.peers.table import PEERS, STEP, Form, chosen_peers, peers_for
from vila_tools.benchmark.process import WorkerProcess
from vila_tools.benchmark.rounds import medians, minima, ratio, rotated
from vila_tools.benchmark.running_targets import why_missing
from vila_tools.benchmark.target import StepJob, camera_frame
from vila_tools.cli import main as vila

pytestmark = pytest.mark.slow
KEYS = {
    "ours_cached_ms",
    "ours_exact_ms",
    "ours_naive_ms",
    "peers",
    "floor_ms",
    "shape",
    "ratios",
    "rounds",
    "parts",
    "bandwidth_gbps",
    "peak_tflops",
    "missing",
    "versions",
}
METHODS = ("cached", "exact", "naive", "rebuild")


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "lite"
    make_random(folder, tiny(SHAPES["nvila-lite-2b"]), name="nvila-lite-2b")
    return folder


def job(checkpoint, **changes):
    values = {"frames": 3, "tokens": 4, "threads": 1, "precision": "float32"} | changes
    return StepJob(str(checkpoint), **values)


@pytest.mark.parametrize(("number", "expected"), [(0, "abc"), (1, "bca"), (2, "cab"), (3, "abc"), (7, "bca")])
def test_the_order_rotates(number, expected):
    assert "".join(rotated("abc", number)) == expected


@given(st.lists(st.text(max_size=3), unique=True, max_size=7))
def test_everyone_stands_everywhere_equally_often(names):
    orders = [rotated(names, number) for number in range(len(names))]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert all(set(Counter(column).values()) == {1} for column in zip(*orders, strict=True))


def test_ratios_compare_times_of_one_round():
    rounds = [{"a": 10.0, "b": 2.0, "c": 30.0}, {"a": 90.0, "b": 10.0, "c": 60.0}, {"a": 7.0, "b": 1.0}]
    assert ratio(rounds, "a", "b") == 7.0  # of 5, 9, 7: not that of the medians
    assert ratio(rounds, ["a", "c"], "b") == 6.0  # the quickest of each round: 5, 6, 7
    assert ratio(rounds, "c", "b") == 10.5
    assert ratio(rounds, "a", "nobody") is None
    assert medians(rounds) == {"a": 10.0, "b": 2.0, "c": 45.0}
    assert minima(rounds) == {"a": 7.0, "b": 1.0, "c": 30.0}


def test_peers_are_named_in_words():
    known = peers_for(STEP)
    assert chosen_peers("all", known) == known == ["transformers", "llama_cpp", "openvino", "onnxruntime"]
    assert chosen_peers("none", known) == []
    assert chosen_peers("openvino,transformers,openvino", known) == ["openvino", "transformers"]
    with pytest.raises(ConfigError, match="unknown peer 'jax'"):
        chosen_peers("transformers,jax", known)


@pytest.mark.parametrize(
    ("form", "weights_mb", "words"),
    [
        (Form("json:loads", ("json", "no_such_library"), 1.0, ""), 1.0, "not installed: no_such_library"),
        (Form("json:loads", ("json",), 1.0, ""), 1e9, "MB are free"),
        (Form("json:loads", ("json",), 0.0, ""), 1.0, None),
    ],
)
def test_a_peer_that_cannot_run_says_why(form, weights_mb, words):
    reason = why_missing(form.libraries, form.memory * weights_mb)
    assert reason is None if words is None else words in reason


def test_a_streaming_step_reads_what_is_counted_as_new_and_encodes_one_frame(lite):
    ours = Ours(job(lite))
    engine, facts = ours._backend, ours.facts
    for _ in range(2):
        assert ours.prepare("cached") == {}
        read, misses = engine.decoder.prefixes.prefilled, engine.visual_cache.misses
        parts = ours.step("cached")
        assert engine.decoder.prefixes.prefilled - read == facts["new_prompt_tokens"]
        assert engine.visual_cache.misses == misses  # encoded before it was asked for
        assert set(parts) == {"encode_ms", "prefill_and_choose_ms"}
    assert facts["new_prompt_tokens"] < facts["prompt_tokens"]


def test_an_exact_step_encodes_the_current_frame_alone(lite, monkeypatch):
    ours = Ours(job(lite))
    ours.prepare("exact")
    encoded = []
    encode = ours._model.encode_frames
    monkeypatch.setattr(ours._model, "encode_frames", lambda frames: encoded.extend(frames) or encode(frames))
    ours.step("exact")
    assert [frame.key for frame in encoded] == [ours._prompt.visuals[-1].frame.key]
    ours.prepare("exact")
    assert len(encoded) >= 2  # the frame that was skipped, in idle time


def test_the_naive_step_decodes_every_token_and_encodes_every_frame(lite, monkeypatch):
    ours = Ours(job(lite))
    naive = ours._naive
    assert naive.model.language_model is ours._backend.model.language_model
    assert naive.model.config.language.eos_token_ids == ()
    encoded, passes = [], []
    encode, embed = naive.model.encode_frames, naive.model.embed_ids
    monkeypatch.setattr(naive.model, "encode_frames", lambda frames: encoded.extend(frames) or encode(frames))
    monkeypatch.setattr(naive.model, "embed_ids", lambda ids: passes.append(len(ids)) or embed(ids))
    ours.prepare("naive")
    ours.step("naive")
    assert len(encoded) == 4
    assert passes[-3:] == [1, 1, 1]  # the first of the four tokens comes with the prompt


def test_a_random_tokenizer_of_released_size_knows_the_words_of_our_prompts(tmp_path):
    write_tokenizer(tmp_path, SHAPES["nvila-lite-2b"])
    tokenizer = Tokenizer(tmp_path)
    for sentence in SENTENCES:
        assert tokenizer.decode(tokenizer.encode(sentence)) == sentence
        assert len(tokenizer.encode(sentence)) <= len(sentence.split()) + 6  # punctuation and digits
    text = "Zebras juggle ünusual words."  # of which it knows none
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.from_regex(r"[#]?[a-d]{1,5}", fullmatch=True), max_size=8))
def test_merges_build_each_word_from_letters(words):
    merges = chains(words, first="#")
    assert len(set(merges)) == len(merges)
    known = {letter for word in words for letter in word}
    for left, right in merges:
        assert left in known
        assert right in known
        known.add(left + right)
    assert known >= set(words)


def test_camera_frames_are_distinct_and_in_order():
    first, second = camera_frame(0), camera_frame(1)
    assert first.image.shape == (480, 640, 3)
    assert first.stamp_ns < second.stamp_ns
    assert not (first.image == second.image).all()


def test_a_worker_that_fails_tells_its_last_words(lite):
    with pytest.raises(BackendError, match="no_such_module"):
        WorkerProcess("no_such_module:Nobody", job(lite))


@pytest.mark.long
def test_a_peer_that_fails_is_missing_and_the_run_goes_on(lite, monkeypatch):
    monkeypatch.setitem(PEERS, "broken", {STEP: Form("vila_tools.benchmark.target:NoSuchClass", (), 0.0, "")})
    monkeypatch.setitem(PEERS, "absent", {STEP: Form("x:y", ("no_such_library",), 0.0, "")})
    result = whole_step.bench_step(job(lite), ["broken", "absent"], rounds=1, warm_up=False)
    assert "NoSuchClass" in result["missing"]["broken"]
    assert "not installed" in result["missing"]["absent"]
    assert result["peers"] == {}
    assert result["ratios"]["best_peer_over_cached"] is None
    assert len(result["rounds"]) == 1
    assert list(whole_step.table(result | {"shape": result["shape"] | {"name": "lite"}}))[-1].startswith("absent")


@pytest.mark.long
def test_the_quick_run_prints_one_object_last(tmp_path, capsys):
    file = tmp_path / "step.json"
    arguments = ["--quick", "--rounds", "1", "--peers", "none", "--threads", "1", "--no-warm-up", "--json", str(file)]
    assert vila(["bench", "step", *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert set(result) >= KEYS
    assert result["shape"]["name"] == "nvila-lite-small"
    assert set(result["rounds"][0]) == set(METHODS)
    assert result["floor_ms"] > 0
    assert result["ratios"]["naive_over_cached"] == pytest.approx(
        result["ours_naive_ms"] / result["ours_cached_ms"], rel=1e-3
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--quick", "--checkpoint", "x"], "either --checkpoint or a shape"),
        (["--rounds", "0"], "at least 1"),
        (["--peers", "jax"], "unknown peer"),
    ],
)
def test_impossible_arguments_are_input_errors(arguments, words, capsys):
    assert vila(["bench", "step", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_several_scales_are_refused(tmp_path):
    make_random(tmp_path / "s2", tiny(SHAPES["vila1.5-3b-s2"]), name="vila1.5-3b-s2")
    with pytest.raises(ConfigError, match="without S2"):
        whole_step.bench_step(job(tmp_path / "s2"), [], 1)
