"""Where this package's configuration files lie: beside the source, or in the install's share folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vila_core.errors import ConfigError

PACKAGE = "vila_nav"


def share_file(relative: str) -> Path:
    """Return the path of a file such as "config/navigator.yaml". Raises ConfigError if it is missing."""
    folders = _folders()
    for folder in folders:
        if (folder / relative).is_file():
            return folder / relative
    looked = ", ".join(str(folder) for folder in folders)
    raise ConfigError(f"{relative!r} is not installed (looked in {looked}); reinstall {PACKAGE}")


def share_folder(package: str) -> Path | None:
    """Return the share folder of an installed ROS package, None if there is none."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    folders = (Path(prefix) / "share" / package for prefix in prefixes)
    return next((folder for folder in folders if folder.is_dir()), None)


def _folders() -> tuple[Path, ...]:
    source, installed = Path(__file__).resolve().parents[2], share_folder(PACKAGE)
    return (source,) if installed is None else (source, installed)
