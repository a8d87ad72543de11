"""The conversation: an instruction is read back, an unsure one needs a yes, and "stop" counts at any time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from vila_core.config import check_fields
from vila_core.errors import ConfigError
from vila_core.fields import Bounds
from vila_core.voice.phrases import Meaning


@dataclass(frozen=True, slots=True)
class DialogueConfig:
    """How sure the robot must be of what it heard."""

    sure_probability: Annotated[float, Bounds(least=0, most=1)] = 1.0  # below it an instruction needs a yes; 1: each
    least_probability: Annotated[float, Bounds(least=0, most=1)] = 0.4  # below it nothing was said to the robot
    answer_s: Annotated[float, Bounds(least=1, most=120)] = 10.0  # a yes that comes later is none

    def __post_init__(self) -> None:
        check_fields(self)
        if self.least_probability > self.sure_probability:
            raise ConfigError(
                f"least_probability = {self.least_probability:g}: must not be above sure_probability ="
                f" {self.sure_probability:g}"
            )


@dataclass(frozen=True, slots=True)
class Utterance:
    """What somebody said. now_s: steady time when it was understood."""

    text: str
    meaning: Meaning
    probability: float
    now_s: float


@dataclass(frozen=True, slots=True)
class Say:
    """Have the robot speak."""

    text: str


@dataclass(frozen=True, slots=True)
class Send:
    """Have the robot follow an instruction."""

    text: str


@dataclass(frozen=True, slots=True)
class Press:
    """Press the emergency stop."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Have the robot follow no instruction any more."""


Deed = Say | Send | Press | Cancel


class Dialogue:
    """Decides what follows from what was heard. What it says holds no word that would stop the robot."""

    def __init__(self, config: DialogueConfig) -> None:
        self._config = config
        self._asked: Utterance | None = None  # an instruction that waits for a yes
        self._asked_s = 0.0

    @property
    def is_asking(self) -> bool:
        """Whether a yes is awaited."""
        return self._asked is not None

    def hear(self, said: Utterance) -> tuple[Deed, ...]:
        """Return what is to be done, in order."""
        if said.meaning is Meaning.STOP:
            self._asked = None
            return Press(), Say("Emergency. I stand still until somebody releases me.")
        if said.probability < self._config.least_probability:
            return ()
        if self._asked is not None and said.now_s - self._asked_s > self._config.answer_s:
            self._asked = None
        match said.meaning:
            case Meaning.INSTRUCTION:
                return self._instruct(said)
            case Meaning.YES if self._asked is not None:
                text, self._asked = self._asked.text, None
                return Say(f"Good: {spoken(text)}."), Send(text)
            case Meaning.NO if self._asked is not None:
                self._asked = None
                return (Say("I do not. Say it again, please."),)
            case Meaning.CANCEL:
                self._asked = None
                return Cancel(), Say("Canceled.")
        return ()

    def tick(self, now_s: float) -> tuple[Deed, ...]:
        """Return what is to be done because time has passed; call it again and again."""
        if self._asked is None or now_s - self._asked_s <= self._config.answer_s:
            return ()
        self._asked = None
        return (Say("I heard no yes, so I stay here."),)

    def asked_aloud(self, now_s: float) -> None:
        """Count the time for an answer from here on: the question was just spoken to its end."""
        self._asked_s = now_s

    def _instruct(self, said: Utterance) -> tuple[Deed, ...]:
        sure = self._config.sure_probability
        if said.probability < sure or sure >= 1.0:
            self._asked, self._asked_s = said, said.now_s
            return (Say(f"Did I hear: {spoken(said.text)}? Yes or no?"),)
        self._asked = None
        return Say(f"{spoken(said.text)}."), Send(said.text)


def spoken(text: str) -> str:
    """Return a text as the robot may say it: it must not hear itself say "stop"."""
    return re.sub(r"\b(?:stop|halt)(?:ped|s)?\b", "wait", text, flags=re.IGNORECASE)
