"""Interface packages that no wheel brings, generated from test/interfaces as this package's own are, and kept."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES, KEPT = ROOT / "test" / "interfaces", ROOT / "out" / "test-interfaces"


def imported(package: str) -> types.ModuleType:
    """Generate the package if need be, and import it into this process."""
    prefix = _generated(package)
    for library in sorted((prefix / "lib").glob("*.so")):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)  # else they are looked for in LD_LIBRARY_PATH
    site = str(next(prefix.rglob(f"{package}/__init__.py")).parents[1])
    if site not in sys.path:
        sys.path.append(site)
    return importlib.import_module(package)


def environment_with(package: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process that can import the package.

    Where ROS does not bring it, it is generated once, in half a minute; skips the test where nothing can do that.
    """
    if importlib.util.find_spec(package) is not None:
        return dict(environment)
    prefix = _generated(package)
    site = next(prefix.rglob(f"{package}/__init__.py")).parents[1]
    return {
        **environment,
        "AMENT_PREFIX_PATH": _before(prefix, environment.get("AMENT_PREFIX_PATH")),
        "PYTHONPATH": _before(site, environment.get("PYTHONPATH")),
        "LD_LIBRARY_PATH": _before(prefix / "lib", environment.get("LD_LIBRARY_PATH")),
    }


def _before(path: Path, others: str | None) -> str:
    return os.pathsep.join([str(path), *filter(None, [others])])


def _generated(package: str) -> Path:
    """The prefix that the package is installed in; one process generates it, the others wait."""
    if shutil.which("cmake", path=_path()) is None:
        pytest.skip("could not generate interfaces: no cmake")
    prefix = KEPT / f"{package}-{_digest(package)}"
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prefix.is_dir():
            with tempfile.TemporaryDirectory(dir=KEPT) as folder:
                _generate(package, Path(folder), prefix)
    return prefix


def _generate(package: str, folder: Path, prefix: Path) -> None:
    """Generate in a folder that goes, and move what is whole to the prefix."""
    build, install = folder / "build", folder / "install"
    ros = _before(Path(sys.prefix), os.environ.get("AMENT_PREFIX_PATH"))
    environment = {**os.environ, "PATH": _path(), "CMAKE_PREFIX_PATH": ros, "AMENT_PREFIX_PATH": ros}
    options = ["-DCMAKE_BUILD_TYPE=None", f"-DCMAKE_INSTALL_PREFIX={install}", "-DBUILD_TESTING=OFF"]
    options += [f"-DPython3_EXECUTABLE={sys.executable}"]  # no build type: compiled as quickly as can be
    generator = ["-G", "Ninja"] if shutil.which("ninja", path=_path()) else []
    for command in (
        ["cmake", "-S", str(SOURCES / package), "-B", str(build), *generator, *options],
        ["cmake", "--build", str(build)],
        ["cmake", "--install", str(build)],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    install.rename(prefix)


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def _digest(package: str) -> str:
    """Of all that it is generated from, and of the Python that it is for."""
    files = sorted(path for path in (*SOURCES.glob("*.cmake"), *(SOURCES / package).rglob("*")) if path.is_file())
    parts = [sys.version, sys.prefix, *(f"{path.name}\n{path.read_text()}" for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
