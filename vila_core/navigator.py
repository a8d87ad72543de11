"""Frames and an instruction in, decisions out: the glue between history, prompt, model and grammar."""

from __future__ import annotations

import dataclasses
import math
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.actions.impasse import Impasse, best_allowed
from vila_core.actions.parser import parse_action
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.control.limits import MAX_FUTURE_S
from vila_core.engine.backend import Backend, ModelInfo
from vila_core.errors import BackendError, ConfigError, FrameError, ReplyError, VilaError
from vila_core.history.blank import is_blank
from vila_core.history.buffer import FrameHistory
from vila_core.history.navila_policy import NavilaPolicy
from vila_core.history.policies import make_policy
from vila_core.history.policy import HistoryPolicy
from vila_core.prompts.instruction import sanitize
from vila_core.prompts.navigation import navigation_prompt, navigation_style
from vila_core.types import (
    IMAGE_TOKEN,
    Choice,
    Decision,
    Frame,
    HoldReason,
    Instruction,
    Odometry,
    Pose,
    Prompt,
    Visual,
    wrap_angle,
)

_FROZEN_M = 0.02  # an image that stays identical over this motion counts as one frozen frame
_FROZEN_RAD = math.radians(2.0)
_SAMPLES = 64  # rows and columns of the image that are compared
_MAX_REPLY_TOKENS = 32


@dataclass(frozen=True, slots=True)
class _Situation:
    """What a decision is made from, copied under the lock; visuals: what to show, none if hold says why not."""

    mission: int  # grows with every start, stop and clock jump: a decision for an older one is void
    instruction: Instruction | None
    frames: tuple[Frame, ...]
    allowed: tuple[bool, ...]  # which of the ten actions would not repeat what led nowhere
    is_frozen: bool
    clock_jump: str
    hold: Decision | None = None
    visuals: tuple[Visual, ...] = ()


class Navigator:
    """Decides the next action from what the camera saw; holds still whenever in doubt.

    `observe` may run in one thread while `decide` runs in another: inference works on a copy
    of the state, outside the lock. Calls of `decide` and `idle` must not overlap.
    clock: returns the robot's time in nanoseconds; asked after inference, to refuse a decision
    that took too long. Without it lateness is not checked here and latency_ms stays 0.
    Raises ConfigError if the model's prompt style is unknown, `make_policy` refuses the history, or what it may show
    is more than the model reads.
    """

    def __init__(
        self,
        backend: Backend,
        config: NavigatorConfig,
        history: HistoryConfig,
        clock: Callable[[], int] | None = None,
    ) -> None:
        is_closed = navigation_style(backend.info.prompt_style).closed
        self._is_choice = config.reply == "choice" or (config.reply == "auto" and is_closed)
        self._backend = backend
        self._config = config
        self._clock = clock
        self._lock = threading.Lock()
        self._history = FrameHistory(history)
        self._policy = _fitting_policy(history, backend.info)
        self._prefilled: tuple[object, ...] = ()  # what `idle` last had read
        self._freeze = _FreezeCheck()
        self._pose: Pose | None = None  # where the newest frame was taken
        self._impasse = Impasse()
        self._mission = 0
        self._instruction: Instruction | None = None
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

    def start(self, instruction: Instruction) -> None:
        """Follow an instruction from here on; the history of the one before is forgotten.

        Raises InstructionError, and changes nothing, if `sanitize` refuses the text.
        """
        text = sanitize(instruction.text, self._config.max_instruction_chars)
        with self._lock:
            self._reset()
            self._instruction = dataclasses.replace(instruction, text=text)

    def stop(self) -> None:
        """Follow nothing; a decision that is being made becomes void."""
        with self._lock:
            self._mission += 1
            self._instruction = None

    def observe(self, frame: Frame, odometry: Odometry | None) -> None:
        """Take the camera's next frame, with the odometry of its stamp if there is one.

        Raises FrameError for a frame that `FrameHistory.add` refuses. A stamp that goes back by
        more than 0.05 s means that the clock was reset: the history starts again with this
        frame, which should be of another `era`, and decisions hold until the next `start`.
        """
        with self._lock:
            newest = self._history.newest
            if newest is not None and frame.shows_clock_reset(newest.stamp_ns):
                self._note_clock_jump(f"camera stamp went back from {newest.stamp_ns} to {frame.stamp_ns} ns")
            self._history.add(frame, odometry)
            if self._instruction is None:
                self._history.keep_newest()  # the next `start` forgets them all the same; till then they fill memory
            self._freeze.add(frame, odometry)
            self._pose = None if odometry is None else odometry.pose

    def decide(self, now_ns: int) -> Decision:
        """Choose the next action; whatever is wrong becomes a decision to hold, with its reason.

        now_ns: the robot's time, on the clock of the frames' stamps.
        """
        situation = self._situation(now_ns)
        if situation.hold is not None:
            return situation.hold
        try:
            decision = self._infer(situation)
        except VilaError as err:
            return Decision.holding(_reason_of(err), situation.frames[-1].stamp_ns, f"{type(err).__name__}: {err}")
        decision = self._accept(decision, situation, now_ns)
        self._note(decision, situation)
        return decision

    def idle(self) -> bool:
        """Use spare time for the decisions to come: encode one frame, or have a prompt's beginning read.

        True if that was done: there may be more to do. Raises the backend's VilaError. Not while `decide` runs.
        """
        with self._lock:
            instruction, frames = self._instruction, self._history.snapshot()
            if instruction is None or self._clock_jump or not frames:
                return False
            ahead, upcoming = self._policy.ahead(frames), self._policy.upcoming(frames)
        if any(self._backend.encode(frame) for frame in ahead):
            return True
        task = (instruction, *(visual.key for visual in upcoming))
        if not upcoming or task == self._prefilled:
            return False
        self._backend.prefill(self._beginning(instruction, upcoming))
        self._prefilled = task
        return True

    def _beginning(self, instruction: Instruction, visuals: Sequence[Visual]) -> Prompt:
        """Return the prompt that shows the visuals and one frame more, cut off where that frame would stand."""
        whole = _prompt(self._backend.info, instruction, (*visuals, visuals[-1]))
        return dataclasses.replace(whole, text=whole.text[: whole.text.rindex(IMAGE_TOKEN)], visuals=tuple(visuals))

    def _situation(self, now_ns: int) -> _Situation:
        """Copy the state, and let the policy choose: here, as another thread may reset it."""
        with self._lock:
            if self._last_ns is not None and now_ns < self._last_ns:
                self._note_clock_jump(f"time went back from {self._last_ns} to {now_ns} ns")
            self._last_ns = now_ns
            situation = _Situation(
                self._mission,
                self._instruction,
                self._history.snapshot(),
                self._impasse.allowed(self._pose) if self._config.avoid_repeats else (True,) * len(ACTIONS),
                self._freeze.count >= self._config.frozen_frames,
                self._clock_jump,
            )
            hold = self._hold(situation, now_ns)
            visuals = () if hold else self._policy.select(situation.frames)
            return dataclasses.replace(situation, hold=hold, visuals=visuals)

    def _hold(self, situation: _Situation, now_ns: int) -> Decision | None:
        """Return why not even to ask the model, or None."""
        if situation.instruction is None:
            return Decision.holding(HoldReason.NO_INSTRUCTION)
        if situation.clock_jump:
            return Decision.holding(HoldReason.CLOCK_JUMP, detail=situation.clock_jump)
        if not situation.frames:
            return Decision.holding(HoldReason.NO_IMAGE)
        stamp_ns = situation.frames[-1].stamp_ns
        age_s = (now_ns - stamp_ns) / 1e9
        if age_s < -MAX_FUTURE_S:
            return Decision.holding(HoldReason.CLOCK_JUMP, stamp_ns, f"the image is {-age_s:.2f} s in the future")
        if age_s > self._config.max_image_age_s:
            detail = f"the image is {age_s:.2f} s old, limit {self._config.max_image_age_s} s"
            return Decision.holding(HoldReason.STALE_IMAGE, stamp_ns, detail)
        if situation.is_frozen:
            return Decision.holding(HoldReason.FROZEN_IMAGE, stamp_ns, "the robot moves but the image does not change")
        return None

    def _infer(self, situation: _Situation) -> Decision:
        assert situation.instruction is not None
        prompt = _prompt(self._backend.info, situation.instruction, situation.visuals)
        stamp_ns = situation.frames[-1].stamp_ns
        shown = (frame for visual in situation.visuals for frame in visual.frames)
        used = tuple(frame.stamp_ns for frame in shown if not is_blank(frame))
        if self._is_choice:
            choice = _checked(self._backend.choose(prompt, SENTENCES))
            index = best_allowed(choice.probabilities, situation.allowed, choice.index)
            return Decision(
                action=ACTIONS[index],
                stamp_ns=stamp_ns,
                probability=choice.probabilities[index],
                probabilities=choice.probabilities,
                reply=SENTENCES[index],
                detail=""
                if index == choice.index
                else f"instead of {SENTENCES[choice.index]!r}, which led nowhere here",
                frames_used=used,
            )
        reply = self._backend.generate(prompt, _MAX_REPLY_TOKENS)
        return Decision(parse_action(reply), stamp_ns, reply=reply, frames_used=used)

    def _accept(self, decision: Decision, situation: _Situation, now_ns: int) -> Decision:
        """Turn the decision into a hold if it came too late, is void or is not sure enough."""
        done_ns = now_ns if self._clock is None else self._clock()
        decision = dataclasses.replace(decision, latency_ms=(done_ns - now_ns) / 1e6)
        with self._lock:
            is_void = self._mission != situation.mission
        age_s = (done_ns - decision.stamp_ns) / 1e9
        deadline_s, least = self._config.decision_deadline_s, self._config.min_probability
        is_unsure = bool(decision.probabilities) and decision.probability < least  # a generated reply has no score
        if is_void:
            return _withhold(
                decision, HoldReason.NO_INSTRUCTION, "the instruction ended or the clock was reset while deciding"
            )
        if done_ns < now_ns:
            return _withhold(decision, HoldReason.CLOCK_JUMP, "time went back while deciding")
        if age_s > deadline_s:
            detail = f"the image is {age_s:.2f} s old, limit {deadline_s} s"
            return _withhold(decision, HoldReason.LATE_DECISION, detail)
        if is_unsure:
            return _withhold(decision, HoldReason.LOW_PROBABILITY, f"{decision.probability:.3f} is below {least}")
        return decision

    def _note(self, decision: Decision, situation: _Situation) -> None:
        """Remember what the robot is going to do, unless another mission has begun since."""
        with self._lock:
            if decision.action is not None and self._mission == situation.mission:
                self._impasse.note(decision.action)

    def _reset(self) -> None:
        self._mission += 1
        self._history.clear()
        self._policy.reset()
        self._freeze = _FreezeCheck()
        self._pose = None
        self._impasse = Impasse()
        self._clock_jump = ""
        self._last_ns = None

    def _note_clock_jump(self, detail: str) -> None:
        self._reset()
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
    return _prompt(info, instruction, NavilaPolicy(info).select(frames))


def _prompt(info: ModelInfo, instruction: Instruction, visuals: Sequence[Visual]) -> Prompt:
    return navigation_prompt(info.prompt_style, info.chat_template, instruction, visuals, SENTENCES)


class _FreezeCheck:
    """Counts images that stay identical although the robot moved; without motion nobody can tell."""

    def __init__(self) -> None:
        self.count = 0
        self._digest: int | None = None
        self._pose: Pose | None = None  # where the last counted, or the first such image, was taken

    def add(self, frame: Frame, odometry: Odometry | None) -> None:
        height, width, _ = frame.image.shape
        sample = frame.image[:: max(1, height // _SAMPLES), :: max(1, width // _SAMPLES)]
        digest = zlib.crc32(sample.tobytes())
        pose = None if odometry is None else odometry.pose
        if digest != self._digest or pose is None or self._pose is None:
            self._digest, self._pose = digest, pose
            self.count = 0
        elif _moved(pose, self._pose):
            self._pose = pose
            self.count += 1


def _moved(pose: Pose, since: Pose) -> bool:
    return pose.distance_m(since) > _FROZEN_M or abs(wrap_angle(pose.yaw_rad - since.yaw_rad)) > _FROZEN_RAD


def _checked(choice: Choice) -> Choice:
    values = choice.probabilities
    if len(values) != len(SENTENCES) or not 0 <= choice.index < len(values) or not all(map(math.isfinite, values)):
        raise BackendError(f"the model's scores are unusable: index {choice.index}, probabilities {values}")
    return choice


def _reason_of(err: VilaError) -> HoldReason:
    if isinstance(err, ReplyError):
        return HoldReason.UNPARSEABLE_REPLY
    return HoldReason.BAD_IMAGE if isinstance(err, FrameError) else HoldReason.BACKEND_ERROR


def _withhold(decision: Decision, reason: HoldReason, detail: str) -> Decision:
    return dataclasses.replace(decision, action=None, hold=reason, detail=detail)
