"""One-room levels of MiniWorld, seen and driven as an episode of ours: 25 cm and 15 degree steps, our camera.

MiniWorld's x stays x, its -z is our y; its levels, meshes, textures and collisions are its own.
"""

from __future__ import annotations

import importlib
import math
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import unit_steps
from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.types import Action, Frame, MoveForward, Odometry, Pose, Stop, Turn, wrap_angle
from vila_sim.environment import STEP_NS
from vila_sim.flats.furniture import COLOURS
from vila_sim.robot import CameraConfig, RobotConfig

LEVELS = {
    "one_room": "oneroom:OneRoom",
    "small_room": "oneroom:OneRoomS6",
    "room_objects": "roomobjects:RoomObjects",
    "pickup_objects": "pickupobjects:PickupObjects",
    "put_next": "putnext:PutNext",
}
KINDS = {"Box": "crate", "Ball": "ball"}  # what a class of MiniWorld is called here; keys have no name among ours
OWN_WORDS = {"crate": "box"}  # what MiniWorld calls it
MIN_START_M = 1.5  # between the robot and what it is sent to
_SUBSTEPS = 10
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class RoomTask:
    """Where to go in a room: "go to the red crate"."""

    level: str
    seed: int
    colour: str
    kind: str
    start_m: float  # from the robot's edge to the thing's


class MiniWorldRoom:
    """A level of MiniWorld. Belongs to the thread that made it, as its OpenGL context does."""

    def __init__(self, level: str, camera: CameraConfig | None = None) -> None:
        """Load the level. Raises ConfigError for an unknown one, MissingDependencyError without MiniWorld or EGL."""
        if level not in LEVELS:
            raise ConfigError(f"unknown level {level!r}; known: {', '.join(LEVELS)}")
        self.level, self.camera = level, camera or CameraConfig()
        self._world = _load(level, self.camera)
        self._stamp_ns = 0
        self._target: Any = None
        self.path: list[Pose] = []
        self.distances_m: list[float] = []
        self.collisions = 0
        self.stop_called = False

    def reset(self, seed: int) -> RoomTask:
        """Start the first task that the seed's rooms offer: a thing whose colour and kind no other has.

        The same seed gives the same task. Raises ConfigError if none of many rooms offers one.
        """
        rng = np.random.default_rng([seed, *self.level.encode()])
        for _ in range(_ATTEMPTS):
            self._world.reset(seed=int(rng.integers(2**31)))
            self._fit_robot()
            targets = self._targets()
            if targets:
                self._target, kind, colour = targets[rng.integers(len(targets))]
                self.path, self.distances_m = [], []
                self.collisions, self.stop_called = 0, False
                return RoomTask(self.level, seed, colour, kind, self._distance_m())
        raise ConfigError(f"{self.level}, seed {seed}: no room offers anything to go to")

    def see(self) -> tuple[Frame, Odometry]:
        """Return what the robot sees and measures where it is, and note that it is there."""
        self._stamp_ns += STEP_NS
        self.path.append(self.pose)
        self.distances_m.append(self._distance_m())
        image: NDArray[np.uint8] = np.ascontiguousarray(self._world.render_obs(), np.uint8)
        return Frame(image, self._stamp_ns), Odometry(self._stamp_ns, self.pose)

    def act(self, action: Action) -> tuple[tuple[Frame, Odometry], ...]:
        """Execute an action; return what is seen after each unit step of it, nothing after Stop."""
        self.stop_called = isinstance(action, Stop)
        seen = []
        for step in unit_steps(action) if not self.stop_called else ():
            if isinstance(step, Turn):
                self._world.turn_agent(math.degrees(step.angle_rad))
            elif isinstance(step, MoveForward):
                free = [self._world.move_agent(step.distance_m / _SUBSTEPS, 0.0) for _ in range(_SUBSTEPS)]
                self.collisions += not all(free)
            seen.append(self.see())
        return tuple(seen)

    @property
    def pose(self) -> Pose:
        """Where the robot is."""
        x, _, z = (float(value) for value in self._world.agent.pos)
        return Pose(x, -z, wrap_angle(float(self._world.agent.dir)))

    @property
    def goal_m(self) -> tuple[float, float]:
        """The middle of what the robot is sent to."""
        return float(self._target.pos[0]), -float(self._target.pos[2])

    @property
    def bearing_rad(self) -> float:
        """Direction to it relative to the robot's heading, left > 0."""
        pose, (x, y) = self.pose, self.goal_m
        return wrap_angle(math.atan2(y - pose.y_m, x - pose.x_m) - pose.yaw_rad)

    def close(self) -> None:
        """Let the level go."""
        self._world.close()

    def _fit_robot(self) -> None:
        """Give MiniWorld's agent the size and the camera of our robot."""
        agent = self._world.agent
        agent.radius = RobotConfig().radius_m
        agent.cam_height, agent.cam_fwd_disp = self.camera.height_m, 0.0
        agent.cam_pitch, agent.cam_fov_y = -self.camera.pitch_deg, self.camera.vfov_deg

    def _targets(self) -> list[tuple[Any, str, str]]:
        """The things that can be named: known kind and colour, not too near, no second one alike."""
        named = [(entity, *_named(entity)) for entity in self._world.entities if type(entity).__name__ in KINDS]
        pairs = [(kind, colour) for _, kind, colour in named]
        return [
            (entity, kind, colour)
            for entity, kind, colour in named
            if colour in COLOURS and pairs.count((kind, colour)) == 1 and self._distance_m(entity) >= MIN_START_M
        ]

    def _distance_m(self, entity: Any = None) -> float:
        """From the robot's edge to the thing's, straight: nothing but other things stands in these rooms."""
        entity, agent = self._target if entity is None else entity, self._world.agent
        apart = math.hypot(entity.pos[0] - agent.pos[0], entity.pos[2] - agent.pos[2])
        return max(float(apart - entity.radius - agent.radius), 0.0)


def _named(entity: Any) -> tuple[str, str]:
    """The kind and the colour of a box or a ball; a ball's colour is that of its mesh."""
    kind = KINDS[type(entity).__name__]
    if hasattr(entity, "color"):
        return kind, str(entity.color)
    from miniworld.entity import COLOR_NAMES
    from miniworld.objmesh import ObjMesh

    return kind, next(colour for colour in COLOR_NAMES if ObjMesh.get(f"ball_{colour}") is entity.mesh)


def _load(level: str, camera: CameraConfig) -> Any:
    try:
        import pyglet
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"no MiniWorld: {err}; run `pip install 'vila-nav[worlds]'`") from err
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        pyglet.options["headless"] = True  # before the first window is made
    module, name = LEVELS[level].split(":")
    try:
        made = getattr(importlib.import_module(f"miniworld.envs.{module}"), name)
        return made(obs_width=camera.width_px, obs_height=camera.height_px, window_width=8, window_height=8)
    except ModuleNotFoundError as err:
        raise MissingDependencyError(f"no MiniWorld: {err}; run `pip install 'vila-nav[worlds]'`") from err
    except (ImportError, OSError, RuntimeError) as err:  # pyglet looks for OpenGL when it is imported
        raise MissingDependencyError(
            f"no OpenGL for MiniWorld: {err}; on Debian and Ubuntu: apt-get install libegl1 libgl1 libglu1-mesa"
        ) from err
