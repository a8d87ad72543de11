"""Where the package keeps what it made or measured for this machine; deleted, it is made anew."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def cache_folder() -> Path:
    """Return $XDG_CACHE_HOME/vila_nav, or its place in the home directory; OSError where there is no home."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache") / "vila_nav"
    except RuntimeError as err:  # HOME is not set, and the user has no entry in the list of users
        raise OSError(errno.ENOENT, "no home directory; set HOME or XDG_CACHE_HOME") from err


def make_cache_folder(folder: Path) -> None:
    """Make the folder, ours alone; raises OSError where that cannot be."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def why_untrusted(path: Path) -> str | None:
    """Return why code in a file, or in a folder, may be another's: its owner, or that anybody can write it.

    None if it is ours or root's alone. Raises OSError as stat.
    """
    facts = path.stat()
    if facts.st_uid not in (os.geteuid(), 0):
        return f"{path} belongs to user {facts.st_uid}, not to {os.geteuid()}"
    if facts.st_mode & stat.S_IWOTH:
        return f"{path} can be written by anybody; run chmod o-w"
    return None
