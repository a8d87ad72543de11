"""What the fields of a configuration may be, declared at the field, and when a value that is set later counts.

    max_linear_mps: Annotated[float, Bounds(above=0, most=3), AT_ONCE] = 0.3  # speed limit

From this come the check of the dataclass, the range of the ROS parameter and its words, and the table of the reference.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")

UNITS = {
    "m": "m",
    "rad": "rad",
    "deg": "degrees",
    "s": "s",
    "mps": "m/s",
    "rps": "rad/s",
    "mps2": "m/s²",
    "rps2": "rad/s²",
    "mps3": "m/s³",
    "rps3": "rad/s³",
    "hz": "Hz",
    "px": "px",
    "kg": "kg",
    "c": "°C",
    "mb": "MB",
    "gain": "1/s",
    "pressure": "%",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that a field may have: from `least`, or above `above`, to `most`, or below `below`.

    special: one more, outside of them, such as -1 for "as the model has it".
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    special: float | None = None

    def __post_init__(self) -> None:
        if (self.least is None) is (self.above is None) or (self.most is None) is (self.below is None):
            raise ValueError(f"{self}: needs one of least and above, and one of most and below")

    @property
    def lowest(self) -> float:
        """The smallest number, itself allowed or not."""
        low = self.above if self.least is None else self.least
        assert low is not None
        return low if self.special is None else min(low, self.special)

    @property
    def highest(self) -> float:
        """The largest number, itself allowed or not."""
        high = self.below if self.most is None else self.most
        assert high is not None
        return high if self.special is None else max(high, self.special)

    def allows(self, value: Any) -> bool:
        """Return True for a number that the field may have."""
        if self.special is not None and value == self.special:
            return True
        is_high_enough = value > self.above if self.above is not None else value >= self.least
        is_low_enough = value < self.below if self.below is not None else value <= self.most
        return is_high_enough and is_low_enough

    @property
    def words(self) -> str:
        """What stands behind "must be"."""
        special = "" if self.special is None else f"{self.special:g} or "
        if self.above is None and self.below is None:
            return f"{special}from {self.least:.10g} to {self.most:.10g}"
        low = f"at least {self.least:.10g}" if self.above is None else f"above {self.above:.10g}"
        high = f"at most {self.most:.10g}" if self.below is None else f"below {self.below:.10g}"
        return f"{special}{low} and {high}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """The words that a text may be; an empty one may stand for none."""

    choices: tuple[str, ...]

    def allows(self, value: Any) -> bool:
        """Return True for one of the words."""
        return value in self.choices

    @property
    def words(self) -> str:
        """What stands behind "must be"."""
        named = [choice for choice in self.choices if choice]
        one_of = f"one of {', '.join(named)}" if len(named) > 1 else repr(named[0])
        return f"{one_of} or empty" if "" in self.choices else one_of


@dataclass(frozen=True, slots=True)
class Settable:
    """A field that may be set while the node runs; counts: from when on a new value does."""

    counts: str


AT_ONCE = Settable("at once")
FROM_NEXT_MEASUREMENT = Settable("from a sensor's next measurement on")
FROM_NEXT_ACTION = Settable("from the next action on")
FROM_NEXT_MISSION = Settable("from the next mission on")


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What is declared of a field: its type, which values it may have, and whether it may be set later.

    is_unset: its default is NaN, which stands for no value at all.
    """

    type: Any
    allowed: Bounds | OneOf | None = None
    settable: Settable | None = None
    is_unset: bool = False

    def refusal(self, name: str, value: Any) -> str:
        """Return why a value of the right type can't be the field's, empty if it can; it names both."""
        if self.allowed is None or self.allowed.allows(value) or (self.is_unset and value != value):
            return ""
        return f"{name} = {value!r}: must be {self.allowed.words}"


def field_rules(kind: type) -> Mapping[str, FieldRule]:
    """Return what is declared of each field of a dataclass."""
    return _read_rules(kind)


@lru_cache(maxsize=64)
def _read_rules(kind: type) -> Mapping[str, FieldRule]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: _rule(hints[field.name], field.default) for field in dataclasses.fields(kind)}


def now_in_force(present: T, wanted: T) -> T:
    """Return the present configuration with those of the wanted values that count at once."""
    rules = field_rules(type(present))
    changes = {name: getattr(wanted, name) for name, rule in rules.items() if rule.settable == AT_ONCE}
    return dataclasses.replace(present, **changes)  # type: ignore[type-var]


def _rule(hint: Any, default: Any) -> FieldRule:
    is_unset = isinstance(default, float) and math.isnan(default)
    if get_origin(hint) is not Annotated:
        return FieldRule(hint, is_unset=is_unset)
    plain, *extras = get_args(hint)
    allowed = next((extra for extra in extras if isinstance(extra, Bounds | OneOf)), None)
    settable = next((extra for extra in extras if isinstance(extra, Settable)), None)
    return FieldRule(plain, allowed, settable, is_unset)


def unit(name: str) -> str:
    """Return the unit that a field's name ends in, "" if it ends in none."""
    return UNITS.get(name.rsplit("_", 1)[-1], "")
