"""Writes a flat and its robot as a USD stage, with its textures and the graph of ROS topics beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vila_core.files.writing import written_whole
from vila_core.types import Pose
from vila_sim.flats.lighting import Lighting
from vila_sim.flats.scene import Flat, Room
from vila_sim.flats.solids import bodies_of, texture_assets
from vila_sim.isaac.graph import TOPICS, TopicNames, graph_json, ros_graph
from vila_sim.isaac.materials import Materials
from vila_sim.isaac.paths import FLAT, LIGHTS, LOOKS, WORLD, prim_name
from vila_sim.isaac.robot import define_robot
from vila_sim.isaac.shapes import define_frame, define_shape
from vila_sim.isaac.usd import Gf, Usd, UsdGeom, UsdLux, UsdPhysics
from vila_sim.robot import CameraConfig, RobotConfig

WORLD_FILE, GRAPH_FILE = "world.usda", "ros_graph.json"
_LIGHT_INTENSITY = 2000.0
_LIGHT_GAP_M = 0.1  # below the ceiling


def write_isaac_world(
    folder: Path,
    flat: Flat,
    start: Pose,
    *,
    camera: CameraConfig | None = None,
    robot: RobotConfig | None = None,
    topics: TopicNames = TOPICS,
) -> Path:
    """Write world.usda, textures/ and ros_graph.json; return the path of the stage.

    Raises MissingDependencyError without usd-core (on import), OutputError where it cannot be written.
    """
    camera, robot = camera or CameraConfig(), robot or RobotConfig()
    stage = isaac_stage(flat, camera, robot, start)
    with written_whole(folder) as made:
        (made / "textures").mkdir(parents=True)
        for name, pixels in texture_assets(flat).items():
            (made / "textures" / name).write_bytes(pixels)
        (made / WORLD_FILE).write_text(stage.GetRootLayer().ExportToString(), encoding="utf-8")
        graph = json.dumps(graph_json(ros_graph(camera, robot, topics)), indent=1)
        (made / GRAPH_FILE).write_text(graph + "\n", encoding="utf-8")
    return folder / WORLD_FILE


def isaac_stage(flat: Flat, camera: CameraConfig, robot: RobotConfig, start: Pose) -> Any:
    """Return a stage (in memory) that holds the flat and, at its start, the robot.

    Metres, z up. Bodies of solids.bodies_of are /World/flat/BODY, their solids below, "object:3:0" as object_3_0.
    """
    stage = Usd.Stage.CreateInMemory(WORLD_FILE)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    stage.SetTimeCodesPerSecond(60.0)
    stage.SetDefaultPrim(UsdGeom.Xform.Define(stage, WORLD).GetPrim())
    materials = Materials(stage, LOOKS)
    _define_physics(stage, materials)
    UsdGeom.Xform.Define(stage, FLAT)
    for body in bodies_of(flat):
        define_frame(stage, f"{FLAT}/{body.name}", (body.x_m, body.y_m, 0.0), body.yaw_rad)
        for solid in body.solids:
            path = f"{FLAT}/{body.name}/{prim_name(solid.name)}"
            materials.bind(
                define_shape(stage, path, solid.part, collides=solid.collides), solid.part, glows=solid.finish == "glow"
            )
    UsdGeom.Scope.Define(stage, LIGHTS)
    for room in flat.rooms:
        _define_light(stage, room, min(wall.height_m for wall in flat.walls) - _LIGHT_GAP_M, flat.lighting)
    define_robot(stage, materials, camera, robot, start)
    return stage


def _define_physics(stage: Any, materials: Materials) -> None:
    """Define gravity, and the plane that the wheels stand on, unseen; the floors that are seen end there."""
    scene = UsdPhysics.Scene.Define(stage, f"{WORLD}/physics")
    scene.CreateGravityDirectionAttr(Gf.Vec3f(0.0, 0.0, -1.0))
    scene.CreateGravityMagnitudeAttr(9.81)
    plane = UsdGeom.Plane.Define(stage, f"{WORLD}/ground")
    plane.CreateAxisAttr(UsdGeom.Tokens.z)
    plane.CreateWidthAttr(100.0)
    plane.CreateLengthAttr(100.0)
    plane.CreateExtentAttr([Gf.Vec3f(-50.0, -50.0, 0.0), Gf.Vec3f(50.0, 50.0, 0.0)])
    plane.CreatePurposeAttr(UsdGeom.Tokens.guide)
    UsdPhysics.CollisionAPI.Apply(plane.GetPrim())
    materials.bind_friction(plane.GetPrim(), 1.0)


def _define_light(stage: Any, room: Room, height_m: float, lighting: Lighting) -> None:
    """Define a luminous ceiling: with real shadows the lights of MuJoCo, above the flat, would not reach into it.

    It is as bright and as warm as they are, and brighter by the lamps in the room.
    """
    light = UsdLux.RectLight.Define(stage, f"{LIGHTS}/{room.name}")
    middle = (room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2
    light.AddTranslateOp().Set(Gf.Vec3d(*middle, height_m))
    light.CreateWidthAttr(0.8 * (room.x_max_m - room.x_min_m))
    light.CreateHeightAttr(0.8 * (room.y_max_m - room.y_min_m))
    lamps = [lamp.rgb for lamp in lighting.points if room.contains(*lamp.position_m[:2])]
    rgb = [sum(values) for values in zip(lighting.level, *lamps, strict=True)]
    light.CreateIntensityAttr(_LIGHT_INTENSITY * max(rgb))
    if max(rgb) > min(rgb):
        light.CreateColorAttr(Gf.Vec3f(*(value / max(rgb) for value in rgb)))
