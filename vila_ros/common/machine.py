"""What nodes need of the machine: a folder for ROS's logs, shared memory for images, and to be run in time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from vila_core.errors import OutputError

SHARED_MEMORY = Path("/dev/shm")
SEGMENT_BYTES = 16 << 20  # of each process, segment_size of config/fastdds.xml


def prepare_machine(
    environment: MutableMapping[str, str] = os.environ, shared_memory: Path = SHARED_MEMORY
) -> list[str]:
    """Give ROS another folder for its logs if it cannot write its own; returns what is to be told, a line each.

    Without one rclpy.init fails. environment: may get ROS_LOG_DIR. Raises OutputError if no folder can be written.
    """
    return [*_prepare_logs(environment), *shared_memory_flaws(shared_memory)]


def shared_memory_flaws(folder: Path = SHARED_MEMORY) -> list[str]:
    """Return a line if shared memory is missing or too small: images then go by UDP, which loses many."""
    remedy = "in a container, run it with --shm-size=256m or --ipc=host"
    try:
        free = shutil.disk_usage(folder).free
        if not os.access(folder, os.W_OK | os.X_OK):
            return [f"{folder} cannot be written: images go by UDP, which loses many; {remedy}"]
    except OSError as err:
        return [f"no shared memory ({folder}: {err.strerror}): images go by UDP, which loses many; {remedy}"]
    if free < SEGMENT_BYTES:
        wanted = f"{free >> 10} kB are free, {SEGMENT_BYTES >> 20} MB a node are wanted"
        return [f"{folder} is too small ({wanted}): images go by UDP, which loses many; {remedy}"]
    return []


def raise_priority(nice: int) -> str:
    """Ask that this process is run before others, -20 first, 0: leave it; returns a line if that is not allowed."""
    if nice == 0:
        return ""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except OSError as err:
        return f"runs at the usual priority: {nice} is not allowed ({err.strerror}); give it CAP_SYS_NICE"
    return ""


def _prepare_logs(environment: MutableMapping[str, str]) -> list[str]:
    folder = _log_folder(environment)
    flaw = "HOME is not set" if folder is None else _why_unwritable(folder)
    if flaw is None:
        return []
    try:
        environment["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros-log-")
    except OSError as err:
        raise OutputError(f"no folder for ROS's logs: {flaw}, and {err}; set ROS_LOG_DIR") from err
    return [f"ROS's logs go to {environment['ROS_LOG_DIR']}: {flaw}; set ROS_LOG_DIR for another place"]


def _log_folder(environment: MutableMapping[str, str]) -> Path | None:
    """Where ROS would write, by the rules of rcl_logging; None without a home."""
    home = environment.get("HOME")
    for name, below in (("ROS_LOG_DIR", ""), ("ROS_HOME", "log")):
        if environment.get(name):
            given = environment[name]
            return None if given.startswith("~") and not home else Path(given.replace("~", home or "", 1)) / below
    return Path(home) / ".ros" / "log" if home else None


def _why_unwritable(folder: Path) -> str | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as err:
        return f"{folder} cannot be written ({err.strerror})"
