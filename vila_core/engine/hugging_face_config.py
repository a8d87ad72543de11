"""The file that may stand for a checkpoint of Hugging Face, in the place of its directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vila_core.config import check_fields
from vila_core.engine.settings_file import read_settings
from vila_core.errors import BackendError, CheckpointError
from vila_core.fields import Bounds
from vila_core.files.json_object import read_object
from vila_core.files.reading import is_file, is_folder

_REMEDY = "give a directory of Hugging Face's layout, or a YAML file with checkpoint: DIRECTORY"


@dataclass(frozen=True, slots=True)
class HuggingFaceConfig:
    """Where the checkpoint is and how it is asked."""

    checkpoint: str = ""  # its directory
    name: str = ""  # empty: the directory's
    prompt_style: str = "vila"  # navila, nano or vila
    num_frames: Annotated[int, Bounds(least=1, most=64)] = 8  # in a prompt, the current one included
    trust_remote_code: bool = False  # run the code that comes with the checkpoint, whatever it does

    def __post_init__(self) -> None:
        check_fields(self)


def read_hugging_face_config(path: Path) -> HuggingFaceConfig:
    """Return the configuration of a directory, or of a YAML file.

    Raises CheckpointError for what is neither or has no config.json, ConfigError for wrong keys, BackendError for a
    checkpoint that brings code where the file does not allow it.
    """
    config = HuggingFaceConfig(str(path)) if is_folder(path) else read_settings(path, HuggingFaceConfig, _REMEDY)
    folder = Path(config.checkpoint).expanduser()
    if not is_file(folder / "config.json"):
        raise CheckpointError(f"{folder} has no config.json; give a directory of Hugging Face's layout")
    if read_object(folder / "config.json").has("auto_map") and not config.trust_remote_code:
        raise BackendError(
            f"{folder} brings code of its own; to run it, give the backend a YAML file with checkpoint: {folder} and"
            " trust_remote_code: true"
        )
    return config
