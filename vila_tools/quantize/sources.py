"""Where calibration comes from: images, a film, episodes, a bag. Each becomes rollouts, then prompts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.torch_backend import model_info
from vila_core.errors import MediaError
from vila_core.media.bags import bag_images
from vila_core.media.film_reader import Film
from vila_core.media.pictures import list_images, read_image
from vila_core.models.vlm import VisionLanguageModel
from vila_core.navigator import decision_prompt
from vila_core.types import Frame, Instruction, Prompt
from vila_tools.evaluation.rollouts import Rollout, oracle_rollout

INSTRUCTIONS = (
    "go to the door and stop",
    "walk past the table, turn left and wait at the sofa",
    "leave the room and stop in front of the stairs",
    "turn around and go to the kitchen",
    "find the chair next to the window",
)  # of images that come without words
_BAG_FRAMES = 400  # of a topic or a film, at most


def image_rollouts(folder: Path, instruction: str | None) -> Iterator[Rollout]:
    """Yield a rollout for the folder's images, sorted by name, or for those of each folder in it.

    Raises MediaError if there are none.
    """
    below = sorted(sub for sub in folder.iterdir() if sub.is_dir()) if folder.is_dir() else []
    for number, sub in enumerate(below or [folder]):
        images = [read_image(file) for file in list_images(sub)]
        yield _rollout(images, instruction or INSTRUCTIONS[number % len(INSTRUCTIONS)], sub.name)


def film_rollout(file: Path, instruction: str | None) -> Rollout:
    """Return a film as a rollout; what of it cannot be read is told on stderr.

    Raises MediaError, naming the file, if nothing can.
    """
    film, seen = Film(file), _Thinned()
    for frame in film.frames():
        seen.add(frame.image())
    for problem in film.problems:
        print(problem, file=sys.stderr)
    return _rollout(seen.images, instruction or INSTRUCTIONS[0], file.name)


def episode_rollouts(file: Path, limit: int) -> Iterator[Rollout]:
    """Yield the oracle's rollouts of the first episodes in a file of the VLN-CE form."""
    from vila_sim.environment import FlatEnv
    from vila_sim.episodes.episode_files import read_episodes

    if not file.is_file():
        raise MediaError(f"episode file {file} does not exist")
    env = FlatEnv()
    try:
        for episode in islice(read_episodes(file), limit):
            yield oracle_rollout(env, episode)
    finally:
        env.close()


def bag_rollouts(file: Path, instruction: str | None, wanted: Sequence[str] = ()) -> Iterator[Rollout]:
    """Yield a rollout for each image topic of a bag, or for the wanted ones; no ROS is needed to read it.

    Raises MediaError for a bag that cannot be read or holds no images.
    """
    topics: dict[str, _Thinned] = {}
    for found in bag_images(file, wanted):
        topics.setdefault(found.topic, _Thinned()).add(found.image)
    if not topics:
        raise MediaError(f"{file} holds no sensor_msgs/Image or sensor_msgs/CompressedImage")
    for number, (topic, seen) in enumerate(sorted(topics.items())):
        yield _rollout(seen.images, instruction or INSTRUCTIONS[number % len(INSTRUCTIONS)], topic)


class _Thinned:
    """The images of a topic or a film at even distances, few enough to be kept."""

    def __init__(self) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self._stride, self._count = 1, 0

    def add(self, image: NDArray[np.uint8]) -> None:
        if self._count % self._stride == 0:
            self.images.append(image)
        self._count += 1
        if len(self.images) > _BAG_FRAMES:
            self.images = self.images[::2]
            self._stride *= 2


def _rollout(images: list[NDArray[np.uint8]], instruction: str, name: str) -> Rollout:
    frames = tuple(Frame(image, stamp, name) for stamp, image in enumerate(images))
    return Rollout(instruction, frames, tuple(range(1, len(frames) + 1)))


def calibration_prompts(model: VisionLanguageModel, rollouts: Sequence[Rollout]) -> Iterator[Prompt]:
    """Yield prompts of decisions spread over all rollouts: first one of each rollout, then another."""
    info = model_info(model, "float32")
    for turn in range(max((len(rollout.decisions) for rollout in rollouts), default=0)):
        for number, rollout in enumerate(rollouts):
            count = len(rollout.decisions)
            if turn < count:
                seen = rollout.decisions[(_spread(turn) + number) % count]
                named = [Frame(f.image, f.stamp_ns, f"{number} {f.camera}") for f in rollout.frames[:seen]]
                yield decision_prompt(info, Instruction(rollout.instruction), named)


def _spread(turn: int) -> int:
    """Visit the decisions of a rollout in long strides; 7919 is prime, so none is left out but in one as long."""
    return 7919 * (turn + 1)
