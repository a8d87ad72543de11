"""Starts the nodes as processes, watches them, ends them: `ros2 launch` for machines that have none."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from vila_core.errors import VilaError
from vila_ros.common.resources import share_file
from vila_ros.common.transports import FAST_DDS_2, PROFILE, profile_variable

_TAIL_LINES = 15


class ProcessError(VilaError):
    """A node that ended by itself; the message holds its last word, details the end of its output."""

    def __init__(self, name: str, status: int, output: str) -> None:
        lines = [line for line in output.splitlines() if line.strip()] or ["it said nothing"]
        self.details = "\n".join(lines[-_TAIL_LINES:])
        last = next((line for line in reversed(lines) if "[FATAL]" in line), lines[-1])
        super().__init__(f"node {name} ended with status {status}: {last.strip()}")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node to run. parameters override the file's; remaps are topic from -> to."""

    name: str
    module: str  # run as `python -m module`
    params_file: Path | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the command line, in the form that every ROS node understands."""
        command = [sys.executable, "-m", self.module, "--ros-args"]
        if self.params_file is not None:
            command += ["--params-file", str(self.params_file)]
        for name, value in self.parameters.items():
            command += ["-p", f"{name}:={_yaml(value)}"]
        for source, target in self.remaps.items():
            command += ["-r", f"{source}:={target}"]
        return command


def node_environment(domain_id: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the nodes: their own domain, this machine only, the package's DDS profile.

    The ROS wheels set LD_LIBRARY_PATH and a guard variable in every process of their environment; they
    stay, as the children run the same Python.
    """
    environment = dict(os.environ if base is None else base)
    environment["ROS_DOMAIN_ID"] = str(domain_id)
    environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    environment.setdefault(profile_variable(environment), str(share_file(PROFILE).resolve()))
    if environment.get("ROS_DISTRO") in FAST_DDS_2:
        environment.setdefault("ROS_LOCALHOST_ONLY", "1")
    prefixes = [sys.prefix, *filter(None, environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep))]
    environment["AMENT_PREFIX_PATH"] = os.pathsep.join(dict.fromkeys(prefixes))
    environment["PYTHONUNBUFFERED"] = "1"
    environment.setdefault("OMP_NUM_THREADS", "1")  # a small model beside a renderer: threads that wait for each other
    return environment


class ProcessGroup:
    """Runs nodes; a context manager that leaves no process behind, however it is left.

    Each node's output goes to log_dir/NAME.log.
    """

    def __init__(self, environment: Mapping[str, str], log_dir: Path) -> None:
        self._environment = dict(environment)
        self._log_dir = log_dir
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> ProcessGroup:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, spec: NodeSpec) -> int:
        """Start a node in a session of its own, so that Ctrl-C reaches us alone; returns its process id."""
        with self.log_file(spec.name).open("wb") as log:
            process = subprocess.Popen(
                spec.command(),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[spec.name] = process
        return process.pid

    def log_file(self, name: str) -> Path:
        """Return where the output of the node goes."""
        return self._log_dir / f"{name}.log"

    def process_id(self, name: str) -> int:
        """Return the process id of a node that was started and not stopped; KeyError if there is none."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """End a node without a word to it; it may be started again. KeyError if there is none."""
        process = self._running.pop(name)
        _signal(process, signal.SIGKILL)
        process.wait()

    def check(self) -> None:
        """Raise ProcessError if a node has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise ProcessError(name, process.returncode, self.log_file(name).read_text(errors="replace"))

    def stop(self, timeout_s: float = 5.0) -> dict[str, int]:
        """Ask all nodes to end, kill those that do not; returns their exit statuses by name."""
        for process in self._running.values():
            _signal(process, signal.SIGINT)
        deadline_s = time.monotonic() + timeout_s
        for process in self._running.values():
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()
        statuses = {name: process.returncode for name, process in self._running.items()}
        self._running.clear()
        return statuses


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return


def _yaml(value: object) -> str:
    """Write a parameter so that ROS reads back the same type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isnan(value):
        return ".nan"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
