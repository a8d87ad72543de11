"""Asks the model about the pictures that were seen, about their mirror images, and about small changes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import SENTENCES
from vila_core.doctor.observations import ProbedFrame, SeenFrame
from vila_core.engine.backend import Backend
from vila_core.history.navila_policy import BLANK, select_frames
from vila_core.navigator import decision_prompt
from vila_core.types import Frame, Instruction

DEFAULT_INSTRUCTION = "go to the red chair"
_PROBES = 12  # pictures that are asked about
_HISTORY_S = 1.0  # between two pictures of a history
_NOISE = 4.0  # grey levels

Picture = NDArray[np.uint8]
Change = Callable[[Picture], Picture]


def _mirrored(image: Picture) -> Picture:
    return np.ascontiguousarray(image[:, ::-1])


def _brighter(image: Picture) -> Picture:
    return np.clip(image * 1.1, 0, 255).astype(np.uint8)


def _darker(image: Picture) -> Picture:
    return (image * 0.9).astype(np.uint8)


def _shifted(image: Picture) -> Picture:
    return np.pad(image[:, :-2], ((0, 0), (2, 0), (0, 0)), mode="edge")


def _noisy(image: Picture) -> Picture:
    noise = np.random.default_rng(0).normal(0.0, _NOISE, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


SMALL_CHANGES: dict[str, Change] = {"brighter": _brighter, "darker": _darker, "shifted": _shifted, "noisy": _noisy}


def probe(backend: Backend, frames: Sequence[SeenFrame], instruction: str = "") -> tuple[ProbedFrame, ...]:
    """Ask about pictures spread over those given, each with what was seen before as its history.

    instruction: what the robot was told. Without one, or with left or right in it, mirror images are not asked about: a
    model that looks for what is not there may well turn one way. Raises the backend's VilaError.
    """
    is_fair = bool(instruction) and not {"left", "right"} & set(instruction.lower().split())
    told = Instruction(instruction or DEFAULT_INSTRUCTION)
    return tuple(_probed(backend, frames, index, told, is_fair) for index in _places(frames))


def _places(frames: Sequence[SeenFrame]) -> Sequence[int]:
    return np.unique(np.linspace(0, len(frames) - 1, min(_PROBES, len(frames))).round()).astype(int).tolist()


def _probed(
    backend: Backend, frames: Sequence[SeenFrame], index: int, instruction: Instruction, is_fair: bool
) -> ProbedFrame:
    shown = _shown(frames[: index + 1], backend.info.num_frames)

    def asked(name: str, change: Change) -> tuple[float, ...]:
        history = [Frame(change(frame.image), frame.stamp_ns, f"doctor/{name}") for frame in shown]
        return backend.choose(decision_prompt(backend.info, instruction, history), SENTENCES).probabilities

    changed = tuple(asked(name, change) for name, change in SMALL_CHANGES.items())
    return ProbedFrame(asked("plain", np.ascontiguousarray), asked("mirrored", _mirrored) if is_fair else (), changed)


def _shown(frames: Sequence[SeenFrame], num_frames: int) -> list[SeenFrame]:
    """The frames that a prompt shows of a history that takes one each second and the last."""
    history: list[SeenFrame] = []
    for frame in frames:
        if not history or frame.stamp_ns - history[-1].stamp_ns >= _HISTORY_S * 1e9:
            history.append(frame)
    if history[-1] is not frames[-1]:
        history.append(frames[-1])
    return [history[place] for place in select_frames(len(history), num_frames) if place != BLANK]
