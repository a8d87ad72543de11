"""What a peer loads is written once, in a process of its own: no memory of it is left in the one that is measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vila_core.models.config import CheckpointConfig
from vila_core.models.config_reader import read_checkpoint_config
from vila_tools.benchmark.job import StepJob


class Conversion:
    """Writes a contender's folder when it is made; a worker process can hold it."""

    def __init__(self, job: StepJob, target: str, write: Callable[[CheckpointConfig, Path], None]) -> None:
        """Have write fill the folder that belongs to the target's module, all of it or nothing."""
        folder = converted_folder(job, target)
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write(read_checkpoint_config(Path(job.checkpoint)), unfinished)
        unfinished.rename(folder)
        self.facts: dict[str, Any] = {}


def converted_folder(job: StepJob, target: str) -> Path:
    """Where what is converted for a "module:attribute", or for a module, lies."""
    module = target.partition(":")[0]
    return Path(job.folder) / module.rpartition(".")[2]
