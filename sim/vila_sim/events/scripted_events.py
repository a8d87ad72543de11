"""What happens in a flat while it is watched: a script of things that glide from one placement to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vila_sim.flats.plan import WALL_HEIGHT_M
from vila_sim.flats.scene import Flat, Placement, SceneObject

Times = NDArray[np.floating]  # [T] seconds
Verb = Literal["moves", "appears", "vanishes", "door_opens", "door_closes"]

OVERHEAD_M = WALL_HEIGHT_M + 0.12  # the height at which a thing is out of sight, above the ceiling


@dataclass(frozen=True, slots=True)
class ScriptedEvent:
    """One thing that happens: the subject (the name of an object or of a door leaf) glides from begin to end."""

    verb: Verb
    subject: str
    start_s: float
    end_s: float
    begin: Placement
    end: Placement

    def at(self, t_s: float) -> Placement:
        """Where the subject is: at begin before the start, at end after the end, at constant speed between."""
        share = min(max((t_s - self.start_s) / (self.end_s - self.start_s), 0.0), 1.0)
        return between(self.begin, self.end, share)

    def is_under_way(self, t_s: float) -> bool:
        """True from the start to the end, both included."""
        return self.start_s <= t_s <= self.end_s


Script = tuple[ScriptedEvent, ...]  # those of one subject follow each other, and each begins where the last one ended


def home(thing: SceneObject) -> Placement:
    """Where the flat has the thing."""
    return Placement(thing.x_m, thing.y_m, 0.0, thing.yaw_rad)


def between(first: Placement, second: Placement, share: float) -> Placement:
    """The placement on the straight way from the first (share 0) to the second (share 1)."""
    return Placement(
        first.x_m + share * (second.x_m - first.x_m),
        first.y_m + share * (second.y_m - first.y_m),
        first.z_m + share * (second.z_m - first.z_m),
        first.yaw_rad + share * (second.yaw_rad - first.yaw_rad),
    )


def placements(script: Sequence[ScriptedEvent], t_s: float) -> dict[str, Placement]:
    """Where each subject of the script is at a time; everything else is at home."""
    latest: dict[str, ScriptedEvent] = {}
    for scripted in sorted(script, key=lambda one: one.start_s):
        if scripted.subject not in latest or scripted.start_s <= t_s:
            latest[scripted.subject] = scripted
    return {name: scripted.at(t_s) for name, scripted in latest.items()}


def things(flat: Flat) -> tuple[SceneObject, ...]:
    """All that can be a subject, in the order of the segmentation's indices: the objects, then the door leaves."""
    return (*flat.objects, *(leaf.thing for leaf in flat.leaves))
