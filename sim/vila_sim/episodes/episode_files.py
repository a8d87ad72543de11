"""Files of episodes, in the JSON form of VLN-CE.

Positions are z-up here (x east, y north), where Habitat's are y-up, and rounded to a millimetre. An episode has a goal
for each thing that is to be visited, in order, and none if what it names is absent.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vila_core.errors import WorldError
from vila_core.files.json_object import JsonObject, parse_object
from vila_core.files.reading import MOST_BYTES, require_file
from vila_core.files.writing import written_whole
from vila_core.types import Pose
from vila_sim.corruptions import CORRUPTIONS
from vila_sim.episodes.episode import SUCCESS_RADIUS_M, Episode, Pair, scene_name
from vila_sim.episodes.splits import SPLITS
from vila_sim.episodes.tasks import DIGITS
from vila_sim.families.table import FAMILIES, PLAIN
from vila_sim.flats.furniture import COLOURS, KINDS
from vila_sim.flats.textures import SIGNS


def write_episodes(path: Path, episodes: Sequence[Episode]) -> None:
    """Write episodes in the JSON form of VLN-CE, gzipped if the path ends in .gz."""
    content = episodes_text(episodes).encode()
    with written_whole(path) as made:
        made.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def episodes_text(episodes: Sequence[Episode]) -> str:
    """Return what write_episodes writes."""
    words = sorted({word for episode in episodes for word in episode.instruction.split()})
    token_of = {word: index + 1 for index, word in enumerate(words)}  # 0 is padding
    return json.dumps(
        {
            "episodes": [_to_json(episode, token_of) for episode in episodes],
            "instruction_vocab": {"word_list": ["<pad>", *words]},
        }
    )


def read_episodes(path: Path) -> list[Episode]:
    """Read what write_episodes wrote; raises WorldError naming the file, and the value that does not fit."""
    require_file(path, error=WorldError)
    content = JsonObject(parse_object(_content(path), path, error=WorldError), path, "", WorldError)
    return [_from_json(row) for row in content.objects("episodes")]


def world_name(flat_seed: int, include: Sequence[Pair] = (), family: str = PLAIN) -> str:
    """Return the name of a flat: flat/12, flat/12?red:chair,blue:bin if it was built to hold these, flat/rich/12."""
    pairs = ",".join(f"{colour}:{kind}" for colour, kind in include)
    return scene_name(flat_seed, family) + (f"?{pairs}" if pairs else "")


def parse_world_name(name: str) -> tuple[int, tuple[Pair, ...], str]:
    """Return the seed of a flat, what it includes and its family. Raises WorldError for what is no name of a flat."""
    found = _WORLD_NAME.fullmatch(name)
    pairs = [] if found is None or not found[3] else [tuple(pair.split(":")) for pair in found[3].split(",")]
    family = PLAIN if found is None or found[1] is None else found[1]
    is_known = family in FAMILIES and all(len(pair) == 2 and pair[0] in COLOURS and pair[1] in KINDS for pair in pairs)
    if found is None or not is_known:
        raise WorldError(
            f"world {name!r}: must be the name of a flat, such as flat/12, flat/12?red:chair or flat/rich/12; colours: "
            f"{', '.join(COLOURS)}; kinds: {', '.join(KINDS)}; families: {', '.join(FAMILIES)}"
        )
    return int(found[2]), tuple((colour, kind) for colour, kind in pairs), family


_SCENE = r"flat/(?:([a-z_]+)/)?(\d{1,15})"
_WORLD_NAME = re.compile(_SCENE + r"(?:\?(\w+:\w+(?:,\w+:\w+)*))?", re.ASCII)


def _content(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise WorldError(f"{path} cannot be read: {err}") from err
    if len(data) > MOST_BYTES:
        raise WorldError(f"{path} holds more than the {MOST_BYTES} bytes that such a file may have")
    return bytes(data)


def _to_json(episode: Episode, token_of: dict[str, int]) -> dict[str, Any]:
    half_yaw = episode.start.yaw_rad / 2
    return {
        "episode_id": episode.episode_id,
        "trajectory_id": episode.episode_id,
        "scene_id": episode.scene_id,
        "start_position": _point(episode.start.x_m, episode.start.y_m),
        "start_rotation": [0.0, 0.0, round(math.sin(half_yaw), 8), round(math.cos(half_yaw), 8)],
        "goals": [{"position": _point(*place), "radius": SUCCESS_RADIUS_M} for place in episode.goal_places],
        "reference_path": [_point(x, y) for x, y in episode.reference_path],
        "instruction": {
            "instruction_text": episode.instruction,
            "instruction_tokens": [token_of[word] for word in episode.instruction.split()],
        },
        "info": {
            "geodesic_distance": round(episode.geodesic_m, DIGITS),
            "split": episode.split,
            "room": episode.room,
            "target": episode.target,
            "include": [list(pair) for pair in episode.include],
            **_special(episode),
        },
    }


def _special(episode: Episode) -> dict[str, Any]:
    """What most episodes have not."""
    values = {"via": episode.via, "sign": episode.sign, "corruption": episode.corruption}
    told: dict[str, Any] = {name: value for name, value in values.items() if value}
    return told if episode.absent is None else {**told, "absent": list(episode.absent)}


def _point(x_m: float, y_m: float) -> list[float]:
    return [round(x_m, DIGITS), round(y_m, DIGITS), 0.0]


def _from_json(row: JsonObject) -> Episode:
    info = row.object("info")
    x, y, _ = row.numbers("start_position", 3)
    _, _, sin_half, cos_half = row.numbers("start_rotation", 4)
    flat_seed, family = _scene(row)
    absent = _pair(info, "absent") if info.has("absent") else None
    via = info.text("via", "")
    count = 0 if absent is not None else 1 + bool(via)
    goals = [_on_the_floor(goal, "position") for goal in row.objects("goals")]
    if len(goals) != count:
        raise row.wrong("goals", f"a list of {count} goals")
    return Episode(
        episode_id=str(row.need("episode_id")),
        split=info.choice("split", SPLITS),
        flat_seed=flat_seed,
        include=_include(info),
        room=info.text("room"),
        target=info.text("target"),
        goal_m=goals[-1] if goals else (x, y),
        start=Pose(x, y, 2 * math.atan2(sin_half, cos_half)),
        instruction=row.object("instruction").text("instruction_text"),
        reference_path=_path(row),
        geodesic_m=info.number("geodesic_distance"),
        via=via,
        via_m=goals[0] if via else (0.0, 0.0),
        absent=absent,
        sign=info.choice("sign", ("", *SIGNS), ""),
        corruption=info.choice("corruption", ("", *CORRUPTIONS), ""),
        family=family,
    )


def _scene(row: JsonObject) -> tuple[int, str]:
    """The seed and the family of the flat."""
    found = re.fullmatch(_SCENE, row.text("scene_id"), re.ASCII)
    if found is None or (found[1] or PLAIN) not in FAMILIES:
        raise row.wrong("scene_id", f"the name of a flat, flat/NUMBER or flat/FAMILY/NUMBER of {', '.join(FAMILIES)}")
    return int(found[2]), found[1] or PLAIN


def _include(info: JsonObject) -> tuple[Pair, ...]:
    rows = info.items("include")
    return tuple(_pair(rows, each) for each in rows.raw)


def _pair(owner: JsonObject, key: str) -> Pair:
    pair = owner.texts(key)
    if len(pair) != 2 or pair[0] not in COLOURS or pair[1] not in KINDS:
        raise owner.wrong(key, "a colour and a kind of furniture")
    return pair[0], pair[1]


def _path(row: JsonObject) -> tuple[tuple[float, float], ...]:
    points = row.items("reference_path")
    return tuple(_on_the_floor(points, each) for each in points.raw)


def _on_the_floor(place: JsonObject, key: str) -> tuple[float, float]:
    x, y, _ = place.numbers(key, 3)
    return (x, y)
