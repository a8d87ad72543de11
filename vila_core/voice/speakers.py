"""Voices of the robot, by name: a text becomes sound, by a program that is installed beside us."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError, MediaError, MissingDependencyError
from vila_core.voice.endpoint import SAMPLE_RATE_HZ

SPEAKERS = ("espeak-ng", "piper")
_MOST_CHARS, _TIMEOUT_S = 500, 20.0


class Speaker:
    """Speaks by a program: espeak-ng, of Debian's package of that name, or piper with a voice's .onnx file.

    voice: of espeak-ng, such as en-us or en-gb+f3; of piper its file. speed: words a minute, of espeak-ng alone.
    Raises ConfigError for an unknown name or voice, MissingDependencyError if the program is not installed.
    """

    def __init__(self, name: str = "espeak-ng", voice: str = "", speed: int = 150) -> None:
        if name not in SPEAKERS:
            raise ConfigError(f"speaker = {name!r}: must be one of {', '.join(SPEAKERS)}")
        program = shutil.which(name)
        if program is None:
            how = "apt-get install espeak-ng" if name == "espeak-ng" else "pip install piper-tts"
            raise MissingDependencyError(f"the voice needs the program {name!r}; run `{how}`, or set speaker to none")
        if name == "piper" and not Path(voice).is_file():
            raise ConfigError(f"speaker_voice = {voice!r}: piper needs the .onnx file of a voice")
        if voice.startswith("-"):
            raise ConfigError(f"speaker_voice = {voice!r}: is no voice")
        self._command = [program, "-v", voice or "en-us", "-s", str(speed), "--stdin", "--stdout"]
        if name == "piper":
            self._command = [program, "--model", voice, "--output_file", "-"]

    def speak(self, text: str) -> NDArray[np.int16]:
        """Return the sound, 16 kHz, int16 [N]. Raises MediaError if the program fails."""
        try:
            run = subprocess.run(
                self._command, input=text[:_MOST_CHARS].encode(), capture_output=True, check=True, timeout=_TIMEOUT_S
            )
        except (OSError, subprocess.SubprocessError) as err:
            raise MediaError(f"{self._command[0]} did not speak {text[:60]!r}: {err}") from err
        return samples_of(run.stdout)


def samples_of(data: bytes) -> NDArray[np.int16]:
    """Return the sound of a WAV file of one channel and 16 bits, at 16 kHz, int16 [N].

    Raises MediaError for anything else.
    """
    try:
        with wave.open(io.BytesIO(data)) as sound:
            if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
                raise MediaError("expected a WAV file of one channel and 16 bits")
            rate_hz, raw = sound.getframerate(), sound.readframes(len(data) // 2)
    except (wave.Error, EOFError) as err:
        raise MediaError(f"no WAV file: {err}") from err
    return resampled(np.frombuffer(raw[: len(raw) // 2 * 2], np.int16), rate_hz)


def resampled(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    """Return samples of another rate at 16 kHz, by straight lines between them; speech needs no more."""
    if rate_hz == SAMPLE_RATE_HZ or not len(samples):
        return samples
    count = int(len(samples) * SAMPLE_RATE_HZ / rate_hz)
    at = np.arange(count) * (rate_hz / SAMPLE_RATE_HZ)
    return np.interp(at, np.arange(len(samples)), samples.astype(np.float32)).astype(np.int16)
