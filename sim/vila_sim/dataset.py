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
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.actions.grammar import ACTIONS, SENTENCES, action_index, unit_steps
from vila_core.errors import ConfigError, WorldError
from vila_core.types import Action, Pose, Stop
from vila_sim.cameras import CameraRandomization, Exposure, RandomCamera
from vila_sim.environment import VISIBLE_PIXELS, Turned, bearing_rad, move, visible_pixels
from vila_sim.episodes import held_out_pairs, layout_seed, split_flat
from vila_sim.families.table import PLAIN, TRAINING_FAMILIES
from vila_sim.furniture import COLOURS, KINDS
from vila_sim.grid import DistanceField, OccupancyGrid
from vila_sim.instructions import HELD_OUT_TEMPLATES, TRAIN_TEMPLATES
from vila_sim.mujoco.simulator import CameraConfig, Simulator
from vila_sim.oracle import TargetView, oracle_action
from vila_sim.scene import Flat, Room
from vila_sim.shards import shard_path, write_shard
from vila_sim.tasks import is_the_only_one, next_rooms

FORMAT_VERSION = 3
IMAGE_PX = 192
SEG_PX = 48
SLOTS, OWN_SLOTS = 12, 8
MAX_OBJECTS = 64
FRAMES_PER_FLAT = 125
FRAMES_PER_SHARD = 2000
MAX_EPISODE_FRAMES = 80
NOISE = 0.25  # probability of a random motion instead of the oracle's
CONTINUE = 0.5  # probability that the next episode starts where this one stopped
THROUGH_DOOR = 0.35  # probability that the target stands in a room next to the robot's, where one does


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What a data set shows: the families that its flats are of, in turn, and one camera or one drawn each episode."""

    families: tuple[str, ...] = (PLAIN,)
    cameras: CameraRandomization | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in self.families if name not in TRAINING_FAMILIES]
        if wrong or not self.families:
            raise ConfigError(
                f"families {','.join(self.families)!r}: choose from {', '.join(TRAINING_FAMILIES)};"
                " others are for testing"
            )


def make_shard(
    out: Path, index: int, seed: int, *, frames: int = FRAMES_PER_SHARD, options: DataOptions | None = None
) -> Path:
    """Make one shard and move it into place in one step, so that a shard that exists is complete.

    The same seed, index and options give the same shard. Raises WorldError if frames is no multiple of
    FRAMES_PER_FLAT.
    """
    options = options or DataOptions()
    if frames <= 0 or frames % FRAMES_PER_FLAT:
        raise WorldError(f"a shard of {frames} frames: must be a multiple of {FRAMES_PER_FLAT}")
    flats = frames // FRAMES_PER_FLAT
    shard = _Shard()
    for number in range(flats):
        layout = index * flats + number
        family = layout % len(options.families)
        flat = split_flat(layout_seed("train", layout, seed), family=options.families[family])
        rng = np.random.default_rng([seed, index, number])
        shard.add(shard.flats, objects=_object_table(flat), flat_seed=flat.seed, flat_family=family)
        with _Recorder(flat, rng, shard, _Cameras(options.cameras, [seed, index, number, 1])) as recorder:
            recorder.record(FRAMES_PER_FLAT)
    return write_shard(shard_path(out, index), shard.save)


def small_image(image: NDArray[np.uint8], size_px: int = IMAGE_PX) -> NDArray[np.uint8]:
    """Resize a camera image [H, W, 3] to [size_px, size_px, 3]; by default to what the model sees."""
    return np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BICUBIC))


def small_segmentation(segmentation: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Sample a segmentation [H, W] (-1 for none) at [48, 48] (255 for none)."""
    rows = ((np.arange(SEG_PX) + 0.5) * segmentation.shape[0] / SEG_PX).astype(np.intp)
    columns = ((np.arange(SEG_PX) + 0.5) * segmentation.shape[1] / SEG_PX).astype(np.intp)
    return segmentation[np.ix_(rows, columns)].astype(np.uint8)  # -1 becomes 255


@dataclass(slots=True)
class _Shard:
    """The rows gathered so far, by array name."""

    frames: dict[str, list[Any]] = field(default_factory=dict)
    episodes: dict[str, list[Any]] = field(default_factory=dict)
    flats: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, table: dict[str, list[Any]], **row: Any) -> None:
        for name, value in row.items():
            table.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        tables = {**self.frames, **self.episodes, **self.flats}
        return {name: np.asarray(rows, _DTYPES[name]) for name, rows in tables.items()}

    def save(self, folder: Path) -> None:
        for name, array in self.arrays().items():
            np.save(folder / f"{name}.npy", array)


_DTYPES: dict[str, Any] = {
    "images": np.uint8,
    "seg": np.uint8,
    "labels": np.int8,
    "visible": np.bool_,
    "distance": np.float32,
    "bearing": np.float32,
    "executed": np.int8,
    "pose": np.float32,
    "episode": np.int32,
    "step": np.int32,
    "slots": np.int16,
    "target_slot": np.int8,
    "flat": np.int32,
    "objects": np.int16,
    "flat_seed": np.int64,
    "flat_family": np.int8,
    "camera": np.float32,
}


class _Cameras:
    """Draws a camera for each episode, by chance of its own: what is driven does not hang on it."""

    def __init__(self, randomization: CameraRandomization | None, seed: list[int]) -> None:
        self._randomization, self.rng = randomization, np.random.default_rng(seed)

    def draw(self) -> RandomCamera:
        if self._randomization is None:
            return RandomCamera(CameraConfig(), Exposure())
        return self._randomization.draw(self.rng)


class _Recorder:
    """Plays noisy oracle episodes in one flat and records every frame."""

    def __init__(self, flat: Flat, rng: np.random.Generator, shard: _Shard, cameras: _Cameras) -> None:
        self.flat, self.rng, self.shard, self.cameras = flat, rng, shard, cameras
        self.grid = OccupancyGrid(flat)
        self.simulator = Simulator(flat, CameraConfig())
        self._camera = RandomCamera(self.simulator.camera, Exposure())
        self._fields: dict[str, list[tuple[int, DistanceField]]] = {}
        if len(flat.objects) > MAX_OBJECTS:
            raise WorldError(f"flat {flat.seed} holds {len(flat.objects)} objects, more than {MAX_OBJECTS}")

    def __enter__(self) -> _Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.simulator.close()

    def record(self, frames: int) -> None:
        """Record exactly so many frames; the last episode may be cut short."""
        rooms = [room for room in self.flat.rooms if len(self._own(room)) >= 2]
        left = frames
        while left > 0:
            room = rooms[self.rng.integers(len(rooms))]
            pose: Pose | None = self._random_pose(room)
            visited = -1
            while pose is not None and left > 0:
                target = self._draw_target(room, visited)
                used, pose = self._episode(room, target, pose, min(left, MAX_EPISODE_FRAMES))
                left -= used
                visited = self._slots(room)[target][0]
                room = self.flat.room(self.flat.objects[visited].room)
                if self.rng.random() >= CONTINUE or room not in rooms:
                    pose = None

    def _draw_target(self, room: Room, visited: int) -> int:
        """Draw a slot of the room's, but not the thing that was visited last."""
        own = self._own(room)  # their slots come first
        away = range(len(own), len(self._slots(room)))
        if away and self.rng.random() < THROUGH_DOOR:
            return int(self.rng.choice(away))
        return int(self.rng.choice([slot for slot, index in enumerate(own) if index != visited]))

    def _episode(self, room: Room, target: int, pose: Pose, limit: int) -> tuple[int, Pose | None]:
        """Record one episode; return its length and, if the oracle stopped it, where."""
        slots = self._slots(room)
        number = len(self.shard.episodes.get("flat", ()))
        indices = [index for index, _ in slots]
        self._camera = self.cameras.draw()
        self.simulator.set_camera(self._camera.config)
        self.shard.add(
            self.shard.episodes,
            slots=indices + [-1] * (SLOTS - len(indices)),
            target_slot=target,
            flat=len(self.shard.flats["flat_seed"]) - 1,
            camera=(self._camera.config.height_m, self._camera.config.pitch_deg, self._camera.config.hfov_deg),
        )
        seen = np.zeros(len(slots), bool)
        turned, queue = Turned(pose), deque[Action]()
        for step in range(limit):
            labels, visible = self._observe(slots, pose, seen, turned)
            seen |= visible
            executed = -1
            if not queue:
                executed = labels[target]
                if executed >= 0 and not isinstance(ACTIONS[executed], Stop) and self.rng.random() < NOISE:
                    executed = _random_motion(self.rng)
                if executed >= 0:
                    queue.extend(unit_steps(ACTIONS[executed]))
            self.shard.add(self.shard.frames, executed=executed, episode=number, step=step)
            if not queue:  # no path: the noise drove the robot out of the window
                return step + 1, None
            action = queue.popleft()
            if isinstance(action, Stop):
                return step + 1, pose
            pose, _ = move(self.grid, pose, action)
            turned.note(pose)
        return limit, None

    def _observe(
        self, slots: list[tuple[int, DistanceField]], pose: Pose, seen: NDArray[np.bool_], turned: Turned
    ) -> tuple[list[int], NDArray[np.bool_]]:
        """Render and record what belongs to the pose; return the labels and the slots in view."""
        self.simulator.teleport(pose)
        segmentation = self.simulator.render_segmentation()
        pixels = visible_pixels(segmentation, len(self.flat.objects))
        visible = np.array([pixels[index] >= VISIBLE_PIXELS for index, _ in slots])
        bearings = [bearing_rad(pose, self.flat.objects[index]) for index, _ in slots]
        distances = [to_goal.at(pose.x_m, pose.y_m) for _, to_goal in slots]
        labels = []
        for slot, (_, to_goal) in enumerate(slots):
            view = TargetView(
                bool(visible[slot]), bool(seen[slot]), turned.rotated_rad, bearings[slot], turned.spot_turn_rad
            )
            reachable = math.isfinite(distances[slot])
            labels.append(action_index(oracle_action(pose, to_goal, view)) if reachable else -1)
        self.shard.add(
            self.shard.frames,
            images=small_image(self._camera.exposure.apply(self.simulator.render(), self.cameras.rng)),
            seg=small_segmentation(segmentation),
            labels=_padded(labels, -1),
            visible=_padded(visible, False),
            distance=_padded(distances, math.nan),
            bearing=_padded(bearings, math.nan),
            pose=(pose.x_m, pose.y_m, pose.yaw_rad),
        )
        return labels, visible

    def _slots(self, room: Room) -> list[tuple[int, DistanceField]]:
        """The things that an episode which starts in the room can be about, with their distance fields."""
        if room.name not in self._fields:
            own, near = self._own(room), {next_room.name for next_room in next_rooms(self.flat, room.name)}
            things = enumerate(self.flat.objects)
            away = [index for index, item in things if item.room in near and is_the_only_one(self.flat, item)]
            away = [away[place] for place in self.rng.permutation(len(away))[: SLOTS - len(own)]]
            self._fields[room.name] = [
                (index, self.grid.field_to(self.flat.objects[index], within_room=index in own)) for index in own + away
            ]
        return self._fields[room.name]

    def _own(self, room: Room) -> list[int]:
        return [index for index, item in enumerate(self.flat.objects) if item.room == room.name][:OWN_SLOTS]

    def _random_pose(self, room: Room) -> Pose:
        cells = np.argwhere(self.grid.room_cells(room))
        x, y = self.grid.centre(*cells[self.rng.integers(len(cells))])
        jitter = self.rng.uniform(-0.45, 0.45, 2) * self.grid.cell_m
        return Pose(float(x + jitter[0]), float(y + jitter[1]), float(self.rng.uniform(-math.pi, math.pi)))


def _random_motion(rng: np.random.Generator) -> int:
    motions = [index for index, action in enumerate(ACTIONS) if not isinstance(action, Stop)]
    return motions[rng.integers(len(motions))]


def _padded(values: Sequence[Any] | NDArray[Any], empty: object) -> list[Any]:
    return [*values, *[empty] * (SLOTS - len(values))]


def _object_table(flat: Flat) -> NDArray[np.int16]:
    kinds, colours = list(KINDS), list(COLOURS)
    table = np.full((MAX_OBJECTS, 2), -1, np.int16)
    for index, item in enumerate(flat.objects):
        table[index] = kinds.index(item.kind), colours.index(item.colour)
    return table


def dataset_meta(seed: int, options: DataOptions | None = None) -> dict[str, Any]:
    """What another data set of the same folder must have been made with."""
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
        "frames_per_flat": FRAMES_PER_FLAT,
        "noise": NOISE,
        "through_door": THROUGH_DOOR,
        "held_out_pairs": sorted(held_out_pairs()),
        "train_templates": list(TRAIN_TEMPLATES),
        "held_out_templates": list(HELD_OUT_TEMPLATES),
    }
