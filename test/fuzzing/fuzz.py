"""Damage inputs of all readers at random and see that each answers rightly: whole, or with a VilaError.

A traceback, a hang, a crash or more than a gigabyte is a failure; its input is kept in test/fuzzing/corpus, which the
tests read again each time. The same seed damages alike: `make fuzz FUZZ_SEED=1 FUZZ_SECONDS=300`.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from fuzzing.mutations import mutated
from fuzzing.readers import READERS, Reader, damaged_files

CORPUS = Path(__file__).resolve().parent / "corpus"
HANG_S = 600.0  # of one input, also at a low priority on a busy machine
_STDERR = "stderr.txt"
LEAST = (
    100  # cases of each reader, however long they take: at the lowest priority its time may be over before its first
)
_COLLECT = 50  # cases between two collections of garbage
MOST_BYTES = 1 << 30  # that one reader may take beside what it takes for healthy inputs


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that was answered wrongly. case: its number under the seed. file: damaged, within the input's kind."""

    reader: str
    case: int
    kind: str
    file: str
    what: str

    @property
    def signature(self) -> tuple[str, str]:
        """The same for all that is likely to be one fault: the error's name and its place."""
        return self.what.partition(":")[0], self.what.rpartition("(")[2]


@dataclass(slots=True)
class Outcome:
    """What came of a reader's inputs: read whole, refused by a VilaError, or failed."""

    whole: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)


def fuzz(name: str, seed: int, seconds: float, keep: Path | None = None) -> Outcome:
    """Damage and read inputs of a reader for so long, at least LEAST, each in a process that may die of it.

    keep: where inputs that fail are written, as READER/KIND/CASE/FILE.
    """
    outcome, case, end_s = Outcome(), 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="vila-fuzz-") as folder:
        while case is not None and (time.monotonic() < end_s or case < LEAST):
            case = _one_process(name, (seed, case), end_s, Path(folder), outcome)
        if keep is not None:
            for failure in {failure.signature: failure for failure in outcome.failures}.values():
                _keep(Path(folder), failure, seed, keep)
    return outcome


def _one_process(name: str, start: tuple[int, int], end_s: float, folder: Path, outcome: Outcome) -> int | None:
    """Let a process work from a case on; return the case after the one that it died of, None at the end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(name, *start, end_s - time.monotonic(), folder, theirs))
    process.start()
    theirs.close()
    current: Failure | None = None
    try:
        while ours.poll(HANG_S):
            told = ours.recv()
            if isinstance(told, Failure) and not told.what:
                current = told
            elif isinstance(told, Failure):
                outcome.failures.append(told)
            elif told is None:
                return None
            else:
                outcome.whole += told
                outcome.refused += not told
        what = f"hangs for {HANG_S:.0f} s"
    except EOFError:
        process.join()
        what = f"the process died, exit code {process.exitcode}: {_last_words(folder / _STDERR)}"
    finally:
        process.kill()
        process.join()
    if current is None:
        raise RuntimeError(f"{name}: healthy inputs cannot be read: {what}")
    outcome.failures.append(Failure(current.reader, current.case, current.kind, current.file, what))
    return current.case + 1


def _work(name: str, seed: int, first: int, seconds: float, folder: Path, told: Connection) -> None:
    """In the child: tell each case before it is read, and whether it was read whole."""
    end_s = time.monotonic() + seconds
    reader, sources = READERS[name], _healthy(name, folder)
    for source in sources.values():
        reader.read(source)
    os.dup2(os.open(folder / _STDERR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)  # libraries of C write there
    faulthandler.enable()
    _limit_memory()
    allowed = _peak_bytes() + MOST_BYTES
    case = first
    while time.monotonic() < end_s or case < LEAST:
        if case % _COLLECT == 0:
            gc.collect()  # PyAV's containers are cycles, with threads and files
        kind, file, data = _damaged(name, sources, seed, case)
        begun = Failure(name, case, kind, str(file.relative_to(folder)), "")
        told.send(begun)
        what, is_whole = read_damaged(reader, sources[kind], file, data)
        if _peak_bytes() > allowed:
            allowed = _peak_bytes() + MOST_BYTES
            what = what or f"more than {MOST_BYTES} bytes of memory: it took {_peak_bytes()}"
        told.send(Failure(name, case, kind, begun.file, what) if what else is_whole)
        case += 1
    told.send(None)


def _healthy(name: str, folder: Path) -> Mapping[str, Path]:
    """The reader's healthy inputs, made anew: a process that died may have left one damaged."""
    place = folder / name.replace(" ", "_")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return READERS[name].make(place)


def _damaged(name: str, sources: Mapping[str, Path], seed: int, case: int) -> tuple[str, Path, bytes]:
    """Choose an input and one of its files, and damage its bytes: a function of the seed and the case."""
    rng = random.Random(f"{seed}/{name}/{case}")
    kind = rng.choice(sorted(sources))
    file = rng.choice(damaged_files(READERS[name], sources[kind]))
    return kind, file, mutated(file.read_bytes(), rng)


def read_damaged(reader: Reader, source: Path, file: Path, data: bytes) -> tuple[str, bool]:
    """Read an input with other bytes in one of its files, which has its own again afterwards.

    Returns what went wrong, "" if nothing, and whether it was read whole.
    """
    from vila_core.errors import VilaError

    healthy = file.read_bytes()
    file.write_bytes(data)
    try:
        reader.read(source)
    except VilaError as error:
        told = str(error)
        return ("" if told.strip() and "\n" not in told else f"not one line: {told!r}"), False
    except BaseException as error:  # noqa: BLE001 - what else a reader raises is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})", False
    finally:
        file.write_bytes(healthy)
    return "", True


def _last_words(file: Path) -> str:
    text = file.read_text(errors="replace") if file.is_file() else ""
    return " | ".join(text.splitlines()[-6:])


def _limit_memory() -> None:
    """Let nothing be mapped far beyond MOST_BYTES; what threads and libraries only reserve counts here too."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + 8 * MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _keep(folder: Path, failure: Failure, seed: int, keep: Path) -> None:
    """Write the damaged file into the corpus."""
    sources = _healthy(failure.reader, folder)
    kind, file, data = _damaged(failure.reader, sources, seed, failure.case)
    inside = file.relative_to(sources[kind]) if sources[kind].is_dir() else Path(file.name)
    target = keep / failure.reader / kind / f"{seed}-{failure.case}" / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each reader and each failure, then one JSON object; 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300.0, help="of all readers together; default: %(default)s")
    parser.add_argument("--reader", action="append", choices=tuple(READERS), help="default: all, one after the other")
    args = parser.parse_args(argv)
    names = args.reader or list(READERS)
    outcomes = {name: fuzz(name, args.seed, args.seconds / len(names), CORPUS) for name in names}
    for line in _lines(outcomes.items()):
        print(line)
    print(json.dumps({name: asdict(outcome) for name, outcome in outcomes.items()}))
    return int(any(outcome.failures for outcome in outcomes.values()))


def _lines(outcomes: Iterable[tuple[str, Outcome]]) -> Iterable[str]:
    for name, outcome in outcomes:
        yield f"{name}: {outcome.whole} read whole, {outcome.refused} refused, {len(outcome.failures)} failed"
        for failure in outcome.failures:
            yield f"  case {failure.case}, {failure.kind}, {failure.file}: {failure.what}"


if __name__ == "__main__":
    sys.exit(main())
