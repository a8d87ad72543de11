"""Configuration: one frozen dataclass per stage. A default lives here, and only here.

YAML overrides it; an unknown key or an impossible value is a ConfigError at load.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from vila_core.errors import ConfigError
from vila_core.fields import AT_ONCE, FROM_NEXT_ACTION, Bounds, OneOf, field_rules

T = TypeVar("T")
HISTORY_POLICIES = ("navila", "streaming", "window")
STOP_AND_THINK, CONTINUOUS = TIMINGS = ("stop_and_think", "continuous")
REPLY_MODES = ("auto", "choice", "free")
WORDINGS = ("auto", "verbatim")
_HALF_TURN = 3.1416  # rad


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """Which frames are remembered, and which of them a prompt shows.

    NaVILA appends one per 25 cm or 15 degrees. The thresholds lie a little below, so that a
    motion of that size which ends within the controller's tolerance counts.
    The sizes are those of the policies `streaming` and `window`; -1: from the number of frames that the model
    was trained with, see history.policies.
    """

    # frames that are remembered; when full, every second one is dropped, the first kept
    capacity: Annotated[int, Bounds(least=16, most=10_000)] = 512
    # motion after which a frame joins the history
    min_translation_m: Annotated[float, Bounds(above=0, most=10)] = 0.22
    # turn after which a frame joins the history
    min_rotation_rad: Annotated[float, Bounds(above=0, most=_HALF_TURN)] = math.radians(13.0)
    # which frames a prompt shows: NaVILA's sampler, exact; or streaming, window
    policy: Annotated[str, OneOf(HISTORY_POLICIES)] = "navila"
    # frames shown one after the other until the window is rebuilt; -1: the model's
    window_frames: Annotated[int, Bounds(least=2, most=1024, special=-1)] = -1
    # the newest of the window's frames, which outlive a rebuild; -1: the model's
    kept_frames: Annotated[int, Bounds(least=-1, most=1024)] = -1
    # places in the prompt for all that was seen before the window; -1: the model's
    memory_frames: Annotated[int, Bounds(least=-1, most=1024)] = -1

    def __post_init__(self) -> None:
        check_fields(self)
        window = self.window_frames
        if window != -1:
            _require(self.kept_frames < window, "kept_frames", self.kept_frames, f"less than window_frames = {window}")


@dataclass(frozen=True, slots=True)
class NavigatorConfig:
    """When a frame, a reply or an instruction is good enough to act on."""

    max_image_age_s: Annotated[float, Bounds(least=0.05, most=60), AT_ONCE] = 0.5  # an older image is not answered
    # a decision that takes longer is dropped, and the robot stands
    decision_deadline_s: Annotated[float, Bounds(least=0.05, most=600), AT_ONCE] = 4.0
    # a longer instruction is refused
    max_instruction_chars: Annotated[int, Bounds(least=1, most=10_000), AT_ONCE] = 512
    # a less sure decision holds the robot
    min_probability: Annotated[float, Bounds(least=0, below=1), AT_ONCE] = 0.0
    # take the next best action instead of one that led nowhere here
    avoid_repeats: Annotated[bool, AT_ONCE] = True
    # look-arounds without a way after which it drives on where that was the most probable; 0: none
    look_again: Annotated[int, Bounds(least=0, most=100), AT_ONCE] = 1
    # a way that was less probable, of the three forward actions together, is none
    look_again_probability: Annotated[float, Bounds(least=0, most=1), AT_ONCE] = 0.25
    # ask the model's relevance head, where it has one, if the thing is in view: no stop where it is not, no turn away
    # from it where it is
    second_look: Annotated[bool, AT_ONCE] = True
    # where what the model chooses leads nowhere, plan a way to the thing that was seen, over the floor that the
    # relevance head, if it was taught that, says is free
    way_round: Annotated[bool, AT_ONCE] = True
    # what was not seen all round is looked for where nobody has looked yet, over the same floor, until so many
    # decisions have been made for it; 0: never
    explore_decisions: Annotated[int, Bounds(least=0, most=10_000), AT_ONCE] = 48
    watch_camera: bool = True  # hold when the images don't fit the robot's motion: frozen, replayed, nothing to see
    # drive that the images must show; shorter tells sooner, longer doubts less
    max_blind_m: Annotated[float, Bounds(least=0.005, most=1), AT_ONCE] = 0.05
    # turn that the images must show; smaller tells sooner, larger doubts less
    max_blind_rad: Annotated[float, Bounds(least=0.01, most=1), AT_ONCE] = math.radians(4.0)
    # of decisions; continuous: the next one is made while the robot still moves
    timing: Annotated[str, OneOf(TIMINGS)] = "stop_and_think"
    # choice: scores the ten sentences; free: parses what the model writes; auto: as trained
    reply: Annotated[str, OneOf(REPLY_MODES)] = "auto"
    # auto: a model that knows some words alone is told in those, one thing after the other; verbatim: what was said
    wording: Annotated[str, OneOf(WORDINGS)] = "auto"

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """Standing queries and questions about the past: what is remembered, how often asked, what is believed."""

    # queries that may stand, and questions that may wait for an answer
    max_queries: Annotated[int, Bounds(least=1, most=1000), AT_ONCE] = 16
    # a query or question of a longer text is refused
    max_query_chars: Annotated[int, Bounds(least=1, most=10_000), AT_ONCE] = 256
    # how far back can be asked; NVILA's images of 640 x 480 then take 310 MB
    history_s: Annotated[float, Bounds(least=0.1, most=86_400)] = 120.0
    period_s: Annotated[float, Bounds(least=0.01, most=3600)] = 0.25  # time between two frames that are remembered
    window_s: Annotated[float, Bounds(least=0.02, most=3600)] = 16.0  # what a standing query is evaluated on
    # frames of a window in one prompt, evenly chosen; a relevance head takes all
    max_frames: Annotated[int, Bounds(least=2, most=4096)] = 32
    # evaluations of all queries, if the model is quick enough
    rate_hz: Annotated[float, Bounds(least=0.01, most=100), AT_ONCE] = 2.0
    # of the time that evaluations may take beside a mission; less if decisions take long
    mission_share: Annotated[float, Bounds(above=0, most=1), AT_ONCE] = 0.25
    # an interval that is less probable is not believed
    min_probability: Annotated[float, Bounds(above=0, below=1), AT_ONCE] = 0.5
    # how many in a row must see an event before it is reported
    confirm_evaluations: Annotated[int, Bounds(least=1, most=100), AT_ONCE] = 2
    # a relevance head's mean over an event, to report it; more: fewer false alarms
    confirm_relevance: Annotated[float, Bounds(above=0, below=1), AT_ONCE] = 0.85
    # how long after an event's end a relevance head may still confirm it
    confirm_within_s: Annotated[float, Bounds(above=0, most=3600), AT_ONCE] = 5.0
    # how many in a row must see an event's end before it is closed
    close_evaluations: Annotated[int, Bounds(least=1, most=100), AT_ONCE] = 2
    min_duration_s: Annotated[float, Bounds(least=0, most=3600), AT_ONCE] = 0.5  # a shorter event is taken for noise
    merge_gap_s: Annotated[float, Bounds(above=0, most=3600), AT_ONCE] = 1.0  # intervals that lie closer are one event
    max_reply_tokens: Annotated[int, Bounds(least=1, most=4096), AT_ONCE] = 128  # longest answer of ~/describe

    def __post_init__(self) -> None:
        check_fields(self)
        _require(self.window_s <= self.history_s, "window_s", self.window_s, f"at most history_s = {self.history_s:g}")
        _require(
            2 * self.period_s <= self.window_s,
            "period_s",
            self.period_s,
            f"at most half of window_s = {self.window_s:g}",
        )


@dataclass(frozen=True, slots=True)
class StrainConfig:
    """How much heat and how little memory is too much for this computer, and what is done then."""

    # from here on decisions are slower; where a zone has trip points, those count instead
    slow_c: Annotated[float, Bounds(above=0, most=150)] = 85.0
    low_speed_c: Annotated[float, Bounds(above=0, most=150)] = 92.0  # from here on the robot is slower
    stop_c: Annotated[float, Bounds(above=0, most=150)] = 97.0  # from here on the robot stands
    # below the critical trip point, at which the computer is switched off
    critical_margin_c: Annotated[float, Bounds(above=0, most=100)] = 3.0
    # share of the memory that is left: below it decisions are slower
    slow_memory: Annotated[float, Bounds(above=0, below=1)] = 0.05
    # share of the memory that is left: below it the robot is slower
    low_speed_memory: Annotated[float, Bounds(above=0, below=1)] = 0.03
    # share of the memory that is left: below it the robot stands
    stop_memory: Annotated[float, Bounds(above=0, below=1)] = 0.015
    # shares are of so much at most: a large machine need not leave more
    counted_memory_mb: Annotated[float, Bounds(above=0, most=1e7)] = 8192.0
    # part of ten seconds in which all wait for memory: from it on decisions are slower
    slow_pressure: Annotated[float, Bounds(above=0, most=100)] = 10.0
    # part of ten seconds in which all wait for memory: from it on the robot is slower
    low_speed_pressure: Annotated[float, Bounds(above=0, most=100)] = 25.0
    # part of ten seconds in which all wait for memory: from it on the robot stands
    stop_pressure: Annotated[float, Bounds(above=0, most=100)] = 50.0
    # part of the time in which some wait for a processor, and decisions are slower; 0: any, a model may fill it
    slow_cpu_pressure: Annotated[float, Bounds(least=0, most=100)] = 0.0
    # more strain must be seen for so long; what is seen first counts at once
    confirm_s: Annotated[float, Bounds(above=0, most=3600)] = 1.0
    # less strain must be seen for so long, for each step down
    dwell_s: Annotated[float, Bounds(above=0, most=3600)] = 10.0
    # a limit must be undercut by so much to count as cooler
    easing_c: Annotated[float, Bounds(above=0, most=100)] = 5.0
    # memory and pressure must undercut a limit by this share of it to count as less
    easing: Annotated[float, Bounds(least=0, below=1)] = 0.2
    # a sensor that has read, and reads nothing for longer, is doubted
    sensor_silence_s: Annotated[float, Bounds(above=0, most=3600)] = 3.0
    low_speed_scale: Annotated[float, Bounds(above=0, most=1)] = 0.5  # share of the speed limits for a slower robot
    decision_delay_s: Annotated[float, Bounds(above=0, most=60)] = 0.5  # wait before each slower decision
    ignored_zones: str = "iwlwifi,PMIC-Die"  # by the beginning of their names: radios sleep, Tegra's PMIC says 100 C

    def __post_init__(self) -> None:
        check_fields(self)
        for rising in (("slow_c", "low_speed_c", "stop_c"), ("slow_pressure", "low_speed_pressure", "stop_pressure")):
            _require_rising(self, *rising)
        _require_rising(self, "stop_memory", "low_speed_memory", "slow_memory")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """The motion controller: speeds, gains, tolerances and time limits.

    What braking is planned by, accelerations, gains and tolerances, stays as it is until a motion has ended.
    """

    # speed limit of the controller; the governor has one of its own
    max_linear_mps: Annotated[float, Bounds(above=0, most=3), AT_ONCE] = 0.3
    # turning speed limit of the controller; the governor has one of its own
    max_angular_rps: Annotated[float, Bounds(above=0, most=6), AT_ONCE] = 0.5
    # change of speed, up and down
    max_linear_accel_mps2: Annotated[float, Bounds(least=0.01, most=10), FROM_NEXT_ACTION] = 1.0
    # change of turning speed, up and down
    max_angular_accel_rps2: Annotated[float, Bounds(least=0.01, most=50), FROM_NEXT_ACTION] = 2.0
    # speed for each metre that is left, in the last centimetres
    linear_gain: Annotated[float, Bounds(least=0.1, most=100), FROM_NEXT_ACTION] = 8.0
    # turning speed for each radian that is left, in the last degrees and toward a line
    angular_gain: Annotated[float, Bounds(least=0.1, most=100), FROM_NEXT_ACTION] = 8.0
    # a motion that ends so near is done
    position_tolerance_m: Annotated[float, Bounds(least=0.001, most=0.5), FROM_NEXT_ACTION] = 0.03
    # a turn that ends so near is done
    angle_tolerance_rad: Annotated[float, Bounds(least=0.001, most=0.5), FROM_NEXT_ACTION] = math.radians(2.0)
    # no progress for so long aborts the motion
    stall_timeout_s: Annotated[float, Bounds(least=0.1, most=60), AT_ONCE] = 1.5
    # longer silence of odometry means zero velocity
    odometry_timeout_s: Annotated[float, Bounds(least=0.05, most=10), AT_ONCE] = 0.5
    # longer silence of the navigator means zero velocity
    heartbeat_timeout_s: Annotated[float, Bounds(least=0.05, most=10), AT_ONCE] = 0.3
    # the image that a heartbeat vouches for may be so old
    max_heartbeat_age_s: Annotated[float, Bounds(least=0.05, most=60), AT_ONCE] = 1.0
    # longer silence of a governor that was heard means zero velocity
    governor_timeout_s: Annotated[float, Bounds(least=0.05, most=10), AT_ONCE] = 0.5
    # an action whose image is older is refused
    max_decision_age_s: Annotated[float, Bounds(least=0.05, most=600), AT_ONCE] = 4.0
    # an action that drives farther is refused
    max_distance_m: Annotated[float, Bounds(above=0, most=10), FROM_NEXT_ACTION] = 0.75
    # an action that turns farther is refused
    max_turn_rad: Annotated[float, Bounds(above=0, most=_HALF_TURN), FROM_NEXT_ACTION] = math.radians(45.0)

    def __post_init__(self) -> None:
        check_fields(self)


def from_mapping(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a config dataclass from YAML values.

    Raises ConfigError for an unknown key (naming the closest known one), a value of the
    wrong type or one that is not finite, or one that the dataclass refuses. NaN may stand where it is the default.
    """
    fields = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown key {key!r} for {kind.__name__}; {hint}")
    missing = [f.name for f in dataclasses.fields(kind) if _is_needed(f) and f.name not in values]  # type: ignore[arg-type]
    if missing:
        raise ConfigError(f"{kind.__name__} lacks the key {missing[0]!r}")
    return kind(**{name: _checked(kind, name, value) for name, value in values.items()})


def check_fields(config: object) -> None:
    """Raise ConfigError for a field of a dataclass that is not of its type, not finite, or not what it may be.

    What a field may be is declared at it, see vila_core.fields. NaN may stand where it is the default.
    """
    for name in field_rules(type(config)):
        _checked(type(config), name, getattr(config, name))


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _checked(kind: type, field: str, value: Any) -> Any:
    """The value, a whole number as a float where that is wanted; of types that are not of one word any is taken."""
    rule, name = field_rules(kind)[field], f"{kind.__name__}.{field}"
    if rule.type not in (bool, int, float, str) or (rule.is_unset and value != value):
        return value
    if rule.type is float and type(value) is int and abs(value) <= _MOST_WHOLE:
        value = float(value)
    if type(value) is not rule.type:
        raise ConfigError(f"{name} = {value!r}: expected {rule.type.__name__}, got {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} = {value!r}: must be finite")
    if rule.type is int and abs(value) > _MOST_WHOLE:
        raise ConfigError(f"{name}: a number of {value.bit_length()} bits is too large")
    if refusal := rule.refusal(field, value):
        raise ConfigError(refusal)
    return value


_MOST_WHOLE = 2**53


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f"{name} = {value!r}: must be {rule}")


def _require_rising(config: object, *names: str) -> None:
    for lower, higher in itertools.pairwise(names):
        low, high = getattr(config, lower), getattr(config, higher)
        _require(low <= high, higher, high, f"at least {lower} = {low:g}")
