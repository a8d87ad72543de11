"""The episodes as a gymnasium environment: `gymnasium.make("vila_sim.gym:VilaFlat-v0")`.

Importing this module registers it; gymnasium 1 has no other way for packages to do so.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError, MissingDependencyError
from vila_core.types import Odometry, Pose, Stop, VelocityCommand
from vila_sim.episodes.splits import SPLITS, Episode, draw_episode

try:
    import gymnasium
    from gymnasium import spaces
except ModuleNotFoundError as err:
    raise MissingDependencyError("no gymnasium: run `pip install 'vila-nav[gym]'`") from err

from vila_core.actions.grammar import ACTIONS
from vila_sim.environment import STEP_NS, FlatEnv
from vila_sim.mujoco.simulator import CameraConfig, RobotConfig

ENVIRONMENT_ID = "VilaFlat-v0"
ACTION_FORMS, INSTRUCTION_FORMS = ("discrete", "continuous"), ("text", "bytes")
MAX_DECISIONS = {"discrete": 60, "continuous": 500}  # after so many an episode is truncated
MAX_INSTRUCTION = 256  # characters, or bytes
FARTHEST_M = 50.0  # from the start; no flat is so large
STANDING = 0.05  # of the fastest: a command that is slower in both is a stop
SUCCESS_REWARD, DECISION_REWARD = 2.5, -0.01

Observation = dict[str, Any]


class VilaFlat(gymnasium.Env[Observation, Any]):
    """Follow an instruction to a thing in a furnished flat, and stop there.

    Observation: `image` [H, W, 3] uint8 RGB; `pose` [3] float32, x ahead in m, y left in m and yaw in rad, in the
    robot's pose at the start; `instruction`, text, or [256] uint8 of UTF-8 with zeros behind.
    Action, discrete: an index into the ten of the grammar, 0 is stop. Action, continuous: [2] float32 in [-1, 1],
    of the fastest drive and turn (left > 0) that the robot can do, for half a second with physics; below 0.05 in
    both it is a stop.
    Reward: metres that the goal came nearer by the floor, -0.01 for each decision, 2.5 for a stop within 1 m.
    An episode is terminated by a stop and truncated after 60 decisions, 500 if they are continuous.
    Belongs to one thread, as rendering does.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1e9 / STEP_NS)}  # noqa: RUF012  # as gymnasium has it

    def __init__(
        self,
        *,
        split: str = "train",
        actions: str = "discrete",
        instruction: str = "text",
        width_px: int = 224,
        height_px: int = 224,
        max_decisions: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Choose where episodes are drawn from, and in which form one acts and is told. ConfigError for other words."""
        _require("split", split, tuple(name for name in SPLITS if name != "absent"))
        _require("actions", actions, ACTION_FORMS)
        _require("instruction", instruction, INSTRUCTION_FORMS)
        _require("render_mode", render_mode, (None, "rgb_array"))
        self.max_decisions = MAX_DECISIONS[actions] if max_decisions is None else max_decisions
        if self.max_decisions < 1:
            raise ConfigError(f"max_decisions = {max_decisions!r}: must be at least 1")
        self.render_mode = render_mode
        self._split, self._is_discrete, self._is_text = split, actions == "discrete", instruction == "text"
        self._robot = RobotConfig()
        self._world = FlatEnv(CameraConfig(width_px=width_px, height_px=height_px))
        self._decisions = 0
        self._image: NDArray[np.uint8] | None = None
        farthest = np.array([FARTHEST_M, FARTHEST_M, math.pi], np.float32)
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (height_px, width_px, 3), np.uint8),
                "pose": spaces.Box(-farthest, farthest, dtype=np.float32),
                "instruction": _instruction_space(self._is_text),
            }
        )
        self.action_space = spaces.Discrete(len(ACTIONS)) if self._is_discrete else spaces.Box(-1.0, 1.0, (2,))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode, drawn by the seed, or that of options["episode"]; returns observation and info."""
        super().reset(seed=seed)
        unknown = set(options or ()) - {"episode"}
        if unknown:
            raise ConfigError(f"options {sorted(unknown)}: only 'episode' is known")
        episode = (options or {}).get("episode") or draw_episode(self._split, self.np_random)
        if not isinstance(episode, Episode):
            raise ConfigError(f"options['episode'] = {episode!r}: must be an Episode, see vila_sim.episodes.splits")
        frame, odometry = self._world.reset(episode)
        self._decisions = 0
        return self._observation(frame.image, odometry), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Act; returns observation, reward, terminated, truncated, info."""
        before_m = self._world.distance_m
        self._decisions += 1
        observation = self._act(action) if self._is_discrete else self._drive(np.asarray(action, np.float64))
        reward = self._reward(before_m)
        truncated = self._decisions >= self.max_decisions and not self._world.stop_called
        return observation, reward, self._world.stop_called, truncated, self._info()

    def render(self) -> NDArray[np.uint8] | None:
        """Return what the robot's camera saw last, [H, W, 3], with render_mode "rgb_array"."""
        return self._image if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the renderer."""
        self._world.close()

    def _act(self, action: Any) -> Observation:
        seen = self._world.act(ACTIONS[int(action)])
        return self._observation(seen[-1][0].image, seen[-1][1]) if seen else self._stopped()

    def _drive(self, action: NDArray[np.float64]) -> Observation:
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ConfigError(f"action {action.tolist()}: must be two finite numbers in [-1, 1]")
        if (np.abs(action) < STANDING).all():
            self._world.act(Stop())
            return self._stopped()
        drive, turn = np.clip(action, -1.0, 1.0)
        command = VelocityCommand(drive * self._robot.max_linear_mps, turn * self._robot.max_angular_rps)
        frame, odometry = self._world.drive(command)
        return self._observation(frame.image, odometry)

    def _stopped(self) -> Observation:
        """What was seen last: the robot stands."""
        assert self._image is not None
        return self._observation(self._image, Odometry(0, self._world.pose))

    def _observation(self, image: NDArray[np.uint8], odometry: Odometry) -> Observation:
        self._image = image.copy()  # what was returned belongs to who asked
        instruction: Any = self._world.episode.instruction[:MAX_INSTRUCTION]
        if not self._is_text:
            instruction = _as_bytes(instruction)
        return {"image": image, "pose": _seen_from(self._world.path[0], odometry.pose), "instruction": instruction}

    def _reward(self, before_m: float) -> float:
        nearer_m = before_m - self._world.distance_m
        reward = DECISION_REWARD + (nearer_m if math.isfinite(nearer_m) else 0.0)
        return float(reward + (SUCCESS_REWARD if self._world.succeeded else 0.0))

    def _info(self) -> dict[str, Any]:
        world = self._world
        return {
            "episode_id": world.episode.episode_id,
            "distance_m": world.distance_m,
            "is_success": world.succeeded,
            "collisions": world.collisions,
        }


def _require(name: str, value: object, known: tuple[Any, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name} = {value!r}: must be one of {', '.join(map(str, known))}")


def _instruction_space(is_text: bool) -> spaces.Space[Any]:
    if is_text:
        return spaces.Text(MAX_INSTRUCTION, charset="".join(map(chr, range(32, 127))))
    return spaces.Box(0, 255, (MAX_INSTRUCTION,), np.uint8)


def _as_bytes(text: str) -> NDArray[np.uint8]:
    padded = text.encode()[:MAX_INSTRUCTION].ljust(MAX_INSTRUCTION, b"\0")
    return np.frombuffer(padded, np.uint8).copy()


def _seen_from(start: Pose, pose: Pose) -> NDArray[np.float32]:
    """Return x, y and yaw of a pose in that of the start."""
    seen = pose.relative_to(start)
    return np.array([seen.x_m, seen.y_m, seen.yaw_rad], np.float32) + np.float32(0)  # never -0


gymnasium.register(ENVIRONMENT_ID, entry_point="vila_sim.gym:VilaFlat")
