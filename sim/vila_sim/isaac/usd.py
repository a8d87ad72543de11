"""Opens OpenUSD (pxr), which Isaac Sim brings with it, and pip as usd-core."""

from __future__ import annotations

from vila_core.errors import MissingDependencyError

try:
    from pxr import Gf, Sdf, Usd, UsdGeom, UsdLux, UsdPhysics, UsdShade, Vt
except ModuleNotFoundError as err:
    if (err.name or "").partition(".")[0] != "pxr":
        raise
    raise MissingDependencyError("USD needs usd-core: run `pip install '.[isaac]'` (extra isaac)") from err

__all__ = ["Gf", "Sdf", "Usd", "UsdGeom", "UsdLux", "UsdPhysics", "UsdShade", "Vt"]
