"""Where the compiled kernels come from: the package that was installed, the cache, or the compiler of this machine.

VILA_NAV_KERNELS chooses: "auto" takes the best instruction set that the processor has, "off" none, the name of a set
exactly that one. VILA_NAV_KERNELS_FLAGS are more flags for the compiler; what they made is kept apart. What is compiled
is kept in $XDG_CACHE_HOME/vila_nav.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vila_core.errors import ConfigError, VilaError
from vila_core.kernels.kept import keep_library, why_not_as_kept, why_unloadable
from vila_core.machine.cache import cache_folder
from vila_core.machine.processor import processor

SETS = ("avx512bf16", "avx512", "avxvnni", "avx2", "neon", "scalar")  # of instructions; no processor has all of them
AUTO, OFF = "auto", "off"
SOURCE = Path(__file__).parent / "source"
PACKAGED = Path(__file__).parent / "lib"  # CMakeLists.txt installs it there

# GCC 12 warns of its own intrinsics: gcc.gnu.org/bugzilla/show_bug.cgi?id=105593
WARNINGS = ("-Wall", "-Wextra", "-Wno-uninitialized", "-Wno-maybe-uninitialized")
_FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-shared", "-fPIC", *WARNINGS)
_COMPILERS = ("c++", "g++", "clang++")
_MACHINES = ("x86_64", "aarch64")
_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Library:
    """A compiled library that loads, or why there is none.

    origin: "packaged", "cached" or "compiled", "" if there is none. reason: why there is none, why one that was there
    was not taken, or why one that was compiled could not be kept.
    """

    file: Path | None = None
    origin: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KernelsStatus:
    """What the CPU's kernels are in this process. instruction_set: "" if there are none; the rest as in Library."""

    instruction_set: str = ""
    origin: str = ""
    reason: str = ""

    def text(self) -> str:
        """Return it in a line."""
        if not self.instruction_set:
            return f"none: {self.reason}"
        return f"{self.instruction_set}, {self.origin}" + (f": {self.reason}" if self.reason else "")


def wanted_set() -> str:
    """Return what VILA_NAV_KERNELS asks for: AUTO, OFF or one of SETS; ConfigError for anything else."""
    wanted = os.environ.get("VILA_NAV_KERNELS", "").strip().lower() or AUTO
    if wanted == "0":
        return OFF
    if wanted not in (AUTO, OFF, *SETS):
        raise ConfigError(f"VILA_NAV_KERNELS = {wanted!r}: must be {AUTO}, {OFF} or one of {', '.join(SETS)}")
    return wanted


def chosen_set(wanted: str, runnable: Sequence[str]) -> str:
    """Return the set to use of those that this processor runs, best first; ConfigError if it lacks the wanted one."""
    if wanted == AUTO:
        return runnable[0]
    if wanted not in runnable:
        raise ConfigError(f"VILA_NAV_KERNELS = {wanted!r}: this processor runs {', '.join(runnable)}")
    return wanted


def find_library(needed: Sequence[str] = ()) -> Library:
    """Find a library of these sources that is whole and loads, compile one if there is none.

    needed: the functions that it must have.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in _MACHINES:
        return Library(reason=f"there are none for {system} on {machine}")
    flags = (*_FLAGS, *shlex.split(os.environ.get("VILA_NAV_KERNELS_FLAGS", "")))
    packaged = PACKAGED / f"kernels-{sources_digest()}.so"
    flaws = []
    if flags == _FLAGS and packaged.is_file():
        if (flaw := why_unloadable(packaged, needed)) is None:
            return Library(packaged, "packaged")
        flaws.append(f"{packaged} is not used: {flaw}")
    try:
        cached = cache_folder() / f"kernels-{sources_digest()}-{_digest(_identity(flags))}.so"
    except OSError as err:
        return _compiled(flags, None, needed, [*flaws, f"not kept for the next time: {err.strerror}"])
    if cached.is_file():
        if (flaw := why_not_as_kept(cached) or why_unloadable(cached, needed)) is None:
            return Library(cached, "cached", "; ".join(flaws))
        flaws.append(f"{cached} is not used: {flaw}")
    return _compiled(flags, cached, needed, flaws)


def _identity(flags: Sequence[str]) -> str:
    """What a library was compiled with and for; a cache may be shared by several machines."""
    native = processor() if any(flag.endswith("=native") for flag in flags) else {}
    return " ".join((*flags, platform.machine(), *platform.libc_ver(), *native.values()))


def sources_digest() -> str:
    """Return what tells these sources from others, in a library's name; CMakeLists.txt computes it likewise."""
    sources = sorted(file for file in SOURCE.iterdir() if file.suffix in (".cpp", ".h"))
    return _digest("".join(file.read_bytes().hex() for file in sources))


def compile_library(compiler: Sequence[str], flags: Sequence[str], file: Path) -> str | None:
    """Compile the sources into the file; returns why that failed, None if it did not."""
    sources = sorted(str(file) for file in SOURCE.glob("*.cpp"))
    command = [*compiler, *flags, "-o", str(file), *sources]
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # is not for compilers
    environment["LC_ALL"] = "C"  # its errors are looked for by a word
    environment["TMPDIR"] = str(file.absolute().parent)  # it does not look for another if that one is missing
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        return f"{compiler[0]} took longer than {_TIMEOUT_S:.0f} s"
    except OSError as err:
        return f"{compiler[0]} cannot be run: {err}"
    return f"{compiler[0]}: {_first_error(done)}" if done.returncode else None


def _compiled(flags: Sequence[str], cached: Path | None, needed: Sequence[str], flaws: Sequence[str]) -> Library:
    """Compile and keep. cached: where, None for nowhere. flaws: what is to be told of what was there before."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="vila_nav-kernels-"))
    except OSError as err:
        return Library(reason="; ".join([*flaws, f"no place to compile to: {err}"]))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    failures = []
    for compiler in _compilers():
        made = folder / "kernels.so"
        failure = compile_library(compiler, flags, made) or why_unloadable(made, needed)
        if failure is None:
            return _kept(made, cached, flaws)
        failures.append(failure)
    failure = failures[0] if failures else f"no compiler: none of {', '.join(_COMPILERS)} is here"
    return Library(reason="; ".join([*flaws, failure]))


def _kept(made: Path, cached: Path | None, flaws: Sequence[str]) -> Library:
    """Move what was compiled to the cache; where that cannot be written, this process uses it where it is."""
    if cached is not None:
        try:
            keep_library(made, cached)
            return Library(cached, "compiled", "; ".join([*flaws, *(["it was compiled anew"] if flaws else [])]))
        except (OSError, VilaError) as err:
            flaws = [*flaws, f"not kept for the next time: {err}"]
    return Library(made, "compiled", "; ".join(flaws))


def _compilers() -> Iterator[tuple[str, ...]]:
    """Commands of the compilers that are here, each once."""
    known = set()
    for name in filter(None, (os.environ.get("CXX"), *_COMPILERS)):
        program, *arguments = shlex.split(name)
        found = shutil.which(program)
        if found is not None and (command := (str(Path(found).resolve()), *arguments)) not in known:
            known.add(command)
            yield (found, *arguments)


def _first_error(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the line in which a compiler names its first error, or the first of all."""
    lines = [line.strip() for line in (done.stderr + done.stdout).decode(errors="replace").splitlines()]
    spoken = [line for line in lines if line] or [f"exit status {done.returncode}, no message"]
    return next((line for line in spoken if "error" in line.lower()), spoken[0])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
