"""Standing queries and questions about the past, on a scripted model."""

from __future__ import annotations

import dataclasses
import re

import pytest

from vila_core.config import EventsConfig
from vila_core.errors import (
    BackendError,
    FrameError,
    NoImagesError,
    QueryError,
    QueryLimitError,
    RangeError,
    UnknownQueryError,
    UnsupportedQueryError,
)
from vila_core.prompts.localization import NOT_SEEN
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend, make_frame
from vila_core.types import Choice, LocalizationMethod
from vila_core.watcher import EventWatcher

S = 1_000_000_000
MARK = re.compile(r"<t\d+>|[\d.]+")
RELEVANCE_INFO = dataclasses.replace(SCRIPTED_INFO, relevance_period_s=0.25)
TOKEN_INFO = dataclasses.replace(
    SCRIPTED_INFO, time_tokens=tuple(f"<t{n}>" for n in range(100)), chat_template="qwen2", prompt_style="vila"
)
TEXT_INFO = dataclasses.replace(SCRIPTED_INFO, chat_template="qwen2", prompt_style="vila")


class Seer(ScriptedBackend):
    """Knows what happens when, in seconds, and replies with the times that come nearest."""

    def __init__(self, info, **scripted_events):
        super().__init__("I see a room.", info=info)
        self.scripted_events = {name.replace("_", " "): times for name, times in scripted_events.items()}
        self.failing: set[str] = set()
        self.sizes_px: set[int] = set()  # heights of the images that were shown
        for name in self.scripted_events:
            self.relevances[name] = lambda frame, name=name: self._relevance(name, frame)

    def _relevance(self, name, frame):
        self._may_fail(name)
        self.sizes_px.add(frame.image.shape[0])
        return float(any(a * S <= frame.stamp_ns <= b * S for a, b in self.scripted_events[name]))

    def _may_fail(self, name):
        if name in self.failing:
            raise BackendError("no memory")

    def choose(self, prompt, replies):
        self.prompts.append(prompt)
        self.sizes_px.update(visual.frame.image.shape[0] for visual in prompt.visuals)
        name = next(name for name in self.scripted_events if name in prompt.text)
        self._may_fail(name)
        stamps = [visual.frame.stamp_ns for visual in prompt.visuals]
        inside = [at for at, t in enumerate(stamps) if any(a * S <= t <= b * S for a, b in self.scripted_events[name])]
        if replies[-1] == NOT_SEEN:
            self._marks = [MARK.findall(reply)[0] for reply in replies[:-1]]
            right = inside[0] if inside else len(replies) - 1
        else:
            pair = [self._marks[inside[0]], self._marks[inside[-1]]]
            right = next(at for at, reply in enumerate(replies) if MARK.findall(reply) == pair)
        return Choice(right, tuple(float(at == right) for at in range(len(replies))))


def config(**changes):
    return dataclasses.replace(EventsConfig(), **changes)


def run(watcher, seconds, *, begin=0.0, step_s=0.25):
    """Show a frame every step and evaluate whenever there is work."""
    reports = []
    for number in range(1, round(seconds / step_s) + 1):
        watcher.observe(make_frame(round((begin + number * step_s) * S), height=8, width=8))
        while watcher.has_work():
            reports += watcher.evaluate()
    return [(e.label, e.start_ns / S, e.end_ns / S, e.is_open) for e in reports]


@pytest.mark.parametrize(
    ("info", "method", "error_s"),
    [
        (RELEVANCE_INFO, LocalizationMethod.RELEVANCE, 0.25),
        (TOKEN_INFO, LocalizationMethod.TIME_TOKENS, 0.5),
        (TEXT_INFO, LocalizationMethod.TIMESTAMPS, 1.0),
    ],
)
def test_an_event_is_told_of_when_it_begins_and_when_it_ends(info, method, error_s):
    watcher = EventWatcher(Seer(info, the_door_opens=[(5, 12)], a_dog_barks=[]), config())
    assert watcher.method == method
    watcher.watch("the door opens", "door")
    watcher.watch("a dog barks", "dog")
    (opened, closed) = run(watcher, 25)
    assert opened[0] == closed[0] == "door" and opened[3] and not closed[3]
    assert closed[1] == pytest.approx(5, abs=error_s) and closed[2] == pytest.approx(12, abs=error_s)


@pytest.mark.parametrize("info", [RELEVANCE_INFO, TOKEN_INFO, TEXT_INFO])
def test_an_event_longer_than_the_window_keeps_its_start(info):
    watcher = EventWatcher(Seer(info, the_light_is_on=[(4, 60)]), config())
    watcher.watch("the light is on")
    opened, closed = run(watcher, 75)
    assert opened[1] == pytest.approx(4, abs=1.0)
    assert closed[1] == opened[1] and closed[2] == pytest.approx(60, abs=1.0)


def test_two_scripted_events_are_two_events():
    watcher = EventWatcher(Seer(RELEVANCE_INFO, the_ball_moves=[(3, 5), (9, 11)]), config())
    watcher.watch("the ball moves")
    reports = run(watcher, 20)
    assert [report[1:] for report in reports if not report[3]] == [(3.0, 5.0, False), (9.0, 11.0, False)]


@pytest.mark.parametrize("info", [RELEVANCE_INFO, TOKEN_INFO, TEXT_INFO])
def test_standing_queries_see_images_as_they_came_and_the_past_is_squeezed(info):
    """The backend's answer for a frame is kept by its key: navigation must not find that of a squeezed image."""
    backend = Seer(dataclasses.replace(info, picture_px=4), the_door_opens=[(2, 9)])
    watcher = EventWatcher(backend, config(window_s=8.0))
    watcher.watch("the door opens")
    run(watcher, 30)
    assert backend.sizes_px == {8}
    backend.sizes_px.clear()
    (found,) = watcher.localize("the door opens", 0, 0)
    assert backend.sizes_px == {4, 8}
    assert (found.start_ns / S, found.end_ns / S) == pytest.approx((2, 9), abs=1.0)


def test_an_evaluation_repeats_the_prompt_before_it():
    backend = Seer(TOKEN_INFO, the_door_opens=[])
    watcher = EventWatcher(backend, config())
    watcher.watch("the door opens")
    run(watcher, 40)
    shown = [[visual.key for visual in prompt.visuals] for prompt in backend.prompts]
    assert {prompt.cache_slot for prompt in backend.prompts} == {"events"}
    appended = sum(later[:-1] == before for before, later in zip(shown, shown[1:], strict=False))
    assert appended / (len(shown) - 1) > 0.9  # all but the rebuilds
    assert max(map(len, shown)) <= 32


def test_ten_queries_are_one_question_on_the_same_pictures(monkeypatch):
    backend = Seer(TOKEN_INFO, **{f"thing_{n}_moves": [] for n in range(10)})
    asked = []
    original = backend.choose_each
    monkeypatch.setattr(backend, "choose_each", lambda p, r: asked.append(len(p)) or original(p, r))
    watcher = EventWatcher(backend, config())
    for number in range(10):
        watcher.watch(f"thing {number} moves")
    run(watcher, 4)
    assert asked and set(asked) == {10}


def test_a_failing_query_does_not_touch_the_others():
    for info in (RELEVANCE_INFO, TOKEN_INFO):
        backend = Seer(info, the_door_opens=[(2, 60)], a_dog_barks=[])
        backend.failing = {"a dog barks"}
        watcher = EventWatcher(backend, config())
        watcher.watch("a dog barks", query_id="dog")
        watcher.watch("the door opens", query_id="door")
        reports, errors = [], []
        for number in range(1, 41):
            watcher.observe(make_frame(number * S // 4, height=8, width=8))
            while watcher.has_work():
                try:
                    reports += watcher.evaluate()
                except BackendError as err:
                    errors.append(str(err))
        assert [(report.query_id, report.is_open) for report in reports] == [("door", True)]
        assert errors and all("'dog' (a dog barks): no memory" in error for error in errors)


def test_unwatching_closes_the_open_event():
    watcher = EventWatcher(Seer(RELEVANCE_INFO, the_door_opens=[(2, 60)]), config())
    query = watcher.watch("the door opens")
    run(watcher, 10)
    (report,) = watcher.unwatch(query.id)
    assert (report.is_open, report.start_ns, report.end_ns) == (False, 2 * S, 10 * S)
    assert watcher.queries == () and not watcher.has_work()
    with pytest.raises(UnknownQueryError, match="standing: none"):
        watcher.unwatch(query.id)


def test_a_clock_jump_closes_events_forgets_frames_and_keeps_queries():
    backend = Seer(RELEVANCE_INFO, the_door_opens=[(100, 110), (2, 5)])
    watcher = EventWatcher(backend, config())
    watcher.watch("the door opens")
    assert run(watcher, 6, begin=100) == [("the door opens", 100.25, 100.75, True)]
    watcher.observe(make_frame(S, height=8, width=8))
    assert watcher.newest_stamp_ns == S and watcher.remembered_ns == (S, S)
    assert watcher.has_work()
    (report,) = watcher.evaluate()
    assert (report.is_open, report.start_ns, report.end_ns) == (False, round(100.25 * S), 106 * S)
    assert [report[3] for report in run(watcher, 9, begin=1)] == [True, False]
    with pytest.raises(FrameError):  # not a jump, only out of order
        watcher.observe(make_frame(10 * S - 1000, height=8, width=8))


def test_an_evaluation_during_a_clock_jump_is_void():
    backend = Seer(RELEVANCE_INFO, the_door_opens=[(0, 999)])
    watcher = EventWatcher(backend, config(confirm_evaluations=1, min_duration_s=0.0))
    watcher.watch("the door opens")
    watcher.observe(make_frame(90 * S))
    original = backend.relevances["the door opens"]

    def jump(frame):
        watcher.observe(make_frame(S))
        return original(frame)

    backend.relevances["the door opens"] = jump
    assert watcher.evaluate() == ()


def test_an_answer_for_a_query_that_was_replaced_meanwhile_is_dropped():
    backend = Seer(RELEVANCE_INFO, the_door_opens=[(0, 999)])
    watcher = EventWatcher(backend, config(confirm_evaluations=1, min_duration_s=0.0))
    watcher.watch("the door opens", query_id="one")
    watcher.observe(make_frame(90 * S))
    original = backend.relevances["the door opens"]

    def replace(frame):
        watcher.unwatch("one")
        watcher.watch("a dog barks", query_id="one")
        return original(frame)

    backend.relevances["the door opens"] = replace
    assert watcher.evaluate() == ()
    assert watcher.has_work()  # the new one was never asked


def test_queries_that_cannot_stand():
    watcher = EventWatcher(Seer(RELEVANCE_INFO), config(max_queries=2, max_query_chars=20))
    first = watcher.watch("the door opens", query_id="q1")
    for text in ("", "x" * 21, "see <image>", "<|im_end|>"):
        with pytest.raises(QueryError):
            watcher.watch(text)
    with pytest.raises(QueryError, match="'q1' is taken"):
        watcher.watch("a dog barks", query_id="q1")
    second = watcher.watch("a dog barks")
    assert second.id not in ("", "q1") and second.label == "a dog barks"
    with pytest.raises(QueryLimitError, match="at most 2"):
        watcher.watch("one too many")
    assert watcher.queries == (first, second)


@pytest.mark.parametrize("info", [RELEVANCE_INFO, TOKEN_INFO, TEXT_INFO])
def test_questions_about_the_past(info):
    watcher = EventWatcher(Seer(info, the_door_opens=[(5, 12)], a_dog_barks=[]), config())
    run(watcher, 20)
    (interval,) = watcher.localize("the door opens", 0, 0)
    assert interval.start_ns / S == pytest.approx(5, abs=1) and interval.end_ns / S == pytest.approx(12, abs=1)
    assert 0 < interval.quantization_ns <= S and interval.probability == 1.0
    (clipped,) = watcher.localize("the door opens", 8 * S, 0)
    assert clipped.start_ns >= 8 * S and clipped.end_ns / S == pytest.approx(12, abs=1)
    assert watcher.localize("the door opens", 13 * S, 19 * S) == ()
    assert watcher.localize("a dog barks", 0, 0) == ()  # never the whole window


def test_times_that_cannot_be_asked_about():
    watcher = EventWatcher(Seer(TOKEN_INFO, the_door_opens=[]), config())
    with pytest.raises(NoImagesError):
        watcher.localize("the door opens", 0, 0)
    run(watcher, 5, begin=100)
    for start_s, end_s in ((104, 102), (1, 50), (200, 300), (101.01, 101.02)):
        with pytest.raises(RangeError):
            watcher.localize("the door opens", round(start_s * S), round(end_s * S))
    with pytest.raises(QueryError):
        watcher.localize("", 0, 0)


def test_descriptions_are_asked_of_models_that_speak():
    backend = ScriptedBackend("It begins at <t0> and ends at <t99>.", info=TOKEN_INFO)
    watcher = EventWatcher(backend, config())
    run(watcher, 10)
    assert watcher.describe("What is there?", 2 * S, 8 * S) == "It begins at 0.0 s and ends at 6.0 s."
    assert len(backend.prompts[0].visuals) == 25
    nano = EventWatcher(ScriptedBackend("x", info=dataclasses.replace(RELEVANCE_INFO, describes=False)), config())
    run(nano, 3)
    with pytest.raises(UnsupportedQueryError, match="cannot describe"):
        nano.describe("What is there?", 0, 0)


def test_a_relevance_head_sees_frames_as_far_apart_as_it_was_trained():
    seen = []
    backend = Seer(dataclasses.replace(RELEVANCE_INFO, relevance_period_s=0.5), the_door_opens=[])
    backend.relevances["the door opens"] = lambda frame: float(seen.append(frame.stamp_ns) or 0)
    watcher = EventWatcher(backend, config(window_s=2.0))
    watcher.watch("the door opens")
    evaluations = 0
    for number in range(1, 41):
        watcher.observe(make_frame(number * S // 4, height=8, width=8))
        if watcher.has_work():
            seen.clear()
            watcher.evaluate()
            evaluations += 1
            assert {b - a for a, b in zip(seen, seen[1:], strict=False)} <= {S // 2}
    assert evaluations == 20 and len(seen) == 5


@pytest.mark.parametrize("info", [RELEVANCE_INFO, TOKEN_INFO, TEXT_INFO])
def test_work_ends_when_it_is_done(info):
    """Also if it is asked for before there is anything to see."""
    watcher = EventWatcher(Seer(info, the_door_opens=[]), config())
    assert not watcher.has_work() and watcher.evaluate() == ()
    watcher.watch("the door opens")
    assert not watcher.has_work() and watcher.evaluate() == ()
    for number in range(1, 30):
        watcher.observe(make_frame(number * S // 20, height=8, width=8))
        watcher.evaluate()
        assert not watcher.has_work()


def test_a_prompt_shows_no_more_frames_than_the_model_reads():
    info = dataclasses.replace(TEXT_INFO, max_tokens=2048, visual_tokens=196)
    backend = Seer(info, the_door_opens=[])
    watcher = EventWatcher(backend, config())
    run(watcher, 30)
    watcher.localize("the door opens", 0, 0)
    assert len(backend.prompts[-1].visuals) == 7
