"""`vila explain` for browsers: what the recorder has written, in a program of its own, one at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from vila_core.errors import VilaError
from vila_ros.page.board import Board
from vila_ros.page.pictures import Pictures, encode

PACKAGE = "vila_tools"  # a robot does without it
COMMAND = (sys.executable, "-m", f"{PACKAGE}.cli", "explain")
_MOST_S = 600.0  # a model of some billion parameters on a slow processor
_LOW_PRIORITY = ("nice", "-n", "5")  # the robot's nodes go before; lower yet it never ends beside busy ones
_WIDTH_PX = 1280


class Explainer:
    """Puts explanation/KEY on the board, in words, and its picture into pictures. Thread-safe.

    It is a second model beside the navigator's, with the memory of one, for as long as it takes.
    """

    def __init__(self, board: Board, pictures: Pictures, command: Sequence[str] = COMMAND) -> None:
        self._board, self._pictures, self._command = board, pictures, command
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._is_closed = False

    def explain(self, decision: str) -> None:
        """Explain the decision of this key on the board, unless it is explained already, or another one is just now."""
        told, recording = self._board.get(f"decision/{decision}"), self._board.get("recording") or {}
        before = (self._board.get(f"explanation/{decision}") or {}).get("state")
        is_shown = before == "told" and self._pictures.of_explanation(decision) is not None
        if told is None or before == "computing" or is_shown:
            return
        if not recording.get("folder"):
            self._put(decision, "failed", "nothing is recorded")
            return
        with self._lock:
            if self._is_closed:
                return
            if self._thread is not None and self._thread.is_alive():
                self._put(decision, "failed", "another decision is being explained: try again when that is told")
                return
            self._put(decision, "computing", "computing: the model is asked again, with things left out")
            arguments = decision, recording["folder"], told["id"]
            self._thread = threading.Thread(target=self._run, args=arguments, name="explainer", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End a program that still runs."""
        with self._lock:
            self._is_closed = True
            self._end()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self, decision: str, folder: str, number: str) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="vila_explain_") as room:
                file = Path(room) / "explanation.png"
                text = self._answer([*self._command, folder, "--decision", number, "--cut", "--out", str(file)])
                image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
            if image is None:
                raise _FailedError("its picture cannot be read")
            self._pictures.keep_explanation(decision, encode(image.astype(np.uint8, copy=False), _WIDTH_PX))
            self._put(decision, "told", text)
        except (OSError, cv2.error, VilaError) as err:
            self._put(decision, "failed", str(err))

    def _answer(self, command: list[str]) -> str:
        """Return what the program tells, less its last line, which is for programs."""
        before = _LOW_PRIORITY if shutil.which(_LOW_PRIORITY[0]) else ()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self._lock:
            if self._is_closed:
                raise _FailedError("the page ends")
            self._process = subprocess.Popen(
                [*before, *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
                env=environment,
            )
        try:
            told, errors = self._process.communicate(timeout=_MOST_S)
        except subprocess.TimeoutExpired as err:
            self._end()
            self._process.communicate()
            raise _FailedError(f"it took longer than {_MOST_S:.0f} s") from err
        if self._process.returncode:
            raise _FailedError((errors.strip().splitlines() or [f"status {self._process.returncode}"])[-1])
        return " ".join(line.strip() for line in told.strip().splitlines()[:-1])

    def _end(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def _put(self, decision: str, state: str, text: str) -> None:
        self._board.put(f"explanation/{decision}", {"key": decision, "state": state, "text": text})


class _FailedError(VilaError):
    """Why there is no explanation."""
