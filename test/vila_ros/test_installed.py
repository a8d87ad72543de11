"""What is installed is found by the tools of ROS 2, whichever Python is on the PATH."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from conftest import HANG_S

from vila_ros.common.resources import share_folder

ROOT = Path(__file__).resolve().parents[2]
NODES = ("navigator", "controller", "governor", "watchdog", "page", "voice", "recorder", "simulator")


@pytest.fixture(scope="module")
def prefix() -> Path:
    share = share_folder("vila_nav")
    assert share is not None
    return share.parents[1]


@pytest.mark.parametrize("name", ["launch", "config"])
def test_ros2_launch_finds_every_file(prefix: Path, name: str) -> None:
    folder = prefix / "share" / "vila_nav" / name
    assert not folder.is_symlink()
    found = {path for top, _, files in os.walk(folder) for path in (Path(top) / file for file in files)}  # as it walks
    sources = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".yaml")}
    assert sources <= {path.relative_to(folder) for path in found}


@pytest.mark.parametrize("name", NODES)
def test_a_node_starts_with_the_python_that_installed_it(prefix: Path, ros_environment, tmp_path: Path, name) -> None:
    program = prefix / "lib" / "vila_nav" / f"{name}_node"
    stranger = tmp_path / "python3"
    stranger.write_text("#!/bin/sh\necho a stranger >&2\nexit 1\n")
    stranger.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), "/usr/bin", "/bin"])
    command = [program, "--ros-args", "-p", "no_such_parameter:=1"]
    run = subprocess.run(command, env=ros_environment | {"PATH": path}, capture_output=True, text=True, timeout=HANG_S)
    assert run.returncode == 2 and "unknown parameter 'no_such_parameter'" in run.stderr, run.stderr
