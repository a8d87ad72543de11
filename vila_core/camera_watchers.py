"""Several cameras, one model: an EventWatcher for each camera, with queries and events numbered together."""

from __future__ import annotations

from collections.abc import Sequence

from vila_core.config import EventsConfig
from vila_core.engine.backend import Backend
from vila_core.errors import UnknownCameraError, UnknownQueryError
from vila_core.events.registry import QueryRegistry
from vila_core.types import EventQuery, Frame, LocalizationMethod, TemporalEvent
from vila_core.watcher import EventWatcher


class CameraWatchers:
    """Watches with each camera by itself; a camera without images keeps no other from being watched.

    cameras: their names, at least one; the first is meant where none is named. What may be called from which thread is
    said in EventWatcher; of all cameras together one may ask the model at a time. `events.max_queries` counts over all.
    """

    def __init__(self, backend: Backend, config: EventsConfig, cameras: Sequence[str]) -> None:
        self._registry = registry = QueryRegistry(config.max_queries)
        main, *others = cameras
        self._watchers = {main: EventWatcher(backend, config, registry=registry)}
        self._watchers |= {name: EventWatcher(backend, config, name, registry) for name in others}
        self._main = main
        self._evaluated: list[str] = list(cameras)  # the one longest ago first

    def reconfigure(self, config: EventsConfig) -> None:
        """Take another configuration of the same memory and window; see EventWatcher.reconfigure."""
        self._registry.most = config.max_queries
        for watcher in self._watchers.values():
            watcher.reconfigure(config)

    @property
    def method(self) -> LocalizationMethod:
        """Return the method by which the model tells times."""
        return self._watchers[self._main].method

    @property
    def queries(self) -> tuple[EventQuery, ...]:
        """The standing queries of all cameras."""
        return tuple(query for watcher in self._watchers.values() for query in watcher.queries)

    def name_of(self, camera: str) -> str:
        """Return the name of the camera that is meant. Raises UnknownCameraError, which tells the known ones."""
        name = camera or self._main
        if name not in self._watchers:
            raise UnknownCameraError(f"no camera is named {camera[:80]!r}; known: {', '.join(self._watchers)}")
        return name

    def of(self, camera: str) -> EventWatcher:
        """Return a camera's watcher. Raises UnknownCameraError."""
        return self._watchers[self.name_of(camera)]

    def observe(self, frame: Frame) -> None:
        """Take the next frame of its camera; FrameError as EventWatcher.observe."""
        self.of(frame.camera).observe(frame)

    def unwatch(self, query_id: str) -> tuple[TemporalEvent, ...]:
        """End a standing query, whichever camera's it is; see EventWatcher.unwatch."""
        for watcher in self._watchers.values():
            if query_id in {query.id for query in watcher.queries}:
                return watcher.unwatch(query_id)
        known = ", ".join(query.id for query in self.queries) or "none"
        raise UnknownQueryError(f"no query has the id {query_id!r}; standing: {known}")

    def with_work(self) -> tuple[str, ...]:
        """Name the cameras whose `evaluate` would ask or return something, the one evaluated longest ago first."""
        return tuple(name for name in self._evaluated if self._watchers[name].has_work())

    def evaluate(self, camera: str) -> tuple[TemporalEvent, ...]:
        """Evaluate the queries of one camera; see EventWatcher.evaluate."""
        self._evaluated = [*(name for name in self._evaluated if name != camera), camera]  # others may read it now
        return self._watchers[camera].evaluate()
