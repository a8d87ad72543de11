"""How a node's process ends: at once, in order and with exit status 0, whenever Ctrl-C comes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from conftest import HANG_S

from vila_ros.common.resources import share_folder

PROGRAM = """
import sys, time
from rclpy.node import Node
from vila_ros.common.node_main import run_node

class Probe(Node):
    def __init__(self):
        super().__init__("probe")
        print("making", flush=True)
        if "slow" in sys.argv:
            time.sleep(600)  # a model is loaded
        self.create_timer(0.01, lambda: print("spinning", flush=True))

    def destroy_node(self):
        print("closed", flush=True)
        super().destroy_node()

sys.exit(run_node(Probe, "probe"))
"""


def started(command, environment) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(("speed", "word"), [("slow", "making"), ("quick", "spinning")])
def test_a_signal_ends_a_node_in_order_even_while_it_is_made(ros_environment, number, speed: str, word: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, speed],
        env=ros_environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.stdout.readline().strip() != word:
        assert process.poll() is None
    process.send_signal(number)
    told, errors = process.communicate(timeout=HANG_S)
    assert process.returncode == 0 and errors == ""
    assert told.endswith("closed\n") == (speed == "quick")


def test_a_signal_ends_an_installed_node_while_python_still_loads_it(ros_environment) -> None:
    program = share_folder("vila_nav").parents[1] / "lib" / "vila_nav" / "navigator_node"
    process = subprocess.Popen(
        [program], env=ros_environment | {"PYTHONVERBOSE": "1"}, text=True, stderr=subprocess.PIPE
    )
    while "import 'signal'" not in process.stderr.readline():
        assert process.poll() is None
    while "import 'vila_ros'" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=HANG_S)
    assert process.returncode == 0 and "Traceback" not in errors
