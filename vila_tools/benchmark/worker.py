"""The worker process: loads one contender, then runs the steps that it is asked for, one line of JSON each."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import IO, Any

from vila_tools.benchmark.contender import Contender
from vila_tools.benchmark.job import StepJob
from vila_tools.benchmark.resident import resident_mb


def main() -> int:
    """Serve the contender named by the arguments ("module:attribute" and a StepJob) until standard input ends."""
    target, job = sys.argv[1:]
    channel = _private_channel()
    module, attribute = target.split(":")
    contender: Contender = getattr(importlib.import_module(module), attribute)(StepJob.from_json(job))
    _reply(channel, facts=contender.facts, resident_mb=resident_mb())
    for line in sys.stdin:
        _reply(channel, **_run(contender, json.loads(line)["way"]))
    return 0


def _private_channel() -> IO[str]:
    """Keep standard output for the replies alone: what libraries print goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _run(contender: Contender, way: str) -> dict[str, Any]:
    idle = contender.prepare(way)
    began = time.perf_counter()
    parts = contender.step(way)
    milliseconds = (time.perf_counter() - began) * 1e3
    return {"ms": milliseconds, "parts": parts, "idle": idle, "resident_mb": resident_mb()}


def _reply(channel: IO[str], **values: Any) -> None:
    channel.write(json.dumps(values) + "\n")
    channel.flush()


if __name__ == "__main__":
    sys.exit(main())
