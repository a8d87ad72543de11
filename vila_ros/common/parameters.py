"""ROS parameters made from the configuration dataclasses: same names, same defaults, same checks."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from vila_core.config import from_mapping
from vila_core.errors import ConfigError
from vila_core.fields import Bounds, FieldRule, field_rules, unit

T = TypeVar("T")

_COUNTS = "can be set at run time, counts "
_WARN_EVERY_S = 1.0
ALWAYS_KNOWN = ("use_sim_time", "start_type_description_service", "qos_overrides")


def declare(node: Node, kind: type, prefix: str = "") -> tuple[str, ...]:
    """Declare a parameter for each field of the dataclass, "prefix.field" if there is a prefix.

    Returns their names. The default is the field's; the type is fixed by it; range, choices and whether it may be set
    while the node runs are those that are declared at the field; the description is its comment, and these in words.
    Raises ConfigError for an override of the wrong type or outside the range.
    """
    names, comments = [], field_comments(kind)
    for field in dataclasses.fields(kind):
        name, rule = _name(field.name, prefix), field_rules(kind)[field.name]
        names.append(name)
        default = _default(field)
        try:
            node.declare_parameter(name, default, descriptor(name, comments.get(field.name, ""), rule))
        except InvalidParameterTypeException as err:
            kind_name = type(default).__name__
            raise ConfigError(f"parameter {name}: expected {kind_name} such as {default!r}; {err}") from err
        except InvalidParameterValueException as err:
            given = node._parameter_overrides.get(name)
            raise ConfigError(rule.refusal(name, default if given is None else given.value) or str(err)) from err
    return tuple(names)


def read(node: Node, kind: type[T], prefix: str = "", given: Mapping[str, Any] | None = None) -> T:
    """Build the dataclass from the node's parameters, or from those given by their full names where there are some.

    Raises ConfigError for an impossible value.
    """
    given, values = given or {}, {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = _name(field.name, prefix)
        values[field.name] = given[name] if name in given else node.get_parameter(name).value
    return from_mapping(kind, values)


class RunningParameters:
    """Takes parameters that are set while the node runs, checks them as a whole, and hands them to who uses them.

    What is set together counts together: the configurations are made of the present and the new values, and if one of
    them is impossible nothing changes, and whoever set them is told why. Parameters whose field is not declared to be
    settable are read-only and never come here. Make it once all parameters are declared.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._users: list[_User] = []
        node.add_on_set_parameters_callback(self._on_set)

    def follow(self, kind: type[T], apply: Callable[[T], object], prefix: str = "") -> Callable[[], None]:
        """Have `apply` called in the executor's thread with each new configuration; it must not fail.

        Returns what ends that.
        """
        names = {_name(field.name, prefix) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        user = _User(kind, prefix, frozenset(names), apply)
        self._users.append(user)
        return partial(self._users.remove, user)

    def _on_set(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        given = {parameter.name: parameter.value for parameter in parameters}
        touched = [user for user in self._users if not user.names.isdisjoint(given)]
        try:
            configurations: list[Any] = [read(self._node, user.kind, user.prefix, given) for user in touched]
        except ConfigError as err:
            self._node.get_logger().warning(f"parameters not set: {err}", throttle_duration_sec=_WARN_EVERY_S)
            return SetParametersResult(successful=False, reason=str(err))
        for user, configuration in zip(touched, configurations, strict=True):
            user.apply(configuration)
        for name in sorted(given.keys() & frozenset().union(*(user.names for user in touched))):
            before = self._node.get_parameter(name).value
            self._node.get_logger().info(f"parameter {name} is set to {given[name]!r}, it was {before!r}")
        return SetParametersResult(successful=True)


@dataclass(frozen=True, slots=True, eq=False)
class _User:
    kind: type
    prefix: str
    names: frozenset[str]
    apply: Callable[[Any], object]


def descriptor(name: str, meaning: str, rule: FieldRule) -> ParameterDescriptor:
    """Describe a parameter by its meaning and what is declared at its field.

    The description ends in brackets with unit, range and when a value counts: see `meaning_of`. A field whose default
    is NaN gets no range, as that would be outside of it.
    """
    allowed = "" if rule.allowed is None else rule.allowed.words
    if rule.is_unset:
        allowed = f"NaN or {allowed}"
    when = f"{_COUNTS}{rule.settable.counts}" if rule.settable else "read when the node is configured"
    told = ParameterDescriptor(
        name=name,
        description=f"{meaning} ({'; '.join(filter(None, (unit(name), allowed, when)))})",
        additional_constraints=allowed,
        read_only=rule.settable is None,
        dynamic_typing=False,
    )
    if isinstance(rule.allowed, Bounds) and not rule.is_unset:
        low, high = rule.allowed.lowest, rule.allowed.highest
        if rule.type is int:
            told.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            told.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return told


def meaning_of(description: str) -> str:
    """Return the meaning alone of a description that `descriptor` wrote."""
    return description.rpartition(" (")[0]


def counts_from(description: str) -> str:
    """Return from when on a value that is set later counts, empty if none can be set, of such a description."""
    return description.rpartition(_COUNTS)[2].removesuffix(")") if _COUNTS in description else ""


@cache
def field_comments(kind: type) -> Mapping[str, str]:
    """Return the comment of each field of a dataclass: behind it on its last line, or on the lines above it.

    {} if the source is not installed.
    """
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except OSError:
        return {}
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(source).readline) if one.type == tokenize.COMMENT]
    behind = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.line.strip() != one.string}
    alone = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.line.strip() == one.string}
    comments = {}
    for field in ast.walk(ast.parse(source)):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            comment = behind.get(field.end_lineno or 0) or _above(field.lineno, alone)
            if comment:
                comments[field.target.id] = comment
    return comments


def _above(line: int, comments: Mapping[int, str]) -> str:
    first = line
    while first - 1 in comments:
        first -= 1
    return " ".join(comments[number] for number in range(first, line))


def refuse_unknown(node: Node, declared: Sequence[str]) -> None:
    """Raise ConfigError if the node was given a parameter that is not among the declared names.

    ROS itself ignores those silently, so a misspelt safety limit would go unnoticed.
    """
    for name in node._parameter_overrides:
        if name in declared or _always_known(name):
            continue
        close = difflib.get_close_matches(name, declared, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(declared))}"
        raise ConfigError(f"unknown parameter {name!r} for node {node.get_fully_qualified_name()}; {hint}")


def _always_known(name: str) -> bool:
    return name.split(".")[0] in ALWAYS_KNOWN


def _name(field: str, prefix: str) -> str:
    return f"{prefix}.{field}" if prefix else field


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise ConfigError(f"configuration field {field.name!r} has no default, so it cannot be a parameter")
