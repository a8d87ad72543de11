"""Plays a script in a running simulator and says what of it is in view: the ground truth of a live run."""

from __future__ import annotations

import numpy as np

from vila_sim.happenings import Script, placements
from vila_sim.simulator import Simulator
from vila_sim.stage import thing_pixels
from vila_sim.truth import Truth


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
