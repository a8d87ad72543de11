"""The package's version, from a source tree or from what is installed."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

_NAME = "vila-nav"
_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def package_version(project: Path = _PROJECT) -> str:
    """Return the version that the source tree's pyproject.toml states; without one, the installed package's.

    A colcon or pip install has no such file beside the package, and a source tree need not be installed.
    """
    stated = _stated(project)
    if stated is not None:
        return stated
    try:
        return importlib.metadata.version(_NAME)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _stated(project: Path) -> str | None:
    """What the file's [project] table says, None if it is missing or another project's."""
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    table = re.search(r"^\[project\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    keys = dict(re.findall(r'^(name|version)\s*=\s*"([^"]+)"', table[1] if table else "", re.MULTILINE))
    return keys.get("version") if keys.get("name") == _NAME else None
