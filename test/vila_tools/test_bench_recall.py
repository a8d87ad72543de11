"""`vila bench recall`: what is asked, how answers are judged, and a small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("torch")

from vila_core.errors import ConfigError
from vila_core.recall.store import View
from vila_core.scene_memory import Recalled
from vila_core.testing import make_frame
from vila_core.types import Odometry, Pose
from vila_sim.episodes.splits import layout_seed, split_flat
from vila_sim.tour import Sight
from vila_tools.evaluation import recall
from vila_tools.evaluation.recall import Drive, Score, main


@pytest.fixture(scope="module")
def drive() -> Drive:
    """Three views: the first shows thing 0, the second things 0 and 1, the last nothing."""
    flat = split_flat(layout_seed("val_unseen_layout", 5, 0))
    pixels = np.zeros((3, len(flat.objects)), np.int64)
    pixels[0, 0], pixels[1, 0], pixels[1, 1] = 200, 40, 500
    sights = [Sight(make_frame(stamp), Odometry(stamp, Pose(stamp, 0, 0)), row) for stamp, row in enumerate(pixels)]
    return Drive(flat, sights)


def pair(drive: Drive, index: int) -> tuple[str, str]:
    thing = drive.flat.objects[index]
    return thing.colour, thing.kind


def told(stamp: int, x_m: float, y_m: float) -> Recalled:
    view = View(stamp, "camera", Pose(), (48, 64), b"")
    return Recalled("it", 0.9, view, 0.5, 0.5, x_m, y_m, 1, True)


def test_an_answer_is_right_if_picture_and_place_are(drive: Drive) -> None:
    thing, score = drive.flat.objects[0], Score()
    recall._count(score, drive, pair(drive, 0), told(0, thing.x_m + 0.9, thing.y_m))
    assert (score.asked, score.found, score.picture, score.near) == (1, 1, 1, 1)
    recall._count(score, drive, pair(drive, 0), told(2, thing.x_m, thing.y_m + 1.1))
    assert (score.asked, score.found, score.picture, score.near) == (2, 2, 1, 1)
    recall._count(score, drive, pair(drive, 0), Recalled("it", 0.2))
    assert (score.asked, score.found, score.picture, score.near) == (3, 2, 1, 1)
    assert score.row()["recall_at_1"] == round(1 / 3, 4)


def test_a_thing_that_was_not_seen_is_no_right_place(drive: Drive) -> None:
    last = len(drive.flat.objects) - 1
    thing = drive.flat.objects[last]
    assert drive.distance_m(pair(drive, last), thing.x_m, thing.y_m) == float("inf")
    assert drive.distance_m(("red", "dragon"), 0, 0) == float("inf")
    assert not drive.pixels(("red", "dragon")).any()


def test_what_is_absent_was_never_in_view_and_half_of_it_is_like_what_was(drive: Drive) -> None:
    pairs = [(colour, kind) for kind in recall.KINDS for colour in recall.COLOURS]
    most = {one: int(drive.pixels(one).max()) for one in pairs}
    seen = [one for one in pairs if most[one] >= recall.PLAIN_PIXELS] * 4  # as if more had been
    absent = recall._absent(pairs, most, seen, np.random.default_rng(0))
    assert len(absent) == len(seen) and all(most[one] == 0 for one in absent)
    like = [one for one in absent if any((one[0] == s[0]) != (one[1] == s[1]) for s in seen)]
    assert len(like) >= len(seen) // 2


@pytest.mark.parametrize("option", ["flats", "steps", "entries"])
def test_a_number_below_one_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option} 0"):
        main([f"--{option}", "0"])


@pytest.mark.slow
def test_a_small_run_tells_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert main(["--flats", "1", "--steps", "40", "--entries", "120", "--json", str(file)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result == json.loads(file.read_text())
    assert result["questions"] == result["absent"] > 0
    assert set(result["baselines"]) == {"last frame", "random frame", "oracle"}
    assert result["baselines"]["oracle"]["recall_at_1"] == result["baselines"]["oracle"]["not_seen"] == 1.0
    assert result["recall_at_1"] <= result["found"] and result["entries"] == 120
