"""The control groups that this process is in, and the memory that they leave it: versions 2 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_UNLIMITED = 2**60  # bytes; version 1 writes a huge number for "max"


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files of a version are called."""

    limit: str
    used: str
    cache: tuple[str, ...]  # the rows of memory.stat with what is given back when it is needed, as MemAvailable counts
    kills: str  # the file with a row oom_kill


_V2 = _Files("memory.max", "memory.current", ("active_file", "inactive_file", "slab_reclaimable"), "memory.events")
_V1 = _Files(
    "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"), "memory.oom_control"
)


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A control group; name: its path among the groups."""

    name: str
    folder: Path
    files: _Files

    def limit_bytes(self) -> int | None:
        """Return the most that the group may hold; None if there is no limit, or nobody tells."""
        limit = _number(self.folder / self.files.limit)
        return None if limit is None or limit >= _UNLIMITED else limit

    def held_bytes(self) -> int | None:
        """Return what the group holds, without what the kernel drops when room is needed: pages of files."""
        used = _number(self.folder / self.files.used)
        if used is None:
            return None
        return max(0, used - sum(_rows(self.folder / "memory.stat", self.files.cache)))

    def left_bytes(self) -> int | None:
        """Return what the group may still take; None if there is no limit, or nobody tells."""
        limit = self.limit_bytes()
        held = None if limit is None else self.held_bytes()
        return None if limit is None or held is None else max(0, limit - held)

    def kills(self) -> int | None:
        """Return how many processes of the group were killed for want of memory; None if nobody tells."""
        return next(iter(_rows(self.folder / self.files.kills, ("oom_kill",))), None)

    @property
    def pressure_file(self) -> Path:
        """Where the kernel tells how long the group's processes waited for memory, if it does."""
        return self.folder / "memory.pressure"


def memory_groups(root: Path) -> tuple[MemoryGroup, ...]:
    """Return the groups of this process that count memory, its own first, then those around it."""
    base, files = root / "sys/fs/cgroup", _V2
    paths = _paths(root / "proc/self/cgroup")
    if not (base / "cgroup.controllers").exists():
        base, files = base / "memory", _V1
    own = paths.get("" if files is _V2 else "memory", PurePosixPath("/"))
    if ".." in own.parts:  # the process is outside of what this mount shows
        own = PurePosixPath("/")
    around = [own, *own.parents]
    groups = (MemoryGroup(str(path), base / path.relative_to("/"), files) for path in around)
    return tuple(group for group in groups if group.folder.is_dir())


def _paths(file: Path) -> dict[str, PurePosixPath]:
    """The path of this process by controller; that of version 2 under ""."""
    paths: dict[str, PurePosixPath] = {}
    try:
        rows = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return paths
    for row in rows:
        _, _, rest = row.partition(":")
        controllers, _, path = rest.partition(":")
        paths.update({name: PurePosixPath(path or "/") for name in controllers.split(",") if path.startswith("/")})
    return paths


def _rows(file: Path, names: tuple[str, ...]) -> list[int]:
    """The numbers behind the names in a file of rows, those that are there."""
    try:
        rows = dict(line.split(" ", 1) for line in file.read_text(encoding="utf-8").splitlines())
        return [int(rows[name]) for name in names if name in rows]
    except (OSError, ValueError):
        return []


def _number(file: Path) -> int | None:
    """The file's number; None if it is missing or says "max"."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
