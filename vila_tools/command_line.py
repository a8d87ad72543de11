"""A program's command line, made from the dataclass that holds its options: name, type and default stand once."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

Options = TypeVar("Options")


def option(about: str | None, *, flag: str = "", metavar: str | None = None) -> dict[str, Any]:
    """Return the metadata of a field that is an option.

    about: its help, None to leave it out of the help. flag: where it is not --NAME-OF-THE-FIELD.
    """
    return {"about": about, "flag": flag, "metavar": metavar}


def parse_options(kind: type[Options], argv: Sequence[str] | None, *, prog: str, description: str | None) -> Options:
    """Fill a dataclass from the command line (argv None: this program's).

    A bool is a flag that is given or not, a tuple of texts an option that is repeated; a field without default is
    required, and one without `option` is not on the command line. Raises SystemExit as argparse does, and what the
    dataclass raises for impossible values.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # any dataclass
        if field.metadata:
            _add(parser, field, types[field.name])
    values = vars(parser.parse_args(argv))
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _add(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], kind: Any) -> None:
    about, flag, metavar = (field.metadata[key] for key in ("about", "flag", "metavar"))
    form: dict[str, Any] = {"dest": field.name, "help": argparse.SUPPRESS if about is None else about}
    if kind is bool:
        form |= {"action": "store_true"}
    elif get_origin(kind) is tuple:  # what is given replaces the default instead of joining it
        form |= {"action": "append", "default": argparse.SUPPRESS, "metavar": metavar}
    else:
        form |= {"type": _scalar(kind), "default": field.default, "metavar": metavar}
        if field.default is dataclasses.MISSING:
            form |= {"required": True, "default": None}
    parser.add_argument(flag or f"--{field.name.replace('_', '-')}", **form)


def _scalar(kind: Any) -> Any:
    """The type itself, of `T | None` the T."""
    return next((one for one in get_args(kind) if one is not type(None)), kind)
