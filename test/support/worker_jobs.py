"""What the tests of worker pools have done, in a module that other processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vila_core.errors import ConfigError
from vila_sim.shards import shard_path, write_shard


def squares(at: Callable[[Path], Path]) -> Callable[[int], int]:
    return square


def square(number: int) -> int:
    if number < 0:
        raise ConfigError(f"{number}: no number to square")
    return number**2


def killed_once(folder: Path, at: Callable[[Path], Path]) -> Callable[[int], int]:
    """Squares; the worker that is first given 3 is killed by it."""

    def work(number: int) -> int:
        if number == 3 and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return square(number)

    return work


def killing(at: Callable[[Path], Path]) -> Callable[[int], int]:
    """No worker survives a 3."""

    def work(number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return square(number)

    return work


def failing(at: Callable[[Path], Path]) -> Callable[[int], int]:
    raise ConfigError("this worker cannot start")


def contents(path: Path, at: Callable[[Path], Path]) -> Callable[[int], tuple[str, list[str], bytes]]:
    """The name of a folder, its files and one's bytes, as the worker found them when it started."""
    here = at(path)
    names = sorted(str(file.relative_to(here)) for file in here.rglob("*") if file.is_file())
    found = here.name, names, (here / names[0]).read_bytes()
    return lambda number: found


def noise_shard(out: Path, index: int) -> Path:
    """A shard that needs no simulator, of its index alone."""

    def write(folder: Path) -> None:
        np.save(folder / "images.npy", np.random.default_rng(index).integers(0, 255, (5, 9, 9, 3), np.uint8))
        (folder / "clips.json").write_text(f"[{index}]")

    return write_shard(shard_path(out, index), write)
