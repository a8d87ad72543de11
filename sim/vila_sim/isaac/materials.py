"""Colours, textures and friction as USD materials: each is made once and bound where it is worn."""

from __future__ import annotations

from typing import Any

from vila_sim.flats.scene import Primitive
from vila_sim.isaac.usd import Sdf, UsdPhysics, UsdShade

EMISSION = 0.45  # of what glows, as in MuJoCo


class Materials:
    """The materials of a stage, below one scope."""

    def __init__(self, stage: Any, scope: str) -> None:
        self._stage, self._scope = stage, scope
        self._worn: dict[tuple[Any, ...], Any] = {}
        stage.DefinePrim(scope, "Scope")

    def bind(self, prim: Any, part: Primitive, *, glows: bool = False) -> None:
        """Have a prim wear the colour or the texture of a primitive."""
        key = (part.texture or part.rgb, glows)
        if key not in self._worn:
            name = part.texture or f"paint_{len(self._worn)}"
            self._worn[key] = self._made(f"{self._scope}/{name}", part, glows)
        UsdShade.MaterialBindingAPI.Apply(prim).Bind(self._worn[key])

    def bind_friction(self, prim: Any, friction: float) -> None:
        """Give a collider its friction; one that is slippery is so on every floor.

        PhysX takes the mean of both sides otherwise; its schema is not known to usd-core, nor needed by it.
        """
        key = ("friction", friction)
        if key not in self._worn:
            material = UsdShade.Material.Define(self._stage, f"{self._scope}/friction_{round(100 * friction)}")
            physics = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
            physics.CreateStaticFrictionAttr(friction)
            physics.CreateDynamicFrictionAttr(friction)
            physics.CreateRestitutionAttr(0.0)
            if friction < 1.0:
                material.GetPrim().AddAppliedSchema("PhysxMaterialAPI")
                mode = material.GetPrim().CreateAttribute(
                    "physxMaterial:frictionCombineMode", Sdf.ValueTypeNames.Token, False, Sdf.VariabilityUniform
                )
                mode.Set("min")
            self._worn[key] = material
        binding = UsdShade.MaterialBindingAPI.Apply(prim)
        binding.Bind(self._worn[key], UsdShade.Tokens.weakerThanDescendants, "physics")

    def _made(self, path: str, part: Primitive, glows: bool) -> Any:
        material = UsdShade.Material.Define(self._stage, path)
        surface = UsdShade.Shader.Define(self._stage, f"{path}/surface")
        surface.CreateIdAttr("UsdPreviewSurface")
        colour = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
        surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.9)
        surface.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        if part.texture:
            colour.ConnectToSource(self._texture(path, part.texture))
        else:
            colour.Set(part.rgb)
        if glows:
            emission = tuple(EMISSION * channel for channel in part.rgb)
            surface.CreateInput("emissiveColor", Sdf.ValueTypeNames.Color3f).Set(emission)
        material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
        return material

    def _texture(self, path: str, name: str) -> Any:
        """Return the output of a shader that reads the texture's file at the mesh's `st`."""
        reader = UsdShade.Shader.Define(self._stage, f"{path}/st")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        texture = UsdShade.Shader.Define(self._stage, f"{path}/texture")
        texture.CreateIdAttr("UsdUVTexture")
        texture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(f"./textures/{name}.png")
        texture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
        for wrap in ("wrapS", "wrapT"):
            texture.CreateInput(wrap, Sdf.ValueTypeNames.Token).Set("repeat")
        texture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
            reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
        )
        return texture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
