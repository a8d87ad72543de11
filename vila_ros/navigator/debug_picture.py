"""The picture of a decision for people: what the model saw, what it chose, how sure it was."""

from __future__ import annotations

import cv2
import numpy as np

from vila_core.actions.grammar import SENTENCES
from vila_core.history.policy import is_blank
from vila_core.media.packing import Picture, jpeg_of
from vila_core.types import Decision, Frame

_WIDTH_PX = 640
_TITLE_PX = 28
_TILE_PX, _TILES = 64, 9  # of the older pictures, the newest of them last
_LINE_PX, _SHOWN = 20, 4  # replies, the most probable first
_BAR_PX = 120
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_DARK, _WHITE, _GREY, _GREEN = (24, 24, 24), (240, 240, 240), (150, 150, 150), (60, 200, 90)
_QUALITY = 85


def debug_jpeg(decision: Decision) -> bytes:
    """Return the picture of a decision as JPEG; empty for one that the model was not asked for."""
    if decision.prompt is None or not decision.prompt.visuals:
        return b""
    return jpeg_of(debug_picture(decision), _QUALITY)


def debug_picture(decision: Decision) -> Picture:
    """Draw it, [H, 640, 3] RGB: a title, the newest image, the older ones that were shown, and the best replies."""
    assert decision.prompt is not None
    frames = [frame for visual in decision.prompt.visuals for frame in visual.frames]
    return np.concatenate(
        [_title(decision, len(frames)), _wide(frames[-1].image), _tiles(frames[:-1]), _replies(decision)]
    )


def _title(decision: Decision, shown: int) -> Picture:
    line = np.full((_TITLE_PX, _WIDTH_PX, 3), _DARK, np.uint8)
    reply = decision.reply or f"hold: {decision.hold.name}"
    text = f"{reply}  {decision.probability:.2f}  {decision.latency_ms:.0f} ms, {shown} images"
    return np.asarray(cv2.putText(line, text, (8, 19), _FONT, 0.5, _WHITE, 1, cv2.LINE_AA), np.uint8)


def _wide(image: Picture) -> Picture:
    height, width, _ = image.shape
    size = (_WIDTH_PX, max(32, round(height * _WIDTH_PX / width)))
    way = cv2.INTER_AREA if width > _WIDTH_PX else cv2.INTER_NEAREST  # the very pixels of a small one
    return np.array(cv2.resize(image, size, interpolation=way), np.uint8)


def _tiles(frames: list[Frame]) -> Picture:
    strip = np.full((_TILE_PX + 8, _WIDTH_PX, 3), _DARK, np.uint8)
    step = _WIDTH_PX // _TILES
    for place, frame in enumerate(frames[-_TILES:]):
        if not is_blank(frame):
            tile = cv2.resize(frame.image, (_TILE_PX, _TILE_PX), interpolation=cv2.INTER_AREA)
            strip[4 : 4 + _TILE_PX, place * step + 4 : place * step + 4 + _TILE_PX] = tile
    return strip


def _replies(decision: Decision) -> Picture:
    panel = np.full((_SHOWN * _LINE_PX + 8, _WIDTH_PX, 3), _DARK, np.uint8)
    rows = sorted(zip(decision.probabilities, SENTENCES, strict=False), reverse=True)[:_SHOWN]
    for row, (probability, sentence) in enumerate(rows):
        top = 4 + row * _LINE_PX
        colour = _GREEN if sentence == decision.reply else _GREY
        length = round(_BAR_PX * probability)
        cv2.rectangle(panel, (8, top + 3), (8 + length, top + _LINE_PX - 4), colour, -1)
        text = f"{probability:.3f}  {sentence}"
        cv2.putText(panel, text, (16 + _BAR_PX, top + 15), _FONT, _SIZE, _WHITE, 1, cv2.LINE_AA)
    return panel
