"""The values that travel between stages: frozen, slotted, SI units in their names."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MAX_REORDER_NS = 50_000_000  # a stamp may be so much older than the newest before it; more is a clock reset

FrameKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Hold one camera image and the time at which it was taken.

    image: [H, W, 3] uint8, RGB. stamp_ns: capture time, nanoseconds of the robot's clock. clock_epoch: how many times
    that clock had been reset by then, as a simulator's may be; it keeps frames apart that have the same stamp.
    """

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    stamp_ns: int
    camera: str = "camera"
    clock_epoch: int = 0

    @property
    def key(self) -> FrameKey:
        """Return what identifies the frame in caches: camera, stamp and clock_epoch."""
        return (self.camera, self.stamp_ns, self.clock_epoch)

    def shows_clock_reset(self, newest_ns: int | None) -> bool:
        """Return True if the stamp lies more than MAX_REORDER_NS before newest_ns, the newest so far, None if none."""
        return newest_ns is not None and newest_ns - self.stamp_ns > MAX_REORDER_NS


@dataclass(frozen=True, slots=True)
class Pose:
    """A planar pose, REP-103: x forward, y left, yaw counter-clockwise."""

    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0

    def advanced(self, distance_m: float) -> Pose:
        """Return this pose moved along its own heading."""
        return Pose(
            self.x_m + distance_m * math.cos(self.yaw_rad),
            self.y_m + distance_m * math.sin(self.yaw_rad),
            self.yaw_rad,
        )

    def turned(self, angle_rad: float) -> Pose:
        """Return this pose turned on the spot, left > 0, yaw wrapped to [-pi, pi)."""
        return Pose(self.x_m, self.y_m, wrap_angle(self.yaw_rad + angle_rad))

    def compose(self, inner: Pose) -> Pose:
        """Return a pose that is given in this one's frame, in the frame that this one is given in."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        x_m, y_m = self.x_m + cos * inner.x_m - sin * inner.y_m, self.y_m + sin * inner.x_m + cos * inner.y_m
        return Pose(x_m, y_m, wrap_angle(self.yaw_rad + inner.yaw_rad))

    def relative_to(self, base: Pose) -> Pose:
        """Return this pose as it is seen from another one of the same frame; undoes `compose`."""
        dx, dy = self.x_m - base.x_m, self.y_m - base.y_m
        cos, sin = math.cos(base.yaw_rad), math.sin(base.yaw_rad)
        return Pose(cos * dx + sin * dy, cos * dy - sin * dx, wrap_angle(self.yaw_rad - base.yaw_rad))

    def distance_m(self, other: Pose) -> float:
        """Euclidean distance between the two positions."""
        return math.hypot(self.x_m - other.x_m, self.y_m - other.y_m)

    def is_apart(self, other: Pose, distance_m: float, angle_rad: float) -> bool:
        """Return True if the two lie that far from each other, or their headings do; False for what is not a number."""
        return self.distance_m(other) >= distance_m or abs(wrap_angle(self.yaw_rad - other.yaw_rad)) >= angle_rad


@dataclass(frozen=True, slots=True)
class Odometry:
    """Pose and body velocity at a time."""

    stamp_ns: int
    pose: Pose
    linear_mps: float = 0.0
    angular_rps: float = 0.0


@dataclass(frozen=True, slots=True)
class Instruction:
    """Hold the sanitised text that the robot was told, when, and by whom.

    source: the door that it came by, and who says to be behind it, such as "action: page"; empty if nobody told.
    """

    text: str
    stamp_ns: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Hold the words of a model that knows some alone.

    form: its sentence for one thing, with `{thing}` for kind and colour. colours, kinds: each name with the words that
    people use for it. Raises ValueError for a form without `{thing}`, or with other braces.
    """

    form: str
    colours: tuple[tuple[str, tuple[str, ...]], ...]
    kinds: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        if self.form.count("{thing}") != 1 or {"{", "}"} & set(self.form.replace("{thing}", "")):
            raise ValueError(f"form {self.form!r} is not a sentence with {{thing}} once")


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing, and its colour if one was named."""

    colour: str
    kind: str

    @property
    def text(self) -> str:
        """As a sentence says it."""
        return f"{self.colour} {self.kind}".strip().replace("_", " ")

    def is_a(self, other: Thing) -> bool:
        """Return True if it is what the other names."""
        return self.kind == other.kind and other.colour in ("", self.colour)


@dataclass(frozen=True, slots=True)
class MoveForward:
    """Drive straight ahead."""

    distance_m: float


@dataclass(frozen=True, slots=True)
class Turn:
    """Turn on the spot; left is positive."""

    angle_rad: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The instruction is finished."""


Action = MoveForward | Turn | Stop


@dataclass(frozen=True, slots=True)
class VelocityCommand:
    """Body velocity; the default is standing still."""

    linear_mps: float = 0.0
    angular_rps: float = 0.0

    @property
    def is_zero(self) -> bool:
        """True if the robot is told to stand still."""
        return self.linear_mps == 0.0 and self.angular_rps == 0.0


class LocalizationMethod(enum.IntEnum):
    """How the times of an event were found; the numbers are published."""

    NONE = 0
    RELEVANCE = 1  # a head of the model scored each frame
    TIME_TOKENS = 2  # the model's time tokens, as NVILA is trained
    TIMESTAMPS = 3  # times written out beside the frames and in the reply


@dataclass(frozen=True, slots=True)
class EventQuery:
    """Hold a standing query, with the text that the model is asked and the label that is published."""

    id: str
    text: str
    label: str


@dataclass(frozen=True, slots=True)
class Interval:
    """Hold start, end and probability of an event, and the step between two times that could be told."""

    start_ns: int
    end_ns: int
    probability: float
    quantization_ns: int = 0


@dataclass(frozen=True, slots=True)
class TemporalEvent:
    """Report an event that a standing query found, going on or over.

    number: the same for all reports of one event, growing. is_open: it was still going on at stamp_ns, the stamp of
    the newest image used; end_ns is then the last time at which it was seen to go on.
    """

    query_id: str
    number: int
    label: str
    start_ns: int
    end_ns: int
    is_open: bool
    probability: float
    quantization_ns: int
    camera: str
    stamp_ns: int
    method: LocalizationMethod = LocalizationMethod.NONE


@dataclass(frozen=True, slots=True)
class Visual:
    """Place a frame in a prompt, with at most `tokens` visual tokens, or all of them for None.

    merged: frames whose visual tokens are averaged with the frame's: the frames before it, oldest first.
    """

    frame: Frame
    tokens: int | None = None
    merged: tuple[Frame, ...] = ()

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Return all its frames, oldest first."""
        return (*self.merged, self.frame)

    @property
    def key(self) -> tuple[object, ...]:
        """Return what identifies its visual tokens in caches."""
        return (self.tokens, self.frame.key, *(frame.key for frame in self.merged))


IMAGE_TOKEN = "<image>"
NAVIGATION_SLOT = "navigation"


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text with one `<image>` for each visual, in order.

    stop: the texts of the tokens that end a reply, besides the checkpoint's own end of text.
    cache_slot: where its keys and values are kept, named after who asks. A slot keeps its last prompt until its next
    one; a new prompt pays only for what follows its longest prefix that is kept, in whichever slot. NAVIGATION_SLOT
    shares with itself alone, so that a decision's last bits do not depend on what else was asked.
    Raises ValueError if the numbers of `<image>` and visuals differ.
    """

    text: str
    visuals: tuple[Visual, ...] = ()
    stop: tuple[str, ...] = ()
    cache_slot: str = NAVIGATION_SLOT

    def __post_init__(self) -> None:
        count = self.text.count(IMAGE_TOKEN)
        if count != len(self.visuals):
            raise ValueError(f"prompt has {count} {IMAGE_TOKEN} but {len(self.visuals)} visuals")


@dataclass(frozen=True, slots=True)
class Choice:
    """Hold the probabilities of a finite set of replies, and the index of the best."""

    index: int
    probabilities: tuple[float, ...]  # sums to 1


class HoldReason(enum.IntEnum):
    """Why the robot stands still instead of acting; the numbers are published."""

    NONE = 0
    NO_INSTRUCTION = 1
    NO_IMAGE = 2
    STALE_IMAGE = 3
    FROZEN_IMAGE = 4
    BAD_IMAGE = 5
    CLOCK_JUMP = 6
    NO_ODOMETRY = 7
    UNPARSEABLE_REPLY = 8
    LATE_DECISION = 9
    BACKEND_ERROR = 10
    LOW_PROBABILITY = 11
    NOT_FINITE = 12
    REPEATED_IMAGE = 13
    BLANK_IMAGE = 14


@dataclass(frozen=True, slots=True)
class Decision:
    """Say what to do, and which frame that answers by its stamp.

    action is None exactly if the robot is to hold; hold then says why.
    probabilities: one for each of the ten replies of actions.grammar, or empty. allowed: likewise, those that were not
    ruled out, see actions.guards. step: of the instruction, that the model was asked about; the first is 0.
    finished: how sure it was of the steps that it called finished for the same frame, before this one.
    prompt: what it was asked, None if it was not asked.
    """

    action: Action | None
    stamp_ns: int
    probability: float = 0.0
    probabilities: tuple[float, ...] = ()
    reply: str = ""
    hold: HoldReason = HoldReason.NONE
    detail: str = ""
    latency_ms: float = 0.0
    frames_used: tuple[int, ...] = field(default=())  # stamps_ns of the history, oldest first
    allowed: tuple[bool, ...] = ()
    step: int = 0
    finished: tuple[float, ...] = ()
    prompt: Prompt | None = field(default=None, repr=False, compare=False)

    @classmethod
    def holding(cls, reason: HoldReason, stamp_ns: int = 0, detail: str = "") -> Decision:
        """Return a decision to stand still, with its reason."""
        return cls(action=None, stamp_ns=stamp_ns, hold=reason, detail=detail)


def wrap_angle(angle_rad: float) -> float:
    """Return the angle in [-pi, pi)."""
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi
