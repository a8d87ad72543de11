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
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from vila_core.errors import ConfigError

T = TypeVar("T")
HISTORY_POLICIES = ("navila", "streaming", "window")
STOP_AND_THINK, CONTINUOUS = TIMINGS = ("stop_and_think", "continuous")
REPLY_MODES = ("auto", "choice", "free")


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """Which frames are remembered, and which of them a prompt shows.

    NaVILA appends one per 25 cm or 15 degrees. The thresholds lie a little below, so that a
    motion of that size which ends within the controller's tolerance counts.
    The sizes are those of the policies `streaming` and `window`; -1: from the number of frames that the model
    was trained with, see history.policies.
    """

    capacity: int = 512  # frames; when full, every second one is dropped, the first kept
    min_translation_m: float = 0.22  # motion after which a frame joins the history
    min_rotation_rad: float = math.radians(13.0)  # turn after which a frame joins the history
    policy: str = "navila"  # which frames a prompt shows: NaVILA's sampler, exact; or streaming, window
    window_frames: int = -1  # frames shown one after the other until the window is rebuilt; -1: the model's
    kept_frames: int = -1  # the newest of them, which outlive a rebuild; -1: the model's
    memory_frames: int = -1  # places in the prompt for all that was seen before the window; -1: the model's

    def __post_init__(self) -> None:
        check_fields(self)
        _require(self.capacity >= 16, "capacity", self.capacity, "at least 16")
        _require_positive(self, "min_translation_m", "min_rotation_rad")
        _require(self.policy in HISTORY_POLICIES, "policy", self.policy, f"one of {', '.join(HISTORY_POLICIES)}")
        window = self.window_frames
        _require(window == -1 or window >= 2, "window_frames", window, "-1 or at least 2")
        _require(self.kept_frames >= -1, "kept_frames", self.kept_frames, "-1 or more")
        _require(self.memory_frames >= -1, "memory_frames", self.memory_frames, "-1 or more")
        if window != -1:
            _require(self.kept_frames < window, "kept_frames", self.kept_frames, f"less than window_frames = {window}")


@dataclass(frozen=True, slots=True)
class NavigatorConfig:
    """When a frame, a reply or an instruction is good enough to act on."""

    max_image_age_s: float = 0.5  # an older image is not answered
    decision_deadline_s: float = 4.0  # a decision that takes longer is dropped
    max_instruction_chars: int = 512  # a longer instruction is refused
    min_probability: float = 0.0  # a less sure decision holds the robot
    avoid_repeats: bool = True  # take the next best action instead of one that led nowhere here
    watch_camera: bool = True  # hold when the images don't fit the robot's motion: frozen, replayed, nothing to see
    max_blind_m: float = 0.05  # drive that the images must show; shorter tells sooner, longer doubts less
    max_blind_rad: float = math.radians(4.0)  # turn that they must show
    timing: str = "stop_and_think"  # of decisions; continuous: the next one is made while the robot still moves
    reply: str = "auto"  # choice: scores the ten sentences; free: parses what the model writes; auto: as trained

    def __post_init__(self) -> None:
        check_fields(self)
        _require_positive(self, "max_image_age_s", "decision_deadline_s", "max_instruction_chars")
        _require_positive(self, "max_blind_m", "max_blind_rad")
        _require(0.0 <= self.min_probability < 1.0, "min_probability", self.min_probability, "in [0, 1)")
        _require(self.timing in TIMINGS, "timing", self.timing, f"one of {', '.join(TIMINGS)}")
        _require(self.reply in REPLY_MODES, "reply", self.reply, f"one of {', '.join(REPLY_MODES)}")


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """Standing queries and questions about the past: what is remembered, how often asked, what is believed."""

    max_queries: int = 16  # standing queries; and questions that wait for an answer
    max_query_chars: int = 256  # a longer text is refused
    history_s: float = 120.0  # how far back can be asked; NVILA's images of 640 x 480 then take 310 MB
    period_s: float = 0.25  # time between two frames that are remembered
    window_s: float = 16.0  # what a standing query is evaluated on
    max_frames: int = 32  # frames of a window in one prompt, evenly chosen; a relevance head takes all
    rate_hz: float = 2.0  # evaluations of all queries, if the model is quick enough
    mission_share: float = 0.25  # of the time that evaluations may take beside a mission; less if decisions take long
    min_probability: float = 0.5  # below it an interval is not believed
    confirm_evaluations: int = 2  # evaluations in a row that must see an event before it is reported
    confirm_relevance: float = 0.85  # a relevance head's mean over an event, to report it; more: fewer false alarms
    confirm_within_s: float = 5.0  # how long after an event's end a relevance head may still confirm it
    close_evaluations: int = 2  # evaluations in a row that must see an event's end before it is closed
    min_duration_s: float = 0.5  # a shorter event is taken for noise
    merge_gap_s: float = 1.0  # intervals that lie closer are one event
    max_reply_tokens: int = 128  # longest answer of ~/describe

    def __post_init__(self) -> None:
        check_fields(self)
        _require_positive(self, *[f.name for f in dataclasses.fields(self) if f.name != "min_duration_s"])
        _require(0 < self.min_probability < 1, "min_probability", self.min_probability, "in (0, 1)")
        _require(0 < self.mission_share <= 1, "mission_share", self.mission_share, "above 0 and at most 1")
        _require(0 < self.confirm_relevance < 1, "confirm_relevance", self.confirm_relevance, "in (0, 1)")
        _require(self.min_duration_s >= 0, "min_duration_s", self.min_duration_s, "0 or more")
        _require(self.window_s <= self.history_s, "window_s", self.window_s, f"at most history_s = {self.history_s:g}")
        _require(self.max_frames >= 2, "max_frames", self.max_frames, "at least 2")
        _require(
            2 * self.period_s <= self.window_s,
            "period_s",
            self.period_s,
            f"at most half of window_s = {self.window_s:g}",
        )


@dataclass(frozen=True, slots=True)
class StrainConfig:
    """How much heat and how little memory is too much for this computer, and what is done then."""

    slow_c: float = 85.0  # from here on decisions are slower; where a zone has trip points, those count instead
    low_speed_c: float = 92.0  # from here on the robot is slower
    stop_c: float = 97.0  # from here on it stands
    critical_margin_c: float = 3.0  # below the critical trip point, at which the computer is switched off
    slow_memory: float = 0.05  # share of the memory that is left: below it decisions are slower
    low_speed_memory: float = 0.03  # below it the robot is slower
    stop_memory: float = 0.015  # below it the robot stands
    counted_memory_mb: float = 8192.0  # shares are of so much at most: a large machine need not leave more
    slow_pressure: float = 10.0  # percent of time in which all wait for memory, over ten seconds: slower decisions
    low_speed_pressure: float = 25.0  # slower robot
    stop_pressure: float = 50.0  # it stands
    slow_cpu_pressure: float = 0.0  # percent of time in which some wait for a processor; 0: any, a model may fill it
    confirm_s: float = 1.0  # more strain must be seen for so long; what is seen first counts at once
    dwell_s: float = 10.0  # less strain must be seen for so long, for each step down
    easing_c: float = 5.0  # a limit must be undercut by so much to count as cooler
    easing: float = 0.2  # and memory and pressure by this share
    sensor_silence_s: float = 3.0  # a sensor that has read, and reads nothing for longer, is doubted
    low_speed_scale: float = 0.5  # of the speed limits
    decision_delay_s: float = 0.5  # wait before each decision, from the first step on
    ignored_zones: str = "iwlwifi,PMIC-Die"  # by the beginning of their names: radios sleep, Tegra's PMIC says 100 C

    def __post_init__(self) -> None:
        check_fields(self)
        others = ("ignored_zones", "easing", "slow_cpu_pressure")
        _require_positive(self, *[f.name for f in dataclasses.fields(self) if f.name not in others])
        _require(self.slow_cpu_pressure >= 0, "slow_cpu_pressure", self.slow_cpu_pressure, "0 or more")
        for rising in (("slow_c", "low_speed_c", "stop_c"), ("slow_pressure", "low_speed_pressure", "stop_pressure")):
            _require_rising(self, *rising)
        _require_rising(self, "stop_memory", "low_speed_memory", "slow_memory")
        _require(self.slow_memory < 1, "slow_memory", self.slow_memory, "below 1")
        _require(0 <= self.easing < 1, "easing", self.easing, "in [0, 1)")
        _require(self.low_speed_scale <= 1, "low_speed_scale", self.low_speed_scale, "at most 1")


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """The motion controller: speeds, gains, tolerances and time limits."""

    max_linear_mps: float = 0.3  # speed limit
    max_angular_rps: float = 0.5  # turning speed limit
    max_linear_accel_mps2: float = 1.0  # change of speed
    max_angular_accel_rps2: float = 2.0  # change of turning speed
    linear_gain: float = 8.0  # speed for each metre that is left, in the last centimetres
    angular_gain: float = 8.0  # turning speed for each radian that is left, in the last degrees and toward a line
    position_tolerance_m: float = 0.03  # a motion that ends so near is done
    angle_tolerance_rad: float = math.radians(2.0)  # a turn that ends so near is done
    stall_timeout_s: float = 1.5  # no progress for so long aborts the motion
    odometry_timeout_s: float = 0.5  # longer silence means zero velocity
    heartbeat_timeout_s: float = 0.3  # longer silence of the navigator means zero velocity
    max_heartbeat_age_s: float = 1.0  # the image that a heartbeat vouches for may be so old
    governor_timeout_s: float = 0.5  # longer silence of a governor that was heard means zero velocity
    max_decision_age_s: float = 4.0  # an action whose image is older is refused
    max_distance_m: float = 0.75  # a longer action is refused
    max_turn_rad: float = math.radians(45.0)  # a larger action is refused

    def __post_init__(self) -> None:
        check_fields(self)
        _require_positive(self, *[f.name for f in dataclasses.fields(self)])


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
    types, unset = field_types(kind), _unset(kind)
    return kind(
        **{
            key: value if key in unset and value != value else _checked(f"{kind.__name__}.{key}", types[key], value)
            for key, value in values.items()
        }
    )


def check_fields(config: object) -> None:
    """Raise ConfigError for a field of a dataclass that is not of its type, or not finite."""
    for name, expected in field_types(type(config)).items():
        _checked(f"{type(config).__name__}.{name}", expected, getattr(config, name))


def field_types(kind: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields."""
    return _hints(kind)


_hints = lru_cache(maxsize=64)(get_type_hints)


def _unset(kind: type) -> set[str]:
    """Fields that are NaN until somebody gives them a value."""
    return {f.name for f in dataclasses.fields(kind) if isinstance(f.default, float) and math.isnan(f.default)}


def _is_needed(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _checked(name: str, expected: Any, value: Any) -> Any:
    """The value, a whole number as a float where that is wanted; types that are not of one word are left alone."""
    if expected not in (bool, int, float, str):
        return value
    if expected is float and type(value) is int and abs(value) <= _MOST_WHOLE:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(f"{name} = {value!r}: expected {expected.__name__}, got {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} = {value!r}: must be finite")
    if expected is int and abs(value) > _MOST_WHOLE:
        raise ConfigError(f"{name}: a number of {value.bit_length()} bits is too large")
    return value


_MOST_WHOLE = 2**53


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f"{name} = {value!r}: must be {rule}")


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(math.isfinite(value) and value > 0, name, value, "finite and above 0")


def _require_rising(config: object, *names: str) -> None:
    for lower, higher in itertools.pairwise(names):
        low, high = getattr(config, lower), getattr(config, higher)
        _require(low <= high, higher, high, f"at least {lower} = {low:g}")
