"""`vila data`: the training set of vila-nano, made in shards by the oracle in the simulator.

A shard is a folder of .npy files. N frames, S slots (objects of the room that the episode starts in, then such of
the rooms next to it as the flat holds once), E episodes, F flats in the shard:

    images [N, 192, 192, 3] uint8   rendered at 224 x 224, resized with an antialiased bicubic
    seg      [N, 48, 48]    uint8   index into the flat's objects, 255 elsewhere
    labels   [N, S]         int8    oracle's action for each slot as a target, -1 without one
    visible  [N, S]         bool    at least 30 of the 224 x 224 pixels show the object
    distance [N, S]         float32 geodesic metres to the object's goal cells, nan in an empty slot
    bearing  [N, S]         float32 radians to the object's centre, left > 0, nan in an empty slot
    executed [N]            int8    action begun at this frame, -1 within one
    pose     [N, 3]         float32 x, y, yaw
    episode  [N] int32, step [N] int32   index into E; unit steps since the episode's start
    slots    [E, S]         int16   index into the flat's objects, -1 in an empty slot
    target_slot [E] int8, flat [E] int32  the slot that was really driven to; index into F
    camera   [E, 3]         float32 height in metres, pitch and horizontal field of view in degrees
    objects  [F, 64, 2]     int16   kind and colour indices of meta.json, -1 beyond the last
    flat_seed [F]           int64
    flat_family [F]         int8    index into the families of meta.json

Frames are one unit step (25 cm or 15 degrees) apart; a blocked step stays in place.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import ConfigError, WorldError
from vila_sim.cameras import CameraRandomization
from vila_sim.episodes.instructions import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES
from vila_sim.episodes.policy import Policy
from vila_sim.episodes.splits import held_out_pairs, layout_seed, split_flat
from vila_sim.families.table import PLAIN, TRAINING_FAMILIES
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.scene import Flat
from vila_sim.mujoco.simulator import CameraConfig
from vila_sim.rollout_recorder import (
    IMAGE_PX,
    MAX_OBJECTS,
    NOISE,
    SEG_PX,
    SLOTS,
    THROUGH_DOOR,
    Cameras,
    Recorder,
    ShardRows,
)
from vila_sim.shards import shard_path, write_shard

FORMAT_VERSION = 3
FRAMES_PER_FLAT, VIEWS_PER_FLAT = 125, 20
FRAMES_PER_SHARD = 2000


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What a data set shows: the families that its flats are of, in turn, and one camera or one drawn each episode.

    views: single frames from anywhere, few of each flat, instead of drives: more flats for as many frames.
    """

    families: tuple[str, ...] = (PLAIN,)
    cameras: CameraRandomization | None = None
    views: bool = False

    def __post_init__(self) -> None:
        wrong = [name for name in self.families if name not in TRAINING_FAMILIES]
        if wrong or not self.families:
            raise ConfigError(
                f"families {','.join(self.families)!r}: choose from {', '.join(TRAINING_FAMILIES)};"
                " others are for testing"
            )

    @property
    def frames_per_flat(self) -> int:
        """How many frames are recorded of a flat."""
        return VIEWS_PER_FLAT if self.views else FRAMES_PER_FLAT


def make_shard(
    out: Path,
    index: int,
    seed: int,
    *,
    frames: int = FRAMES_PER_SHARD,
    options: DataOptions | None = None,
    driver: Policy | None = None,
) -> Path:
    """Make one shard and move it into place in one step, so that a shard that exists is complete.

    driver: goes where it thinks right, and the oracle says at each frame what would have been; None: the oracle drives.
    The same seed, index, options and driver give the same shard. Raises WorldError if frames is no multiple of
    the frames that are recorded of a flat.
    """
    options = options or DataOptions()
    per_flat = options.frames_per_flat
    if frames <= 0 or frames % per_flat:
        raise WorldError(f"a shard of {frames} frames: must be a multiple of {per_flat}")
    flats = frames // per_flat
    shard = ShardRows()
    for number in range(flats):
        layout = index * flats + number
        family = layout % len(options.families)
        flat = split_flat(layout_seed("train", layout, seed), family=options.families[family])
        rng = np.random.default_rng([seed, index, number])
        shard.add(shard.flats, objects=_object_table(flat), flat_seed=flat.seed, flat_family=family)
        cameras = Cameras(options.cameras, [seed, index, number, 1])
        with Recorder(flat, rng, shard, cameras, driver) as recorder:
            (recorder.record_views if options.views else recorder.record)(per_flat)
    return write_shard(shard_path(out, index), shard.save)


def _object_table(flat: Flat) -> NDArray[np.int16]:
    kinds, colours = list(KINDS), list(COLOURS)
    table = np.full((MAX_OBJECTS, 2), -1, np.int16)
    for index, item in enumerate(flat.objects):
        table[index] = kinds.index(item.kind), colours.index(item.colour)
    return table


def dataset_meta(seed: int, options: DataOptions | None = None, driver: str = "oracle") -> dict[str, Any]:
    """What another data set of the same folder must have been made with. driver: who drives, in words."""
    options = options or DataOptions()
    return {
        "format": FORMAT_VERSION,
        "seed": seed,
        "families": list(options.families),
        "cameras": None if options.cameras is None else dataclasses.asdict(options.cameras),
        "kinds": list(KINDS),
        "colours": list(COLOURS),
        "sentences": list(SENTENCES),
        "image_px": IMAGE_PX,
        "render_px": CameraConfig().width_px,
        "seg_px": SEG_PX,
        "slots": SLOTS,
        "frames_per_flat": options.frames_per_flat,
        "views": options.views,
        "driver": driver,
        "noise": NOISE,
        "through_door": THROUGH_DOOR,
        "held_out_pairs": sorted(held_out_pairs()),
        "train_templates": list(TRAIN_TEMPLATES),
        "held_out_templates": list(HELD_OUT_TEMPLATES),
    }
