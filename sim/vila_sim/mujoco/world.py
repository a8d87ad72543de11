"""Writes a flat and its robot as an MJCF file that MuJoCo's own viewer opens, with its textures beside it."""

from __future__ import annotations

from pathlib import Path

from vila_core.files.writing import written_whole
from vila_core.types import Pose
from vila_sim.flats.scene import Flat
from vila_sim.flats.solids import texture_assets
from vila_sim.mujoco.mjcf import write_mjcf
from vila_sim.robot import CameraConfig, RobotConfig

WORLD_FILE = "world.xml"


def write_mujoco_world(
    folder: Path,
    flat: Flat,
    start: Pose,
    *,
    camera: CameraConfig | None = None,
    robot: RobotConfig | None = None,
) -> Path:
    """Write world.xml and its textures, the robot's start as the key frame `start`; return the path of world.xml.

    Raises OutputError where it cannot be written.
    """
    text = write_mjcf(flat, camera or CameraConfig(), robot or RobotConfig(), start=start)
    with written_whole(folder) as made:
        made.mkdir()
        for name, pixels in texture_assets(flat).items():
            (made / name).write_bytes(pixels)
        (made / WORLD_FILE).write_text(text + "\n", encoding="utf-8")
    return folder / WORLD_FILE
