"""The light of a flat: from all sides, from directions, from lamps. Nothing casts shadows."""

from __future__ import annotations

from dataclasses import dataclass

Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class DirectionalLight:
    """Light that comes from one side, in every room."""

    direction: tuple[float, float, float]  # in which it shines
    rgb: Rgb


@dataclass(frozen=True, slots=True)
class PointLight:
    """A lamp: half as bright at reach_m as beside it, a fifth at twice as far. Walls do not stop it."""

    position_m: tuple[float, float, float]
    rgb: Rgb
    reach_m: float


@dataclass(frozen=True, slots=True)
class Lighting:
    """All light of a flat. At most seven lights: OpenGL has eight, and the headlight is one."""

    ambient: Rgb
    headlight: Rgb  # goes with MuJoCo's camera; other simulators have none
    directional: tuple[DirectionalLight, ...]
    points: tuple[PointLight, ...] = ()

    @property
    def level(self) -> Rgb:
        """How bright it is beside that of plain flats, away from lamps."""
        red, green, blue = (
            sum(value[i] for value in (self.ambient, *(light.rgb for light in self.directional))) / _PLAIN_SUM
            for i in range(3)
        )
        return red, green, blue


def _grey(value: float) -> Rgb:
    return value, value, value


# Three directions from above, so that every side of a box has its own shade.
_PLAIN_DIRECTIONS = (((0.45, 0.25, -0.86), 0.34), ((-0.65, 0.2, -0.73), 0.20), ((0.1, -0.75, -0.65), 0.14))
_PLAIN_AMBIENT = 0.46
_PLAIN_SUM = sum((_PLAIN_AMBIENT, *(value for _, value in _PLAIN_DIRECTIONS)))
PLAIN_LIGHTING = Lighting(
    _grey(_PLAIN_AMBIENT),
    _grey(0.24),
    tuple(DirectionalLight(direction, _grey(value)) for direction, value in _PLAIN_DIRECTIONS),
)
