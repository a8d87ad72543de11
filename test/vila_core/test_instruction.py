"""What an instruction from outside may hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.errors import InstructionError
from vila_core.prompts.conversation import render
from vila_core.prompts.instruction import normalise, sanitize
from vila_core.prompts.navigation import STYLES, navigation_prompt
from vila_core.testing import make_frame
from vila_core.types import Instruction, Visual

TOKENS = [
    "<image>",
    "<IMAGE>",
    "<vila/video>",
    "<vila/sentinel>",
    "<video>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|im_start|>",
    "<|anything at all|>",
    "<|",
    "|>",
    "<s>",
    "</s>",
    "<unk>",
    "<t12>",
    "[INST]",
    "[/INST]",
    "[PAD]",
    "<<SYS>>",
    "USER:",
    "ASSISTANT:",
    "＜image＞",
    "＜｜eot_id｜＞",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("form", ["{}", "go to {} now", "go to the chair{}"])
def test_tokens_are_refused(token, form):
    with pytest.raises(InstructionError, match="token"):
        sanitize(form.format(token), 512)


@pytest.mark.parametrize(
    "char", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u200b", "\u202e", "\ufeff", "\ud800", "\ue000"]
)
def test_control_characters_are_refused(char):
    with pytest.raises(InstructionError, match=f"U\\+{ord(char):04X} at position 5"):
        sanitize(f"go to{char}the chair", 512)


@pytest.mark.parametrize("text", ["", " ", "\n\t \r\n", "\u2028"])
def test_empty(text):
    with pytest.raises(InstructionError, match="empty"):
        sanitize(text, 512)


def test_length():
    assert sanitize("a" * 512, 512) == "a" * 512
    with pytest.raises(InstructionError, match="513 characters; at most 512"):
        sanitize("a" * 513, 512)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  go to the red chair\n", "go to the red chair"),
        ("walk down the hall\r\nand wait", "walk down the hall and wait"),
        ("走到椅子旁边停下。", "走到椅子旁边停下。"),
        ("Go up — all 12 of them — & wait, 100% {sure}", "Go up — all 12 of them — & wait, 100% {sure}"),
        ("the sound system: the black one", "the sound system: the black one"),
        ("stop < 1 m and > 0.5 m from it", "stop < 1 m and > 0.5 m from it"),
        ("به سمت صندلی می\u200cروم", "به سمت صندلی می\u200cروم"),
    ],
)
def test_plain_words_pass(text, clean):
    assert sanitize(text, 512) == clean


pieces = st.sampled_from(["<", ">", "|", "/", "image", "eot_id", "s", " ", "\n", "\t", ".", "[", "]", "PAD", "go"])


@given(st.one_of(st.text(max_size=60), st.lists(pieces, max_size=8).map("".join)))
def test_what_passes_cannot_break_a_prompt(text):
    try:
        clean = sanitize(text, 512)
    except InstructionError:
        return
    assert sanitize(clean, 512) == clean
    for style in STYLES:
        prompt = navigation_prompt(style, "llama_3", Instruction(clean), [Visual(make_frame(1))])
        assert prompt.text.count("<|") == render("llama_3", "").count("<|")
        assert "\n" not in normalise(clean)
