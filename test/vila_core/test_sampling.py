"""Frame selection and token plans."""

import json

import pytest
from conftest import golden_dir
from hypothesis import given
from hypothesis import strategies as st

from vila_core.history.navila_policy import BLANK, plan_tokens, select_frames


def test_select_frames_equals_the_official_samplers():
    rows = json.loads((golden_dir("vln") / "navila_frame_sampling.json").read_text())["rows"]
    compared = 0
    for row in rows:
        for key, indices in row.items():
            if key.startswith("k"):
                num_frames = int(key[1:].removesuffix("_eval"))
                assert select_frames(row["n_frames_available"], num_frames) == indices, (row, key)
                compared += 1
    assert compared == 164


def test_no_frames_are_all_blank():
    assert select_frames(0, 8) == [BLANK] * 8


@given(st.integers(1, 3000), st.integers(2, 64))
def test_first_and_newest_are_always_there(n, num_frames):
    indices = select_frames(n, num_frames)
    real = [i for i in indices if i != BLANK]
    assert len(indices) == num_frames
    assert indices[: num_frames - len(real)] == [BLANK] * max(0, num_frames - n)
    assert real[0] == 0 and real[-1] == n - 1
    assert real == sorted(set(real))


@pytest.mark.parametrize(("n", "num_frames"), [(-1, 8), (5, 0)])
def test_select_frames_refuses(n, num_frames):
    with pytest.raises(ValueError, match="need n >= 0"):
        select_frames(n, num_frames)


def test_one_frame_is_the_newest():
    assert select_frames(9, 1) == [8]


def test_plan_tokens():
    assert plan_tokens(4, 4).tokens == (4, 4, 4, None)
    assert plan_tokens(1, 4).tokens == (None,)
    assert plan_tokens(3, None).tokens == (None, None, None)


@given(st.integers(1, 64), st.one_of(st.none(), st.integers(1, 256)), st.integers(1, 256))
def test_a_plan_never_exceeds_its_budget(num_frames, history_tokens, full):
    plan = plan_tokens(num_frames, history_tokens)
    assert len(plan.tokens) == num_frames and plan.tokens[-1] is None
    assert plan.total(full) <= full + (num_frames - 1) * (history_tokens or full)


@pytest.mark.parametrize("arguments", [(0, None), (4, 0), (4, -1)])
def test_plan_tokens_refuses(arguments):
    with pytest.raises(ValueError, match="at least 1"):
        plan_tokens(*arguments)
