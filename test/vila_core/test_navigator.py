"""The navigator with a scripted model: it decides, or it says why it holds."""

import dataclasses
import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.errors import BackendError, CheckpointError, ConfigError, FrameError, InstructionError
from vila_core.navigator import Navigator
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend, make_frame
from vila_core.types import Choice, Frame, HoldReason, Instruction, Odometry, Pose, Vocabulary

S = 1_000_000_000
FORWARD = SENTENCES[2]
NAVILA = HistoryConfig()


def make_navigator(*script, info=SCRIPTED_INFO, clock=None, probability=1.0, history=NAVILA, **config):
    backend = ScriptedBackend(*(script or (FORWARD,)), info=info, probability=probability)
    navigator = Navigator(backend, NavigatorConfig(**config), history, clock)
    navigator.start(Instruction("go to the red chair"))
    return navigator, backend


def show(navigator, stamp_ns, pose=None, **frame):
    odometry = None if pose is None else Odometry(stamp_ns, pose)
    navigator.observe(make_frame(stamp_ns, **frame), odometry)


def test_decides():
    navigator, backend = make_navigator(probability=0.91)
    show(navigator, S, Pose())
    decision = navigator.decide(S + S // 10)
    assert decision.action == ACTIONS[2] and decision.reply == FORWARD
    assert decision.hold is HoldReason.NONE and decision.stamp_ns == S
    assert decision.probability == pytest.approx(0.91) and sum(decision.probabilities) == pytest.approx(1.0)
    assert decision.frames_used == (S,)
    prompt = backend.prompts[0]
    assert 'Your assigned task is: "Go to the red chair"' in prompt.text
    assert [v.frame.camera for v in prompt.visuals] == ["blank"] * 7 + ["camera"]
    assert prompt.visuals[0].frame.image.shape == prompt.visuals[-1].frame.image.shape
    assert not prompt.visuals[0].frame.image.any()


def test_history_goes_into_the_prompt_with_its_token_plan():
    info = dataclasses.replace(SCRIPTED_INFO, num_frames=4, history_tokens=4, prompt_style="nano", chat_template="nano")
    navigator, backend = make_navigator(info=info)
    for i in range(10):
        show(navigator, (i + 1) * S, Pose(x_m=0.25 * i))
    navigator.observe(make_frame(11 * S), Odometry(11 * S, Pose(x_m=0.25 * 9 + 0.1)))
    assert navigator.history_frames == 11 and navigator.newest_stamp_ns == 11 * S
    assert navigator.decide(11 * S).frames_used == tuple(s * S for s in (1, 4, 7, 11))
    assert [v.tokens for v in backend.prompts[0].visuals] == [4, 4, 4, None]
    assert backend.prompts[0].text == "<s>Task: go to the red chair\nSeen:<image><image><image>\nNow:<image>\nAct: "


VOCABULARY = Vocabulary("go to the {thing}", (("red", ()), ("blue", ())), (("chair", ()), ("sofa", ("couch",))))
KNOWS = dataclasses.replace(SCRIPTED_INFO, prompt_style="nano", chat_template="nano", vocabulary=VOCABULARY)


def asked(backend):
    return [prompt.text.split("\n")[0].removeprefix("<s>Task: ") for prompt in backend.prompts]


def test_a_stop_begins_the_next_step_and_the_last_one_is_the_stop():
    navigator, backend = make_navigator(FORWARD, SENTENCES[0], FORWARD, SENTENCES[0], info=KNOWS)
    navigator.start(Instruction("Please drive to the red chair, then to the blue couch"))
    decisions = []
    for second in (1, 2, 3):
        show(navigator, second * S, Pose(x_m=0.75 * second))
        decisions.append(navigator.decide(second * S))
    assert asked(backend) == ["go to the red chair"] * 2 + ["go to the blue sofa"] * 2
    assert [(decision.action, decision.step) for decision in decisions] == [
        (ACTIONS[2], 0),
        (ACTIONS[2], 1),
        (ACTIONS[0], 1),
    ]
    assert [decision.finished for decision in decisions] == [(), (1.0,), ()]
    assert decisions[1].detail == "step 2 of 2, told as 'go to the blue sofa'"
    assert decisions[1].frames_used == (2 * S,) and navigator.instruction.text.startswith("Please")


def test_what_the_model_does_not_know_is_refused_unless_it_is_to_be_told_verbatim():
    navigator, backend = make_navigator(info=KNOWS)
    with pytest.raises(InstructionError, match=r"it knows 2 kinds of things \(chair, sofa\) in red, blue"):
        navigator.start(Instruction("go to the purple elephant"))
    assert navigator.instruction.text == "go to the red chair"
    navigator, backend = make_navigator(info=KNOWS, wording="verbatim")
    navigator.start(Instruction("Go to the purple elephant"))
    show(navigator, S, Pose())
    assert navigator.decide(S).detail == "" and asked(backend) == ["go to the purple elephant"]


def test_a_step_is_not_begun_for_an_instruction_that_has_ended():
    navigator, backend = make_navigator(SENTENCES[0], info=KNOWS)
    choose = backend.choose

    def replaced(prompt, replies):
        navigator.start(Instruction("go to the sofa, then to the red chair"))
        show(navigator, 2 * S)
        return choose(prompt, replies)

    backend.choose = replaced
    navigator.start(Instruction("go to the red chair, then to the sofa"))
    show(navigator, S)
    assert navigator.decide(S).hold is HoldReason.NO_INSTRUCTION
    backend.choose = choose
    navigator.decide(2 * S)
    assert asked(backend) == ["go to the red chair", "go to the sofa", "go to the red chair"]


def test_a_loop_on_the_spot_is_broken_unless_told_otherwise():
    left, right = SENTENCES[6], SENTENCES[9]
    for avoid_repeats in (True, False):
        navigator, _ = make_navigator(left, right, left, right, probability=0.6, avoid_repeats=avoid_repeats)
        for second in range(1, 5):
            show(navigator, second * S, Pose())
            decision = navigator.decide(second * S)
        assert (decision.action == ACTIONS[9]) is not avoid_repeats
        assert bool(decision.detail) is avoid_repeats


def test_start_forgets_and_stop_holds():
    navigator, _ = make_navigator()
    show(navigator, S)
    navigator.start(Instruction("turn around"))
    assert navigator.history_frames == 0 and navigator.newest_stamp_ns is None
    assert navigator.decide(S).hold is HoldReason.NO_IMAGE
    show(navigator, S)
    assert navigator.decide(S).action is not None
    navigator.stop()
    assert navigator.decide(S).hold is HoldReason.NO_INSTRUCTION and navigator.instruction is None


@pytest.mark.parametrize("text", ["", "x" * 600, "find the <image>", "a\x00b"])
def test_a_bad_instruction_changes_nothing(text):
    navigator, _ = make_navigator()
    show(navigator, S)
    with pytest.raises(InstructionError):
        navigator.start(Instruction(text))
    assert navigator.instruction.text == "go to the red chair" and navigator.history_frames == 1


def assert_holds(navigator, backend, now_ns, reason, calls=0):
    decision = navigator.decide(now_ns)
    assert decision.action is None and decision.hold is reason
    assert len(backend.prompts) == calls
    return decision


def test_holds_without_instruction():
    backend = ScriptedBackend(FORWARD)
    navigator = Navigator(backend, NavigatorConfig(), HistoryConfig())
    show(navigator, S)
    assert_holds(navigator, backend, S, HoldReason.NO_INSTRUCTION)


def test_holds_without_image():
    assert_holds(*make_navigator(), S, HoldReason.NO_IMAGE)


@pytest.mark.parametrize(("age_s", "holds"), [(0.0, False), (0.49, False), (0.51, True), (100.0, True)])
def test_holds_on_a_stale_image(age_s, holds):
    navigator, backend = make_navigator()
    show(navigator, S)
    now_ns = S + round(age_s * S)
    if holds:
        decision = assert_holds(navigator, backend, now_ns, HoldReason.STALE_IMAGE)
        assert f"{age_s:.2f} s old" in decision.detail and decision.stamp_ns == S
    else:
        assert navigator.decide(now_ns).action is not None


@pytest.mark.parametrize(("ahead_s", "holds"), [(0.05, False), (0.2, True)])
def test_holds_on_a_frame_from_the_future(ahead_s, holds):
    navigator, backend = make_navigator()
    show(navigator, S + round(ahead_s * S))
    assert (navigator.decide(S).hold is HoldReason.CLOCK_JUMP) is holds
    assert len(backend.prompts) == (not holds)


def test_holds_when_the_camera_stamps_go_back_until_the_next_start():
    navigator, backend = make_navigator()
    show(navigator, 10 * S)
    show(navigator, 2 * S)
    assert navigator.history_frames == 1 and navigator.newest_stamp_ns == 2 * S
    assert "went back" in assert_holds(navigator, backend, 2 * S, HoldReason.CLOCK_JUMP).detail
    show(navigator, 3 * S)
    assert_holds(navigator, backend, 3 * S, HoldReason.CLOCK_JUMP)
    navigator.start(Instruction("go on"))
    show(navigator, 4 * S)
    assert navigator.decide(4 * S).action is not None


def test_holds_when_time_goes_back():
    navigator, backend = make_navigator()
    show(navigator, 10 * S)
    navigator.decide(10 * S)
    assert_holds(navigator, backend, 9 * S, HoldReason.CLOCK_JUMP, calls=1)
    assert navigator.history_frames == 0


@pytest.mark.parametrize("stamp_ns", [S, S - S // 100])
def test_a_repeated_or_reordered_frame_is_refused(stamp_ns):
    navigator, _ = make_navigator()
    show(navigator, S)
    with pytest.raises(FrameError, match="not after"):
        show(navigator, stamp_ns)
    assert navigator.decide(S).action is not None


def test_a_bad_image_is_refused():
    navigator, _ = make_navigator()
    with pytest.raises(FrameError):
        navigator.observe(Frame(np.zeros((4, 4), np.uint8), S), None)
    assert navigator.decide(S).hold is HoldReason.NO_IMAGE


def run_frames(navigator, count, *, seed=None, step_m=0.0, step_rad=0.0, start=0):
    for i in range(start, start + count):
        show(navigator, (i + 1) * S // 10, Pose(x_m=step_m * i, yaw_rad=step_rad * i), seed=seed)
    return navigator.decide((start + count) * S // 10)


@pytest.mark.parametrize(("step_m", "step_rad"), [(0.03, 0.0), (0.0, math.radians(3)), (0.011, 0.0)])
def test_holds_on_a_frozen_camera_while_the_robot_moves(step_m, step_rad):
    navigator, _ = make_navigator()
    decision = run_frames(navigator, 60, seed=7, step_m=step_m, step_rad=step_rad)
    assert decision.hold is HoldReason.FROZEN_IMAGE


def test_identical_images_of_a_robot_that_stands_still_are_no_fault():
    navigator, _ = make_navigator()
    assert run_frames(navigator, 100, seed=7).action is not None


def test_changing_images_are_no_fault():
    navigator, _ = make_navigator()
    assert run_frames(navigator, 100, step_m=0.05).action is not None


def test_a_camera_that_comes_back_is_used_again():
    navigator, _ = make_navigator()
    assert run_frames(navigator, 40, seed=7, step_m=0.05).hold is HoldReason.FROZEN_IMAGE
    assert run_frames(navigator, 3, step_m=0.05, start=40).hold is HoldReason.FROZEN_IMAGE
    assert run_frames(navigator, 1, step_m=0.05, start=43).action is not None


def test_a_camera_of_which_nothing_is_asked_may_stand_still():
    navigator, _ = make_navigator(watch_camera=False)
    assert run_frames(navigator, 40, seed=7, step_m=0.05).action is not None


def test_a_new_mission_gives_the_camera_another_chance():
    navigator, _ = make_navigator()
    assert run_frames(navigator, 40, seed=7, step_m=0.05).hold is HoldReason.FROZEN_IMAGE
    navigator.start(Instruction("turn around"))
    assert navigator.camera_fault is None
    assert run_frames(navigator, 1, seed=7, step_m=0.05, start=40).hold is HoldReason.REPEATED_IMAGE


@pytest.mark.parametrize("error", [BackendError("out of memory"), CheckpointError("gone")])
def test_holds_on_a_backend_error_and_recovers(error):
    navigator, backend = make_navigator(error, FORWARD)
    show(navigator, S)
    assert str(error) in assert_holds(navigator, backend, S, HoldReason.BACKEND_ERROR, calls=1).detail
    assert navigator.decide(S).action is not None


@pytest.mark.parametrize(
    "choice",
    [Choice(10, (0.1,) * 10), Choice(-1, (0.1,) * 10), Choice(0, (1.0,)), Choice(0, (math.nan,) * 10)],
)
def test_holds_on_unusable_scores(choice):
    navigator, backend = make_navigator(choice)
    show(navigator, S)
    assert_holds(navigator, backend, S, HoldReason.BACKEND_ERROR, calls=1)


OPEN_INFO = dataclasses.replace(SCRIPTED_INFO, prompt_style="vila")


def test_an_open_model_is_asked_for_text():
    navigator, backend = make_navigator(SENTENCES[4], info=OPEN_INFO, min_probability=0.5)
    show(navigator, S)
    decision = navigator.decide(S)
    assert decision.action == ACTIONS[4] and decision.probabilities == ()
    assert SENTENCES[9] in backend.prompts[0].text


@pytest.mark.parametrize("reply", ["", "stop", "move forward 75 cm", "The next action is move forward 1000 cm."])
def test_holds_on_a_reply_that_is_no_sentence(reply):
    navigator, backend = make_navigator(reply, info=OPEN_INFO)
    show(navigator, S)
    assert_holds(navigator, backend, S, HoldReason.UNPARSEABLE_REPLY, calls=1)


@given(st.text(max_size=60))
def test_no_text_moves_the_robot_unless_it_is_a_sentence(reply):
    navigator, _ = make_navigator(reply, info=OPEN_INFO)
    show(navigator, S, height=2, width=2)
    decision = navigator.decide(S)
    assert decision.action is None and decision.hold is HoldReason.UNPARSEABLE_REPLY


@pytest.mark.parametrize(
    ("info", "reply", "scored"),
    [
        (SCRIPTED_INFO, "auto", True),
        (SCRIPTED_INFO, "choice", True),
        (SCRIPTED_INFO, "free", False),
        (OPEN_INFO, "auto", False),
        (OPEN_INFO, "choice", True),
        (OPEN_INFO, "free", False),
    ],
)
def test_how_the_reply_is_asked_for(info, reply, scored):
    navigator, backend = make_navigator(SENTENCES[4], info=info, reply=reply)
    show(navigator, S)
    decision = navigator.decide(S)
    assert decision.action == ACTIONS[4] and bool(decision.probabilities) is scored
    assert (SENTENCES[9] in backend.prompts[0].text) is (info is OPEN_INFO)


def test_an_unknown_way_to_reply_is_refused():
    with pytest.raises(ConfigError, match="'guess': must be one of auto, choice, free"):
        NavigatorConfig(reply="guess")


@pytest.mark.parametrize(("done_s", "reason"), [(3.0, HoldReason.NONE), (6.0, HoldReason.LATE_DECISION)])
def test_holds_on_a_late_decision(done_s, reason):
    navigator, _ = make_navigator(clock=lambda: round((1.0 + done_s) * S))
    show(navigator, S)
    decision = navigator.decide(S + S // 10)
    assert decision.hold is reason
    assert (decision.action is None) == (reason is not HoldReason.NONE)
    assert decision.latency_ms == pytest.approx(done_s * 1000 - 100)


def test_holds_when_time_goes_back_while_deciding():
    navigator, _ = make_navigator(clock=lambda: S // 2)
    show(navigator, S)
    assert navigator.decide(S).hold is HoldReason.CLOCK_JUMP


def test_holds_on_a_low_probability_but_tells_it():
    navigator, _ = make_navigator(probability=0.3, min_probability=0.4)
    show(navigator, S)
    decision = navigator.decide(S)
    assert decision.hold is HoldReason.LOW_PROBABILITY and decision.action is None
    assert decision.probability == pytest.approx(0.3) and decision.reply == FORWARD


def test_an_unknown_prompt_style_fails_at_the_start():
    with pytest.raises(ConfigError, match="unknown prompt style"):
        make_navigator(info=dataclasses.replace(SCRIPTED_INFO, prompt_style="none"))


class SlowBackend(ScriptedBackend):
    """Waits inside `choose` until it is told to go on."""

    def __init__(self):
        super().__init__(FORWARD)
        self.entered, self.proceed = threading.Event(), threading.Event()

    def choose(self, prompt, replies):
        self.entered.set()
        assert self.proceed.wait(10)
        return super().choose(prompt, replies)


@pytest.mark.parametrize("end", [lambda n: n.stop(), lambda n: n.start(Instruction("go elsewhere"))])
def test_observing_goes_on_while_deciding_and_an_old_mission_is_void(end):
    backend = SlowBackend()
    navigator = Navigator(backend, NavigatorConfig(), HistoryConfig())
    navigator.start(Instruction("go to the red chair"))
    show(navigator, S)
    decisions = []
    worker = threading.Thread(target=lambda: decisions.append(navigator.decide(S)))
    worker.start()
    assert backend.entered.wait(10)
    for i in range(1, 50):
        show(navigator, S + i)
    assert navigator.newest_stamp_ns == S + 49
    end(navigator)
    backend.proceed.set()
    worker.join(10)
    assert decisions[0].action is None and decisions[0].hold is HoldReason.NO_INSTRUCTION


STREAMING = HistoryConfig(policy="streaming", window_frames=3, kept_frames=1, memory_frames=1)


def stamps_s(prompt):
    return [[frame.stamp_ns // S for frame in visual.frames] for visual in prompt.visuals]


def drive(navigator, *seconds):
    for second in seconds:
        show(navigator, second * S, Pose(x_m=0.25 * second), height=2, width=2)


def test_a_streaming_history_is_appended_and_rebuilt_and_tells_all_frames():
    navigator, backend = make_navigator(history=STREAMING, avoid_repeats=False)
    for second in (1, 2, 3, 4, 5):
        drive(navigator, second)
        decision = navigator.decide(second * S)
    assert [stamps_s(p) for p in backend.prompts] == [
        [[0], [1]],
        [[0], [1], [2]],
        [[0], [1], [2], [3]],
        [[1, 2], [3], [4]],
        [[1, 2], [3], [4], [5]],
    ]
    assert decision.frames_used == tuple(second * S for second in (1, 2, 3, 4, 5))


@pytest.mark.parametrize("again", [lambda n: n.start(Instruction("go on")), lambda n: show(n, S // 2)])
def test_a_new_mission_and_a_clock_jump_begin_a_new_window(again):
    navigator, backend = make_navigator(history=STREAMING, avoid_repeats=False)
    drive(navigator, 1)
    navigator.decide(S)
    drive(navigator, 2)
    navigator.decide(2 * S)
    again(navigator)
    navigator.start(Instruction("go on"))
    drive(navigator, 3)
    navigator.decide(3 * S)
    assert stamps_s(backend.prompts[-1]) == [[0], [3]]


def test_a_hold_appends_nothing():
    navigator, backend = make_navigator(history=STREAMING, avoid_repeats=False)
    for second in (1, 2, 3):
        drive(navigator, second)
        assert navigator.decide(second * S + 2 * S).hold is HoldReason.STALE_IMAGE
        navigator.start(Instruction("go on"))
    drive(navigator, 4, 5)
    navigator.decide(5 * S)
    assert stamps_s(backend.prompts[-1]) == [[4], [5]]


def test_idle_encodes_one_frame_at_a_time_and_what_the_next_steps_may_show():
    navigator, backend = make_navigator()
    drive(navigator, *range(1, 21))
    navigator.decide(20 * S)
    pieces = 0
    while navigator.idle():
        pieces += 1
    encoded = [frame.stamp_ns // S for frame in backend.encoded]
    assert pieces == len(set(encoded)) and 20 not in encoded
    drive(navigator, 21, 22)
    navigator.decide(22 * S)
    assert {stamp // S for stamp in navigator.decide(22 * S).frames_used} - set(encoded) <= {20, 21, 22}
    assert backend.prefilled == []


@pytest.mark.parametrize("style", [("navila", "llama_3"), ("vila", "qwen2"), ("nano", "nano")])
def test_idle_reads_what_the_next_prompt_begins_with(style):
    info = dataclasses.replace(SCRIPTED_INFO, prompt_style=style[0], chat_template=style[1])
    navigator, backend = make_navigator(info=info, history=STREAMING, reply="choice", avoid_repeats=False)
    for second in range(1, 12):
        drive(navigator, second)
        navigator.decide(second * S)
        while navigator.idle():
            pass
    assert len(backend.prefilled) == 11  # once for each decision
    for beginning, prompt in zip(backend.prefilled, backend.prompts[1:], strict=False):
        assert prompt.text.startswith(beginning.text) and beginning.cache_slot == prompt.cache_slot
        assert [v.key for v in prompt.visuals[:-1]] == [v.key for v in beginning.visuals]


def test_idle_does_nothing_without_a_mission_or_a_frame():
    backend = ScriptedBackend(FORWARD)
    navigator = Navigator(backend, NavigatorConfig(), STREAMING)
    drive(navigator, 1, 2, 3)
    assert not navigator.idle()
    navigator.start(Instruction("go on"))
    assert not navigator.idle()
    drive(navigator, 1, 2, 3)
    assert navigator.idle()
    show(navigator, S)  # the clock went back
    assert not navigator.idle()
    navigator.start(Instruction("go on"))
    drive(navigator, 4, 5, 6)
    navigator.stop()
    assert not navigator.idle()


def test_idle_raises_what_the_backend_raises_and_decisions_go_on():
    navigator, backend = make_navigator()
    drive(navigator, *range(1, 21))
    backend.encode = lambda frame: (_ for _ in ()).throw(BackendError("out of memory"))
    with pytest.raises(BackendError, match="out of memory"):
        navigator.idle()
    assert navigator.decide(20 * S).action is not None


def test_observe_costs_no_more_than_some_copies_of_the_frame():
    navigator, _ = make_navigator()
    frames = [make_frame(i + 1, height=480, width=640, seed=i % 3) for i in range(100)]
    durations = []
    for i, frame in enumerate(frames):
        begin = time.thread_time()
        navigator.observe(frame, Odometry(frame.stamp_ns, Pose(x_m=0.1 * i)))
        middle = time.thread_time()
        frame.image.copy()
        durations.append((middle - begin, time.thread_time() - middle))
    observing, copying = (sorted(each)[50] for each in zip(*durations, strict=True))
    assert observing < 20 * copying


def test_a_history_that_the_model_cannot_read_is_refused():
    info = dataclasses.replace(SCRIPTED_INFO, max_tokens=1024)
    with pytest.raises(ConfigError, match="shows up to 1568 visual tokens, scripted reads 1024"):
        Navigator(ScriptedBackend("stop", info=info), NavigatorConfig(), HistoryConfig())


def test_without_an_instruction_only_the_newest_frame_is_held():
    navigator, _ = make_navigator()
    navigator.stop()
    for i in range(40):
        show(navigator, (i + 1) * S)
        assert navigator.history_frames == 1
    assert navigator.newest_stamp_ns == 40 * S
    navigator.start(Instruction("go to the red chair"))
    show(navigator, 41 * S, Pose())
    show(navigator, 42 * S, Pose(x_m=0.25))
    assert navigator.history_frames == 2
