"""The files of one run, one after the other, on a disk of which they may take so much and no more."""

from __future__ import annotations

import re
import shutil
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from vila_core.errors import OutputError
from vila_core.files.writing import naming_output
from vila_ros.recorder.bag_file import BagFile, Channel

MB = 1_000_000
_RUN = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(_\d+)?", re.ASCII)
_FILE = re.compile(r"\d{4,}\.mcap", re.ASCII)
_INDEX = 0.25  # of a file's bytes, that definitions and index may take more
_LATCHED = 100  # messages of a latched topic that each file begins with, at most


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """How much may be kept.

    most_bytes: of all runs in the folder. file_bytes, file_s: after which a file is closed and the next one begun.
    free_bytes: that stay free on the disk, whatever else may be kept.
    """

    most_bytes: int
    file_bytes: int
    file_s: float
    free_bytes: int = 200 * MB


class RunFolder:
    """Writes one run's messages into FOLDER/DATE_TIME/NNNN.mcap; the oldest files of all runs make place for new ones.

    Each file begins with what is latched, so that it can be read without those before. Raises OutputError where
    nothing can be written, also because the disk stays full with the oldest files gone.
    """

    def __init__(self, folder: Path, limits: DiskLimits) -> None:
        self._folder, self._limits = folder, limits
        self._latched: dict[str, deque[tuple[Channel, int, bytes]]] = {}
        self._count = 0
        self.removed_files = 0  # that had to make place
        self.run = _new_run(folder)
        self._open()

    @property
    def path(self) -> Path:
        """The file that is written to now."""
        return self._path

    def add(self, channel: Channel, time_ns: int, data: bytes, *, is_latched: bool = False) -> None:
        """Write a serialized message; is_latched: keep it for the files to come too."""
        if self._is_full(len(data)):
            self.close()
            self._open()
        if is_latched:
            self._latched.setdefault(channel.topic, deque(maxlen=_LATCHED)).append((channel, time_ns, data))
        with naming_output(self._path):
            self._bag.add(channel, time_ns, data)
        self._unflushed += len(data)

    def flush(self) -> None:
        """Have the operating system have it all."""
        with naming_output(self._path):
            self._bag.flush()
        self._unflushed = 0

    def close(self) -> None:
        """End the file, and with it the run."""
        with naming_output(self._path), self._file:
            self._bag.finish()

    def _is_full(self, more: int) -> bool:
        """Return True if a message of so many bytes is one for the next file."""
        size, age_s = self._file.tell() + self._unflushed, time.monotonic() - self._opened_s
        is_empty = self._unflushed == 0 and size < self._limits.file_bytes * _INDEX
        return (size + more > self._limits.file_bytes and not is_empty) or age_s >= self._limits.file_s

    def _open(self) -> None:
        self._path = self.run / f"{self._count:04d}.mcap"
        self._count += 1
        self._make_place()
        with naming_output(self._path):
            self._file: IO[bytes] = self._path.open("wb")
            self._bag = BagFile(self._file)
            for messages in self._latched.values():
                for channel, time_ns, data in messages:
                    self._bag.add(channel, time_ns, data)
        self._opened_s, self._unflushed = time.monotonic(), 0  # bytes, which may be in the file already

    def _make_place(self) -> None:
        """Remove the oldest files until a whole new one fits."""
        files = _files(self._folder)
        sizes = {file: file.stat().st_size for file in files}
        room = self._limits.most_bytes - round(self._limits.file_bytes * (1 + _INDEX))
        while files and (sum(sizes.values()) > room or self._is_disk_full()):
            oldest = files.pop(0)
            del sizes[oldest]
            self.removed_files += 1
            with naming_output(oldest):
                oldest.unlink()
                if oldest.parent != self.run and not any(oldest.parent.iterdir()):
                    oldest.parent.rmdir()
        if self._is_disk_full():
            raise OutputError(
                f"{self._path} cannot be written: less than {self._limits.free_bytes / MB:.0f} MB are free"
            )

    def _is_disk_full(self) -> bool:
        return shutil.disk_usage(self.run).free < self._limits.free_bytes


def _new_run(folder: Path) -> Path:
    """Make a folder for a run, named after the present time."""
    name, count = f"{datetime.now():%Y-%m-%d_%H-%M-%S}", 0
    while True:
        run = folder / (name if count == 0 else f"{name}_{count}")
        with naming_output(run):
            try:
                run.mkdir(parents=True)
            except FileExistsError:
                count += 1
                continue
        return run


def _files(folder: Path) -> list[Path]:
    """Return the files of all runs, oldest first; whatever else lies in the folder is none of ours."""
    runs = sorted(run for run in folder.iterdir() if _RUN.fullmatch(run.name) and run.is_dir())
    return [file for run in runs for file in sorted(run.iterdir()) if _FILE.fullmatch(file.name)]
