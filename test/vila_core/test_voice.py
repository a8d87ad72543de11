"""The voice without sound: what may be said, where an utterance ends, what follows from it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import CheckpointError, ConfigError, MediaError, MissingDependencyError
from vila_core.prompts.wording import in_words_of
from vila_core.types import Vocabulary
from vila_core.voice import speakers
from vila_core.voice.dialogue import Cancel, Dialogue, DialogueConfig, Press, Say, Send, Utterance, spoken
from vila_core.voice.endpoint import FRAME, Endpointer, Mark, Pauses
from vila_core.voice.phrases import Meaning, is_stop, meaning_of, phrases_for, vocabulary_of
from vila_core.voice.recognisers import make_recogniser
from vila_core.voice.speakers import Speaker, resampled, samples_of
from vila_sim.episodes.instructions import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES, render_instruction

VOCABULARY = vocabulary_of(EMBEDDED_CHECKPOINT)
PHRASES = phrases_for(VOCABULARY)


@pytest.mark.parametrize("template", [*TRAIN_TEMPLATES, *HELD_OUT_TEMPLATES])
def test_every_template_may_be_said_of_every_spelling(template: str) -> None:
    for kind, others in VOCABULARY.kinds:
        for word in (kind, *others):
            text = render_instruction(template, "red", word)
            assert PHRASES.cut(text) == text
            assert meaning_of(text) is Meaning.INSTRUCTION
            assert in_words_of(VOCABULARY, text) == (f"go to the red {kind}",)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("go to the white bin that", "go to the white bin"),
        ("go to the red chair and then to the bear", "go to the red chair and then to the bear"),
        ("stop at", ""),
        ("drive to the", ""),
        ("", ""),
    ],
)
def test_an_instruction_is_cut_at_its_end(text: str, whole: str) -> None:
    assert PHRASES.cut(text) == whole


def test_a_wake_word_is_needed_where_there_is_one() -> None:
    phrases = phrases_for(VOCABULARY, wake_word="robot")
    assert phrases.cut("go to the chair") == ""
    assert phrases.cut("robot please go to the chair") == "robot please go to the chair"
    with pytest.raises(ConfigError, match="wake_word = 'two words'"):
        phrases_for(VOCABULARY, wake_word="two words")


def test_a_model_without_colours_has_a_grammar() -> None:
    assert phrases_for(Vocabulary("go to the {thing}", (), (("door", ()),))).cut("find the door") == "find the door"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("stop", Meaning.STOP),
        ("Please stop stop now!", Meaning.STOP),
        ("halt", Meaning.STOP),
        ("stop when you are at the chair", Meaning.INSTRUCTION),
        ("yes please", Meaning.YES),
        ("no", Meaning.NO),
        ("never mind", Meaning.CANCEL),
        ("please", Meaning.INSTRUCTION),
        ("", Meaning.OTHER),
    ],
)
def test_what_a_sentence_is_for(text: str, meaning: Meaning) -> None:
    assert meaning_of(text) is meaning


def test_a_checkpoint_that_names_no_words_is_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_llama"}))
    with pytest.raises(CheckpointError, match="names no vocabulary"):
        vocabulary_of(tmp_path)


def test_a_form_without_its_thing_is_named_by_file_and_key(tmp_path) -> None:
    words = {"form": "go", "colours": {}, "kinds": {"sofa": []}}
    (tmp_path / "config.json").write_text(json.dumps({"vila_nav": {"vocabulary": words}}))
    with pytest.raises(CheckpointError, match=r"vila_nav\.vocabulary\.form 'go' is not a sentence"):
        vocabulary_of(tmp_path)


def marks(pattern: str, pauses: Pauses | None = None) -> tuple[list[tuple[int, Mark]], Endpointer]:
    """The marks of frames, each '#' speech; frames are numbered by their samples."""
    ears = Endpointer(pauses)
    numbered = [(k, ears.put(np.full(FRAME, k, np.int16), sign == "#")) for k, sign in enumerate(pattern)]
    return [one for one in numbered if one[1] is not Mark.NOTHING], ears


def test_an_utterance_begins_pauses_and_ends_and_keeps_what_was_before() -> None:
    found, ears = marks("." * 30 + "#" * 20 + "." * 25)
    assert [mark for _, mark in found] == [Mark.BEGIN, Mark.PAUSE, Mark.END]
    begin, pause, end = (k for k, _ in found)
    assert begin == 34 and pause == 49 + 8 and end == 49 + 20
    assert ears.samples[0] < 30 and ears.samples[-1] == end
    assert ears.spoken_s == pytest.approx(0.6, abs=0.07) and ears.silent_s == pytest.approx(0.6)


def test_a_click_is_no_utterance_and_endless_speech_is_cut() -> None:
    assert marks("...##....##...")[0] == []
    found, _ = marks("#" * 120, Pauses(most_s=2.0))
    assert [mark for _, mark in found][:2] == [Mark.BEGIN, Mark.END]


def test_each_pause_is_told_once() -> None:
    found, _ = marks("#" * 10 + "." * 10 + "#" * 10 + "." * 30)
    assert [mark for _, mark in found] == [Mark.BEGIN, Mark.PAUSE, Mark.PAUSE, Mark.END]


def said(text: str, probability: float = 0.95, now_s: float = 0.0) -> Utterance:
    return Utterance(text, meaning_of(text), probability, now_s)


@pytest.fixture
def dialogue() -> Dialogue:
    return Dialogue(DialogueConfig(sure_probability=0.8))


def test_a_sure_instruction_is_read_back_and_sent(dialogue: Dialogue) -> None:
    assert dialogue.hear(said("go to the chair")) == (Say("go to the chair."), Send("go to the chair"))


def test_an_unsure_one_needs_a_yes(dialogue: Dialogue) -> None:
    (asked,) = dialogue.hear(said("go to the chair", 0.6))
    assert isinstance(asked, Say) and "go to the chair" in asked.text and dialogue.is_asking
    assert Send("go to the chair") in dialogue.hear(said("yes"))
    assert dialogue.hear(said("yes")) == ()  # once


@pytest.mark.parametrize("answer", ["no", "cancel", "stop", "go to the sofa"])
def test_another_answer_than_yes_forgets_it(dialogue: Dialogue, answer: str) -> None:
    dialogue.hear(said("go to the chair", 0.6))
    assert Send("go to the chair") not in dialogue.hear(said(answer))
    assert dialogue.hear(said("yes")) == ()


def test_an_unsure_yes_and_a_late_one_send_nothing(dialogue: Dialogue) -> None:
    dialogue.hear(said("go to the chair", 0.6))
    assert dialogue.hear(said("yes", 0.2)) == ()
    assert dialogue.hear(said("yes", now_s=10.5)) == ()
    dialogue.hear(said("go to the chair", 0.6, now_s=20.0))
    assert dialogue.tick(29.0) == ()
    dialogue.asked_aloud(29.0)  # the question was long
    assert dialogue.tick(38.0) == () and dialogue.is_asking
    assert dialogue.tick(39.5) and not dialogue.is_asking


@pytest.mark.parametrize("before", [(), ("go to the chair",), ("stop",)])
def test_stop_presses_in_any_state_however_unsure(dialogue: Dialogue, before: tuple[str, ...]) -> None:
    for text in before:
        dialogue.hear(said(text, 0.6))
    assert dialogue.hear(said("stop", 0.0))[0] == Press()


def test_cancel_and_what_is_too_unsure(dialogue: Dialogue) -> None:
    assert dialogue.hear(said("never mind"))[0] == Cancel()
    assert dialogue.hear(said("go to the chair", 0.39)) == ()
    with pytest.raises(ConfigError, match="least_probability"):
        replace(DialogueConfig(sure_probability=0.8), least_probability=0.9)


def test_the_robot_never_says_stop_itself(dialogue: Dialogue) -> None:
    for text in ("stop", "find the chair and stop", "stop when you are at the chair"):
        for probability in (0.6, 0.95):
            for deed in dialogue.hear(said(text, probability)):
                assert not isinstance(deed, Say) or "stop" not in deed.text.lower()
    assert not is_stop(spoken("stop"))


def test_unknown_names_and_missing_programs_are_named(monkeypatch) -> None:
    with pytest.raises(ConfigError, match=r"recogniser = 'parrot'.*pocketsphinx"):
        make_recogniser("parrot", PHRASES)
    with pytest.raises(ConfigError, match=r"speaker = 'parrot'.*espeak-ng"):
        Speaker("parrot")
    monkeypatch.setattr(speakers.shutil, "which", lambda _: None)
    with pytest.raises(MissingDependencyError, match="apt-get install espeak-ng"):
        Speaker()
    monkeypatch.setattr(speakers.shutil, "which", lambda name: f"/bin/{name}")
    with pytest.raises(ConfigError, match="onnx"):
        Speaker("piper", "absent.onnx")
    with pytest.raises(ConfigError, match="is no voice"):
        Speaker("espeak-ng", "--path=/etc")
    with pytest.raises(ConfigError, match="faster-whisper"):
        make_recogniser("faster-whisper", PHRASES)


def test_without_the_extra_the_error_names_it(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pocketsphinx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install '\.\[voice\]'"):
        make_recogniser("pocketsphinx", PHRASES)


def test_sound_of_another_rate_lasts_as_long() -> None:
    wave = np.sin(np.arange(22050) / 22050 * 2 * np.pi * 5) * 10000
    assert abs(len(resampled(wave.astype(np.int16), 22050)) - 16000) <= 1
    for data in (b"", b"RIFF", b"RIFF0000WAVE"):
        with pytest.raises(MediaError):
            samples_of(data)
