"""One decision in one paragraph: what went in, what came out, what it depends on, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import ModelInfo
from vila_core.history.policy import is_blank
from vila_core.prompts.navigation import navigation_style
from vila_tools.explain.aftermath import aftermath, guard_sentence
from vila_tools.explain.evidence import FRAME, PICTURE, WORD, Evidence, Occlusion
from vila_tools.explain.subject import Subject, tokens_of
from vila_tools.replay.recording import Recording
from vila_tools.replay.report import words

CAUTION = (
    "This is evidence by leaving out, not the model's reason: it shows what the answer depends on, and two things that "
    "say the same hide each other."
)
_LITTLE = 0.02  # of probability: less is told as no change


def paragraph(
    subject: Subject, info: ModelInfo, found: Sequence[Evidence], covered: Occlusion, recording: Recording
) -> str:
    """Return the paragraph."""
    sentences = [
        _shown(subject, info),
        _said(subject),
        guard_sentence(subject),
        *_depends(found, words(subject.answer)),
        _occluded(covered),
        *aftermath(subject, recording),
        CAUTION,
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _shown(subject: Subject, info: ModelInfo) -> str:
    tokens = tokens_of(subject.visuals, info.visual_tokens)
    black = sum(all(is_blank(frame) for frame in visual.frames) for visual in subject.visuals)
    asked = navigation_style(info.prompt_style).form(subject.instruction)
    told = (
        f"At {subject.at_s:.2f} s {info.name} was told “{asked}” and shown {len(tokens)} images, the oldest first, "
        f"with {', '.join(map(str, tokens))} visual tokens"
    )
    return f"{told}; {black} of them black, for it had not seen more." if black else f"{told}."


def _said(subject: Subject) -> str:
    ranked = sorted(zip(subject.now.probabilities, SENTENCES, strict=True), reverse=True)[:3]
    told = ", ".join(f"{words(sentence)} {share:.2f}" for share, sentence in ranked)
    return f"It answered {words(subject.answer)}; the likeliest were {told}."


def _depends(found: Sequence[Evidence], reply: str) -> Iterator[str]:
    for kind, start in ((FRAME, "Of the images"), (WORD, "Of the words")):
        rows = [one for one in found if one.kind == kind]
        if rows:
            yield _most(rows, start, reply)
    rows = [one for one in found if one.kind == PICTURE]
    yield (
        "With all pictures "
        + ", ".join(f"{one.name} it says {words(one.reply)} ({_change(one)})" for one in rows)
        + "."
    )


def _most(rows: Sequence[Evidence], start: str, reply: str) -> str:
    most = max(rows, key=lambda one: one.moved)
    if most.moved < _LITTLE:
        return f"{start} none matters by itself."
    name = f"“{most.name}”" if most.kind == WORD else most.name
    said = words(most.reply)
    answer = "the answer stays" if said == reply else f"the answer is {said}"
    return f"{start} {name} matters most: without it {answer} ({_change(most)})."


def _change(one: Evidence) -> str:
    """By how much the reply is less probable, or more."""
    if abs(one.drop) < _LITTLE:
        return "as probable"
    return f"{-one.drop:+.2f}"


def _occluded(covered: Occlusion) -> str:
    row, column = covered.strongest
    drop = covered.drops[row, column]
    if drop < _LITTLE:
        return "Covering any one patch of the current image changes little."
    rows, columns = covered.drops.shape
    place = _place(row, rows, column, columns)
    return f"Covering the patch at the {place} of the current image costs it most ({-drop:+.2f})."


def _place(row: int, rows: int, column: int, columns: int) -> str:
    down = ("top", "middle", "bottom")[min(2, 3 * row // rows)]
    right = ("left", "centre", "right")[min(2, 3 * column // columns)]
    return f"{down} {right}"
