"""Navigation episodes: which flat, from where, to which object, in which words.

They are read and written in the JSON form of VLN-CE. Positions are z-up here (x east, y north),
where Habitat's are y-up.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vila_core.errors import WorldError
from vila_core.files import MOST_BYTES, read_bytes
from vila_core.json_object import JsonObject, parse_object
from vila_core.types import Pose
from vila_sim.flat import generate_flat
from vila_sim.furniture import COLOURS, KINDS
from vila_sim.grid import OccupancyGrid, path_points
from vila_sim.instructions import instruction_for
from vila_sim.scene import Flat, SceneObject

SPLITS = ("train", "val_seen", "val_unseen_layout", "val_unseen_combo", "val_paraphrase")
SUCCESS_RADIUS_M = 1.0  # 3 m, the usual radius in VLN-CE, is most of a room here
MIN_START_M, MAX_START_M = 1.5, 6.0  # geodesic distance of a start from its goal
SEEDS_PER_SPLIT = 1_000_000

_FIRST_SEED = {"train": 0, "val_seen": 0, "val_unseen_layout": 1, "val_unseen_combo": 2, "val_paraphrase": 3}
Pair = tuple[str, str]  # (colour, kind)


@dataclass(frozen=True, slots=True)
class Episode:
    """One task. geodesic_m is the distance at the start; the path ends at the goal cells.

    include: (colour, kind) pairs that the flat was built to hold, see flat_of.
    """

    episode_id: str
    split: str
    flat_seed: int
    include: tuple[Pair, ...]
    room: str
    target: str  # name of the object
    goal_m: tuple[float, float]  # the object's centre
    start: Pose
    instruction: str
    reference_path: tuple[tuple[float, float], ...]  # metres, start first
    geodesic_m: float

    @property
    def scene_id(self) -> str:
        """The flat's name in the JSON form."""
        return f"flat/{self.flat_seed}"


@functools.cache
def held_out_pairs() -> frozenset[Pair]:
    """The (colour, kind) pairs that no training flat holds: one colour of each kind."""
    colours = sorted(COLOURS)
    return frozenset((colours[(3 * i + 1) % len(colours)], kind) for i, kind in enumerate(sorted(KINDS)))


def split_flat(seed: int, include: Sequence[Pair] = ()) -> Flat:
    """The flat of a seed: without held-out pairs, other than those that it must include."""
    return generate_flat(seed, include=tuple(include), exclude_pairs=held_out_pairs() - set(include))


def flat_of(episode: Episode) -> Flat:
    """Build the flat in which the episode happens."""
    return split_flat(episode.flat_seed, episode.include)


def layout_seed(split: str, index: int, seed: int = 0) -> int:
    """The seed of the index-th layout of a split; seeds of different splits never meet.

    val_seen alone shares the layouts of train. Raises WorldError for an unknown split.
    """
    if split not in _FIRST_SEED:
        raise WorldError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    return _FIRST_SEED[split] * SEEDS_PER_SPLIT + (seed * 10_000 + index) % SEEDS_PER_SPLIT


def generate_episodes(split: str, count: int, seed: int = 0) -> list[Episode]:
    """Make one-room episodes, one in each layout; the same arguments give the same episodes.

    The robot starts in the target's room, 1.5 to 6 m away from it, with any heading.
    """
    return [episode for episode, _ in zip(_stream(split, seed), range(count), strict=False)]


def write_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes in the JSON form of VLN-CE, gzipped if the path ends in .gz."""
    words = sorted({word for episode in episodes for word in episode.instruction.split()})
    token_of = {word: index + 1 for index, word in enumerate(words)}  # 0 is padding
    text = json.dumps(
        {
            "episodes": [_to_json(episode, token_of) for episode in episodes],
            "instruction_vocab": {"word_list": ["<pad>", *words]},
        }
    )
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text)


def read_episodes(path: Path) -> list[Episode]:
    """Read what write_episodes wrote; raises WorldError naming the file, and the key, if it is something else."""
    data = read_bytes(path, error=WorldError)
    if path.suffix == ".gz":
        try:
            with gzip.open(io.BytesIO(data)) as stream:
                data = stream.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as err:
            raise WorldError(f"{path} is no whole gzip file: {err}") from err
        if len(data) > MOST_BYTES:
            raise WorldError(f"{path} holds more than {MOST_BYTES} bytes of text")
    content = JsonObject(parse_object(data, path, error=WorldError), path, "", WorldError)
    return [_from_json(row) for row in content.objects("episodes")]


def _stream(split: str, seed: int) -> Iterator[Episode]:
    """Yield episodes of successive layouts without end; a layout that offers none is left out."""
    pairs = sorted(held_out_pairs())
    made = 0
    for index in range(SEEDS_PER_SPLIT):
        layout = layout_seed(split, index, seed)
        include = (pairs[index % len(pairs)],) if split == "val_unseen_combo" else ()
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        episode = _episode_in(split, layout, include, rng, f"{split}_{seed}_{made}")
        if episode is not None:
            made += 1
            yield episode


def _episode_in(
    split: str, layout: int, include: tuple[Pair, ...], rng: np.random.Generator, name: str
) -> Episode | None:
    flat = split_flat(layout, include)
    grid = OccupancyGrid(flat)
    targets = [item for item in flat.objects if not include or (item.colour, item.kind) in include]
    for index in rng.permutation(len(targets)):
        episode = _episode_to(split, grid, targets[index], include, rng, name)
        if episode is not None:
            return episode
    return None


def _episode_to(
    split: str,
    grid: OccupancyGrid,
    target: SceneObject,
    include: tuple[Pair, ...],
    rng: np.random.Generator,
    name: str,
) -> Episode | None:
    field = grid.field_to(target)
    in_reach = (field.values_m >= MIN_START_M) & (field.values_m <= MAX_START_M)
    starts = np.argwhere(in_reach & grid.room_cells(grid.flat.room(target.room)))
    if len(starts) == 0:
        return None
    row, column = starts[rng.integers(len(starts))]
    x, y = grid.centre(int(row), int(column))
    return Episode(
        episode_id=name,
        split=split,
        flat_seed=grid.flat.seed,
        include=include,
        room=target.room,
        target=target.name,
        goal_m=(target.x_m, target.y_m),
        start=Pose(x, y, float(rng.uniform(-math.pi, math.pi))),
        instruction=instruction_for(target, rng, split),
        reference_path=tuple(path_points(field, x, y)),
        geodesic_m=field.at(x, y),
    )


def _to_json(episode: Episode, token_of: dict[str, int]) -> dict[str, Any]:
    half_yaw = episode.start.yaw_rad / 2
    return {
        "episode_id": episode.episode_id,
        "trajectory_id": episode.episode_id,
        "scene_id": episode.scene_id,
        "start_position": [episode.start.x_m, episode.start.y_m, 0.0],
        "start_rotation": [0.0, 0.0, math.sin(half_yaw), math.cos(half_yaw)],
        "goals": [{"position": [*episode.goal_m, 0.0], "radius": SUCCESS_RADIUS_M}],
        "reference_path": [[x, y, 0.0] for x, y in episode.reference_path],
        "instruction": {
            "instruction_text": episode.instruction,
            "instruction_tokens": [token_of[word] for word in episode.instruction.split()],
        },
        "info": {
            "geodesic_distance": episode.geodesic_m,
            "split": episode.split,
            "room": episode.room,
            "target": episode.target,
            "include": [list(pair) for pair in episode.include],
        },
    }


def _from_json(row: JsonObject) -> Episode:
    info = row.object("info")
    x, y, _ = row.numbers("start_position", 3)
    _, _, sin_half, cos_half = row.numbers("start_rotation", 4)
    goal = next(row.objects("goals"), None)
    if goal is None:
        raise row.wrong("goals", "a list of at least one goal")
    return Episode(
        episode_id=str(row.need("episode_id")),
        split=info.choice("split", SPLITS),
        flat_seed=_flat_seed(row),
        include=_include(info),
        room=info.text("room"),
        target=info.text("target"),
        goal_m=_on_the_floor(goal, "position"),
        start=Pose(x, y, 2 * math.atan2(sin_half, cos_half)),
        instruction=row.object("instruction").text("instruction_text"),
        reference_path=_path(row),
        geodesic_m=info.number("geodesic_distance"),
    )


def _flat_seed(row: JsonObject) -> int:
    found = re.fullmatch(r"flat/(\d{1,15})", row.text("scene_id"), re.ASCII)
    if found is None:
        raise row.wrong("scene_id", "the name of a flat, flat/NUMBER")
    return int(found[1])


def _include(info: JsonObject) -> tuple[Pair, ...]:
    rows, pairs = info.items("include"), []
    for each in rows.raw:
        pair = rows.texts(each)
        if len(pair) != 2 or pair[0] not in COLOURS or pair[1] not in KINDS:
            raise rows.wrong(each, "a colour and a kind of furniture")
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _path(row: JsonObject) -> tuple[tuple[float, float], ...]:
    points = row.items("reference_path")
    return tuple(_on_the_floor(points, each) for each in points.raw)


def _on_the_floor(place: JsonObject, key: str) -> tuple[float, float]:
    x, y, _ = place.numbers(key, 3)
    return (x, y)
