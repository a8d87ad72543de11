"""Records what a driver, or the oracle, sees and should do: the rows of a training shard, see vila_sim.dataset."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vila_core.actions.grammar import ACTIONS, action_index, unit_steps
from vila_core.errors import WorldError
from vila_core.types import Action, Frame, Odometry, Pose, Stop
from vila_sim.cameras import CameraRandomization, Exposure, RandomCamera
from vila_sim.environment import STEP_NS, VISIBLE_PIXELS, Turned, bearing_rad, move, visible_pixels
from vila_sim.episodes.instructions import instruction_for
from vila_sim.episodes.oracle import TargetView, oracle_action
from vila_sim.episodes.policy import Policy
from vila_sim.episodes.tasks import is_the_only_one, next_rooms
from vila_sim.flats.grid import DistanceField, OccupancyGrid
from vila_sim.flats.scene import Flat, Room
from vila_sim.mujoco.simulator import CameraConfig, Simulator

IMAGE_PX = 192
SEG_PX = 48
SLOTS, OWN_SLOTS = 12, 8
MAX_OBJECTS = 64
MAX_EPISODE_FRAMES = 80
NOISE = 0.25  # probability of a random motion instead of the oracle's
CONTINUE = 0.5  # probability that the next episode starts where this one stopped
THROUGH_DOOR = 0.35  # probability that the target stands in a room next to the robot's, where one does


def small_image(image: NDArray[np.uint8], size_px: int = IMAGE_PX) -> NDArray[np.uint8]:
    """Resize a camera image [H, W, 3] to [size_px, size_px, 3]; by default to what the model sees."""
    return np.asarray(Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BICUBIC))


def small_segmentation(segmentation: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Sample a segmentation [H, W] (-1 for none) at [48, 48] (255 for none)."""
    rows = ((np.arange(SEG_PX) + 0.5) * segmentation.shape[0] / SEG_PX).astype(np.intp)
    columns = ((np.arange(SEG_PX) + 0.5) * segmentation.shape[1] / SEG_PX).astype(np.intp)
    return segmentation[np.ix_(rows, columns)].astype(np.uint8)  # -1 becomes 255


@dataclass(slots=True)
class ShardRows:
    """The rows gathered so far, by array name."""

    frames: dict[str, list[Any]] = field(default_factory=dict)
    episodes: dict[str, list[Any]] = field(default_factory=dict)
    flats: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, table: dict[str, list[Any]], **row: Any) -> None:
        """Add a row to one of the tables."""
        for name, value in row.items():
            table.setdefault(name, []).append(value)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all rows by the name of their array."""
        tables = {**self.frames, **self.episodes, **self.flats}
        return {name: np.asarray(rows, _DTYPES[name]) for name, rows in tables.items()}

    def save(self, folder: Path) -> None:
        """Write each array to a file of its name."""
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


class Cameras:
    """Draws a camera for each episode, by chance of its own: what is driven does not hang on it."""

    def __init__(self, randomization: CameraRandomization | None, seed: list[int]) -> None:
        self._randomization, self.rng = randomization, np.random.default_rng(seed)

    def draw(self) -> RandomCamera:
        """Return the next episode's camera."""
        if self._randomization is None:
            return RandomCamera(CameraConfig(), Exposure())
        return self._randomization.draw(self.rng)


class Recorder:
    """Plays episodes in one flat, of a noisy oracle or of the driver, and records every frame."""

    def __init__(
        self, flat: Flat, rng: np.random.Generator, shard: ShardRows, cameras: Cameras, driver: Policy | None
    ) -> None:
        self.flat, self.rng, self.shard, self.cameras, self.driver = flat, rng, shard, cameras, driver
        self.grid = OccupancyGrid(flat)
        self.simulator = Simulator(flat, CameraConfig())
        self._camera = RandomCamera(self.simulator.camera, Exposure())
        self._fields: dict[str, list[tuple[int, DistanceField]]] = {}
        self._stamp_ns = 0
        if len(flat.objects) > MAX_OBJECTS:
            raise WorldError(f"flat {flat.seed} holds {len(flat.objects)} objects, more than {MAX_OBJECTS}")

    def __enter__(self) -> Recorder:
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

    def record_views(self, frames: int) -> None:
        """Record so many frames, each from another place: an episode of one frame."""
        rooms = [room for room in self.flat.rooms if len(self._own(room)) >= 2]
        for _ in range(frames):
            room = rooms[self.rng.integers(len(rooms))]
            self._episode(room, self._draw_target(room, -1), self._random_pose(room), 1)

    def _draw_target(self, room: Room, visited: int) -> int:
        """Draw a slot of the room's, but not the thing that was visited last."""
        own = self._own(room)  # their slots come first
        away = range(len(own), len(self._slots(room)))
        if away and self.rng.random() < THROUGH_DOOR:
            return int(self.rng.choice(away))
        return int(self.rng.choice([slot for slot, index in enumerate(own) if index != visited]))

    def _episode(self, room: Room, target: int, pose: Pose, limit: int) -> tuple[int, Pose | None]:
        """Record one episode; return its length and, if it was stopped, where."""
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
        if self.driver is not None:
            self.driver.start(instruction_for(self.flat.objects[indices[target]], self.rng))
        seen = np.zeros(len(slots), bool)
        turned, queue = Turned(pose), deque[Action]()
        for step in range(limit):
            labels, visible = self._observe(slots, pose, seen, turned)
            seen |= visible
            executed = -1
            if not queue:
                executed = self._chosen(labels[target])
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

    def _chosen(self, label: int) -> int:
        """The driver's action, or the oracle's with some at random; -1 where the oracle knows no way."""
        if label < 0:
            return -1
        if self.driver is not None:
            action = self.driver.decide().action
            return _random_motion(self.rng) if action is None else action_index(action)
        if not isinstance(ACTIONS[label], Stop) and self.rng.random() < NOISE:
            return _random_motion(self.rng)
        return label

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
        picture = self._camera.exposure.apply(self.simulator.render(), self.cameras.rng)
        if self.driver is not None:
            self._stamp_ns += STEP_NS
            self.driver.observe(Frame(picture, self._stamp_ns), Odometry(self._stamp_ns, pose))
        self.shard.add(
            self.shard.frames,
            images=small_image(picture),
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
