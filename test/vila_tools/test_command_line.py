"""Command lines made from dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vila_core.errors import ConfigError
from vila_tools.command_line import option, parse_options


@dataclass(frozen=True, slots=True)
class Drive:
    bag: Path = field(metadata=option("what to play"))
    rate_hz: float = field(default=30.0, metadata=option("of the camera (%(default)s)", flag="--rate"))
    most_frames: int = field(default=8, metadata=option("at most"))
    is_raw: bool = field(default=False, metadata=option("as it is", flag="--raw"))
    checkpoint: Path | None = field(default=None, metadata=option("a directory"))
    queries: tuple[str, ...] = field(default=("a", "b"), metadata=option("repeatable", flag="--watch", metavar="TEXT"))
    navigator: str = field(default="node", metadata=option(None))
    unseen: int = 3

    def __post_init__(self) -> None:
        if self.rate_hz <= 0:
            raise ConfigError(f"rate_hz = {self.rate_hz}: must be above 0")


def parsed(*arguments: str) -> Drive:
    return parse_options(Drive, arguments, prog="drive", description="Drive.")


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        ((), {}),
        (("--rate", "5"), {"rate_hz": 5.0}),
        (("--most-frames", "2", "--raw"), {"most_frames": 2, "is_raw": True}),
        (("--checkpoint", "m"), {"checkpoint": Path("m")}),
        (("--watch", "c", "--watch", "d"), {"queries": ("c", "d")}),
        (("--navigator", "mine"), {"navigator": "mine"}),
    ],
)
def test_what_is_given_replaces_the_default(arguments, changed):
    assert parsed("--bag", "b", *arguments) == Drive(Path("b"), **changed)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: --bag"),
        (("--bag", "b", "--most-frames", "few"), "invalid int value: 'few'"),
        (("--bag", "b", "--unseen", "1"), "unrecognized arguments"),
    ],
)
def test_what_cannot_be_is_told(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        parsed(*arguments)
    assert end.value.code == 2 and words in capsys.readouterr().err


def test_an_impossible_value_is_the_dataclass_s_to_refuse():
    with pytest.raises(ConfigError, match="rate_hz = 0"):
        parsed("--bag", "b", "--rate", "0")


def test_help_shows_defaults_and_hides_what_has_none(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    text = capsys.readouterr().out
    assert "of the camera (30.0)" in text and "--watch TEXT" in text and "Drive." in text
    assert "--navigator" not in text and "--unseen" not in text
