"""One decision in one picture: images that were shown, the ten probabilities, and what changes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from vila_core.actions.grammar import SENTENCES
from vila_core.files.writing import written_whole
from vila_core.history.policy import is_blank
from vila_core.types import Visual
from vila_tools.demo.canvas import ACCENT, BACKGROUND, BAD, BAR, FAINT, GOOD, INK, font, shortened
from vila_tools.explain.evidence import FRAME, PICTURE, WORD, Evidence, Occlusion
from vila_tools.explain.subject import Subject, tokens_of
from vila_tools.replay.report import words

WIDTH = 1280
_EDGE, _GAP, _LINE = 24, 12, 20
_THUMBS, _THUMB_TEXT = 8, 44  # images in a row; room for words below each
_MAP_PX, _MAP_HEIGHT, _BARS_PX = 560, 420, 30
_LEAST_MOST = 0.05  # of probability: a map of less is pale
_HOLLOW = (38, 43, 52)


def write_picture(
    path: Path, subject: Subject, whole_tokens: int, found: Sequence[Evidence], covered: Occlusion, text: str
) -> None:
    """Draw it as PNG. whole_tokens: visual tokens of a whole frame; text: the paragraph, which goes below."""
    lines = list(_wrapped(text))
    top = _EDGE + 64
    thumbs = _thumbs_height(subject.visuals)
    middle = top + thumbs + 2 * _GAP
    _, map_px = _map_size(subject.visuals[-1])
    below = middle + max(map_px, len(SENTENCES) * _BARS_PX) + 2 * _EDGE
    changes = [one for one in found if one.kind in (WORD, PICTURE)]
    last = below + (len(changes) + 1) // 2 * _BARS_PX + 2 * _EDGE
    sheet = Image.new("RGB", (WIDTH, last + len(lines) * _LINE + _EDGE), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _head(draw, subject)
    _thumbnails(sheet, draw, subject, whole_tokens, found, top)
    _occluded(sheet, draw, subject.visuals[-1], covered, (_EDGE, middle))
    _bars(draw, subject, (_EDGE + _MAP_PX + 2 * _EDGE, middle))
    _changes(draw, changes, words(subject.answer), below)
    for number, line in enumerate(lines):
        draw.text((_EDGE, last + number * _LINE), line, font=font(15), fill=INK)
    with written_whole(path) as made:
        sheet.save(made, format="PNG")


def _wrapped(text: str) -> Iterator[str]:
    """Cut a text into lines that fit."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font(15).getlength(longer) > WIDTH - 2 * _EDGE:
            yield line
            longer = word
        line = longer
    yield line


def _head(draw: ImageDraw.ImageDraw, subject: Subject) -> None:
    draw.text((_EDGE, _EDGE - 6), f"“{shortened(subject.instruction, 70)}”", font=font(26), fill=INK)
    number = "" if subject.before is None else f", decision {subject.before.number}"
    told = f"at {subject.at_s:.2f} s{number}: {words(subject.reply)}"
    draw.text((WIDTH - _EDGE, _EDGE), told, font=font(20), fill=ACCENT, anchor="ra")
    draw.text(
        (_EDGE, _EDGE + 34), "what was shown, the oldest first; below each, what it loses", font=font(14), fill=FAINT
    )


def _thumb_px() -> int:
    return (WIDTH - 2 * _EDGE - (_THUMBS - 1) * _GAP) // _THUMBS


def _thumb_height(visual: Visual) -> int:
    height, width = visual.frame.image.shape[:2]
    return max(1, round(_thumb_px() * height / width))


def _thumbs_height(visuals: Sequence[Visual]) -> int:
    rows = -(-len(visuals) // _THUMBS)
    return rows * (_thumb_height(visuals[-1]) + _THUMB_TEXT)


def _thumbnails(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    subject: Subject,
    whole_tokens: int,
    found: Sequence[Evidence],
    top: int,
) -> None:
    side, height = _thumb_px(), _thumb_height(subject.visuals[-1])
    without = {one.index: one for one in found if one.kind == FRAME}
    for number, (visual, tokens) in enumerate(
        zip(subject.visuals, tokens_of(subject.visuals, whole_tokens), strict=True)
    ):
        row, column = divmod(number, _THUMBS)
        left, above = _EDGE + column * (side + _GAP), top + row * (height + _THUMB_TEXT)
        picture = Image.fromarray(visual.frame.image).resize((side, height), Image.Resampling.BILINEAR)
        sheet.paste(picture, (left, above))
        draw.rectangle((left, above, left + side - 1, above + height - 1), outline=_HOLLOW)
        several = f" of {len(visual.frames)} averaged" if visual.merged else ""
        draw.text((left, above + height + 2), f"{tokens} tokens{several}", font=font(14), fill=INK)
        if number in without:
            one = without[number]
            draw.text((left, above + height + 20), _effect(one), font=font(14), fill=_colour(one.drop))
        elif all(is_blank(frame) for frame in visual.frames):
            draw.text((left, above + height + 20), "black: nothing seen yet", font=font(14), fill=FAINT)


def _effect(one: Evidence) -> str:
    return f"without: {-one.drop:+.2f}, {words(one.reply)}"


def _colour(drop: float) -> tuple[int, int, int]:
    """What supports the answer is green, what speaks against it red."""
    if abs(drop) < 0.02:
        return FAINT
    return GOOD if drop > 0 else BAD


def _map_size(visual: Visual) -> tuple[int, int]:
    height, width = visual.frame.image.shape[:2]
    scale = min(_MAP_PX / width, _MAP_HEIGHT / height)
    return max(1, round(scale * width)), max(1, round(scale * height))


def _occluded(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, visual: Visual, covered: Occlusion, corner: tuple[int, int]
) -> None:
    """The current image, redder where covering it costs more, bluer where it gains."""
    image = visual.frame.image
    height, width = image.shape[:2]
    most = max(float(np.abs(covered.drops).max()), _LEAST_MOST)
    rows = np.arange(height) * covered.drops.shape[0] // height
    columns = np.arange(width) * covered.drops.shape[1] // width
    share = (covered.drops / most)[np.ix_(rows, columns)][..., None]  # [H, W, 1], -1..1
    tint = np.where(share > 0, np.array([255, 60, 40]), np.array([40, 110, 255]))
    weight = 0.5 * np.abs(share)
    blended = (image * (1 - weight) + tint * weight).astype(np.uint8)
    picture = Image.fromarray(blended).resize(_map_size(visual), Image.Resampling.NEAREST)
    sheet.paste(picture, corner)
    label = f"now; red: covered, the answer loses up to {max(0.0, float(covered.drops.max())):.2f}; blue: it gains"
    draw.text((corner[0], corner[1] - 18), label, font=font(14), fill=FAINT)


def _bars(draw: ImageDraw.ImageDraw, subject: Subject, corner: tuple[int, int]) -> None:
    left, top = corner
    right = WIDTH - _EDGE
    draw.text((left, top - 18), "the ten probabilities", font=font(14), fill=FAINT)
    for index, sentence in enumerate(SENTENCES):
        y, share = top + index * _BARS_PX, subject.now.probabilities[index]
        is_chosen = sentence == subject.reply
        draw.text((left, y + 4), words(sentence), font=font(15), fill=ACCENT if is_chosen else INK)
        begin, end = left + 120, right - 170
        draw.rectangle((begin, y + 5, end, y + _BARS_PX - 9), fill=_HOLLOW)
        draw.rectangle(
            (begin, y + 5, begin + (end - begin) * share, y + _BARS_PX - 9), fill=ACCENT if is_chosen else BAR
        )
        note = "" if subject.allowed[index] else "  ruled out"
        draw.text((end + 8, y + 4), f"{share:.3f}{note}", font=font(14), fill=BAD if note else FAINT)


def _changes(draw: ImageDraw.ImageDraw, changes: Sequence[Evidence], reply: str, top: int) -> None:
    """Words left out and pictures changed, in two columns."""
    draw.text(
        (_EDGE, top - 20),
        f"what “{reply}” loses (green) or gains (red) without a word, or with other pictures",
        font=font(14),
        fill=FAINT,
    )
    rows = (len(changes) + 1) // 2
    half = (WIDTH - 3 * _EDGE) // 2
    for number, one in enumerate(changes):
        column, row = divmod(number, rows)
        left, y = _EDGE + column * (half + _EDGE), top + row * _BARS_PX
        name = f"without “{shortened(one.name, 18)}”" if one.kind == WORD else f"pictures {one.name}"
        draw.text((left, y + 4), name, font=font(15), fill=INK)
        begin, end = left + 230, left + half - 190
        draw.rectangle((begin, y + 5, end, y + _BARS_PX - 9), fill=_HOLLOW)
        draw.rectangle(
            (begin, y + 5, begin + (end - begin) * min(1.0, abs(one.drop)), y + _BARS_PX - 9), fill=_colour(one.drop)
        )
        draw.text((end + 8, y + 4), f"{-one.drop:+.2f}  {words(one.reply)}", font=font(14), fill=FAINT)
