"""A sheet of ten failures: what the camera saw at the end, the map with the way, and what failures share."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from vila_core.files.writing import written_whole
from vila_core.types import Pose
from vila_sim.environment import FlatEnv
from vila_sim.episodes.splits import SUCCESS_RADIUS_M, Episode
from vila_sim.mujoco.simulator import MapView
from vila_tools.demo.canvas import ACCENT, BACKGROUND, BAD, FAINT, GOOD, INK, font, shortened
from vila_tools.evaluation.episode_run import EpisodeResult

MOST = 10
_COLUMNS, _PICTURE_PX, _MAP_PX, _TEXT_PX, _GAP_PX = 2, 224, 300, 52, 12
_TILE = (_PICTURE_PX + _GAP_PX + _MAP_PX, _PICTURE_PX + _TEXT_PX)
_LINE_PX, _LINE_CHARACTERS = 20, 130
_WAY = (40, 120, 255)


def write_failure_sheet(
    path: Path, results: Sequence[EpisodeResult], episodes: Sequence[Episode], said: Sequence[str]
) -> int:
    """Draw up to ten failures of one policy, of as many kinds as there are, as PNG; returns how many.

    episodes: at least those of the results. said: goes below. Nothing is written where nothing failed.
    """
    chosen = choose_failures(results)
    if not chosen:
        return 0
    by_id = {episode.episode_id: episode for episode in episodes}
    lines = [line for sentence in said for line in textwrap.wrap(sentence, _LINE_CHARACTERS)]
    rows = math.ceil(len(chosen) / _COLUMNS)
    width = _COLUMNS * (_TILE[0] + _GAP_PX) + _GAP_PX
    below = rows * (_TILE[1] + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, below + len(lines) * _LINE_PX + _GAP_PX), BACKGROUND)
    env = FlatEnv()
    try:
        for number, result in enumerate(chosen):
            row, column = divmod(number, _COLUMNS)
            corner = (_GAP_PX + column * (_TILE[0] + _GAP_PX), _GAP_PX + row * (_TILE[1] + _GAP_PX))
            sheet.paste(_tile(env, result, by_id[result.episode_id]), corner)
    finally:
        env.close()
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((_GAP_PX, below + number * _LINE_PX), line, font=font(15), fill=INK)
    with written_whole(path) as made:
        sheet.save(made, format="PNG")
    return len(chosen)


def choose_failures(results: Sequence[EpisodeResult]) -> list[EpisodeResult]:
    """Return up to ten failures: the first of each kind of failure, then the second of each, and so on."""
    kinds: dict[str, list[EpisodeResult]] = {}
    for result in results:
        if not result.metrics.success:
            kinds.setdefault(result.failure, []).append(result)
    turns = itertools.zip_longest(*kinds.values())
    return [result for turn in turns for result in turn if result is not None][:MOST]


def _tile(env: FlatEnv, result: EpisodeResult, episode: Episode) -> Image.Image:
    env.reset(episode, sign=result.sign)
    tile = Image.new("RGB", _TILE, BACKGROUND)
    draw = ImageDraw.Draw(tile)
    draw.text((0, 0), f"“{shortened(episode.instruction, 62)}”", font=font(16), fill=INK)
    ending = f"{result.failure}, {len(result.decision_ms)} decisions"
    left_m = result.metrics.navigation_error_m
    ending += "" if math.isnan(left_m) else f", {left_m:.1f} m left"
    draw.text((0, 24), f"{ending}  ({episode.episode_id})", font=font(14), fill=BAD)
    picture = Image.fromarray(env.look(result.path[-1]))
    tile.paste(picture.resize((_PICTURE_PX, _PICTURE_PX), Image.Resampling.BILINEAR), (0, _TEXT_PX))
    tile.paste(_map(env, result, episode), (_PICTURE_PX + _GAP_PX, _TEXT_PX))
    return tile


def _map(env: FlatEnv, result: EpisodeResult, episode: Episode) -> Image.Image:
    """The map with the way in blue, goals ringed in green, the end as an arrow."""
    fitting = min(_MAP_PX, round(_PICTURE_PX * env.flat.width_m / env.flat.depth_m * 0.95))
    view = env.render_map(fitting)
    picture = Image.fromarray(view.image)
    draw = ImageDraw.Draw(picture)
    for x, y in episode.goal_places:
        u, v = view.pixel(x, y)
        radius = SUCCESS_RADIUS_M * view.pixels_per_m
        draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=GOOD, width=2)
    points = [view.pixel(pose.x_m, pose.y_m) for pose in result.path]
    if len(points) > 1:
        draw.line(points, fill=_WAY, width=2, joint="curve")
    u, v = points[0]
    draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=FAINT)
    draw.polygon(_arrow(view, result.path[-1]), fill=ACCENT, outline=(0, 0, 0))
    return picture


def _arrow(view: MapView, pose: Pose) -> list[tuple[float, float]]:
    corners = []
    for angle, reach_m in ((0.0, 0.45), (2.5, 0.35), (-2.5, 0.35)):
        tip = pose.turned(angle).advanced(reach_m)
        corners.append(view.pixel(tip.x_m, tip.y_m))
    return corners
