"""The microphone and the loudspeaker of this machine, by sounddevice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.voice.endpoint import FRAME, SAMPLE_RATE_HZ
from vila_core.voice.recognisers import missing


def _library() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError as err:
        raise missing(err.name or "sounddevice", "pip install '.[voice]'") from err
    except OSError as err:
        raise missing("PortAudio", "apt-get install libportaudio2") from err
    return sounddevice


def open_microphone(device: str, put: Callable[[NDArray[np.int16]], None]) -> Any:
    """Begin to hand the microphone's samples on, in a thread of PortAudio's; close() what is returned.

    Raises ConfigError if there is no such device, MissingDependencyError without the library.
    """
    library = _library()
    try:
        stream = library.InputStream(
            samplerate=SAMPLE_RATE_HZ,
            blocksize=FRAME,
            channels=1,
            dtype="int16",
            device=device or None,
            callback=lambda samples, *_: put(samples[:, 0].copy()),
        )
        stream.start()
    except (library.PortAudioError, ValueError) as err:
        raise ConfigError(f"device = {device!r}: no microphone: {err}; or set source to topic") from err
    return stream


def play(samples: NDArray[np.int16], device: str) -> None:
    """Play samples of 16 kHz to their end. Raises ConfigError if there is no such device."""
    library = _library()
    try:
        library.play(samples, SAMPLE_RATE_HZ, device=device or None, blocking=True)
    except (library.PortAudioError, ValueError) as err:
        raise ConfigError(f"device = {device!r}: no loudspeaker: {err}; or set output to topic or none") from err
