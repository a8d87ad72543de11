"""The temperatures that Linux tells under /sys/class/thermal, and at which the kernel itself acts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOTTEST_C = 150.0  # no silicon runs above it: the sensor is broken, or counts in another unit
_LEAST_TRIP_C = 60.0  # a lower trip point is unset, or that of a fan, a skin or a battery


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """A sensor, and where the kernel throttles (passive), warns (hot) and switches off (critical), if it says."""

    folder: Path
    name: str  # e.g. "tj-thermal"
    passive_c: float | None = None
    hot_c: float | None = None
    critical_c: float | None = None


@dataclass(frozen=True, slots=True)
class Heat:
    """A zone and what it reads; None if that can't be read, or makes no sense."""

    zone: ThermalZone
    temperature_c: float | None


def zone_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of the zones by number; none where there is no sensor."""
    try:
        found = [file for file in (root / "sys/class/thermal").iterdir() if file.name.startswith("thermal_zone")]
    except OSError:
        return ()
    return tuple(sorted(found, key=lambda file: (len(file.name), file.name)))


def read_zone(folder: Path) -> ThermalZone:
    """Return a zone's name and trip points, the lowest of each kind; a zone without a name has its folder's."""
    trips: dict[str, float] = {}
    for file in folder.glob("trip_point_*_type"):
        kind, at = _text(file), _celsius(folder / file.name.replace("_type", "_temp"))
        if at is not None and at >= _LEAST_TRIP_C:
            trips[kind] = min(at, trips.get(kind, at))
    name = _text(folder / "type") or folder.name
    return ThermalZone(folder, name, trips.get("passive"), trips.get("hot"), trips.get("critical"))


def read_heat(zone: ThermalZone) -> Heat:
    """Return what the zone reads now."""
    return Heat(zone, _celsius(zone.folder / "temp"))


def _celsius(file: Path) -> float | None:
    """The file's temperature; None if there is none above 0 and up to 150 C.

    The kernel counts in thousandths; a number too small for that is of an old driver that counts in degrees.
    """
    try:
        number = int(_text(file))
    except ValueError:
        return None
    degrees = float(number) if number <= HOTTEST_C else number / 1000
    return degrees if 0 < degrees <= HOTTEST_C else None


def _text(file: Path) -> str:
    """The file's text, "" if it can't be read: some sensors refuse while their device sleeps."""
    try:
        return file.read_bytes().decode("ascii", "replace").strip()
    except OSError:
        return ""
