"""Prompts and replies about times."""

from __future__ import annotations

import pytest

from vila_core.errors import ConfigError, QueryError
from vila_core.prompts.localization import (
    NOT_SEEN,
    clean_query,
    in_seconds,
    localization_prompt,
    pair_replies,
    start_replies,
    time_marks,
    video_prompt,
)
from vila_core.testing import make_frame
from vila_core.types import IMAGE_TOKEN, LocalizationMethod, Visual

TOKENS = tuple(f"<t{number}>" for number in range(100))
TIME_TOKENS, TIMESTAMPS = LocalizationMethod.TIME_TOKENS, LocalizationMethod.TIMESTAMPS
VISUALS = [Visual(make_frame(stamp, height=1, width=1)) for stamp in (1, 2, 3)]


def test_time_tokens_are_spread_over_the_pictures():
    assert time_marks(TIME_TOKENS, TOKENS, [5.0, 6.0]) == ("<t0>", "<t99>")
    assert time_marks(TIME_TOKENS, TOKENS, [5.0]) == ("<t0>",)
    assert time_marks(TIME_TOKENS, TOKENS, [0.0, 1.0, 2.0, 3.0]) == ("<t0>", "<t33>", "<t66>", "<t99>")
    assert time_marks(TIME_TOKENS, TOKENS, range(100)) == TOKENS
    with pytest.raises(ValueError, match="101 times"):
        time_marks(TIME_TOKENS, TOKENS, range(101))


@pytest.mark.parametrize(
    ("times", "marks"),
    [
        ([100.0, 101.0, 103.0], ("0", "1", "3")),
        ([100.0, 100.5, 101.0], ("0.0", "0.5", "1.0")),
        ([0.0, 0.25, 0.5], ("0.0", "0.2", "0.5")),
        ([0.0, 0.033, 0.066], ("0.00", "0.03", "0.07")),
    ],
)
def test_seconds_have_as_few_decimals_as_tell_them_apart(times, marks):
    assert time_marks(TIMESTAMPS, (), times) == marks


def test_times_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="millisecond"):
        time_marks(TIMESTAMPS, (), [0.0, 0.0001])


def test_replies_are_all_pairs_in_order():
    assert start_replies(TIME_TOKENS, ("a", "b")) == ("a", "b", NOT_SEEN)
    assert start_replies(TIMESTAMPS, ("0", "1")) == ("from 0 to", "from 1 to", NOT_SEEN)
    assert pair_replies(TIME_TOKENS, ("a", "b", "c"), (0, 2)) == ("a a", "a b", "a c", "c c")
    assert pair_replies(TIMESTAMPS, ("0", "1"), (0,)) == ("from 0 to 0 seconds", "from 0 to 1 seconds")


def test_every_reply_begins_as_a_start_does():
    marks = ("0", "1", "10", "11")
    for method in (TIME_TOKENS, TIMESTAMPS):
        beginnings = start_replies(method, marks)[:-1]
        for at, beginning in enumerate(beginnings):
            assert all(reply.startswith(beginning + " ") for reply in pair_replies(method, marks, (at,)))


@pytest.mark.parametrize("template", ["qwen2", "llama_3", "vicuna_v1", "nano"])
def test_prompts_show_the_video_first_and_the_question_last(template):
    marks = ("0", "1", "2")
    tokens = localization_prompt(TIME_TOKENS, template, "a dog barks", VISUALS, TOKENS[:3], cache_slot="events")
    written = localization_prompt(TIMESTAMPS, template, "a dog barks", VISUALS, marks, cache_slot="events")
    assert IMAGE_TOKEN * 3 in tokens.text
    assert "0 s: <image>\n1 s: <image>\n2 s: <image>\n" in written.text
    for prompt in (tokens, written):
        assert prompt.text.index(NOT_SEEN) < prompt.text.index("a dog barks")
        assert prompt.cache_slot == "events" and len(prompt.visuals) == 3
    other = localization_prompt(TIME_TOKENS, template, "the light goes on", VISUALS, TOKENS[:3], cache_slot="events")
    same = tokens.text.index("a dog barks")
    assert tokens.text[:same] == other.text[:same]
    free = video_prompt(TIMESTAMPS, template, "What is there?", VISUALS, marks, cache_slot="question")
    assert "2 s: <image>\nWhat is there?" in free.text


def test_unknown_templates_are_refused():
    with pytest.raises(ConfigError, match="unknown chat template"):
        localization_prompt(TIME_TOKENS, "no_such", "a dog", VISUALS, TOKENS[:3], cache_slot="events")


@pytest.mark.parametrize("text", ["", "  ", "a" * 300, "<image>", "a <t5> b", "<|im_end|>", "ASSISTANT: hi", "a\x00b"])
def test_queries_that_could_break_a_prompt_are_refused(text):
    with pytest.raises(QueryError):
        clean_query(text, 256)


def test_a_query_is_put_on_one_line():
    assert clean_query(" the door\nopens\t", 256) == "the door opens"
    with pytest.raises(QueryError, match="the label holds"):
        clean_query("<image>", 256, "label")


def test_free_replies_tell_seconds():
    assert in_seconds("from <t0> to <t10>, <t99>", TOKENS, 9.9) == "from 0.0 s to 1.0 s, 9.9 s"
    assert in_seconds("at <t7>", (), 9.9) == "at <t7>"
