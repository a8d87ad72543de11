"""The parameters of the voice node, and what they mean together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds, OneOf
from vila_core.voice.dialogue import DialogueConfig
from vila_core.voice.recognisers import RECOGNISERS
from vila_core.voice.speakers import SPEAKERS

TOPIC, SOUND_CARD, NONE = "topic", "sound_card", "none"


@dataclass(frozen=True, slots=True)
class VoiceConfig:
    """Where sound comes from and goes to, how it is understood, and how sure the robot must be."""

    source: Annotated[str, OneOf((SOUND_CARD, TOPIC))] = SOUND_CARD  # of what is heard; topic: ~/audio
    output: Annotated[str, OneOf((SOUND_CARD, TOPIC, NONE))] = SOUND_CARD  # of what is said; topic: ~/speech
    device: str = ""  # of the sound card, by a part of its name; empty: the system's
    checkpoint: str = ""  # whose words make the grammar, as of the navigator; empty: the embedded vila-nano
    recogniser: Annotated[str, OneOf(tuple(RECOGNISERS))] = "pocketsphinx"  # of all but the emergency stop
    recogniser_model: str = ""  # folder of its weights; empty: those that it brings
    speaker: Annotated[str, OneOf((*SPEAKERS, NONE))] = "espeak-ng"  # none: the robot says nothing aloud
    speaker_voice: str = ""  # of espeak-ng, such as en-us+f3; of piper the voice's .onnx file
    speaker_speed: Annotated[int, Bounds(least=80, most=300)] = 150  # words a minute, of espeak-ng
    wake_word: str = ""  # what an instruction must begin with, such as robot; empty: nothing. "stop" needs none
    sure_probability: Annotated[float, Bounds(least=0, most=1)] = 1.0  # below it an instruction needs a yes; 1: each
    least_probability: Annotated[float, Bounds(least=0, most=1)] = 0.4  # below it nothing was said to the robot
    answer_s: Annotated[float, Bounds(least=1, most=120)] = 10.0  # a yes that comes later is none

    def __post_init__(self) -> None:
        check_fields(self)
        if self.output != NONE and self.speaker == NONE:
            raise ConfigError("speaker = 'none' has nothing to put out: set output to none too")
        self.dialogue()

    def dialogue(self) -> DialogueConfig:
        """Return what the conversation needs."""
        return DialogueConfig(self.sure_probability, self.least_probability, self.answer_s)
