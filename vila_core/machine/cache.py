"""Where the package keeps what it made or measured for this machine; deleted, it is made anew."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/vila_nav, or its place in the home directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vila_nav"


def keep_file(file: Path, write: Callable[[Path], object]) -> None:
    """Have a file written beside its place, then put there whole, since another process may be doing the same.

    write: is given the path to write to. Raises OSError where that cannot be.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        write(made)
        with made.open("rb") as written:
            os.fsync(written.fileno())  # a loss of power must not leave half of it in its place
        made.replace(file)
