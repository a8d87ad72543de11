"""Prompts, byte for byte."""

import json

import pytest
from conftest import golden_dir

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError
from vila_core.prompts.conversation import TEMPLATES, chat_template, render
from vila_core.prompts.instruction import normalise
from vila_core.prompts.navigation import STYLES, nano_text, navigation_prompt, navila_text
from vila_core.testing import make_frame
from vila_core.types import Instruction, Visual


def visuals(count):
    return [Visual(make_frame(i + 1), None if i == count - 1 else 4) for i in range(count)]


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        ("vicuna_v1", "vicuna_v1"),
        ("llama_3", "llama_3"),
        ("hermes-2", "hermes-2"),
        ("plain", "plain"),
        ("qwen2", "auto"),
    ],
)
def test_templates_equal_the_official_strings(ours, official):
    golden = json.loads((golden_dir("vila") / "prompts.json").read_text())["conv"][official]
    assert render(ours, "<image>What is this?") == golden["single_turn.generation_prompt=True"]


@pytest.mark.parametrize(
    ("template", "checkpoint"),
    [("vicuna_v1", "vila15_tiny:vicuna_v1"), ("llama_3", "navila_tiny:llama_3")],
)
def test_stop_tokens_equal_the_official_ones(template, checkpoint):
    golden = json.loads((golden_dir("vila/text") / "stop_tokens_and_labels.json").read_text())
    assert sorted(chat_template(template).stop) == sorted(golden[checkpoint]["stop_tokens"])


def test_navila_text_equals_the_evaluator():
    golden = json.loads((golden_dir("vila") / "prompts.json").read_text())
    assert navila_text("INSTRUCTION", 8) == golden["navila_question_8_frames"]
    rows = json.loads((golden_dir("vln") / "navila_prompt.json").read_text())["rows"]
    assert len(rows) == 15
    for row in rows:
        text = navila_text(row["instruction"], row["num_frames"])
        assert text == row["question"]
        assert text.count("<image>") == row["image_placeholders_in_question"]
        if "full_prompt_llama_3" in row:
            assert render("llama_3", text) == row["full_prompt_llama_3"]


def test_normalise_equals_the_training_form():
    rows = json.loads((golden_dir("vln") / "navila_prompt.json").read_text())["rows"]
    checked = [row for row in rows if "train_normalised_instruction" in row]
    assert len(checked) == 11
    for row in checked:
        assert normalise(row["instruction"]) == row["train_normalised_instruction"]


def test_navila_prompt_normalises_and_keeps_the_visuals():
    shown = visuals(8)
    prompt = navigation_prompt("navila", "llama_3", Instruction("go to the TV . stop."), shown)
    assert prompt.text == render("llama_3", navila_text("Go to the tv. Stop.", 8))
    assert prompt.visuals == tuple(shown)


def test_nano_prompt():
    prompt = navigation_prompt("nano", "nano", Instruction(" Go to the RED chair "), visuals(4))
    assert prompt.text == "<s>Task: go to the red chair\nSeen:<image><image><image>\nNow:<image>\nAct: "


def test_vila_prompt_lists_the_replies_first_and_the_frames_last():
    prompt = navigation_prompt("vila", "qwen2", Instruction("go on"), visuals(2), SENTENCES)
    assert all(f"\n{s}\n" in prompt.text for s in SENTENCES)
    first_image = prompt.text.index("<image>")
    assert all(prompt.text.index(words) < first_image for words in (*SENTENCES, "go on"))
    assert prompt.text[first_image:].startswith("<image>\n<image>\nThe last image is now. What is next?")
    assert prompt.text.endswith("<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_frame_more_changes_nothing_before_it_in_a_vila_prompt(count):
    first, second = (
        navigation_prompt("vila", "qwen2", Instruction("go on"), visuals(frames), SENTENCES).text
        for frames in (count, count + 1)
    )
    end = first.rindex("<image>\n") + len("<image>\n")
    assert second == f"{first[:end]}<image>\n{first[end:]}"


@pytest.mark.parametrize("text", [navila_text, nano_text])
def test_styles_that_were_trained_on_the_replies_list_none(text):
    assert text("go on", 4, SENTENCES) == text("go on", 4)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_one_image_token_per_visual(style, template, count):
    prompt = navigation_prompt(style, template, Instruction("go to the chair"), visuals(count), SENTENCES)
    assert prompt.text.count("<image>") == len(prompt.visuals) == count


def test_what_is_refused():
    with pytest.raises(ConfigError, match=r"'nvila'.*known: nano, navila, vila"):
        navigation_prompt("nvila", "llama_3", Instruction("go"), visuals(1))
    with pytest.raises(ConfigError, match="unknown chat template 'llama'"):
        render("llama", "hello")
    with pytest.raises(ValueError, match="at least the current frame"):
        navigation_prompt("navila", "llama_3", Instruction("go"), [])
    with pytest.raises(ValueError, match="3 <image> but 2 visuals"):
        navigation_prompt("navila", "llama_3", Instruction("find the <image>"), visuals(2))
