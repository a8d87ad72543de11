"""What drives the robot in an evaluation: the navigator, its blinded twins, and the baselines."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vila_core.actions.grammar import ACTIONS
from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import Backend
from vila_core.errors import ConfigError
from vila_core.media.field_of_view import as_trained_with
from vila_core.navigator import Navigator
from vila_core.types import Action, Decision, Frame, Instruction, MoveForward, Odometry, Stop, Turn
from vila_sim.environment import FlatEnv
from vila_sim.episodes.instructions import NEUTRAL_INSTRUCTION
from vila_sim.episodes.oracle import oracle_action
from vila_sim.episodes.policy import Policy
from vila_sim.robot import CameraConfig

_OWN_HISTORY = ("streaming", "window")  # ours, with the history policy of that name
POLICIES = (
    *("ours", *_OWN_HISTORY, "plain_greedy", "unfitted", "image_blind", "instruction_blind"),
    *("oracle", "forward", "random", "stop"),
)
AGAINST = "against"  # ours again, with another checkpoint
DEFAULT_POLICIES = tuple(name for name in POLICIES if name not in (*_OWN_HISTORY, "plain_greedy", "unfitted"))
MODEL_POLICIES = frozenset({*POLICIES[:7], AGAINST})  # these need a checkpoint
SEEING_POLICIES = MODEL_POLICIES - {"image_blind"}  # for the others nothing need be rendered


def make_policy(
    name: str, env: FlatEnv, backend: Backend | None, seed: int = 0, history: HistoryConfig | None = None
) -> Policy:
    """Build the named policy for the environment.

    history: of those that need the model; the policies named after a history policy use that one.
    Raises ConfigError for an unknown name, or without a backend for one that needs the model.
    """
    if name in MODEL_POLICIES:
        if backend is None:
            raise ConfigError(f"policy {name!r} needs a checkpoint")
        wording = "verbatim" if name in _NEUTRAL else "auto"
        is_guarded = name != "plain_greedy"
        config = NavigatorConfig(avoid_repeats=is_guarded, second_look=is_guarded, wording=wording)
        history = history or HistoryConfig()
        if name in _OWN_HISTORY:
            history = dataclasses.replace(history, policy=name)
        camera = None if name == "unfitted" else lambda: env.camera
        blank = name == "image_blind"
        return ModelPolicy(backend, config, history, camera, blank_images=blank, instruction=_NEUTRAL.get(name))
    makers: dict[str, Callable[[], Policy]] = {
        "oracle": lambda: OraclePolicy(env),
        "forward": lambda: ForwardPolicy(env),
        "random": lambda: RandomPolicy(env, seed),
        "stop": StopPolicy,
    }
    if name not in makers:
        raise ConfigError(f"unknown policy {name!r}; known: {', '.join(POLICIES)}")
    return makers[name]()


_NEUTRAL = {"instruction_blind": NEUTRAL_INSTRUCTION}


class ModelPolicy:
    """The navigator exactly as on the robot, on the clock of the frames.

    camera: says which it is, that pictures be fitted to the model as on a robot whose camera is known.
    blank_images: black images instead of what the camera saw, in the cache's eyes of another
    camera; nobody finds fault with it. instruction: one sentence instead
    of what each episode says.
    """

    def __init__(
        self,
        backend: Backend,
        config: NavigatorConfig,
        history: HistoryConfig,
        camera: Callable[[], CameraConfig] | None = None,
        *,
        blank_images: bool = False,
        instruction: str | None = None,
    ) -> None:
        if blank_images:
            config = dataclasses.replace(config, watch_camera=False)
        self._navigator = Navigator(backend, config, history)
        self._wanted_deg, self._camera = backend.info.camera_hfov_deg, camera
        self._blank_images = blank_images
        self._instruction = instruction
        self._now_ns = 0

    def start(self, instruction: str) -> None:
        """Forget the last episode and follow the instruction."""
        self._navigator.start(Instruction(self._instruction or instruction, self._now_ns))

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Show the navigator the frame."""
        if self._blank_images:
            frame = dataclasses.replace(frame, image=np.zeros_like(frame.image), camera="blind")
        if self._camera is not None:
            frame = as_trained_with(frame, self._camera().hfov_deg, self._wanted_deg)
        self._navigator.observe(frame, odometry)
        self._now_ns = frame.stamp_ns

    def decide(self) -> Decision:
        """The navigator's decision at the newest frame."""
        return self._navigator.decide(self._now_ns)


@dataclass(slots=True)
class OraclePolicy:
    """Knows the map and the goal, or that there is none; the episode must be reset with track_target."""

    env: FlatEnv

    def start(self, instruction: str) -> None:
        """Need nothing: the environment knows the episode."""

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Need nothing: the environment tracks what is in view."""

    def decide(self) -> Decision:
        """The teacher's action; it looks round for what is absent."""
        if not self.env.episode.goals:
            return _surely(_LOOK_ROUND)
        return _surely(oracle_action(self.env.pose, self.env.field, self.env.target_view()))


@dataclass(slots=True)
class ForwardPolicy:
    """Drives straight ahead until something is in the way, then stops."""

    env: FlatEnv

    def start(self, instruction: str) -> None:
        """Need nothing: a straight line has no memory."""

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Need nothing: collisions are asked of the environment."""

    def decide(self) -> Decision:
        """Forward, or stop after the first collision."""
        return _surely(Stop() if self.env.collisions else MoveForward(0.25))


class RandomPolicy:
    """Draws one of the ten actions, all equally likely: by the seed and the episode, whatever was driven before."""

    def __init__(self, env: FlatEnv, seed: int) -> None:
        self._env, self._seed = env, seed
        self._rng = np.random.default_rng(seed)

    def start(self, instruction: str) -> None:
        """Begin the episode's draws."""
        self._rng = np.random.default_rng([self._seed, zlib.crc32(self._env.episode.episode_id.encode())])

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Look at nothing."""

    def decide(self) -> Decision:
        """One of the ten."""
        return _surely(ACTIONS[self._rng.integers(len(ACTIONS))])


class StopPolicy:
    """Stops where it starts."""

    def start(self, instruction: str) -> None:
        """Need nothing."""

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Look at nothing."""

    def decide(self) -> Decision:
        """Stop."""
        return _surely(Stop())


_LOOK_ROUND = Turn(math.radians(45.0))


def _surely(action: Action) -> Decision:
    return Decision(action, stamp_ns=0, probability=1.0)
