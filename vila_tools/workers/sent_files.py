"""Files that a worker on another machine needs: small ones are sent to it, large ones must be there."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import CheckpointError

SENT_MB = 256.0  # in all, of one checkpoint; above, it must be on each machine
_ADAPTER = "adapter_config.json"  # which names a base elsewhere


@dataclass(frozen=True, slots=True, eq=False)
class SentFiles:
    """A file, or a folder's files, by their names below it ("" for the file itself), with their bytes or sizes alone.

    contents: None for what is not sent, of which the same names and sizes must lie under the same path elsewhere.
    """

    path: Path
    sizes: Mapping[str, int]
    contents: Mapping[str, NDArray[np.uint8]] | None


def sent_files(path: Path, *, most_mb: float = SENT_MB) -> SentFiles:
    """Read what is to be sent; of what is too large, an adapter whose base lies elsewhere, or not here, no contents."""
    files = {str(file.relative_to(path)): file for file in sorted(path.rglob("*")) if file.is_file()}
    if path.is_file():
        files = {"": path}
    sizes = {name: file.stat().st_size for name, file in files.items()}
    is_sent = 0 < sum(sizes.values()) <= most_mb * 1e6 and _ADAPTER not in files
    contents = {name: np.fromfile(file, np.uint8) for name, file in files.items()} if is_sent else None
    return SentFiles(path.absolute(), sizes, contents)


@contextmanager
def placed(sent: Sequence[SentFiles]) -> Iterator[Callable[[Path], Path]]:
    """Yield where each path is on this machine; what was sent is there until the end.

    Raises CheckpointError, naming this machine, for what must be here and is not, or is another.
    """
    with tempfile.TemporaryDirectory(prefix="vila-sent-") as folder:
        places = {one.path: _place(one, Path(folder) / str(number)) for number, one in enumerate(sent)}
        yield lambda path: places.get(path.absolute(), path)


def _place(sent: SentFiles, folder: Path) -> Path:
    if sent.contents is None:
        _require_same(sent)
        return sent.path
    for name, content in sent.contents.items():
        file = folder / sent.path.name / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content.tofile(file)
    return folder / sent.path.name


def _require_same(sent: SentFiles) -> None:
    host = socket.gethostname()
    if not sent.path.exists():
        raise CheckpointError(
            f"{sent.path} is not on {host}: what is above {SENT_MB:.0f} MB is not sent, nor is an adapter; copy it "
            "to that path, or name a folder that all machines share"
        )
    there = sent_files(sent.path, most_mb=0.0).sizes
    differ = sorted(name for name in {*there, *sent.sizes} if there.get(name) != sent.sizes.get(name))
    if differ and sent.sizes:
        raise CheckpointError(f"{sent.path} on {host} is another one: {differ[0] or 'its size'} differs; copy it there")
