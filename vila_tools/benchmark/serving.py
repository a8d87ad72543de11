"""`vila bench serve`: so many robots at one server, each asking for its next action as soon as it has the last one.

Each sees new pictures all the time. Told are decisions a second, how long each took, what was refused or lost, and the
server's memory at the begin and at the end. The server is `vila serve CHECKPOINT`, started here, or that of a file of
the backend openai (--remote). The last line is a JSON object; status 1 if an answer was lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from vila_core.actions.grammar import SENTENCES
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.engine.remote.backend import OpenAIBackend
from vila_core.engine.remote.config import RemoteConfig, read_remote_config
from vila_core.errors import BackendError, ConfigError, RemoteBusyError, VilaError
from vila_core.models.stored.layouts import open_layout
from vila_core.navigator import decision_prompt
from vila_core.types import Frame, Instruction

_WIDTH_PX, _HEIGHT_PX = 160, 120
_START_S, _STOP_S = 300.0, 20.0
_ADDRESS = re.compile(r"^serving at (http://\S+)$", re.MULTILINE)
_RETRY_S = 0.1  # after an answer that there is no room


@dataclass(slots=True)
class Asked:
    """What one client, or all of them, met. milliseconds: of each answer. errors: by kind."""

    milliseconds: list[float] = field(default_factory=list)
    busy: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def add(self, other: Asked) -> None:
        """Take another one's counts in."""
        self.milliseconds += other.milliseconds
        self.busy += other.busy
        self.errors += other.errors


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each number of clients, and last a JSON object."""
    args = _parser().parse_args(argv)
    if min(args.clients) < 1 or args.seconds <= 0:
        raise ConfigError(f"--clients {args.clients} and --seconds {args.seconds:g}: both must be above 0")
    rows: dict[str, dict[str, Any]] = {}
    with _server(args) as (config, process):
        for clients in args.clients:
            rows[str(clients)] = row = measure(config, clients, args.seconds, process)
            print(f"{clients:>4} clients  {row}", flush=True)
    lost = sum(sum(row["lost"].values()) for row in rows.values())
    print(json.dumps({"seconds": args.seconds, "clients": rows, "lost": lost}))
    return int(lost > 0)


def measure(config: RemoteConfig, clients: int, seconds: float, process: psutil.Process | None) -> dict[str, Any]:
    """Have so many clients ask for so long, and sum up; process: the server's, whose memory is told."""
    asked = [Asked() for _ in range(clients)]
    end_s = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_drive, args=(config, number, end_s, asked[number]), daemon=True)
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    memory = _Memory(process)
    while any(thread.is_alive() for thread in threads):
        threads[0].join(min(1.0, seconds / 20)) if threads[0].is_alive() else time.sleep(0.05)
        memory.note()
    whole = Asked()
    for one in asked:
        whole.add(one)
    return _row(whole, seconds) | memory.row()


def _drive(config: RemoteConfig, number: int, end_s: float, asked: Asked) -> None:
    """Be one robot until the end."""
    try:
        backend = OpenAIBackend(config)
    except VilaError as err:
        asked.errors[type(err).__name__] += 1
        return
    rng, frames, step = np.random.default_rng(number), list[Frame](), 0
    instruction = Instruction(f"go to the chair number {number}")
    while time.monotonic() < end_s:
        step += 1
        frames = [*frames, Frame(_picture(rng), step, f"robot {number}")][-backend.info.num_frames :]
        began_s = time.monotonic()
        try:
            backend.choose(decision_prompt(backend.info, instruction, frames), SENTENCES)
            asked.milliseconds.append((time.monotonic() - began_s) * 1e3)
        except RemoteBusyError:
            asked.busy += 1
            time.sleep(_RETRY_S)
        except VilaError as err:
            asked.errors[type(err).__name__] += 1
    backend.close()


def _picture(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(_HEIGHT_PX // 6, 0).repeat(_WIDTH_PX // 8, 1))


def _row(asked: Asked, seconds: float) -> dict[str, Any]:
    times = np.array(asked.milliseconds or [0.0])
    shares = {f"p{share}_ms": round(float(np.percentile(times, share)), 1) for share in (50, 95, 99)}
    return {
        "answered": len(asked.milliseconds),
        "per_second": round(len(asked.milliseconds) / seconds, 1),
        **shares,
        "most_ms": round(float(times.max()), 1),
        "busy": asked.busy,
        "lost": dict(asked.errors),
    }


class _Memory:
    """What the server occupies, in MB: once it is warm, at its most in the second half, and now."""

    def __init__(self, process: psutil.Process | None) -> None:
        self._process, self._noted = process, list[float]()

    def note(self) -> None:
        """Look."""
        if self._process is not None:
            self._noted.append(self._process.memory_info().rss / 1e6)

    def row(self) -> dict[str, float]:
        """Return the mean of the second quarter of the time and of the last one."""
        count = len(self._noted)
        if count < 8:
            return {}
        begin, end = self._noted[count // 4 : count // 2], self._noted[-(count // 4) :]
        return {"memory_mb_begin": round(float(np.mean(begin)), 1), "memory_mb_end": round(float(np.mean(end)), 1)}


@contextmanager
def _server(args: argparse.Namespace) -> Iterator[tuple[RemoteConfig, psutil.Process | None]]:
    if args.remote is not None:
        yield read_remote_config(args.remote), None
        return
    open_layout(args.checkpoint)  # what is no checkpoint is told here, not by a server that starts in vain
    room = str(max(args.clients) + 8)
    command = [sys.executable, "-m", "vila_tools.cli", "serve", str(args.checkpoint), "--port", "0"]
    command += ["--max-requests", room, "--max-requests-each", room]
    command += ["--kept-pictures-mb", str(args.kept_pictures_mb)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield dataclasses.replace(RemoteConfig(_started(process)), timeout_s=args.timeout), psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _started(process: subprocess.Popen[str]) -> str:
    """Return the server's address. Raises BackendError with its last line if it ends before it serves."""
    assert process.stdout is not None
    watch = threading.Timer(_START_S, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            if found := _ADDRESS.match(line):
                return found[1]
    finally:
        watch.cancel()
    last = (process.communicate()[1].strip() or "no message").splitlines()[-1]
    raise BackendError(f"the server does not start: {last.removeprefix('vila: ')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vila bench serve", description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=EMBEDDED_CHECKPOINT, help="what is served")
    parser.add_argument("--remote", type=Path, help="ask the server of this file of the backend openai instead")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each number of clients (%(default)s)")
    parser.add_argument("--kept-pictures-mb", type=int, default=8, help="of a server started here (%(default)s)")
    parser.add_argument("--timeout", type=float, default=30.0, help="after which an answer is lost, s (%(default)s)")
    return parser
