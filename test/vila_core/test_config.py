"""The stages' configurations: a value of a wrong type, or not finite, or impossible, is a ConfigError that names it."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import ControlConfig, EventsConfig, HistoryConfig, NavigatorConfig, from_mapping
from vila_core.errors import CheckpointError, ConfigError
from vila_core.models.relevance import RelevanceConfig

KINDS = (HistoryConfig, NavigatorConfig, EventsConfig, ControlConfig)
BAD = ("word", None, [], {}, True, math.nan, math.inf, -math.inf, 0, -5, 2.5, 10**400)
SIZES = {
    "visual_tokens": 16, "visual_width": 8, "text_width": 8, "picture_px": 32, "patch_px": 8, "eyes_width": 8,
    "eyes_intermediate": 8, "eyes_layers": 1, "eyes_heads": 1,
}  # fmt: skip


@given(kind=st.sampled_from(KINDS), data=st.data(), value=st.sampled_from(BAD))
def test_any_value_is_taken_or_named(kind, data, value) -> None:
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(kind)]))
    for make in (lambda: kind(**{name: value}), lambda: from_mapping(kind, {name: value})):
        try:
            found = getattr(make(), name)
        except ConfigError as err:
            assert name in str(err)
        else:
            assert type(found) is not float or math.isfinite(found)


@pytest.mark.parametrize("make", [lambda values: HistoryConfig(**values), lambda v: from_mapping(HistoryConfig, v)])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"capacity": "64"}, "capacity = '64': expected int, got str"),
        ({"capacity": 64.0}, "capacity = 64.0: expected int, got float"),
        ({"capacity": True}, "capacity = True: expected int, got bool"),
        ({"min_translation_m": math.nan}, "min_translation_m = nan: must be finite"),
        ({"min_translation_m": -0.1}, "min_translation_m = -0.1: must be above 0 and at most 10"),
        ({"policy": None}, "policy = None: expected str, got NoneType"),
    ],
)
def test_words_for_what_is_wrong(make, values, words) -> None:
    with pytest.raises(ConfigError, match=words):
        make(values)


def test_a_whole_number_serves_where_a_fraction_may_stand() -> None:
    config = from_mapping(ControlConfig, {"max_linear_mps": 1})
    assert config.max_linear_mps == 1.0 and type(config.max_linear_mps) is float


@given(name=st.sampled_from(sorted(SIZES)), value=st.sampled_from(BAD))
def test_sizes_of_a_relevance_head_have_no_default_but_a_type(name, value) -> None:
    assert from_mapping(RelevanceConfig, SIZES).grid == 4
    with pytest.raises((ConfigError, CheckpointError), match=name):
        from_mapping(RelevanceConfig, SIZES | {name: value})
    with pytest.raises(ConfigError, match=f"lacks the key '{name}'"):
        from_mapping(RelevanceConfig, {key: size for key, size in SIZES.items() if key != name})
