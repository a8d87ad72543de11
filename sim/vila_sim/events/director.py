"""Draws what happens while a camera goes its way: near enough, in view, and out of everyone's way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vila_sim.episodes.route import Route
from vila_sim.events.patrol import SWING_CLEARANCE_M, is_ahead, leaves_of, middle_of
from vila_sim.events.scripted_events import OVERHEAD_M, Script, ScriptedEvent, Times, Verb, between, home, things
from vila_sim.events.stage import Stage
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.room_space import bounding_box, built_in, overlap
from vila_sim.flats.scene import Placement, Room, SceneObject
from vila_sim.truth import PLAIN_PIXELS

VERBS: tuple[Verb, ...] = ("moves", "appears", "vanishes", "door_opens", "door_closes")
_WEIGHTS = np.array([3.2, 2.0, 2.0, 2.6, 1.0])  # a slide or a door more often finds no place in view
DOOR_VERBS = ("door_opens", "door_closes")
SLIDE_GAP_M = 0.04  # to everything that a sliding thing passes
MOVE_M, MOVE_S, OTHER_S = (0.6, 1.4), (2.0, 4.0), (2.0, 3.0)
SEEN_SHARE = 0.5  # of its duration that a scripted event must be in view
UNSEEN_PROBABILITY = 0.1  # of a scripted event that need not be seen by anyone
REST_S = 1.0  # between two scripted events of one subject
EARLY_S, LATE_S = 1.0, 1.0  # so long before the first image a scripted event may begin, and before the last it must
Box = tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
_ATTEMPTS, _REHEARSALS = 200, 4


def draw_verbs(count: int, rng: np.random.Generator) -> list[Verb]:
    """Draw so many verbs, so that those that are asked for find a place about equally often."""
    return [VERBS[i] for i in rng.choice(len(VERBS), count, p=_WEIGHTS / _WEIGHTS.sum())]


class Director:
    """Makes the script of one room and one route of the camera."""

    def __init__(self, stage: Stage, grid: OccupancyGrid, room: Room, route: Route, *, times_s: Times) -> None:
        self._stage, self._room, self._times = stage, room, times_s
        self._poses = [route.pose_at(float(t)) for t in times_s]
        self._track = np.array([(pose.x_m, pose.y_m) for pose in self._poses])
        self._leaves = leaves_of(grid, room)
        self._objects = [thing for thing in stage.flat.objects if thing.room == room.name]
        self._indices = {thing.name: i for i, thing in enumerate(things(stage.flat))}
        self._boxes = {thing.name: [bounding_box(thing)] for thing in stage.flat.obstacles}
        self._boxes["built in"] = built_in(room, stage.flat.walls)
        self._script: list[ScriptedEvent] = []

    def direct(self, verbs: Sequence[Verb], rng: np.random.Generator, *, unseen: float = UNSEEN_PROBABILITY) -> Script:
        """Stage the verbs one by one; one that finds no place in view is left out.

        unseen: the probability of a scripted event that need not be in view.
        """
        for verb in verbs:
            must_be_seen = rng.random() >= unseen
            rehearsals = 0
            for _ in range(_ATTEMPTS):
                scripted = self._propose(verb, rng)
                if scripted is None or (must_be_seen and not self._is_ahead(scripted)):
                    continue
                rehearsals += must_be_seen
                if not must_be_seen or self._is_seen(scripted):
                    self._accept(scripted)
                    break
                if rehearsals == _REHEARSALS:
                    break
        return tuple(sorted(self._script, key=lambda one: one.start_s))

    def _propose(self, verb: Verb, rng: np.random.Generator) -> ScriptedEvent | None:
        duration = float(rng.uniform(*(MOVE_S if verb == "moves" else OTHER_S)))
        subjects: Sequence[str] = [thing.name for thing in self._objects]
        if verb in DOOR_VERBS:
            subjects = [leaf.thing.name for leaf in self._leaves]
        if not subjects:
            return None
        subject = subjects[int(rng.integers(len(subjects)))]
        last = max((one for one in self._script if one.subject == subject), key=lambda one: one.end_s, default=None)
        earliest = self._times[0] - EARLY_S if last is None else last.end_s + REST_S
        latest = self._times[-1] - LATE_S
        if earliest >= latest:
            return None
        start = round(float(rng.uniform(earliest, latest)), 3)
        ends = self._ends(verb, subject, last, rng)
        return ends and ScriptedEvent(verb, subject, start, round(start + duration, 3), *ends)

    def _ends(
        self, verb: Verb, subject: str, last: ScriptedEvent | None, rng: np.random.Generator
    ) -> tuple[Placement, Placement] | None:
        """The placements before and after; None if the subject is not in the state that the verb needs."""
        if verb in DOOR_VERBS:
            return self._swing(verb, subject, last)
        at_home = home(self._thing(subject))
        here = at_home if last is None else last.end
        gone = last is not None and here.z_m > 0
        if verb == "appears":
            below = replace(here, z_m=0.0)
            return (replace(here, z_m=OVERHEAD_M), below) if gone or last is None else None
        if gone:
            return None
        if verb == "vanishes":
            return here, replace(here, z_m=OVERHEAD_M)
        return self._slide(subject, here, rng)

    def _swing(self, verb: Verb, subject: str, last: ScriptedEvent | None) -> tuple[Placement, Placement] | None:
        leaf = next(leaf for leaf in self._leaves if leaf.thing.name == subject)
        shut, wide = (replace(home(leaf.thing), yaw_rad=yaw) for yaw in (leaf.closed_rad, leaf.open_rad))
        begin, end = (shut, wide) if verb == "door_opens" else (wide, shut)
        return (begin, end) if last is None or last.end == begin else None

    def _slide(self, subject: str, here: Placement, rng: np.random.Generator) -> tuple[Placement, Placement] | None:
        """A straight way along the floor on which the thing meets nothing."""
        heading, length = rng.uniform(-math.pi, math.pi), rng.uniform(*MOVE_M)
        x, y = here.x_m + length * math.cos(heading), here.y_m + length * math.sin(heading)
        there = replace(here, x_m=round(float(x), 3), y_m=round(float(y), 3))
        clear = all(self._has_room(box, subject) for box in self._swept(subject, here, there))
        return (here, there) if clear else None

    def _swept(self, subject: str, here: Placement, there: Placement) -> list[Box]:
        """The boxes that the thing fills on its way."""
        thing = self._thing(subject)
        spots = [between(here, there, share) for share in np.linspace(0.0, 1.0, 8)]
        return [bounding_box(replace(thing, x_m=spot.x_m, y_m=spot.y_m, yaw_rad=spot.yaw_rad)) for spot in spots]

    def _has_room(self, box: Box, subject: str) -> bool:
        room = self._room
        inside = box[0] > room.x_min_m and box[1] > room.y_min_m and box[2] < room.x_max_m and box[3] < room.y_max_m
        others = (other for name, boxes in self._boxes.items() if name != subject for other in boxes)
        if not inside or any(overlap(box, other, SLIDE_GAP_M) for other in others):
            return False
        swings = [(leaf.thing.x_m, leaf.thing.y_m) for leaf in self._leaves]
        reaches = [leaf.length_m for leaf in self._leaves]
        if any(_distance(box, np.array([at]))[0] < reach for at, reach in zip(swings, reaches, strict=True)):
            return False
        return bool((_distance(box, self._track) > SWING_CLEARANCE_M).all())

    def _is_ahead(self, scripted: ScriptedEvent) -> bool:
        """True if its begin, middle and end, or two of the three, are in front of the camera."""
        moments = np.linspace(scripted.start_s, scripted.end_s, 3)
        return sum(self._in_front(scripted, float(t)) for t in moments) >= 2

    def _in_front(self, scripted: ScriptedEvent, t_s: float) -> bool:
        nearest = int(np.argmin(np.abs(self._times - t_s)))
        if scripted.verb in DOOR_VERBS:
            leaf = next(leaf for leaf in self._leaves if leaf.thing.name == scripted.subject)
            return is_ahead(self._poses[nearest], *middle_of(leaf))
        at = scripted.at(t_s)
        return is_ahead(self._poses[nearest], at.x_m, at.y_m)

    def _is_seen(self, scripted: ScriptedEvent) -> bool:
        """Rehearse it: True if the camera sees the subject for enough of the time, as far as there are images."""
        script = (*self._script, scripted)
        under_way = [i for i, t in enumerate(self._times) if scripted.is_under_way(float(t))]
        seen = 0
        for i in under_way:
            self._stage.pose(script, float(self._times[i]), self._poses[i])
            seen += bool(self._stage.pixels()[self._indices[scripted.subject]] >= PLAIN_PIXELS)
        return seen >= max(SEEN_SHARE * len(under_way), 3)

    def _accept(self, scripted: ScriptedEvent) -> None:
        self._script.append(scripted)
        if scripted.verb == "moves":
            self._boxes[scripted.subject] += self._swept(scripted.subject, scripted.begin, scripted.end)

    def _thing(self, subject: str) -> SceneObject:
        return next(thing for thing in self._objects if thing.name == subject)


def _distance(box: Box, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of points [N, 2] to a box, 0 inside."""
    gaps = np.maximum(np.maximum(np.array(box[:2]) - points, points - np.array(box[2:])), 0.0)
    distance: NDArray[np.float64] = np.hypot(gaps[:, 0], gaps[:, 1])
    return distance
