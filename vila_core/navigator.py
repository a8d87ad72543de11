"""Frames and an instruction in, decisions out: history, prompt, model and grammar in the order that they run."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Sequence
from functools import partial

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.actions.parser import parse_action
from vila_core.config import STOP_AND_THINK, HistoryConfig, NavigatorConfig
from vila_core.control.limits import MAX_FUTURE_S
from vila_core.engine.backend import Backend, ModelInfo
from vila_core.engine.names import naming_backend
from vila_core.errors import BackendError, ConfigError, FrameError, NotFiniteError, ReplyError, VilaError
from vila_core.guards.guards import Guards, Ruling
from vila_core.guards.repetition_guard import best_allowed
from vila_core.guards.second_look import SecondLook, Sight
from vila_core.guards.way_round import WayRound
from vila_core.history.buffer import FrameHistory
from vila_core.history.camera_watch import CameraFault, CameraWatch
from vila_core.history.navila_policy import NavilaPolicy
from vila_core.history.policies import make_policy
from vila_core.history.policy import HistoryPolicy, is_blank
from vila_core.prompts.instruction import sanitize
from vila_core.prompts.navigation import navigation_prompt, navigation_style
from vila_core.prompts.wording import sentences, things_in
from vila_core.types import (
    IMAGE_TOKEN,
    Choice,
    Decision,
    Frame,
    HoldReason,
    Instruction,
    MoveForward,
    Odometry,
    Pose,
    Prompt,
    Stop,
    Thing,
    Visual,
)

_MAX_REPLY_TOKENS = 32
_OF_GUARDS = ("avoid_repeats", "look_again", "look_again_probability", "second_look", "way_round", "explore_decisions")


class Navigator:
    """Decides the next action from what the camera saw; holds still whenever in doubt.

    `observe` may run in one thread while `decide` runs in another: inference works on a copy
    of the state, outside the lock. Calls of `decide` and `idle` must not overlap.
    clock: returns the robot's time in nanoseconds; asked after inference, to refuse a decision
    that took too long. Without it lateness is not checked here and latency_ms stays 0.
    Raises ConfigError if the model's prompt style is unknown, `make_policy` refuses the history, or what it may show
    is more than the model reads. BackendError if the model fails to read the names that it knows.
    """

    def __init__(
        self,
        backend: Backend,
        config: NavigatorConfig,
        history: HistoryConfig,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._is_choice = is_choice(config.reply, backend.info)
        self._backend = backend
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._history = FrameHistory(history)
        self._policy = _fitting_policy(history, backend.info)
        self._prefilled: tuple[object, ...] = ()  # what `idle` prefilled last
        self._watch = CameraWatch(config.max_blind_m, config.max_blind_rad)
        self._pose: Pose | None = None  # where the newest frame was taken
        naming = naming_backend(backend) if self._is_choice else None
        self._second_look = None if naming is None else SecondLook(*naming)
        self._things: tuple[Thing, ...] = ()  # that the steps go to; empty if that is not known
        self._step = 0
        self._guards = self._new_guards()
        self._mission = 0  # grows with every start, stop and clock jump: a decision for an older one is void
        self._instruction: Instruction | None = None
        self._steps: tuple[Instruction, ...] = ()  # of it, as the model is told
        self._clock_jump = ""
        self._last_ns: int | None = None

    @property
    def instruction(self) -> Instruction | None:
        """The instruction that is being followed."""
        return self._instruction

    @property
    def history_frames(self) -> int:
        """How many frames are remembered, the newest included."""
        with self._lock:
            return len(self._history)

    @property
    def newest_stamp_ns(self) -> int | None:
        """Stamp of the newest accepted frame."""
        with self._lock:
            newest = self._history.newest
            return None if newest is None else newest.stamp_ns

    @property
    def camera_fault(self) -> CameraFault | None:
        """Why the newest frame can't be trusted, as far as it and the frames before can tell."""
        with self._lock:
            return self._watch.fault

    def reconfigure(self, config: NavigatorConfig) -> None:
        """Take other limits, from the next frame and decision on; how replies are got stays as it was."""
        with self._lock:
            before, self._config = self._config, config
            self._watch.reconfigure(config.max_blind_m, config.max_blind_rad)
            if any(getattr(before, name) != getattr(config, name) for name in _OF_GUARDS):
                self._guards = self._new_guards()

    def start(self, instruction: Instruction) -> None:
        """Follow an instruction from here on; the history of the one before is forgotten.

        The camera gets another chance: a fault that is still there shows again as soon as the robot moves.
        Raises InstructionError as `told_as` does, and changes nothing then.
        """
        text, things = self._read(instruction.text)
        steps = self._told(text, things)
        with self._lock:
            self._things, self._step = things, 0
            self._reset()
            self._watch.restart()
            self._instruction = dataclasses.replace(instruction, text=text)
            self._steps = tuple(dataclasses.replace(instruction, text=step) for step in steps)

    def told_as(self, text: str) -> tuple[str, ...]:
        """Return the steps in which the model would be told an instruction.

        Raises InstructionError if `sanitize` refuses the text, or if the model knows some words alone and `things_in`
        finds others.
        """
        return self._told(*self._read(text))

    def _read(self, text: str) -> tuple[str, tuple[Thing, ...]]:
        """Return a text, cleaned, and the things that it names; none if it need not be in the model's own words."""
        text = sanitize(text, self._config.max_instruction_chars)
        known = self._backend.info.vocabulary if self._config.wording == "auto" else None
        return text, () if known is None else things_in(known, text)

    def _told(self, text: str, things: Sequence[Thing]) -> tuple[str, ...]:
        known = self._backend.info.vocabulary
        return (text,) if known is None or not things else sentences(known, things)

    def trust_camera(self) -> None:
        """Give the camera another chance, as `start` does: a fault that is still there shows again in motion."""
        with self._lock:
            self._watch.restart()

    def stop(self) -> None:
        """Follow nothing; a decision that is being made becomes void."""
        with self._lock:
            self._mission += 1
            self._instruction = None
            self._things = ()
            self._guards = self._new_guards()  # the old ones keep pictures

    def interrupt(self) -> None:
        """Note that what was decided last ends, or never begins, for another reason than something in the way.

        Where nobody says so, a drive that ends too soon was stopped.
        """
        with self._lock:
            self._guards.interrupt()

    def observe(self, frame: Frame, odometry: Odometry | None) -> None:
        """Take the camera's next frame, with the odometry of its stamp if there is one.

        Raises FrameError for a frame that `FrameHistory.add` refuses. A stamp that goes back by
        more than MAX_REORDER_NS means that the clock was reset: the history starts again with this
        frame, which must then have another `clock_epoch`, and decisions hold until the next `start`.
        """
        with self._lock:
            newest = self._history.newest
            if newest is not None and frame.shows_clock_reset(newest.stamp_ns):
                self._note_clock_jump(f"camera stamp went back from {newest.stamp_ns} to {frame.stamp_ns} ns")
            self._history.add(frame, odometry)
            if self._instruction is None:
                self._history.keep_newest()  # the next `start` forgets them all the same; till then they fill memory
            if self._config.watch_camera:
                self._watch.add(frame, odometry)
            self._pose = None if odometry is None else odometry.pose

    def decide(self, now_ns: int, max_future_s: float = MAX_FUTURE_S) -> Decision:
        """Choose the next action; whatever is wrong becomes a decision to hold, with its reason.

        A stop that is not the last step's begins the next step: what to do for that is decided at once.
        now_ns: the robot's time, on the clock of the frames' stamps. max_future_s: how far ahead of it the newest frame
        may be stamped.
        """
        finished: list[float] = []
        while isinstance(decision := self._decide(now_ns, max_future_s), float):
            finished.append(decision)
        return dataclasses.replace(decision, finished=tuple(finished)) if finished else decision

    def _decide(self, now_ns: int, max_future_s: float) -> Decision | float:
        """Decide as `decide` does; how sure the model was if it finished a step that is not the last."""
        with self._lock:
            # 1. Copy the state: other threads observe, start and stop while the model is asked.
            if self._last_ns is not None and now_ns < self._last_ns:
                self._note_clock_jump(f"time went back from {self._last_ns} to {now_ns} ns")
            self._last_ns = now_ns
            mission, instruction, frames = self._mission, self._instruction, self._history.snapshot()
            steps, step, pose, guards, things = self._steps, self._step, self._pose, self._guards, self._things
            # 2. Hold, and do not even ask the model, without an instruction or an image that can be trusted.
            hold = self._hold(frames, now_ns, max_future_s)
            if hold is not None:
                return hold
            # 3. Select what the prompt shows, and how many visual tokens each frame gets.
            visuals = self._policy.select(frames)
        stamp_ns = frames[-1].stamp_ns
        try:
            # 4. Write the prompt in the words that the model was trained on.
            prompt = prompt_of(self._backend.info, steps[step], visuals)
            # 5. Ask the model: have the ten sentences scored, or a reply written, and make that an action.
            rule = partial(guards.rule, pose, frames[-1]) if self._is_choice else None
            look = partial(self._sight, frames[-1], things[step : step + 1])
            decision = ask_model(self._backend, prompt, stamp_ns, rule, look)
        except VilaError as err:
            return Decision.holding(_reason_of(err), stamp_ns, f"{type(err).__name__}: {err}")
        # 6. Note which frames were used and how long it took.
        done_ns = now_ns if self._clock is None else self._clock()
        shown = (frame for visual in visuals for frame in visual.frames)
        used = tuple(frame.stamp_ns for frame in shown if not is_blank(frame))
        latency_ms = (done_ns - now_ns) / 1e6
        decision = dataclasses.replace(
            decision,
            prompt=prompt,
            frames_used=used,
            latency_ms=latency_ms,
            step=step,
            detail=_told(decision, instruction, steps, step),
        )
        with self._lock:
            # 7. Hold after all if the answer is void, came too late or is not sure enough.
            decision = self._accepted(decision, mission, now_ns, done_ns)
            # 8. Remember what the robot is going to do, so that it is not tried twice in vain.
            if decision.action is not None:
                self._guards.note(decision.action, decision.probabilities)
            # 9. Go on to the next step where the model finished one, with the newest frame alone.
            if isinstance(decision.action, Stop) and step + 1 < len(steps):
                self._step = step + 1
                self._history.keep_newest()
                self._policy.reset()
                self._guards = self._new_guards()
                return decision.probability
        return decision

    def idle(self) -> bool:
        """Use spare time for the decisions to come: encode one frame, or prefill what a prompt begins with.

        True if that was done: there may be more to do. Raises the backend's VilaError. Not while `decide` runs.
        """
        with self._lock:
            if self._instruction is None or self._clock_jump or not len(self._history):
                return False
            instruction, frames = self._steps[self._step], self._history.snapshot()
            ahead, upcoming = self._policy.ahead(frames), self._policy.upcoming(frames)
        if any(self._backend.encode(frame) for frame in ahead):
            return True
        task = (instruction, *(visual.key for visual in upcoming))
        if not upcoming or task == self._prefilled:
            return False
        self._backend.prefill(begun_prompt(self._backend.info, instruction, upcoming))
        self._prefilled = task
        return True

    def _hold(self, frames: Sequence[Frame], now_ns: int, max_future_s: float) -> Decision | None:
        """Return why not even to ask the model, or None."""
        if self._instruction is None:
            return Decision.holding(HoldReason.NO_INSTRUCTION)
        if self._clock_jump:
            return Decision.holding(HoldReason.CLOCK_JUMP, detail=self._clock_jump)
        if not frames:
            return Decision.holding(HoldReason.NO_IMAGE)
        stamp_ns = frames[-1].stamp_ns
        age_s = (now_ns - stamp_ns) / 1e9
        if age_s < -max_future_s:
            return Decision.holding(HoldReason.CLOCK_JUMP, stamp_ns, f"the image is {-age_s:.2f} s in the future")
        if age_s > self._config.max_image_age_s:
            detail = f"the image is {age_s:.2f} s old, limit {self._config.max_image_age_s} s"
            return Decision.holding(HoldReason.STALE_IMAGE, stamp_ns, detail)
        if (fault := self._watch.fault) is not None:
            return Decision.holding(fault.reason, stamp_ns, fault.detail)
        return None

    def _accepted(self, decision: Decision, mission: int, asked_ns: int, done_ns: int) -> Decision:
        """Return the decision, as a hold if it is void, came too late or is not sure enough.

        mission: the one that asked, at asked_ns; the answer came at done_ns.
        """
        age_s = (done_ns - decision.stamp_ns) / 1e9
        deadline_s, least = self._config.decision_deadline_s, self._config.min_probability
        # How sure it is of what it wants, also where that is ruled out. A generated reply has no score.
        surest = max(decision.probabilities, default=1.0)
        if mission != self._mission:
            return _withhold(
                decision, HoldReason.NO_INSTRUCTION, "the instruction ended or the clock was reset while deciding"
            )
        if done_ns < asked_ns:
            return _withhold(decision, HoldReason.CLOCK_JUMP, "time went back while deciding")
        if age_s > deadline_s:
            detail = f"the image is {age_s:.2f} s old, limit {deadline_s} s"
            return _withhold(decision, HoldReason.LATE_DECISION, detail)
        if surest < least:
            return _withhold(decision, HoldReason.LOW_PROBABILITY, f"{surest:.3f} is below {least}")
        return decision

    def _sight(self, frame: Frame, things: Sequence[Thing]) -> Sight | None:
        """How the frame shows the step's thing, if that is known; None without a second look."""
        if self._second_look is None or not self._config.second_look or not things:
            return None
        return self._second_look.at(frame, things[0])

    def _new_guards(self) -> Guards:
        """What rules out actions, for each thing that is gone to anew."""
        config, look, way_round = self._config, self._second_look, None
        if config.way_round and config.second_look and look is not None and self._things:
            is_at_rest = config.timing == STOP_AND_THINK
            at = partial(look.view, thing=self._things[self._step])
            way_round = WayRound(at, is_at_rest=is_at_rest, explores=config.explore_decisions)
        return Guards(
            avoid_repeats=config.avoid_repeats,
            chances=config.look_again,
            least=config.look_again_probability,
            way_round=way_round,
        )

    def _reset(self) -> None:
        self._mission += 1
        self._history.clear()
        self._policy.reset()
        self._pose = None
        self._guards = self._new_guards()
        self._clock_jump = ""
        self._last_ns = None

    def _note_clock_jump(self, detail: str) -> None:
        self._reset()
        self._watch = CameraWatch(self._config.max_blind_m, self._config.max_blind_rad)
        self._clock_jump = detail


def _fitting_policy(config: HistoryConfig, info: ModelInfo) -> HistoryPolicy:
    policy = make_policy(config, info)
    if policy.max_visual_tokens >= info.max_tokens:
        raise ConfigError(
            f"history policy {config.policy!r} shows up to {policy.max_visual_tokens} visual tokens, {info.name} reads "
            f"{info.max_tokens} tokens in all; lower history.window_frames or history.memory_frames"
        )
    return policy


def decision_prompt(info: ModelInfo, instruction: Instruction, frames: Sequence[Frame]) -> Prompt:
    """Build the prompt that asks a model for the next action, with NaVILA's history.

    frames: what was seen, oldest first, at least one; black ones stand in front of too few.
    Raises as prompts.navigation.navigation_prompt does.
    """
    return prompt_of(info, instruction, NavilaPolicy(info).select(frames))


def prompt_of(info: ModelInfo, instruction: Instruction, visuals: Sequence[Visual]) -> Prompt:
    """Build the prompt that asks a model for the next action, of what a history policy selected.

    Raises as prompts.navigation.navigation_prompt does.
    """
    return navigation_prompt(info.prompt_style, info.chat_template, instruction, visuals, SENTENCES)


def _told(decision: Decision, instruction: Instruction | None, steps: Sequence[Instruction], step: int) -> str:
    """Return the decision's detail, behind what the model was told where those are not the words that were said."""
    if instruction is None or steps[step].text.lower() == instruction.text.lower():
        return decision.detail
    of_several = f"step {step + 1} of {len(steps)}, " if len(steps) > 1 else ""
    told = f"{of_several}told as {steps[step].text!r}"
    return f"{told}; {decision.detail}" if decision.detail else told


def begun_prompt(info: ModelInfo, instruction: Instruction, visuals: Sequence[Visual]) -> Prompt:
    """Build what the next prompt begins with: these visuals, cut off where the frame to come would stand."""
    whole = prompt_of(info, instruction, (*visuals, visuals[-1]))
    return dataclasses.replace(whole, text=whole.text[: whole.text.rindex(IMAGE_TOKEN)], visuals=tuple(visuals))


def is_choice(mode: str, info: ModelInfo) -> bool:
    """Tell whether the ten sentences are scored, or a reply is written. mode: one of config.REPLY_MODES.

    Raises ConfigError if the model's prompt style is unknown.
    """
    return mode == "choice" or (mode == "auto" and navigation_style(info.prompt_style).closed)


def ask_model(
    backend: Backend,
    prompt: Prompt,
    stamp_ns: int,
    rule: Callable[[], Ruling] | None,
    look: Callable[[], Sight | None] = lambda: None,
) -> Decision:
    """Have the ten sentences scored and take the best of those that are not ruled out.

    stamp_ns: of the frame that it answers. rule: says what is ruled out, None to have a reply written and parsed; asked
    when the model has seen its prompt's frames, together: to the last bit they depend on that. look: takes the second
    look, where one can be taken; done only before stops and turns. Raises ReplyError for a reply that is no action, and
    what the backend raises.
    """
    if rule is None:
        reply = backend.generate(prompt, _MAX_REPLY_TOKENS)
        return Decision(parse_action(reply), stamp_ns, reply=reply)
    choice, ruling = _checked(backend.choose(prompt, SENTENCES)), rule()
    index = best_allowed(choice.probabilities, ruling.allowed, choice.index)
    if not isinstance(ACTIONS[index], MoveForward) and (sight := look()) is not None:
        ruling = ruling.beside(sight)
        index = best_allowed(choice.probabilities, ruling.allowed, choice.index)
    why = ruling.reasons[choice.index]
    detail = "" if index == choice.index else f"instead of {SENTENCES[choice.index]!r}, {why}"
    return Decision(
        action=ACTIONS[index],
        stamp_ns=stamp_ns,
        probability=choice.probabilities[index],
        probabilities=choice.probabilities,
        reply=SENTENCES[index],
        detail=detail,
        allowed=ruling.allowed,
    )


def _checked(choice: Choice) -> Choice:
    values = choice.probabilities
    if len(values) != len(SENTENCES) or not 0 <= choice.index < len(values) or not all(map(math.isfinite, values)):
        raise BackendError(f"the model's scores are unusable: index {choice.index}, probabilities {values}")
    return choice


def _reason_of(err: VilaError) -> HoldReason:
    if isinstance(err, ReplyError):
        return HoldReason.UNPARSEABLE_REPLY
    if isinstance(err, NotFiniteError):
        return HoldReason.NOT_FINITE
    return HoldReason.BAD_IMAGE if isinstance(err, FrameError) else HoldReason.BACKEND_ERROR


def _withhold(decision: Decision, reason: HoldReason, detail: str) -> Decision:
    return dataclasses.replace(decision, action=None, hold=reason, detail=detail)
