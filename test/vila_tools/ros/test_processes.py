import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

pytest.importorskip("vila_ros")

from vila_tools.session.processes import NodeSpec, ProcessError, ProcessGroup, node_environment


@pytest.fixture
def script(tmp_path, monkeypatch):
    """script(name, body): a module that can be run as a node."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def write(name: str, body: str) -> NodeSpec:
        (tmp_path / f"{name}.py").write_text(body)
        return NodeSpec(name, name)

    return write


def group(tmp_path: Path) -> ProcessGroup:
    return ProcessGroup(node_environment(33), tmp_path / "log")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_command_line_is_that_of_every_ros_node() -> None:
    spec = NodeSpec(
        "n", "a.b", Path("p.yaml"), {"x": True, "y": 1.5, "s": "it's", "n": float("nan")}, {"image": "/cam"}
    )
    assert spec.command() == [sys.executable, "-m", "a.b", "--ros-args", "--params-file", "p.yaml"] + [
        *("-p", "x:=true", "-p", "y:=1.5", "-p", "s:='it''s'", "-p", "n:=.nan", "-r", "image:=/cam")
    ]


def test_the_environment_keeps_the_nodes_to_themselves() -> None:
    environment = node_environment(42, {"HOME": "/h", "AMENT_PREFIX_PATH": "/opt/ros/x"})
    assert environment["ROS_DOMAIN_ID"] == "42" and environment["HOME"] == "/h"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["AMENT_PREFIX_PATH"] == f"{sys.prefix}{os.pathsep}/opt/ros/x"
    profile = Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"])
    assert profile.is_file() and "FASTRTPS_DEFAULT_PROFILES_FILE" not in environment
    humble = node_environment(42, {"ROS_DISTRO": "humble"})
    assert humble["FASTRTPS_DEFAULT_PROFILES_FILE"] == str(profile) and humble["ROS_LOCALHOST_ONLY"] == "1"
    assert "FASTDDS_DEFAULT_PROFILES_FILE" not in humble  # it does not know it
    assert node_environment(1, {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine"})["FASTDDS_DEFAULT_PROFILES_FILE"] == "/mine"


def test_output_goes_to_the_log_and_sigint_ends_a_node(script, tmp_path, wait_until) -> None:
    spec = script(
        "polite",
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(0))\n"
        "print('ready')\n"
        "while True: time.sleep(0.01)\n",
    )
    with group(tmp_path) as nodes:
        nodes.start(spec)
        wait_until(lambda: "ready" in nodes.log_file("polite").read_text())
        nodes.check()
        assert nodes.stop() == {"polite": 0}


def test_a_node_that_does_not_end_is_killed_with_its_children(script, tmp_path, wait_until) -> None:
    spec = script(
        "stubborn",
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print('child', child.pid)\n"
        "time.sleep(60)\n",
    )
    with group(tmp_path) as nodes:
        nodes.start(spec)
        log = nodes.log_file("stubborn")
        wait_until(lambda: log.read_text().startswith("child") and log.read_text().endswith("\n"))
        child = int(log.read_text().split()[1])
        assert nodes.stop(timeout_s=0.3) == {"stubborn": -signal.SIGKILL}
    wait_until(lambda: not is_alive(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_death_is_told_with_the_last_words(script, tmp_path, wait_until) -> None:
    def dead(nodes: ProcessGroup) -> bool:
        try:
            nodes.check()
        except ProcessError as err:
            assert "node brief ended with status 3" in str(err) and "alas" in str(err)
            return True
        return False

    with group(tmp_path) as nodes:
        nodes.start(script("brief", "import sys\nprint('alas')\nsys.exit(3)\n"))
        wait_until(lambda: dead(nodes))


def test_nothing_is_left_when_the_block_is_left_by_an_error(script, tmp_path) -> None:
    spec = script("sleeper", "import time\ntime.sleep(60)\n")
    with pytest.raises(KeyboardInterrupt), group(tmp_path) as nodes:
        pid = nodes.start(spec)
        raise KeyboardInterrupt
    assert not is_alive(pid)
