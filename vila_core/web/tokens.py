"""Secrets that callers show: one in a file, or a line for each caller."""

from __future__ import annotations

from pathlib import Path

from vila_core.errors import ConfigError
from vila_core.files.reading import read_text

_LEAST_CHARS = 16


def first_token(file: Path) -> str:
    """Return the first line of a file.

    Raises ConfigError for a file that cannot be read, or whose first line is too short to be a secret.
    """
    file = file.expanduser()
    return _checked(next(iter(read_text(file, error=ConfigError).splitlines()), "").strip(), "first line", file)


def named_tokens(file: Path) -> dict[str, str]:
    """Return the tokens of a file by name: a line each, `TOKEN` or `NAME TOKEN`; lines that begin with # are left out.

    Raises ConfigError as first_token does, for a name or a token that is there twice, and for a file without any.
    """
    file = file.expanduser()
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(file, error=ConfigError).splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise ConfigError(f"{file}: line {number} has {len(words)} words; write `TOKEN` or `NAME TOKEN`")
        token = _checked(words[-1], f"line {number}", file)
        name = words[0] if len(words) == 2 else f"line {number}"
        if name in found or token in found.values():
            raise ConfigError(f"{file}: line {number} has the name or the token of a line before")
        found[name] = token
    if not found:
        raise ConfigError(f"{file} holds no token; make one: openssl rand -hex 24 > {file}")
    return found


def _checked(token: str, where: str, file: Path) -> str:
    if len(token) < _LEAST_CHARS or not token.isprintable() or not token.isascii() or " " in token:
        raise ConfigError(
            f"{file}: the {where} must be {_LEAST_CHARS} letters and digits or more, without a space;"
            f" make one: openssl rand -hex 24 > {file}"
        )
    return token
