"""ROS parameters made from the configuration dataclasses: same names, same defaults, same checks."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import io
import textwrap
import tokenize
from collections.abc import Sequence
from typing import Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from vila_core.config import from_mapping
from vila_core.errors import ConfigError

T = TypeVar("T")

ALWAYS_KNOWN = ("use_sim_time", "start_type_description_service", "qos_overrides")


def declare(node: Node, kind: type, prefix: str = "") -> tuple[str, ...]:
    """Declare a parameter for each field of the dataclass, "prefix.field" if there is a prefix.

    Returns their names. The default is the field's; the type is fixed by it; the description is the comment behind
    the field. Parameters are read once, when the node is configured, hence read-only. Raises ConfigError for an
    override of the wrong type.
    """
    names, comments = [], field_comments(kind)
    for field in dataclasses.fields(kind):
        name = f"{prefix}.{field.name}" if prefix else field.name
        names.append(name)
        default = _default(field)
        descriptor = ParameterDescriptor(
            name=name,
            description=comments.get(field.name, ""),
            read_only=True,
            dynamic_typing=False,
        )
        try:
            node.declare_parameter(name, default, descriptor)
        except InvalidParameterTypeException as err:
            kind_name = type(default).__name__
            raise ConfigError(f"parameter {name}: expected {kind_name} such as {default!r}; {err}") from err
    return tuple(names)


def read(node: Node, kind: type[T], prefix: str = "") -> T:
    """Build the dataclass from the node's parameters. Raises ConfigError for an impossible value."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = f"{prefix}.{field.name}" if prefix else field.name
        values[field.name] = node.get_parameter(name).value
    return from_mapping(kind, values)


def field_comments(kind: type) -> dict[str, str]:
    """Return the comment behind each field of a dataclass.

    It is looked for on the field's last line; {} if the source is not installed.
    """
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except OSError:
        return {}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    on_line = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    return {
        field.target.id: on_line[field.end_lineno]
        for field in ast.walk(ast.parse(source))
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.end_lineno in on_line
    }


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


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise ConfigError(f"configuration field {field.name!r} has no default, so it cannot be a parameter")
