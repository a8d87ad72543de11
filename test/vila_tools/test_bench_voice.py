"""`vila bench voice`: espeak-ng speaks, the voice understands, and the report tells both."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("pocketsphinx", reason="the extra voice is not installed")

from vila_core.errors import ConfigError
from vila_tools.evaluation.voice import in_a_room, main, word_errors

SPEAKS = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: nobody speaks")


@SPEAKS
@pytest.mark.long
def test_what_is_spoken_is_understood_and_other_talk_is_not(capsys, tmp_path) -> None:
    options = ["--instructions", "8", "--speeds", "150", "--snr-db", "20", "--minutes", "1", "--words", "20", "--json"]
    main([*options, str(tmp_path / "out.json")])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "out.json").read_text()) == told
    assert told["quiet_accuracy"] >= 0.75 and told["stops_heard"] >= 0.9  # of few; the floors are those of the whole
    assert told["latest_stop_s"] > 0 and told["false_stops"] == 0 and told["other_talk_minutes"] >= 1
    assert [(row["voice"], row["snr_db"], row["spoken"]) for row in told["rows"]] == [
        ("en-us", None, 8),
        ("en-us+f3", None, 8),
        ("en-us", 20, 8),
        ("en-us+f3", 20, 8),
    ]


@pytest.mark.parametrize(
    ("said", "understood", "errors"),
    [("", "", 0), ("go to it", "go to it", 0), ("go to it", "", 3), ("a b c", "a x c d", 2), ("", "a b", 2)],
)
def test_word_errors_are_counted(said: str, understood: str, errors: int) -> None:
    assert word_errors(said, understood) == errors


def test_noise_is_as_far_below_as_asked() -> None:
    sound = (np.sin(np.arange(16000)) * 8000).astype(np.int16)
    heard = in_a_room(sound, 20, seed=1)
    assert len(heard) == 48000
    noise = np.sqrt(np.mean(heard[:16000].astype(float) ** 2))
    assert np.sqrt(np.mean(sound.astype(float) ** 2)) / noise == pytest.approx(10, rel=0.05)


def test_bad_options_are_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="'fast'"):
        main(["--speeds", "fast"])
    (tmp_path / "a.md").write_text("stop")
    with pytest.raises(ConfigError, match="no text to read"):
        main(["--text", str(tmp_path / "a.md")])
