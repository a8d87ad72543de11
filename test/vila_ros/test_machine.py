"""What ROS needs of the machine, and what is told where it is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from vila_core.errors import OutputError
from vila_ros.common.machine import prepare_machine, shared_memory_flaws


def prepared(environment: dict[str, str], tmp_path: Path) -> list[str]:
    (tmp_path / "shm").mkdir(exist_ok=True)
    return prepare_machine(environment, tmp_path / "shm")


@pytest.mark.parametrize(
    "environment",
    [{"HOME": "{0}"}, {"ROS_LOG_DIR": "{0}/logs"}, {"ROS_HOME": "{0}/ros"}, {"HOME": "{0}", "ROS_LOG_DIR": "~/logs"}],
)
def test_nothing_is_told_where_logs_can_be_written(environment, tmp_path):
    environment = {name: value.format(tmp_path) for name, value in environment.items()}
    before = dict(environment)
    assert prepared(environment, tmp_path) == [] and environment == before


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "HOME is not set"),
        ({"ROS_LOG_DIR": "~/logs"}, "HOME is not set"),
        ({"HOME": "{0}/file"}, "file/.ros/log cannot be written"),
        ({"HOME": "/proc/nothing"}, "/proc/nothing/.ros/log cannot be written"),
        ({"HOME": "{0}", "ROS_LOG_DIR": "{0}/file"}, "file cannot be written"),
        ({"HOME": "{0}", "ROS_HOME": "{0}/file"}, "file/log cannot be written"),
    ],
)
def test_ros_gets_another_folder_for_its_logs_and_that_is_told(environment, words, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {name: value.format(tmp_path) for name, value in environment.items()}
    (line,) = prepared(environment, tmp_path)
    assert words in line and environment["ROS_LOG_DIR"] in line and Path(environment["ROS_LOG_DIR"]).is_dir()


def test_where_no_folder_can_be_made_that_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nothing"))
    with pytest.raises(OutputError, match=r"HOME is not set.*set ROS_LOG_DIR"):
        prepared({}, tmp_path)


@pytest.mark.parametrize(
    ("free", "words"),
    [(64 << 10, "too small (64 kB are free, 16 MB a node"), (15 << 20, "too small"), (16 << 20, None)],
)
def test_small_shared_memory_is_told_with_the_remedy(free, words, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    flaws = shared_memory_flaws(tmp_path)
    assert len(flaws) == bool(words)
    assert not words or (words in flaws[0] and "--shm-size" in flaws[0])


def test_missing_shared_memory_is_told_with_the_remedy(tmp_path):
    (line,) = shared_memory_flaws(tmp_path / "shm")
    assert "No such file" in line and "--shm-size" in line


NODE = """
import os, signal, sys
from rclpy.node import Node
from vila_ros.common.node_main import run_node

def make():
    node = Node("probe")
    {work}
    return node

sys.exit(run_node(make, "probe"))
"""
ENDS = "os.kill(os.getpid(), signal.SIGTERM)"


@pytest.mark.parametrize(
    ("work", "arguments", "changed", "status", "words"),
    [
        (ENDS, [], {"HOME": None}, 0, "HOME is not set"),
        (ENDS, [], {"HOME": "/proc/nothing"}, 0, "/proc/nothing/.ros/log cannot be written"),
        (ENDS, ["--ros-args", "-p", "x"], {}, 2, "probe: ROS cannot start: "),
        ("[][0]", [], {}, 70, "this is a bug, please report it"),
    ],
)
def test_a_node_starts_without_a_home_and_tells_what_is_wrong(work, arguments, changed, status, words, monkeypatch):
    pytest.importorskip("rclpy")
    for name in ("ROS_LOG_DIR", "ROS_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in changed.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", NODE.format(work=work), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status and words in done.stderr
    assert ("Traceback" in done.stderr) == (status == 70)


def test_a_node_that_security_refuses_says_so_and_is_no_bug(monkeypatch, tmp_path):
    pytest.importorskip("rclpy")
    (tmp_path / "enclaves" / "vila_nav" / "probe").mkdir(parents=True)  # without keys
    security = {"ENABLE": "true", "STRATEGY": "Enforce", "KEYSTORE": str(tmp_path)}
    for name, value in security.items():
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    command = [sys.executable, "-c", NODE.format(work=ENDS), "--ros-args", "--enclave", "/vila_nav/probe"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"ROS_SECURITY_KEYSTORE={tmp_path}" in last and "docs/security.md" in last and "error creating node" in last
