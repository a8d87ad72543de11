"""The page docs/reference.md: tables of what the nodes offer, of their parameters and of the `vila` commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vila_core.errors import VilaError
from vila_core.fields import unit
from vila_tools.cli import Command
from vila_tools.reference.graph import Endpoint, NodeFace
from vila_tools.reference.words import ENDPOINTS, NODES

HEAD = """# Reference

Written by `vila reference` from the running nodes and the table of commands; a test holds it against them.
Change the code, then run `vila reference`.

Names are relative to the namespace of the nodes; `~` is the node's own name. The quality of service is that of our
end. `config/robots/generic.yaml` is the parameter file to copy ([robots](robots.md)). Parameters are read when a node
is configured; a name that the node does not declare is refused, with the closest one that exists, and so is a value
outside of its range.
What stands in the column "set later" can be set while the node runs, and says from when on it counts, see
[Parameters at run time](parameters.md); the others are read-only. `ros2 param describe` says the same as the tables.
"""
OUR_PACKAGE = "vila_nav"
TYPES = {bool: "bool", int: "int", float: "double", str: "string"}


def reference_page(faces: Sequence[NodeFace], commands: Mapping[str, Command]) -> str:
    """Return the page. Raises VilaError for what nobody has written a line about, and for a line about nothing."""
    _check_words(faces)
    parts = [HEAD, *(_node(face) for face in faces), _commands(commands)]
    return "\n".join(parts)


def _check_words(faces: Iterable[NodeFace]) -> None:
    there = {(face.name, endpoint.name) for face in faces for endpoint in face.endpoints}
    for name, one in sorted(there ^ set(ENDPOINTS)):
        problem = "has no line" if (name, one) in there else "does not exist but has a line"
        raise VilaError(f"{one} of the {name} {problem} in vila_tools/reference/words.py")
    for face in faces:
        for parameter in face.parameters:
            if not parameter.about:
                raise VilaError(f"parameter {parameter.name} of the {face.name} has no comment behind its field")


def _node(face: NodeFace) -> str:
    endpoints = [
        (f"`{one.name}`", one.role, _type(one), one.qos, ENDPOINTS[face.name, one.name]) for one in face.endpoints
    ]
    parameters = [
        (
            f"`{one.name}`",
            TYPES[type(one.default)],
            _default(one.default),
            unit(one.name),
            one.allowed,
            one.set_later,
            one.about,
        )
        for one in face.parameters
    ]
    return "\n".join(
        [
            f"## {face.name}",
            NODES[face.name],
            "",
            _table(("name", "", "type", "quality of service", "about"), endpoints),
            _table(("parameter", "type", "default", "unit", "may be", "set later", "about"), parameters),
        ]
    )


def _type(endpoint: Endpoint) -> str:
    """The type as ROS users write it; one of ours links to its file."""
    package, kind, name = endpoint.type.split("/")
    return f"[{name}](../{kind}/{name}.{kind})" if package == OUR_PACKAGE else f"{package}/{name}"


def _default(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f'`"{value}"`' if isinstance(value, str) else str(value).lower()


def _commands(commands: Mapping[str, Command]) -> str:
    rows = [(f"`vila {name}`", command.help) for name, command in commands.items()]
    return "\n".join(
        ["## Commands", "`vila COMMAND --help` tells a command's options.", "", _table(("", "does"), rows)]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
