"""A YAML file in the place of a checkpoint's directory: what a backend must know of its model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml

from vila_core.config import from_mapping
from vila_core.errors import CheckpointError, ConfigError
from vila_core.files.reading import read_text

Settings = TypeVar("Settings")


def read_settings(file: Path, kind: type[Settings], remedy: str) -> Settings:
    """Fill a dataclass from the file's keys.

    remedy: what to write into it, for messages. Raises CheckpointError for a file that cannot be read or holds no keys,
    ConfigError, naming the file too, for wrong keys and values.
    """
    text = read_text(file, remedy=remedy)
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        raise CheckpointError(f"{file} is no YAML: {' '.join(str(err).split())[:120]}") from err
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise CheckpointError(f"{file} holds no keys; {remedy}")
    try:
        return from_mapping(kind, values)
    except ConfigError as err:
        raise ConfigError(f"{file}: {err}") from err
