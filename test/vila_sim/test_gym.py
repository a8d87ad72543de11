"""The gymnasium face: it keeps gymnasium's contract and Stable-Baselines3's, and means what the episodes mean."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("vila_sim.mujoco.simulator")

import gymnasium
from gymnasium.utils.env_checker import check_env

from vila_core.actions.grammar import ACTIONS, action_index
from vila_core.errors import ConfigError, WorldError
from vila_core.types import MoveForward, Stop, Turn
from vila_sim.environment import FlatEnv
from vila_sim.episodes.oracle import oracle_action
from vila_sim.episodes.splits import generate_episodes
from vila_sim.gym import ENVIRONMENT_ID, VilaFlat
from vila_sim.mujoco.simulator import CameraConfig

SMALL = {"width_px": 64, "height_px": 64}
NOT_HERE = "Stable-Baselines3 is not installed: it is in no extra"  # so that CI misses nothing
FORMS = [pytest.param("discrete", "text", marks=pytest.mark.long), ("continuous", "bytes")]


@pytest.fixture
def make() -> Iterator[Any]:
    """make(**arguments): an environment that is closed at the end."""
    made = []

    def make(**arguments: Any) -> Any:
        made.append(gymnasium.make(f"vila_sim.gym:{ENVIRONMENT_ID}", **SMALL, **arguments))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.mark.parametrize(("actions", "instruction"), FORMS)
def test_it_keeps_the_contract_of_gymnasium(make, actions: str, instruction: str) -> None:
    env = make(actions=actions, instruction=instruction, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.reset()
    assert env.render().shape == (64, 64, 3)


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_it_keeps_the_contract_of_stable_baselines3(make, actions: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason=NOT_HERE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(make(actions=actions, instruction="bytes"))


@pytest.mark.slow
def test_stable_baselines3_learns_from_it(make) -> None:
    algorithms = pytest.importorskip("stable_baselines3", reason=NOT_HERE)
    env = make(instruction="bytes", max_decisions=8)
    model = algorithms.PPO("MultiInputPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    model.learn(32)
    assert env.action_space.contains(int(model.predict(env.reset(seed=1)[0])[0]))


def test_the_same_seed_draws_the_same_episode_and_another_another(make) -> None:
    env = make()
    first, told = env.reset(seed=5)
    again, told_again = env.reset(seed=5)
    other, told_other = env.reset()
    assert told == told_again and first["instruction"] == again["instruction"]
    assert np.array_equal(first["image"], again["image"])
    assert told["episode_id"] != told_other["episode_id"]
    assert other["pose"] == pytest.approx([0.0, 0.0, 0.0])


def test_the_oracle_succeeds_by_it_as_it_does_in_the_environment_beneath(make) -> None:
    """The same actions: the same images, and of the rewards of the way the same sum."""
    episode = generate_episodes("val_unseen_layout", 1)[0]
    beneath, env = FlatEnv(CameraConfig(**SMALL)), make(split="val_unseen_layout")
    frame, _ = beneath.reset(episode, track_target=True)
    seen, info = env.reset(options={"episode": episode})
    assert np.array_equal(frame.image, seen["image"]) and seen["instruction"] == episode.instruction
    start_m, rewards, over = info["distance_m"], [], False
    while not over:
        action = oracle_action(beneath.pose, beneath.field, beneath.target_view())
        beneath.act(action)
        seen, reward, terminated, truncated, info = env.step(action_index(action))
        rewards.append(reward)
        over = terminated or truncated
    beneath.close()
    assert terminated and info["is_success"] and beneath.succeeded
    assert sum(rewards) == pytest.approx(start_m - info["distance_m"] + 2.5 - 0.01 * len(rewards))


def test_poses_are_seen_from_the_start_x_ahead_and_y_left(make) -> None:
    env = make()
    env.reset(seed=0)
    for action in (Turn(math.radians(45)), Turn(math.radians(45))):
        seen = env.step(action_index(action))[0]
    assert seen["pose"] == pytest.approx([0.0, 0.0, math.pi / 2], abs=1e-5)
    seen = env.step(action_index(MoveForward(0.25)))[0]
    assert abs(seen["pose"][0]) <= 0.25 and seen["pose"][1] >= -1e-6


def test_velocities_drive_with_physics_and_standing_is_a_stop(make) -> None:
    env = make(actions="continuous")
    env.reset(seed=0)
    for _ in range(3):
        seen, _, terminated, _, _ = env.step(np.array([0.0, 1.0], np.float32))
    assert not terminated and 1.2 < seen["pose"][2] < 2.3  # 1.5 rad/s for 1.5 s, from standing
    assert env.step(np.array([0.04, -0.04], np.float32))[2]


def test_an_episode_is_cut_after_so_many_decisions_and_over_after_a_stop(make) -> None:
    env = make(max_decisions=2)
    env.reset(seed=0)
    turn = action_index(Turn(math.radians(15)))
    assert [env.step(turn)[3] for _ in range(2)] == [False, True]
    env.reset(seed=0)
    assert env.step(ACTIONS.index(Stop()))[2:4] == (True, False)
    with pytest.raises(WorldError, match="is over"):
        env.unwrapped.step(turn)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "test"}, "split = 'test'"),
        ({"actions": "fly"}, "discrete, continuous"),
        ({"instruction": "tokens"}, "text, bytes"),
        ({"max_decisions": 0}, "max_decisions = 0"),
        ({"render_mode": "human"}, "rgb_array"),
    ],
)
def test_what_is_not_known_is_refused(arguments, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        VilaFlat(**arguments)


def test_an_episode_of_another_kind_is_refused(make) -> None:
    with pytest.raises(ConfigError, match="must be an Episode"):
        make().reset(options={"episode": "val_0"})
    with pytest.raises(ConfigError, match="goal"):
        make().reset(options={"goal": 1})
