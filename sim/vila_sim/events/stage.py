"""A flat in which a script is played: any time of it can be posed, seen and measured, without physics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vila_core.types import Pose
from vila_sim.environment import visible_pixels
from vila_sim.episodes.route import Route
from vila_sim.events.scripted_events import Script, Times, home, placements, things
from vila_sim.flats.scene import Flat
from vila_sim.mujoco.simulator import CameraConfig, Simulator
from vila_sim.truth import Truth

_SHRINK = 2  # of the segmentation: exact enough for counting pixels, and quicker


def thing_pixels(simulator: Simulator) -> NDArray[np.int64]:
    """How many pixels of scripted_events.things(simulator.flat) the camera sees, see visible_pixels: [N]."""
    return _pixels(simulator, simulator.render_segmentation(_SHRINK))


class Stage:
    """Poses the world and the camera; belongs to one thread, as rendering does."""

    def __init__(self, flat: Flat) -> None:
        """Compile the flat with everything in it movable."""
        self.flat = flat
        self._things = things(flat)
        self._simulator = Simulator(flat, CameraConfig(), movable=True)
        self._home = {thing.name: home(thing) for thing in self._things}

    def pose(self, script: Script, t_s: float, pose: Pose) -> None:
        """Put everything where the script has it at a time, and the camera at a pose."""
        self._simulator.place({**self._home, **placements(script, t_s)})
        self._simulator.teleport(pose)

    def play(self, script: Script, route: Route, times_s: Times) -> Iterator[bool]:
        """Pose one time after the other, the camera on its route; each time tells if anything is posed anew."""
        last: object = None
        for t_s in map(float, times_s):
            now = route.pose_at(t_s), placements(script, t_s)
            if now != last:
                self.pose(script, t_s, now[0])
            yield now != last
            last = now

    def pixels(self) -> NDArray[np.int64]:
        """How many pixels of scripted_events.things(flat) the camera sees, see visible_pixels: [N]."""
        return thing_pixels(self._simulator)

    def segmentation(self) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
        """Which of scripted_events.things(flat) each pixel shows, [112, 112], -1 for none; and their pixels, [N]."""
        shown = self._simulator.render_segmentation(_SHRINK)
        return shown, _pixels(self._simulator, shown)

    def image(self) -> NDArray[np.uint8]:
        """What the camera sees: [224, 224, 3] RGB."""
        return self._simulator.render()

    def close(self) -> None:
        """Free the renderer."""
        self._simulator.close()


class Playback:
    """Keeps the things of a movable simulator where the script has them; in the simulator's thread."""

    def __init__(self, simulator: Simulator, script: Script) -> None:
        self._simulator, self._script = simulator, script
        self._t_s = -np.inf

    def advance(self, t_s: float) -> None:
        """Go to a time of the script; before its start everything stands ready."""
        self._t_s = t_s
        self._simulator.place(placements(self._script, t_s))

    def truth(self) -> Truth:
        """What is in view of the camera at this time; renders a segmentation."""
        pixels = thing_pixels(self._simulator)
        return Truth(self._simulator.flat, self._script, np.array([self._t_s]), pixels[None])


def _pixels(simulator: Simulator, segmentation: NDArray[np.int16]) -> NDArray[np.int64]:
    return visible_pixels(segmentation, len(simulator.flat.objects) + len(simulator.flat.leaves))
