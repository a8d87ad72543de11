"""The thread that writes: whoever has something to keep never waits for the disk, nor for a picture to be packed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from vila_core.errors import VilaError
from vila_ros.recorder.bag_file import Channel
from vila_ros.recorder.run_folder import RunFolder

_END_S = 5.0  # for what still waits when the run ends


@dataclass(frozen=True, slots=True)
class Heard:
    """A serialized message to keep. pack: makes what is kept of it, in the writer's thread; may raise VilaError."""

    channel: Channel
    time_ns: int
    data: bytes
    is_latched: bool = False
    pack: Callable[[bytes], bytes] | None = None


class BagWriter:
    """Writes what it is given to a run's files, in order; flushes them once in a while.

    open_run: makes the run once the first message has come; it may raise VilaError. most_bytes: that may wait; more is
    lost and counted, the newest first. flush_s: at most so much is lost with the process.
    run: None before the first message. written, lost: messages so far. fault: why nothing is written any more, empty if
    all is well. refusal: why the last picture that was not kept was none.
    """

    def __init__(self, open_run: Callable[[], RunFolder], most_bytes: int, flush_s: float) -> None:
        self._open_run, self._most_bytes, self._flush_s = open_run, most_bytes, flush_s
        self.run: RunFolder | None = None
        self._queue: queue.SimpleQueue[Heard | None] = queue.SimpleQueue()
        self._waiting, self._lock = 0, threading.Lock()  # bytes
        self._has_ended = False
        self.written = self.lost = 0
        self.fault = self.refusal = ""
        self._thread = threading.Thread(target=self._write, name="bag", daemon=True)
        self._thread.start()

    def put(self, heard: Heard) -> None:
        """Keep a message, unless too much waits already; returns at once."""
        size = len(heard.data)
        with self._lock:
            if self._has_ended or self._waiting + size > self._most_bytes:
                self.lost += 1
                return
            self._waiting += size
        self._queue.put(heard)

    def close(self) -> None:
        """Write what waits, for a while, and end the run; calls after the first do nothing."""
        self._queue.put(None)
        self._thread.join(_END_S)

    def _write(self) -> None:
        try:
            self._write_all()
            if self.run is not None:
                self.run.close()
        except VilaError as err:  # a full disk ends the recording, and nothing else
            self.fault = str(err)
        with self._lock:
            self._has_ended = True

    def _write_all(self) -> None:
        flushed_s, is_dirty = time.monotonic(), False
        while True:
            try:
                heard = self._queue.get(timeout=self._flush_s)
            except queue.Empty:
                pass
            else:
                if heard is None:
                    return
                self._keep(heard)
                is_dirty = True
            if self.run is not None and is_dirty and time.monotonic() - flushed_s >= self._flush_s:
                self.run.flush()
                flushed_s, is_dirty = time.monotonic(), False

    def _keep(self, heard: Heard) -> None:
        with self._lock:
            self._waiting -= len(heard.data)
        try:
            data = heard.data if heard.pack is None else heard.pack(heard.data)
        except VilaError as err:  # a picture that is none
            self.lost, self.refusal = self.lost + 1, f"{heard.channel.topic}: {err}"
            return
        self.run = self.run or self._open_run()
        self.run.add(heard.channel, heard.time_ns, data, is_latched=heard.is_latched)
        self.written += 1
