"""What a model is finetuned on: what was seen, what was asked for, and the answer that is right.

Sources: NaVILA's annotations, which `vila label` writes too, and the simulator's data sets, which `vila data` writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError, MediaError
from vila_core.files.reading import is_file, is_folder
from vila_core.media.pictures import read_image
from vila_tools.finetune.annotations import ANNOTATIONS, read_annotations
from vila_tools.training.shards import Rollouts, read_rollouts


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A question and its answer.

    frames: what had been seen by then, oldest first, files or pictures [H, W, 3]. group: what is held out together,
    such as an episode.
    """

    instruction: str
    answer: str
    frames: Sequence[Path] | NDArray[np.uint8]
    group: str

    def image(self, index: int) -> NDArray[np.uint8]:
        """Read a frame's picture. Raises MediaError naming a file that is none."""
        frame = self.frames[index]
        return read_image(frame) if isinstance(frame, Path) else np.asarray(frame)


def read_samples(source: Path, images: Path | None, seed: int) -> list[Sample]:
    """Read a data set, whichever kind it is.

    images: the folder of an annotation's frames, None to look beside it. seed: of the words that ask for the
    simulator's objects. Raises ConfigError for one that cannot be read or is empty.
    """
    if is_folder(source) and not is_file(source / ANNOTATIONS) and is_file(source / "meta.json"):
        samples = _simulated(read_rollouts(source), seed)
    else:
        rows, folder = read_annotations(source, images)
        samples = [
            Sample(row.instruction, row.answer, [folder / frame for frame in row.frames], row.group) for row in rows
        ]
    if not samples:
        raise ConfigError(f"{source} holds no samples")
    return samples


def _simulated(rollouts: Rollouts, seed: int) -> list[Sample]:
    """A sample of each frame in which the oracle knew what to do about the object that it drove to."""
    rng = np.random.default_rng(seed)
    samples = []
    for row in range(len(rollouts)):
        slot, first = rollouts.target_slot[row], int(rollouts.first[row])
        label, item = int(rollouts.labels[row, slot]), rollouts.slots[row, slot]
        template = rollouts.templates[rng.integers(len(rollouts.templates))]
        if label >= 0:
            colour = rollouts.colour_names[rollouts.colours[row, item]]
            kind = rollouts.kind_names[rollouts.kinds[row, item]].replace("_", " ")
            text = template.format(colour=colour, kind=kind)
            frames = rollouts.images[first : row + 1]
            samples.append(Sample(text, rollouts.sentences[label], frames, f"episode {first}"))
    return samples


def samples_digest(samples: Sequence[Sample]) -> str:
    """Name a set of samples by its words and pictures; of files the last two parts of their names count."""
    digest = hashlib.sha256()
    for sample in samples:
        last = sample.frames[-1]
        seen = "/".join(last.parts[-2:]).encode() if isinstance(last, Path) else np.ascontiguousarray(last).tobytes()
        digest.update(f"{sample.instruction}\n{sample.answer}\n{sample.group} {len(sample.frames)}\n".encode() + seen)
    return digest.hexdigest()[:16]


def split_samples(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Hold out a share of the groups, whole ones: (to train on, held out). None is held out of a single group."""
    groups = sorted({sample.group for sample in samples})
    count = min(round(share * len(groups)), len(groups) - 1)
    order = np.random.default_rng([seed, 1]).permutation(len(groups))
    out = {groups[number] for number in order[:count]}
    return [one for one in samples if one.group not in out], [one for one in samples if one.group in out]


def require_pictures(samples: Sequence[Sample]) -> None:
    """Raise MediaError for the first sample whose newest frame is missing: not after an hour of training."""
    for sample in samples:
        last = sample.frames[-1]
        if isinstance(last, Path) and not is_file(last):
            raise MediaError(f"image {last} of the data is missing; name the folder of the frames with --images")
