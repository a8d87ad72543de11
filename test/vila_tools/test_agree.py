"""`vila agree`: two precisions of one checkpoint on the oracle's rollouts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import ConfigError
from vila_sim.environment import FlatEnv
from vila_sim.episodes.episode_files import write_episodes
from vila_sim.episodes.splits import generate_episodes
from vila_tools.cli import main as vila
from vila_tools.evaluation.agreement import Answer, compare, divergence
from vila_tools.evaluation.agreement import main as agree
from vila_tools.evaluation.rollouts import oracle_rollout

pytestmark = pytest.mark.slow


def answer(*probabilities, logits=(3.0, 4.0)):
    return Answer(np.array(probabilities), np.array(logits, dtype=np.float32), 1.0)


@pytest.mark.parametrize(
    ("p", "q", "nats"),
    [
        ((0.5, 0.5), (0.5, 0.5), 0.0),
        ((1.0, 0.0), (0.5, 0.5), np.log(2)),
        ((0.5, 0.5), (1.0, 0.0), 0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-9)),
    ],
)
def test_divergence(p, q, nats):
    assert divergence(np.array(p), np.array(q)) == pytest.approx(nats, abs=1e-6)


def test_a_comparison_counts_decisions():
    pairs = [
        (answer(0.9, 0.1), answer(0.8, 0.2)),
        (answer(0.9, 0.1), answer(0.2, 0.8, logits=(3.0, 3.5))),
    ]
    found = compare(pairs)
    assert found["decisions"] == 2 and found["agreement"] == 0.5
    assert found["agreement_low"] < 0.5 < found["agreement_high"]
    assert found["logits_error"] == pytest.approx(0.05, rel=1e-3)
    assert found["kl_max_nats"] == pytest.approx(divergence(np.array([0.9, 0.1]), np.array([0.2, 0.8])), rel=1e-3)
    with pytest.raises(ConfigError, match="no decision"):
        compare([])


def test_a_drive_of_the_oracle_ends_at_its_stop():
    (episode,) = generate_episodes("val_seen", 1, seed=3)
    env = FlatEnv()
    rollout = oracle_rollout(env, episode)
    assert env.succeeded and rollout.instruction == episode.instruction
    assert rollout.decisions[0] == 1 and rollout.decisions[-1] == len(rollout.frames)
    assert list(rollout.decisions) == sorted(rollout.decisions)
    env.close()


@pytest.mark.long
def test_quantized_from_episodes_and_compared(tmp_path, capsys):
    write_episodes(tmp_path / "train.json", generate_episodes("train", 4, seed=5))
    made = ["quantize", str(EMBEDDED_CHECKPOINT), "--out", str(tmp_path / "nano4"), "--tokens", "600"]
    assert vila([*made, "--episodes", str(tmp_path / "train.json")]) == 0
    raw = json.loads((tmp_path / "nano4" / "config.json").read_text())["quantization_config"]
    assert raw["calibration"]["source"] == "episodes"
    compared = ["agree", str(EMBEDDED_CHECKPOINT), str(tmp_path / "nano4"), "--episodes", "2"]
    assert vila([*compared, "--success-episodes", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    report = json.loads(said[-1])
    assert report["agreement"] > 0.7 and 0 < report["kl_nats"] < 0.5 and 0 < report["logits_error"] < 0.3
    assert report["b"]["mb"] < 0.55 * report["a"]["mb"] and report["success"]["episodes"] == 1
    assert any("language w4a" in line and "vision w8a8" in line for line in said)


def test_a_model_agrees_with_itself(capsys):
    assert agree([str(EMBEDDED_CHECKPOINT)] * 2 + ["--episodes", "1"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["agreement"] == 1.0 and report["kl_nats"] == 0.0 and report["logits_error"] == 0.0


def test_a_model_of_another_kind_is_compared_by_what_it_decides(tmp_path, capsys):
    """In its own words and by another backend: what is common to the two is the ten probabilities."""
    pytest.importorskip("transformers")
    from hugging_face_checkpoints import write_checkpoint

    folder = write_checkpoint("smolvlm", tmp_path / "smol")
    compared = [str(EMBEDDED_CHECKPOINT), str(folder), "--backend-b", "transformers", "--episodes", "1"]
    assert agree(compared) == 0
    said = capsys.readouterr().out.splitlines()
    report = json.loads(said[-1])
    assert 0 <= report["agreement"] <= 1 and report["kl_nats"] > 0
    assert report["logits_error"] is None and report["b"]["mb"] is None and report["a"]["mb"] > 1
    assert report["a"]["model"] != report["b"]["model"] and any(line.startswith("b ") for line in said)
