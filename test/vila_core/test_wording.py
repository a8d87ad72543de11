"""Instructions in the words of a model that knows some alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import InstructionError
from vila_core.prompts.wording import in_words_of
from vila_core.types import Vocabulary

VOCABULARY = Vocabulary(
    "go to the {thing}",
    (("red", ("crimson", "scarlet")), ("blue", ())),
    (("chair", ()), ("lamp", ()), ("floor_lamp", ("standing lamp",)), ("sofa", ("couch", "settee")), ("vase", ())),
)


WORDS = ("go", "to", "the", "red", "blue", "pink", "chair", "couch", "lamp", "then", "and", "not", ",", "that", "is")


@pytest.mark.parametrize(
    ("said", "steps"),
    [
        ("go to the red chair", ["red chair"]),
        ("Please take me to the couch!", ["sofa"]),
        ("drive over to the settee that is crimson, and wait there.", ["red sofa"]),
        ("find the Standing Lamp", ["floor lamp"]),
        ("head to the big comfy blue couch", ["blue sofa"]),
        ("go to the red chair, then to the blue vase", ["red chair", "blue vase"]),
        ("first go to the red chair, then stop at the blue vase", ["red chair", "blue vase"]),
        ("visit the sofa and then move to the vase and finally look for the lamp", ["sofa", "vase", "lamp"]),
        ("go to the red and the blue chair", None),  # one thing, or two?
        ("the chairs and the lamps", ["chair", "lamp"]),
        ("go to the red chair and don\u2019t stop", None),
        ("go to the purple elephant", None),
        ("go to the chair behind the sofa", None),
        ("go to the chair by the sofa", None),
        ("turn left", None),
        ("go to the pink chair", None),
        ("go to the red blue chair", None),
        ("\u6c99\u53d1", None),
    ],
)
def test_each_thing_is_a_step_in_the_models_own_words(said: str, steps: list[str] | None) -> None:
    if steps is None:
        with pytest.raises(InstructionError):
            in_words_of(VOCABULARY, said)
    else:
        assert in_words_of(VOCABULARY, said) == tuple(f"go to the {step}" for step in steps)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("go to the purple elephant", "it knows 5 kinds of things (chair, lamp, floor lamp, sofa, vase) in red, blue"),
        ("go to the chair behind the sofa", "does not know what 'behind' means; it knows"),
        ("go to the chair by the sofa", "'chair' and 'sofa' at once; say which is first"),
        ("go to the red crimson blue chair", "the colours blue and red"),
        (", then ".join(["go to the chair"] * 9), "9 things; at most 8"),
    ],
)
def test_a_refusal_says_what_is_known_and_what_to_do(said: str, words: str) -> None:
    with pytest.raises(InstructionError) as told:
        in_words_of(VOCABULARY, said)
    assert words in str(told.value)


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_whatever_is_said_gives_known_sentences_or_is_refused(said: str) -> None:
    try:
        steps = in_words_of(VOCABULARY, said)
    except InstructionError:
        return
    assert steps and all(in_words_of(VOCABULARY, step) == (step,) for step in steps)
