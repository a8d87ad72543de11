"""`vila bench history`: the same frames under each history policy, and how far apart the answers are."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from vila_core.actions.grammar import ACTIONS, SENTENCES
from vila_core.config import HISTORY_POLICIES, HistoryConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_core.testing import ScriptedBackend
from vila_core.types import Choice
from vila_sim.environment import FlatEnv
from vila_sim.episodes.splits import generate_episodes
from vila_sim.mujoco.simulator import CameraConfig
from vila_tools.evaluation.history import Answer, Moment, compare_episode, main, make_report, make_table

SURE = tuple(float(index == 2) for index in range(10))
TORN = (0.0, 0.6, 0.4, *[0.0] * 7)


@pytest.fixture(scope="module")
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(CameraConfig(width_px=64, height_px=64))
    yield env
    env.close()


def test_report_by_hand() -> None:
    same = {"navila": Answer(Choice(2, SURE), 96), "streaming": Answer(Choice(2, SURE), 50)}
    other = {"navila": Answer(Choice(2, SURE), 96), "streaming": Answer(Choice(1, TORN), 70)}
    moments = [Moment(ACTIONS[2], answers | {"window": answers["navila"]}) for answers in (same, other)]
    report = make_report(moments)
    assert report["decisions"] == 2 and list(report["policies"]) == list(HISTORY_POLICIES)
    assert report["policies"]["streaming"] == {
        "agreement": 0.5,
        "total_variation": 0.3,
        "oracle_agreement": 0.5,
        "visual_tokens": 60.0,
    }
    assert report["policies"]["navila"]["agreement"] == report["policies"]["window"]["agreement"] == 1.0
    assert report["policies"]["navila"]["total_variation"] == 0.0
    assert "streaming" in make_table({"checkpoint": "x", "episodes": 1, "split": "train", **report})
    with pytest.raises(ValueError, match="no decisions"):
        make_report([])


def test_every_policy_is_asked_about_the_same_frame_at_each_decision_of_the_oracle(env: FlatEnv) -> None:
    backend = ScriptedBackend(SENTENCES[3])
    (episode,) = generate_episodes("val_unseen_layout", 1)
    config = HistoryConfig(window_frames=3, kept_frames=1, memory_frames=2)
    moments = list(compare_episode(env, backend, config, episode))
    assert env.succeeded and len(backend.prompts) == 3 * len(moments)
    for number in range(len(moments)):
        asked = backend.prompts[3 * number : 3 * number + 3]
        assert len({prompt.visuals[-1].frame.key for prompt in asked}) == 1
        assert [prompt.cache_slot for prompt in asked] == list(HISTORY_POLICIES)
        assert len(asked[1].visuals) <= 2 + 3 and len(asked[0].visuals) == 8


def test_program_compares_the_embedded_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(EMBEDDED_CHECKPOINT), "--episodes", "1", "--window-frames", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    report = json.loads(printed[-1])
    assert report["checkpoint"] == "vila-nano" and report["episodes"] == 1 and report["decisions"] > 1
    assert report["policies"]["navila"]["agreement"] == 1.0
    for row in report["policies"].values():
        assert 0.0 <= row["agreement"] <= 1.0 and 0.0 <= row["total_variation"] <= 1.0 and row["visual_tokens"] >= 16


def test_bad_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        main([str(EMBEDDED_CHECKPOINT), "--episodes", "0"])
    with pytest.raises(ConfigError, match="window_frames = 1"):
        main([str(EMBEDDED_CHECKPOINT), "--window-frames", "1"])
