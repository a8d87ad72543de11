"""Programs that start nodes, or spin some: Ctrl-C and SIGTERM end them in order and leave no process behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from conftest import HANG_S

from vila_tools.ending import INTERRUPTED, TERMINATED

pytestmark = pytest.mark.slow
NAVIGATOR = """
import sys
from vila_core.actions.grammar import SENTENCES
from vila_core.testing import ScriptedBackend
from vila_ros.navigator.node import NavigatorNode
from vila_ros.common.node_main import run_node

def make():
    node = NavigatorNode(load=lambda *_, **__: ScriptedBackend(SENTENCES[4]))
    node.bring_up()
    return node

if __name__ == "__main__":
    sys.exit(run_node(make, "navigator"))
"""
SCRIPTED = ("--navigator", "endless_navigator", "--checkpoint", "FOLDER")
DEMO = ("demo", "--instruction", "go to the green plant", "--out", "FOLDER/out", *SCRIPTED)
DEMO_EVENTS = ("demo-events", "--out", "FOLDER/out", *SCRIPTED)
BENCH_VIDEO = ("bench", "video", "--bag", "FOLDER/a.mcap", *SCRIPTED)
PLAY = ("play", "--bag", "FOLDER/a.mcap", "--loop")
Running = tuple[subprocess.Popen, Path]


@pytest.fixture
def start(bag: Path, tmp_path: Path, ros_environment: dict[str, str]) -> Iterator[Callable[..., Running]]:
    """start(arguments): the process of `vila`, and the file of what it says. FOLDER stands for the test's own."""
    (tmp_path / "endless_navigator.py").write_text(NAVIGATOR)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**ros_environment, **os.environ, "PYTHONPATH": path, "V": str(tmp_path)}
    started: list[subprocess.Popen] = []

    def begin(*arguments: str) -> Running:
        said = tmp_path / "said"
        with said.open("wb") as out:
            words = [word.replace("FOLDER", str(tmp_path)) for word in arguments]
            command = [sys.executable, "-m", "vila_tools.cli", *words]
            started.append(subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment))
        return started[-1], said

    yield begin
    for left in children_of(tmp_path):  # of a test that failed
        os.kill(left, signal.SIGKILL)
    for process in started:
        process.wait()


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "processes", "number", "status"),
    [
        (DEMO, 6, signal.SIGINT, INTERRUPTED),
        (DEMO, 6, signal.SIGTERM, TERMINATED),
        (DEMO_EVENTS, 3, signal.SIGTERM, TERMINATED),
        (BENCH_VIDEO, 2, signal.SIGTERM, TERMINATED),
        (PLAY, 1, signal.SIGTERM, TERMINATED),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_a_signal_leaves_no_process_behind(start, wait_until, tmp_path, arguments, processes, number, status) -> None:
    process, said = start(*arguments)
    wait_until(lambda: len(children_of(tmp_path)) == processes and is_caught(process.pid, number), "the processes")
    if arguments is DEMO:
        wait_until(lambda: "decision   2" in said.read_text() or process.poll() is not None, lambda: words_of(tmp_path))
        assert process.poll() is None, words_of(tmp_path)
    process.send_signal(number)
    assert process.wait(HANG_S) == status, said.read_text()
    assert children_of(tmp_path) == []
    assert "Traceback" not in said.read_text()


def words_of(folder: Path) -> str:
    """What the program said, and each of its nodes."""
    return "\n".join(f"{file.name}:\n{file.read_text()}" for file in [folder / "said", *folder.glob("out/log/*")])


def children_of(marker: Path) -> list[int]:
    """The processes that carry the marker in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or is another user's
            if process.environ().get("V") == str(marker):
                found.append(process.pid)
    return found


def is_caught(process: int, number: int) -> bool:
    """True once a process has a handler of its own for the signal."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)
