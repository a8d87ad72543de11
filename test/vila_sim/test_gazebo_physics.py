"""The world in the physics engine of Gazebo Fortress (Debian's ignition-physics, with DART): the robot drives.

Skipped where the libraries are missing:
apt-get install g++ pkg-config libeigen3-dev libignition-common-graphics-dev libignition-math-dev \
    libignition-physics-core-dev libignition-physics-sdf-dev libignition-physics5-dartsim-plugin5 libignition-plugin-dev
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from vila_core.types import wrap_angle
from vila_sim.episodes.scenario import live_world
from vila_sim.gazebo.world import STEP_S, write_gazebo_world
from vila_sim.robot import CameraConfig, RobotConfig, wheeled_robot

pytestmark = pytest.mark.slow
SOURCE = Path(__file__).resolve().parents[1] / "gazebo" / "drive.cpp"
PACKAGES = ("ignition-physics5", "ignition-physics5-sdf", "ignition-plugin1-loader", "sdformat12")
PACKAGES += ("ignition-common4-graphics",)
HANG_S = 300
FLAT, START = live_world(3)
ROBOT = wheeled_robot(CameraConfig(), RobotConfig())


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Compile the program; returns a function that runs it and gives its lines."""
    engine = next(iter(sorted(Path("/usr/lib").glob("*/ign-physics-5/engine-plugins/*dartsim-plugin.so.5"))), None)
    if shutil.which("g++") is None or shutil.which("pkg-config") is None or engine is None:
        pytest.skip("no physics engine of Gazebo: see the top of this file")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", *PACKAGES], capture_output=True, text=True, check=False)
    if flags.returncode:
        pytest.skip("no physics engine of Gazebo to compile with: see the top of this file")
    program = tmp_path_factory.mktemp("drive") / "drive"
    command = ["g++", "-O1", "-std=c++17", f'-DDARTSIM="{engine}"', str(SOURCE), "-o", str(program)]
    subprocess.run([*command, *flags.stdout.split()], check=True, timeout=HANG_S)

    def run(*words: object) -> list[dict]:
        ran = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=HANG_S, check=True)
        return [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    return write_gazebo_world(tmp_path_factory.mktemp("gazebo") / "world", FLAT, START, gz="fortress")


@pytest.mark.long
def test_it_stands_drives_straight_and_turns_as_its_wheels_say(drive, world) -> None:
    stretches = [(0, 0, 1), (0.4, 0, 5), (0, 0, 1), (0, 1.0, 3), (0, 0, 1), (0.3, 0.6, 3), (0, 0, 1)]
    wheels = STEP_S, ROBOT.wheel_separation_m, ROBOT.wheels[0].radius_m
    rows = drive(world, *wheels, *(number for stretch in stretches for number in stretch))
    stood, driven, stopped, turned, still, curved, last = rows
    assert (stood["x"], stood["y"]) == pytest.approx((START.x_m, START.y_m), abs=1e-3)
    assert driven["x"] - stood["x"] == pytest.approx(0.4 * 5, abs=0.03)  # less what it takes to be that quick
    assert stopped["x"] - stood["x"] == pytest.approx(2.0, abs=0.01)
    assert stopped["y"] == pytest.approx(START.y_m, abs=2e-3) and stopped["yaw"] == pytest.approx(0.0, abs=2e-3)
    assert still["yaw"] - stopped["yaw"] == pytest.approx(3.0, abs=0.02)
    assert math.dist((still["x"], still["y"]), (stopped["x"], stopped["y"])) < 0.01
    for before, after in zip(rows, rows[1:], strict=False):  # odometry of the wheels against what it did
        by_wheels = (after["right"] - before["right"] - after["left"] + before["left"]) / ROBOT.wheel_separation_m
        assert wrap_angle(after["yaw"] - before["yaw"] - by_wheels) == pytest.approx(0.0, abs=0.02)
    assert max(row["tilt"] for row in rows) < math.radians(1.0) and all(abs(row["z"]) < 2e-3 for row in rows)
    assert turned["tilt"] < math.radians(0.5) and curved["tilt"] < math.radians(0.5)
    assert (last["x"], last["y"]) != (still["x"], still["y"])


@pytest.mark.long
def test_a_wall_stops_it(drive, world) -> None:
    """Driven on along the corridor, through the door at its end and against the outer wall."""
    (row,) = drive(world, STEP_S, ROBOT.wheel_separation_m, ROBOT.wheels[0].radius_m, 0.5, 0, 20)
    wall = max(room.x_max_m for room in FLAT.rooms)
    assert row["x"] == pytest.approx(wall - RobotConfig().radius_m, abs=0.01)
    assert row["tilt"] < math.radians(1.0) and abs(row["z"]) < 2e-3


def test_every_mesh_is_loaded_with_its_texture_coordinates(drive, world) -> None:
    meshes = sorted((world.parent / "meshes").glob("*.obj"))
    assert len(meshes) > 50
    for mesh in meshes[::8]:
        (row,) = drive(mesh)
        assert row["texcoords"] == row["vertices"] == 36  # two triangles a side
        assert all(size > 0 for size in row["size"])
