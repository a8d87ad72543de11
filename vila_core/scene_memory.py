"""What was seen, where and when, over days: views go in, "where did you last see the blue vase?" comes out.

A third face beside navigator and watcher: it joins the model's cells, the words for things, and the file.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vila_core.engine.backend import Backend
from vila_core.engine.names import Floats, NameTable, naming_backend
from vila_core.errors import InstructionError, NoImagesError, QueryError, UnsupportedQueryError
from vila_core.media.packing import jpeg_of, shrunk
from vila_core.prompts.instruction import sanitize
from vila_core.prompts.wording import things_in
from vila_core.recall.config import MemoryConfig
from vila_core.recall.search import Found, Index, search
from vila_core.recall.sightings import Sighting, nearest, sightings
from vila_core.recall.store import Rows, Store, Tag, View
from vila_core.types import Frame, Pose

MAX_NAME_CHARS = 64
_DAY_NS = 86_400 * 10**9
_PRUNE_EVERY = 100  # views
_JPEG_QUALITY = 85
_NAME_SLACK, _TAG_SLACK = 2.5, 0.1  # by which a sighting may be less sure, and still tell where a thing stands
_MIDDLE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """Where something was last seen. asked: how the question was read.

    probability: that it was; of what was tagged, the likeness. view: the surest picture of the last place, and from
    where it was taken; None if it was not seen. across, down: the thing's middle and its foot in it, shares of its
    size. x_m, y_m: where the thing stands, in the frame of the view's pose; NaN if that is not known. views: how many
    show it there. is_this_run: the pose is of this run, or of a map that outlasts one.
    """

    asked: str
    probability: float
    view: View | None = None
    across: float = math.nan
    down: float = math.nan
    x_m: float = math.nan
    y_m: float = math.nan
    views: int = 0
    is_this_run: bool = False


class SceneMemory:
    """Remembers views in a file, and finds in it what is asked for.

    `is_due` and `recall` may be called by any thread; all else belongs to the one that asks the model. frame: what
    poses are given in. Raises UnsupportedQueryError for a model that cannot tell things apart by their names;
    ConfigError and OutputError as Store does.
    """

    def __init__(self, backend: Backend, config: MemoryConfig, *, now_ns: int, frame: str = "odom") -> None:
        naming = naming_backend(backend)
        if naming is None:
            raise UnsupportedQueryError(
                f"{backend.info.name} has no relevance head, or no list of the words that it knows: it cannot remember "
                "what it saw; leave memory.file empty, or load another checkpoint"
            )
        self.config = config
        self._backend, self._vocabulary = naming
        self._names = NameTable(*naming)
        probe = np.concatenate((self._names.vectors, self._names.thresholds[:, None]), axis=1)[:8]
        self._store = Store(Path(config.file).expanduser(), probe, now_ns, frame)
        self._lock = threading.Lock()  # of what is due
        self._kept = threading.Lock()  # of the file and what was read from it
        self._last: tuple[int, Pose] | None = None
        self._added = 0
        self._latest: Frame | None = None
        self._forget(now_ns)
        self._index = Index(self._store.rows())
        self._tags = {tag.name.lower(): tag for tag in self._store.tags()}

    @property
    def vector_width(self) -> int:
        """Numbers in what is kept of a thing's looks."""
        return self._names.vectors.shape[1]

    @property
    def views(self) -> int:
        """How many views with something in them are remembered."""
        return len(np.unique(self._index.rows.views))

    def is_due(self, stamp_ns: int, pose: Pose) -> bool:
        """Return True if a frame from there is to be remembered; it then counts as remembered."""
        config = self.config
        with self._lock:
            if self._last is not None:
                last_ns, last = self._last
                is_elsewhere = pose.is_apart(last, config.min_translation_m, config.min_rotation_rad)
                is_recent = 0 <= stamp_ns - last_ns < config.period_s * 1e9  # a clock that went back counts as later
                if is_recent and not is_elsewhere:
                    return False
            self._last = stamp_ns, pose
            return True

    def look(self, frame: Frame) -> list[Sighting]:
        """Return what a frame shows, the surest first; nothing is kept of it."""
        return sightings(self._backend.cells(frame), self._names, self._backend.distances(frame))

    def remember(self, frame: Frame, pose: Pose) -> None:
        """Keep what a frame shows, and where it was taken."""
        self._latest = frame
        height, width = frame.image.shape[:2]
        self.add(View(frame.stamp_ns, frame.camera, pose, (height, width), self._jpeg(frame)), self.look(frame))

    def add(self, view: View, seen: Sequence[Sighting]) -> None:
        """Keep a view of this run, and the things that it shows."""
        view = dataclasses.replace(view, run=self._store.run)
        with self._kept:
            self._index.add(_rows(self._store.add(view, seen), view, seen, self.vector_width))
            self._added += 1
            if self._added % _PRUNE_EVERY == 0 and self._forget(view.stamp_ns):
                self._index = Index(self._store.rows())

    def recall(self, text: str) -> Recalled:
        """Return where a thing was last seen: one that was tagged, or one by its kind and, where told, its colour.

        Raises QueryError for a text that names neither, and NoImagesError while nothing was seen yet.
        """
        with self._kept:
            return self._recall(text)

    def _recall(self, text: str) -> Recalled:
        if not self._index.count:
            raise NoImagesError("nothing has been seen yet")
        rows = self._index.rows
        if (tag := self._tag_in(text)) is not None:
            scores, threshold = _likeness(rows.vectors, tag.vector), self.config.min_likeness
            found = self._search(rows, scores, threshold, _TAG_SLACK)
            return self._told(tag.name, found, float(scores.max()))
        asked, scores = self._scores(text, rows.vectors)
        threshold = math.log(self.config.min_probability / (1 - self.config.min_probability))
        found = self._search(rows, scores, threshold, _NAME_SLACK)
        score = float(scores.max()) if found is None else found.score
        return self._told(asked, found, 1 / (1 + math.exp(-score)))

    def tag(self, name: str, frame: Frame | None = None, *, across: float = _MIDDLE, down: float = _MIDDLE) -> str:
        """Give a name to what a frame shows there, or to what was seen last; returns what the model calls it.

        across, down: shares of the picture's width and height, from its upper left corner. Raises QueryError for a name
        that is none, a place outside of the picture, and a picture that shows nothing there to tell from others.
        """
        name = self._clean(name)
        if not (0 <= across <= 1 and 0 <= down <= 1):
            raise QueryError(f"across = {across:g}, down = {down:g}: expected shares of the picture, 0 to 1")
        frame = self._latest if frame is None else frame
        if frame is None:
            raise NoImagesError("nothing has been seen yet that could be given a name")
        found = nearest(self.look(frame), across, down)
        if found is None:
            raise QueryError(f"the picture shows nothing that could be told from wall and floor; {name!r} was not kept")
        tag = Tag(name, found.vector, frame.stamp_ns, self._jpeg(frame))
        with self._kept:
            self._store.tag(tag)
            self._tags[name.lower()] = tag
        return found.thing.text

    def likest_tag(self, seen: Sighting) -> tuple[str, float]:
        """Return the name that was given to what looks most like it, and how like that is; "" where none was given."""
        likeness = [(tag.name, float(_likeness(seen.vector[None], tag.vector)[0])) for tag in self._tags.values()]
        return max(likeness, key=lambda row: row[1], default=("", 0.0))

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _search(self, rows: Rows, scores: Floats, threshold: float, slack: float) -> Found | None:
        size = self._store.view(int(rows.views[-1])).size_px
        camera = self.config.geometry(*size)
        return search(rows, scores, threshold=threshold, slack=slack, camera=camera)

    def _told(self, asked: str, found: Found | None, probability: float) -> Recalled:
        if found is None:
            return Recalled(asked, probability)
        rows, place = self._index.rows, found.place
        view = self._store.view(int(rows.views[found.row]))
        middle, foot = (float(share) for share in rows.places[found.row, :2])
        return Recalled(
            asked,
            probability,
            view,
            middle,
            foot,
            math.nan if place is None else place.x_m,
            math.nan if place is None else place.y_m,
            found.views,
            self.config.is_map or view.run == self._store.run,
        )

    def _scores(self, text: str, vectors: Floats) -> tuple[str, Floats]:
        """How the question was read, and how much each sighting is like what it names: [N]."""
        try:
            things = things_in(self._vocabulary, sanitize(text, MAX_NAME_CHARS * 4))
        except InstructionError as err:
            tagged = f"; tagged are {', '.join(tag.name for tag in self._tags.values())}" if self._tags else ""
            raise QueryError(f"{err}{tagged}") from err
        if len(things) > 1:
            names = ", ".join(thing.text for thing in things)
            raise QueryError(f"{text!r} names several things ({names}); ask about one")
        wanted, thresholds = self._names.queries(things[0])
        return things[0].text, (vectors @ wanted.T + thresholds).max(axis=1)

    def _tag_in(self, text: str) -> Tag | None:
        """The longest name that was given and that the text holds as words."""
        words = f" {' '.join(_words(text))} "
        held = [tag for tag in self._tags.values() if f" {' '.join(_words(tag.name))} " in words]
        return max(held, key=lambda tag: len(tag.name), default=None)

    def _clean(self, name: str) -> str:
        try:
            return sanitize(name, MAX_NAME_CHARS)
        except InstructionError as err:
            raise QueryError(f"the name: {err}") from err

    def _jpeg(self, frame: Frame) -> bytes:
        return jpeg_of(shrunk(frame.image, self.config.picture_px / max(frame.image.shape[:2])), _JPEG_QUALITY)

    def _forget(self, now_ns: int) -> int:
        return self._store.forget(now_ns - round(self.config.most_days * _DAY_NS), self.config.most_mb * 1e6)


def _words(text: str) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def _likeness(vectors: Floats, wanted: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted)
    return vectors @ wanted / np.maximum(lengths, 1e-6)


def _rows(number: int, view: View, seen: Sequence[Sighting], width: int) -> Rows:
    count = len(seen)
    pose = np.array([view.pose.x_m, view.pose.y_m, view.pose.yaw_rad])
    return Rows(
        np.full(count, number, np.int64),
        np.full(count, view.run, np.int64),
        np.broadcast_to(pose, (count, 3)),
        np.array([(one.middle, one.foot, one.distance_m) for one in seen], np.float32).reshape(count, 3),
        np.array([one.vector for one in seen], np.float32).reshape(count, width),
    )
