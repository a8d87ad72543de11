"""Primitives of a scene as USD prims: where they are, their size, and whether they collide."""

from __future__ import annotations

import math
from typing import Any

from vila_sim.flats.meshes import Mesh, ellipsoid, textured_box
from vila_sim.flats.scene import Primitive
from vila_sim.isaac.usd import Gf, Sdf, UsdGeom, UsdPhysics, Vt


def define_frame(stage: Any, path: str, position_m: tuple[float, float, float], yaw_rad: float = 0.0) -> Any:
    """Define an Xform there, turned about z, and return it."""
    frame = UsdGeom.Xform.Define(stage, path)
    frame.AddTranslateOp().Set(Gf.Vec3d(*position_m))
    if yaw_rad:
        frame.AddRotateZOp().Set(math.degrees(yaw_rad))
    return frame


def define_shape(stage: Any, path: str, part: Primitive, *, collides: bool = False) -> Any:
    """Define the prim of a primitive and return it; the parent is the frame that the primitive stands in.

    Textured boxes and ellipsoids are meshes: USD has no ellipsoid, and PhysX no sphere that is scaled unevenly.
    """
    shape = _shape(stage, path, part)
    shape.AddTranslateOp().Set(Gf.Vec3d(*part.position_m))
    if any(part.euler_rad):
        shape.AddRotateXYZOp().Set(Gf.Vec3f(*map(math.degrees, part.euler_rad)))
    if shape.GetPrim().IsA(UsdGeom.Cube):
        shape.AddScaleOp().Set(Gf.Vec3f(*(2 * half for half in part.half_size_m)))
    extent = UsdGeom.Boundable.ComputeExtentFromPlugins(shape, 0)
    shape.CreateExtentAttr(extent)
    if collides:
        UsdPhysics.CollisionAPI.Apply(shape.GetPrim())
        if shape.GetPrim().IsA(UsdGeom.Mesh):
            UsdPhysics.MeshCollisionAPI.Apply(shape.GetPrim()).CreateApproximationAttr("convexHull")
    return shape.GetPrim()


def _shape(stage: Any, path: str, part: Primitive) -> Any:
    first, second, _ = part.half_size_m
    if part.shape == "ellipsoid" or part.texture:
        return _mesh(stage, path, textured_box(part) if part.texture else ellipsoid(part.half_size_m))
    if part.shape == "box":
        cube = UsdGeom.Cube.Define(stage, path)
        cube.CreateSizeAttr(1.0)
        return cube
    if part.shape == "sphere":
        sphere = UsdGeom.Sphere.Define(stage, path)
        sphere.CreateRadiusAttr(first)
        return sphere
    round_shape = {"cylinder": UsdGeom.Cylinder, "capsule": UsdGeom.Capsule}[part.shape].Define(stage, path)
    round_shape.CreateAxisAttr("Z")
    round_shape.CreateRadiusAttr(first)
    round_shape.CreateHeightAttr(2 * second)
    return round_shape


def _mesh(stage: Any, path: str, mesh: Mesh) -> Any:
    prim = UsdGeom.Mesh.Define(stage, path)
    prim.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(mesh.points.astype("float32")))
    prim.CreateFaceVertexCountsAttr([len(face) for face in mesh.faces])
    prim.CreateFaceVertexIndicesAttr([index for face in mesh.faces for index in face])
    prim.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(mesh.normals.astype("float32")))
    prim.SetNormalsInterpolation(UsdGeom.Tokens.faceVarying)
    prim.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    uvs = UsdGeom.PrimvarsAPI(prim).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    uvs.Set(Vt.Vec2fArray.FromNumpy(mesh.uvs.astype("float32")))
    return prim
