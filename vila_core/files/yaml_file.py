"""Read a YAML file whole; what is none is called by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from vila_core.errors import ConfigError
from vila_core.files.reading import read_text


def read_yaml(file: Path) -> Any:
    """Return what the file holds; ConfigError naming it if it cannot be read or is no YAML."""
    try:
        return yaml.safe_load(read_text(file, error=ConfigError))
    except yaml.YAMLError as err:
        raise ConfigError(f"{file} is no YAML: {' '.join(str(err).split())}") from err
