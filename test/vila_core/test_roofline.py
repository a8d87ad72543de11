"""The floors of a step: by hand, by what they grow with, and by the passes that they are made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.models.costs import Storage, decode_bytes, decoder_bytes, head_bytes, kv_row_bytes
from vila_core.models.roofline import Roofline, StepCounts, decode_floor_ms, pass_floor_ms, step_floor_ms
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny

SLOW = Roofline(10.0, tower_tflops=0.5, language_tflops=0.5)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("roofline") / "lite"
    make_random(folder, tiny(SHAPES["nvila-lite-2b"]), name="nvila-lite-2b")
    return read_checkpoint_config(folder)


def floor(config, counts, roofline=SLOW, chunk=512):
    return step_floor_ms(config, Storage(2), counts, roofline, chunk=chunk)


def test_a_pass_takes_the_longer_of_arithmetic_and_reading():
    assert pass_floor_ms(1e9, 1e6, 0.5, 10.0) == pytest.approx(2.0)
    assert pass_floor_ms(1e6, 1e8, 0.5, 10.0) == pytest.approx(10.0)


def test_a_floor_grows_with_pictures_and_tokens_and_not_with_the_machine(config):
    one = floor(config, StepCounts(1, 500, 100))
    assert floor(config, StepCounts(2, 500, 100)) > one
    assert floor(config, StepCounts(1, 900, 100)) > one
    assert floor(config, StepCounts(1, 500, 100), Roofline(20.0, 1.0, 1.0)) == pytest.approx(one / 2)


def test_the_tower_and_the_decoder_are_multiplied_at_their_own_speeds(config):
    unread = Roofline(1e9, tower_tflops=0.5, language_tflops=0.5)
    encode, read = floor(config, StepCounts(1, 0, 0), unread), floor(config, StepCounts(0, 64, 0), unread)
    quick_tower = Roofline(1e9, tower_tflops=1.0, language_tflops=0.5)
    assert floor(config, StepCounts(1, 64, 0), quick_tower) == pytest.approx(encode / 2 + read)


@given(st.integers(1, 2000), st.integers(0, 500), st.integers(1, 600))
def test_the_passes_of_a_step_follow_each_other(new, reused, chunk):
    passes = list(StepCounts(1.0, new, reused).passes(chunk))
    assert sum(count for count, _ in passes) == new
    assert all(0 < count <= chunk for count, _ in passes)
    assert [past for _, past in passes] == [reused + chunk * number for number in range(len(passes))]


def test_every_chunk_reads_the_weights_and_what_is_before_it(config):
    slow_memory = Roofline(1e-3, tower_tflops=1e3, language_tflops=1e3)
    language, storage = config.language, Storage(2)
    whole, cut = (floor(config, StepCounts(0, 100, 30), slow_memory, chunk=chunk) for chunk in (100, 50))
    assert (cut - whole) * 1e3 == pytest.approx(decoder_bytes(language, storage) + 80 * kv_row_bytes(language, 2))


def test_a_token_reads_the_decoder_the_head_and_the_cache_once(config):
    language, storage = config.language, Storage(2)
    read = decoder_bytes(language, storage) + head_bytes(language, storage)
    assert decode_bytes(language, storage) == read
    assert decode_bytes(language, storage, 7) == read + 7 * kv_row_bytes(language, 2)
    floor_ms = decode_floor_ms(config, storage, 7, Roofline(1e-3, 1e3, 1e3))
    assert floor_ms * 1e3 == pytest.approx(decode_bytes(language, storage, 7))
