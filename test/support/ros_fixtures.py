"""Fixtures of the tests with real ROS: one domain per module, this machine only, the package's DDS profile.

The conftest.py of each folder that needs them imports them all.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

import rclpy
from conftest import HANG_S
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from vila_tools.inject.lateness import Lateness
from vila_tools.session.domain import leased_domain
from vila_tools.session.processes import node_environment

SHARED_MEMORY = Path("/dev/shm")
FAST_DDS = ("fastdds_", "fastrtps_", "sem.fastdds_", "sem.fastrtps_")


@pytest.fixture(scope="session", autouse=True)
def swept_shared_memory() -> Iterator[None]:
    """Remove what nodes that were killed left in shared memory, 16 MB each: Fast DDS does not, nor does anyone else."""
    before = shared_memory()
    yield
    for name in shared_memory() - before - mapped_memory():
        (SHARED_MEMORY / name).unlink(missing_ok=True)


def shared_memory() -> set[str]:
    """Names of Fast DDS's files there, of this user."""
    names: set[str] = set()
    for file in SHARED_MEMORY.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it comes and goes with other processes
            if file.name.startswith(FAST_DDS) and file.stat().st_uid == os.getuid():
                names.add(file.name)
    return names


def mapped_memory() -> set[str]:
    """Names of the files there that a process has mapped; a port and its lock are one."""
    names: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            lines = maps.read_text().splitlines()
            names |= {Path(line.split()[-1]).name for line in lines if f" {SHARED_MEMORY}/" in line}
    return names | {f"{name}_el" for name in names} | {f"sem.{name}_mutex" for name in names}


@pytest.fixture(scope="module")
def ros_environment() -> Iterator[dict[str, str]]:
    """The environment of this module's processes; also set in this one while the module runs."""
    before = dict(os.environ)
    with leased_domain() as domain:
        environment = node_environment(domain)
        os.environ.update(environment)
        yield environment
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def ros(ros_environment: dict[str, str]) -> Iterator[None]:
    rclpy.init(domain_id=int(ros_environment["ROS_DOMAIN_ID"]))
    yield
    rclpy.try_shutdown()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video of 20 frames at 10 Hz; frame i is grey of brightness 12 * i."""
    file = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), 12 * index, np.uint8))
    writer.release()
    return file


@pytest.fixture
def bag(video: Path, tmp_path: Path) -> Path:
    """The video as a bag."""
    pytest.importorskip("mcap")
    from vila_tools.bags.video import BagOptions, convert

    convert(BagOptions(video, tmp_path / "a.mcap"))
    return tmp_path / "a.mcap"


class Spinner:
    """Spins each node in a thread of its own until closed."""

    def __init__(self) -> None:
        self._running: list[tuple[Node, SingleThreadedExecutor, threading.Thread]] = []

    def add(self, node: Node) -> Node:
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
        thread.start()
        self._running.append((node, executor, thread))
        return node

    def remove(self, node: Node) -> None:
        for entry in [entry for entry in self._running if entry[0] is node]:
            self._running.remove(entry)
            _, executor, thread = entry
            executor.shutdown()
            thread.join(5.0)
            node.destroy_node()

    def close(self) -> None:
        for node, _, _ in reversed(list(self._running)):
            self.remove(node)

    @staticmethod
    def _spin(executor: SingleThreadedExecutor) -> None:
        try:
            executor.spin()
        except (ShutdownException, ExternalShutdownException):
            return


@pytest.fixture
def spinner(ros: None) -> Iterator[Spinner]:
    spinner = Spinner()
    yield spinner
    spinner.close()


@pytest.fixture
def wait_until() -> Callable[..., float]:
    """wait_until(condition, what): returns the seconds it took; fails the test with `what`, or what it returns."""

    def wait(condition: Callable[[], object], what: str | Callable[[], str] = "") -> float:
        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > HANG_S:
                pytest.fail(f"not within {HANG_S} s: {(what() if callable(what) else what) or condition}")
            time.sleep(0.005)
        return time.monotonic() - begun

    return wait


class Allowance:
    """What a busy machine adds, now, to the time between a cause and its effect."""

    STEPS = 4  # a timer, a message and its callback, another message and the test's own callback

    def __init__(self, lateness: Lateness) -> None:
        self._lateness = lateness

    def since(self, begun_s: float) -> float:
        """Seconds to allow for what began then; some milliseconds on a quiet machine."""
        return self.STEPS * self._lateness.worst_s(begun_s, time.monotonic())


@pytest.fixture
def lateness() -> Iterator[Allowance]:
    """Measures while the test runs."""
    with Lateness() as lateness:
        yield Allowance(lateness)
