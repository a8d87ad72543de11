"""Read what `vila data` wrote: frames of simulated rollouts with the oracle's label for every object in the room."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError
from vila_core.files.json_object import read_object
from vila_core.files.reading import require_file


@dataclass(frozen=True, slots=True, eq=False)
class Rollouts:
    """All frames of a data directory, shards joined. S object slots a frame; a slot is an object of the room."""

    images: Pictures  # [N, S, S, 3] uint8
    seg: NDArray[np.uint8]  # [N, 48, 48] flat object index, 255 none
    labels: NDArray[np.int8]  # [N, S] index of the sentence, -1 for an empty slot
    visible: NDArray[np.bool_]  # [N, S]
    distance_m: NDArray[np.float32]  # [N, S]
    bearing_rad: NDArray[np.float32]  # [N, S]
    first: NDArray[np.int64]  # [N] index of the first frame of the frame's episode
    target_slot: NDArray[np.int64]  # [N] slot that the robot was driving to
    slots: NDArray[np.int64]  # [N, S] flat object index of each slot, -1 empty
    kinds: NDArray[np.int64]  # [N, 64] kind of each flat object, -1
    colours: NDArray[np.int64]  # [N, 64] colour of each flat object, -1
    pose: NDArray[np.float32]  # [N, 3] x, y, yaw
    camera: NDArray[np.float32]  # [N, 3] height in metres, pitch and horizontal field of view in degrees
    flat_seed: NDArray[np.int64]  # [N]
    flat_family: NDArray[np.str_]  # [N]
    kind_names: tuple[str, ...]
    colour_names: tuple[str, ...]
    templates: tuple[str, ...]
    sentences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


class Pictures:
    """The pictures of several shards as one array [N, S, S, 3] uint8; they stay on disk until they are asked for."""

    def __init__(self, parts: Sequence[NDArray[np.uint8]]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def followed_by(self, others: Pictures) -> Pictures:
        """Put others behind these."""
        return Pictures([*self._parts, *others._parts])

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """Read the pictures of these rows; those below 0 count from the end."""
        wanted = np.arange(len(self))[rows]
        out = np.empty((len(wanted), *self._parts[0].shape[1:]), np.uint8)
        for place, row in enumerate(wanted):
            part = int(np.searchsorted(self._starts, row, "right")) - 1
            out[place] = self._parts[part][row - self._starts[part]]
        return out


def joined(first: Rollouts, second: Rollouts) -> Rollouts:
    """Put the rollouts of two data sets one behind the other; ConfigError if they know other things or words."""
    for name in ("kind_names", "colour_names", "templates", "sentences"):
        if getattr(first, name) != getattr(second, name):
            raise ConfigError(f"two data sets have other {name}; make both anew")
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(first, field.name), getattr(second, field.name)])
        for field in dataclasses.fields(Rollouts)
        if isinstance(getattr(first, field.name), np.ndarray)
    }
    arrays["first"][len(first) :] += len(first)
    return dataclasses.replace(first, **arrays, images=first.images.followed_by(second.images))


def read_rollouts(folder: Path) -> Rollouts:
    """Join the shards of a data directory; ConfigError if there are none or meta.json is missing."""
    meta_file = folder / "meta.json"
    shards = sorted(path for path in folder.glob("shard_*") if path.is_dir())
    if not meta_file.is_file() or not shards:
        raise ConfigError(f"{folder} holds no training data; make it with: vila data --out {folder}")
    meta = read_object(meta_file, error=ConfigError)
    families = np.array(meta.texts("families"))
    parts = [_read_shard(shard, families) for shard in shards]
    offsets = np.cumsum([0] + [len(part["labels"]) for part in parts])
    for part, offset in zip(parts, offsets, strict=False):
        part["first"] = part["first"] + offset
    images = Pictures([part.pop("images") for part in parts])
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Rollouts(
        **joined,
        images=images,
        kind_names=meta.texts("kinds"),
        colour_names=meta.texts("colours"),
        templates=meta.texts("train_templates"),
        sentences=meta.texts("sentences"),
    )


def _read_shard(shard: Path, families: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
    def load(name: str) -> NDArray[Any]:
        return load_array(shard / f"{name}.npy")

    episode = load("episode").astype(np.int64)
    starts = np.r_[True, episode[1:] != episode[:-1]]
    flat = load("flat").astype(np.int64)[episode]
    objects = load("objects").astype(np.int64)[flat]  # [N, 64, 2]
    return {
        "images": load_array(shard / "images.npy", mapped=True),
        "seg": load("seg"),
        "labels": load("labels"),
        "visible": load("visible"),
        "distance_m": load("distance"),
        "bearing_rad": load("bearing"),
        "first": np.flatnonzero(starts)[np.cumsum(starts) - 1],
        "target_slot": load("target_slot").astype(np.int64)[episode],
        "slots": load("slots").astype(np.int64)[episode],
        "kinds": objects[..., 0],
        "colours": objects[..., 1],
        "pose": load("pose"),
        "camera": load("camera")[episode],
        "flat_seed": load("flat_seed").astype(np.int64)[flat],
        "flat_family": families[load("flat_family")[flat]],
    }


def load_array(file: Path, *, mapped: bool = False) -> NDArray[Any]:
    """Read a .npy file, or map it; ConfigError naming it if that cannot be done."""
    require_file(file, error=ConfigError)
    try:
        return np.load(file, mmap_mode="r" if mapped else None)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError, SyntaxError) as err:
        raise ConfigError(f"{file} cannot be read: {err}; make the data again") from err


def grid_objects(seg: NDArray[np.uint8], grid: int, least: float) -> NDArray[np.int64]:
    """The object that covers most of each cell of a grid x grid, or -1.

    seg: [B, 48, 48]. A cell counts if one object covers at least the share `least` of it.
    """
    batch, size, _ = seg.shape
    step = size // grid
    cells = seg.reshape(batch, grid, step, grid, step).swapaxes(2, 3).reshape(batch, grid * grid, step * step)
    cells = np.sort(cells, axis=-1).astype(np.int64)
    need = max(1, round(least * step * step))
    same = (cells[..., need - 1 :] == cells[..., : cells.shape[-1] - need + 1]) & (
        cells[..., : cells.shape[-1] - need + 1] != 255
    )  # a run of `need` equal values: an object that covers enough
    where = same.argmax(-1)
    found = np.take_along_axis(cells, where[..., None], -1)[..., 0]
    return np.where(same.any(-1), found, -1)
