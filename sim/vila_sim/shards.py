"""Data sets in shards: each a folder that is complete once it exists, so that making them can be resumed."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vila_core.errors import WorldError
from vila_core.files.json_object import read_object
from vila_core.files.writing import write_text, written_whole


def shard_path(out: Path, index: int) -> Path:
    """Where the shard of that index lies once it is finished."""
    return out / f"shard_{index:05d}"


def write_shard(target: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a folder and move it to the target in one step; return the target.

    A target that another run finished meanwhile is kept: both made the same. Raises OutputError where it cannot be
    written.
    """
    with written_whole(target, aside=target.parent, keep=True) as unfinished:
        unfinished.mkdir()
        write(unfinished)
    return target


def write_meta(path: Path, meta: dict[str, Any]) -> None:
    """Write what the data set was made with, and the libraries' versions, or check that the one there says the same.

    Raises WorldError if it says something else.
    """
    if path.exists():
        found = read_object(path, error=WorldError, remedy="delete it or choose another folder").raw
        found.pop("versions", None)
        if found != json.loads(json.dumps(meta)):
            raise WorldError(f"{path} was made with other settings: choose another folder or delete it")
        return
    versions = {name: importlib.metadata.version(name) for name in ("mujoco", "numpy", "scipy", "pillow")}
    write_text(path, json.dumps({**meta, "versions": versions}, indent=1))
