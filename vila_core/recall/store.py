"""The file of what was seen: SQLite, in whole transactions, so that a program that is killed loses nothing.

runs(id, begun_ns, frame)                                   each start of the robot; frame: what poses are given in
views(id, run, stamp_ns, camera, x_m, y_m, yaw_rad, width, height, picture)             picture: JPEG
sightings(id, view, across, down, middle, foot, colour, kind, logit, vector, distance_m)    vector: float16, packed
tags(name, vector, stamp_ns, picture)                                                   names that people gave
facts(key, value)                                           the version, and whose vectors these are
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vila_core.engine.names import Floats
from vila_core.errors import ConfigError, OutputError
from vila_core.recall.sightings import Sighting
from vila_core.types import Pose

VERSION = 2
_WITHOUT_DISTANCES = "1"  # an older version, which is read on and gets them
_SCHEMA = """
CREATE TABLE facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, begun_ns INTEGER NOT NULL, frame TEXT NOT NULL);
CREATE TABLE views (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(id), stamp_ns INTEGER NOT NULL, camera TEXT NOT NULL,
    x_m REAL NOT NULL, y_m REAL NOT NULL, yaw_rad REAL NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, picture BLOB NOT NULL
);
CREATE INDEX views_by_time ON views (stamp_ns);
CREATE INDEX views_by_place ON views (run, x_m, y_m);
CREATE TABLE sightings (
    id INTEGER PRIMARY KEY, view INTEGER NOT NULL REFERENCES views(id) ON DELETE CASCADE,
    across REAL NOT NULL, down REAL NOT NULL, middle REAL NOT NULL, foot REAL NOT NULL,
    colour TEXT NOT NULL, kind TEXT NOT NULL, logit REAL NOT NULL, vector BLOB NOT NULL, distance_m REAL
);
CREATE INDEX sightings_by_view ON sightings (view);
CREATE TABLE tags (
    name TEXT PRIMARY KEY, vector BLOB NOT NULL, stamp_ns INTEGER NOT NULL, picture BLOB NOT NULL
) WITHOUT ROWID;
"""
_ALIKE = 0.05  # the same model's vectors differ by less, on whatever processor


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the camera saw from where. picture: JPEG. size_px: height and width of the camera's image."""

    stamp_ns: int
    camera: str
    pose: Pose
    size_px: tuple[int, int]
    picture: bytes
    run: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tag:
    """A name that somebody gave to what was seen."""

    name: str
    vector: Floats
    stamp_ns: int
    picture: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """All sightings, in the order in which they came: of each its view, that one's run and pose, and its vector."""

    views: NDArray[np.int64]
    runs: NDArray[np.int64]
    poses: NDArray[np.float64]  # [N, 3]
    places: Floats  # [N, 3]: middle, foot, distance_m
    vectors: Floats


class Store:
    """The open file. One thread at a time.

    probe: some vectors of the model, by which a file of another is told. Raises ConfigError for a file that is none of
    ours, of another version, or of another model; OutputError where it cannot be written.
    """

    def __init__(self, file: Path, probe: Floats, begun_ns: int, frame: str) -> None:
        self.file, self.width = file, probe.shape[-1]
        with self._naming_errors():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=5.0)
        try:
            with self._naming_errors():
                self._open(probe)
                self.run = int(
                    self._db.execute("INSERT INTO runs (begun_ns, frame) VALUES (?, ?)", (begun_ns, frame)).lastrowid
                    or 0
                )
        except BaseException:
            self._db.close()
            raise

    def _open(self, probe: Floats) -> None:
        db = self._db
        if not db.execute("PRAGMA schema_version").fetchone()[0]:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before there is a page
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            if tables and "facts" not in tables:
                raise ConfigError(f"{self.file} is no memory of this package, but a database of something else")
            if not tables:
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)
                facts = (("version", str(VERSION)), ("probe", _packed(probe)))
                db.executemany("INSERT INTO facts VALUES (?, ?)", facts)
        known = dict(db.execute("SELECT key, value FROM facts"))
        if known.get("version") not in (_WITHOUT_DISTANCES, str(VERSION)):
            raise ConfigError(
                f"{self.file} is a memory of version {known.get('version')}; this is {VERSION}: name another file"
            )
        kept = np.frombuffer(known["probe"], np.float16).astype(np.float32)
        if kept.size != probe.size or not np.allclose(kept, probe.ravel(), rtol=_ALIKE, atol=_ALIKE):
            raise ConfigError(f"{self.file} holds what another model saw; name another file for this one")
        if known["version"] == _WITHOUT_DISTANCES:
            with self._transaction():
                db.execute("ALTER TABLE sightings ADD COLUMN distance_m REAL")
                db.execute("UPDATE facts SET value = ? WHERE key = 'version'", (str(VERSION),))

    def add(self, view: View, seen: Sequence[Sighting]) -> int:
        """Keep a view of this run and the things that it shows; returns its number."""
        height, width = view.size_px
        pose = view.pose
        with self._naming_errors(), self._transaction():
            row = (self.run, view.stamp_ns, view.camera, pose.x_m, pose.y_m, pose.yaw_rad, width, height, view.picture)
            number = self._db.execute(
                "INSERT INTO views (run, stamp_ns, camera, x_m, y_m, yaw_rad, width, height, picture)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            self._db.executemany(
                "INSERT INTO sightings (view, across, down, middle, foot, colour, kind, logit, vector, distance_m)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (number, one.across, one.down, one.middle, one.foot, one.thing.colour, one.thing.kind, one.logit,
                     _packed(one.vector), None if math.isnan(one.distance_m) else one.distance_m)
                    for one in seen
                ],
            )  # fmt: skip
        return int(number or 0)

    def tag(self, tag: Tag) -> None:
        """Keep a name; one that is there already means this from now on."""
        with self._naming_errors(), self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)",
                (tag.name, _packed(tag.vector), tag.stamp_ns, tag.picture),
            )

    def tags(self) -> list[Tag]:
        """All names that were given."""
        rows = self._db.execute("SELECT name, vector, stamp_ns, picture FROM tags ORDER BY name")
        return [Tag(name, _unpacked(vector), stamp, picture) for name, vector, stamp, picture in rows]

    def view(self, number: int) -> View:
        """One view, with its picture; KeyError if it was forgotten."""
        row = self._db.execute(
            "SELECT stamp_ns, camera, x_m, y_m, yaw_rad, height, width, picture, run FROM views WHERE id = ?", (number,)
        ).fetchone()
        if row is None:
            raise KeyError(number)
        stamp, camera, x, y, yaw, height, width, picture, run = row
        return View(stamp, camera, Pose(x, y, yaw), (height, width), picture, run)

    def rows(self) -> Rows:
        """All sightings."""
        found = self._db.execute(
            "SELECT view, run, x_m, y_m, yaw_rad, middle, foot, distance_m, vector"
            " FROM sightings JOIN views ON views.id = view ORDER BY sightings.id"
        ).fetchall()
        vectors = np.frombuffer(b"".join(row[-1] for row in found), np.float16).astype(np.float32)
        return Rows(
            np.array([row[0] for row in found], np.int64),
            np.array([row[1] for row in found], np.int64),
            np.array([row[2:5] for row in found], np.float64).reshape(-1, 3),
            np.array([row[5:8] for row in found], np.float32).reshape(-1, 3),  # NULL is nan
            vectors.reshape(-1, self.width - 1),
        )

    def forget(self, older_than_ns: int, most_bytes: float) -> int:
        """Forget views that are older, and the oldest of a file that is larger; returns how many."""
        with self._naming_errors():
            gone = self._db.execute("DELETE FROM views WHERE stamp_ns < ?", (older_than_ns,)).rowcount
            over = self._bytes() / most_bytes
            if over > 1:  # a tenth more, so that it need not be done again at once
                count = self._db.execute("SELECT count(*) FROM views").fetchone()[0]
                oldest = min(count, int(count * (1 - 0.9 / over)) + 1)
                gone += self._db.execute(
                    "DELETE FROM views WHERE id IN (SELECT id FROM views ORDER BY id LIMIT ?)", (oldest,)
                ).rowcount
            if gone:
                # a script: `execute` takes one step, which frees one page
                self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def _bytes(self) -> float:
        """What the file holds, without its free pages."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return float((pages - free) * size)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as err:
            raise OutputError(f"{self.file}: {err}") from err
        except OSError as err:
            raise OutputError(f"{self.file}: {err}") from err
        except sqlite3.DatabaseError as err:
            raise ConfigError(f"{self.file} is no memory of this package: {err}") from err


def _packed(vector: Floats) -> bytes:
    return vector.astype(np.float16).tobytes()


def _unpacked(data: bytes) -> Floats:
    return np.frombuffer(data, np.float16).astype(np.float32)
