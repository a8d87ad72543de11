"""What a run of finetuning was started with: a folder goes on only with the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vila_core.errors import ConfigError
from vila_core.files.json_object import read_object, show
from vila_core.files.reading import is_there
from vila_core.files.writing import write_text

_FILE = "settings.json"


def require_same_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new folder, or compare them with those of the run that is there.

    Raises ConfigError naming the first one that differs, and for a folder that holds something else.
    """
    settings = json.loads(json.dumps(settings))
    file = folder / _FILE
    if not is_there(file):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder} is there and holds no run of `vila finetune`; give another --out")
        write_text(file, json.dumps(settings, indent=2) + "\n")
        return
    before = read_object(file, error=ConfigError).raw
    for name in sorted({*before, *settings}):
        if before.get(name) != settings.get(name):
            raise ConfigError(
                f"{folder} holds a run with {name} {show(before.get(name))}, now it is {show(settings.get(name))}; "
                "give another --out, or delete it to begin again"
            )
