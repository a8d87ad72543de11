"""`vila world`: one flat, whatever the format; and what it says where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vila_tools.cli import main
from vila_tools.ending import INPUT_ERROR

FILES = {"sdf": "world.sdf", "usd": "world.usda", "mjcf": "world.xml"}


@pytest.mark.parametrize("kind", FILES)
def test_it_writes_the_flat_of_the_seed(kind: str, tmp_path: Path, capsys) -> None:
    if kind == "usd":
        pytest.importorskip("pxr")
    arguments = ["world", "--format", kind, "--seed", "3", "--instruction", "go to the red chair"]
    assert main([*arguments, "--out", str(tmp_path / "flat")]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["world"] == str(tmp_path / "flat" / FILES[kind]) and told["seed"] == 3
    assert len(told["start"]) == 3 and told["objects"] >= 20
    assert Path(told["world"]).stat().st_size > 50_000


def test_mujoco_opens_its_file_with_the_robot_at_the_start(tmp_path: Path, capsys) -> None:
    mujoco = pytest.importorskip("mujoco")
    assert main(["world", "--format", "mjcf", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    model = mujoco.MjModel.from_xml_path(told["world"])
    assert list(model.key("start").qpos) == pytest.approx(told["start"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "sdf", "--gz", "garden"], "known: fortress, harmonic, ionic, jetty"),
        (["--format", "sdf", "--seed", "-1"], "seed -1: must be 0 or more"),
        (["--format", "mjcf", "--seed", "-1", "--instruction", "go to the red chair"], "seed -1"),
        (["--format", "mjcf", "--instruction", "go home"], "names no object"),
    ],
)
def test_what_it_cannot_write_is_one_line(arguments, words, tmp_path: Path, capsys) -> None:
    assert main(["world", *arguments, "--out", str(tmp_path / "flat")]) == INPUT_ERROR
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1
    assert not (tmp_path / "flat").exists()


def test_without_usd_core_the_extra_is_named(tmp_path: Path, capsys, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("pxr", "vila_sim.isaac"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pxr", None)
    assert main(["world", "--format", "usd", "--out", str(tmp_path / "flat")]) == INPUT_ERROR
    assert "pip install '.[isaac]'" in capsys.readouterr().err
