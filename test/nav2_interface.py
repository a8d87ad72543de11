"""Nav2's action NavigateToPose, generated as this package's own interfaces are: there is no wheel of nav2_msgs.

Half a minute the first time; then it is found in the folder of temporary files, by what it was made of.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import types
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent / "nav2"
DISTRIBUTIONS = ("humble", "kilted")


def nav2_messages(distribution: str) -> types.ModuleType:
    """A module in the place of `nav2_msgs.action`, with the action as that distribution has it."""
    package = f"nav2_msgs_{distribution}"
    prefix = _generated(package, distribution)
    for library in sorted((prefix / "lib").glob("*rosidl_typesupport_*_c.so")):
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)  # else they are looked for in LD_LIBRARY_PATH
    (site,) = [*prefix.glob("**/site-packages"), *prefix.glob("**/dist-packages")]
    if str(site) not in sys.path:
        sys.path.append(str(site))
    module: Any = types.ModuleType("nav2_msgs.action")
    module.NavigateToPose = import_module(f"{package}.action").NavigateToPose
    return module


def _generated(package: str, distribution: str) -> Path:
    """The prefix that holds the generated package; it is made if it is not there."""
    adapter = Path(pytest.importorskip("rosidl_adapter").__file__)
    ros = next(folder for folder in adapter.parents if (folder / "share/rosidl_default_generators/cmake").is_dir())
    action = FOLDER / distribution / "NavigateToPose.action"
    made_of = [str(ros), sys.version, *(file.read_text() for file in (FOLDER / "CMakeLists.txt", action))]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    prefix = Path(tempfile.gettempdir()) / f"vila_nav-{os.getuid()}-{package}-{key}"
    if not prefix.is_dir():
        _generate(package, action, ros, prefix)
    return prefix


def _generate(package: str, action: Path, ros: Path, prefix: Path) -> None:
    with tempfile.TemporaryDirectory(dir=prefix.parent) as scratch:
        source, build, made = (Path(scratch) / name for name in ("source", "build", "prefix"))
        (source / "action").mkdir(parents=True)
        shutil.copy(FOLDER / "CMakeLists.txt", source)
        shutil.copy(action, source / "action")
        options = {
            "PACKAGE": package,
            "BUILD_TESTING": "OFF",
            "CMAKE_BUILD_TYPE": "Debug",  # quicker to compile
            "CMAKE_INSTALL_PREFIX": made,
            "CMAKE_INSTALL_RPATH": prefix / "lib",
            "Python3_EXECUTABLE": sys.executable,
        }
        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        configure = ["cmake", "-S", source, "-B", build, *generator, *(f"-D{k}={v}" for k, v in options.items())]
        for command in (configure, ["cmake", "--build", build], ["cmake", "--install", build]):
            done = subprocess.run(command, env=_environment(ros), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        if not prefix.exists():  # another process may have been quicker
            made.rename(prefix)


def _environment(ros: Path) -> dict[str, str]:
    paths = {
        "PATH": [str(Path(sys.executable).parent)],
        "AMENT_PREFIX_PATH": [str(ros)],
        "CMAKE_PREFIX_PATH": [str(ros)],
    }
    own = {name: os.pathsep.join([*first, *filter(None, [os.environ.get(name)])]) for name, first in paths.items()}
    return {**os.environ, **own}
