"""The runner for Isaac Sim, with stand-ins for its modules: what is started in which order, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from vila_core.types import Pose
from vila_sim.flats.flat import generate_flat
from vila_sim.isaac.graph import graph_json, ros_graph
from vila_sim.robot import CameraConfig, RobotConfig

ROOT = Path(__file__).resolve().parents[2]
ISAAC = ("isaacsim", "isaacsim.core", "isaacsim.core.version", "carb", "carb.settings", "usdrt", "omni", "omni.usd")
ISAAC += ("omni.kit", "omni.kit.app", "omni.timeline", "omni.graph", "omni.graph.core")


@pytest.fixture
def runner():
    spec = importlib.util.spec_from_file_location("isaac_run", ROOT / "sim/isaac/run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def world(tmp_path: Path) -> Path:
    pytest.importorskip("pxr")
    from vila_sim.isaac.world import write_isaac_world

    return write_isaac_world(tmp_path / "world", generate_flat(0), Pose(3.0, 4.0, 0.5)).parent


class Isaac:
    """Stand-ins for what the runner uses of Isaac Sim; told: what was done, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str = "5.1.0", opens: bool = True) -> None:
        self.told: list[Any] = []
        modules = {name: types.ModuleType(name) for name in ISAAC}
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(modules[parent], child, module)
        modules["isaacsim"].SimulationApp = self._start
        modules["isaacsim.core.version"].get_version = lambda: (version, "", *version.split("."), "", "", "")
        settings = types.SimpleNamespace(set=lambda key, value: self.told.append((key, value)))
        modules["carb.settings"].get_settings = lambda: settings
        manager = types.SimpleNamespace(set_extension_enabled_immediate=lambda *a: self.told.append(a))
        modules["omni.kit.app"].get_app = lambda: types.SimpleNamespace(get_extension_manager=lambda: manager)
        context = types.SimpleNamespace(open_stage=lambda path: self.told.append(("open", path)) or opens)
        modules["omni.usd"].get_context = lambda: context
        timeline = types.SimpleNamespace(play=lambda: self.told.append("play"))
        modules["omni.timeline"].get_timeline_interface = lambda: timeline
        modules["usdrt"].Sdf = types.SimpleNamespace(Path=lambda path: ("path", path))
        keys = types.SimpleNamespace(CREATE_NODES="CREATE", SET_VALUES="SET", CONNECT="CONNECT")
        controller = types.SimpleNamespace(Keys=keys, edit=lambda *a: self.told.append(("edit", *a)))
        modules["omni.graph.core"].Controller = controller

    def _start(self, options: dict[str, Any]) -> types.SimpleNamespace:
        self.told.append(("start", options))
        running = iter([True, True, False])
        return types.SimpleNamespace(
            update=lambda: None, is_running=lambda: next(running), close=lambda: self.told.append("close")
        )


def test_a_world_is_opened_connected_and_played(runner, world, monkeypatch) -> None:
    isaac = Isaac(monkeypatch)
    assert runner.main(["--world", str(world), "--headless"]) == 0
    assert isaac.told[0] == ("start", {"headless": True})
    names = [told if isinstance(told, str) else told[0] for told in isaac.told]
    order = [names.index(name) for name in ("isaacsim.ros2.bridge", "open", "edit", "play", "close")]
    assert order == sorted(order)
    assert ("open", str(world / "world.usda")) in isaac.told
    _, where, edits = next(told for told in isaac.told if told[0] == "edit")
    assert where == {"graph_path": "/ros_graph", "evaluator_name": "execution"}
    graph = ros_graph(CameraConfig(), RobotConfig())
    assert edits["CREATE"] == [(node.name, node.kind) for node in graph.nodes]
    assert edits["CONNECT"] == list(graph.connections)
    assert ("joints.inputs:targetPrim", [("path", "/World/robot")]) in edits["SET"]
    assert ("scan.inputs:type", "laser_scan") in edits["SET"]
    assert len(edits["SET"]) == sum(len(node.values) + len(node.targets) for node in graph.nodes)


def test_a_seed_is_written_first(runner, monkeypatch) -> None:
    pytest.importorskip("pxr")
    isaac = Isaac(monkeypatch)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert runner.main(["--seed", "3", "--instruction", "go to the red chair"]) == 0
    assert isaac.told[0] == ("start", {"headless": False})
    _, path = next(told for told in isaac.told if told[0] == "open")
    from pxr import Usd

    stage = Usd.Stage.Open(path)
    names = [prim.GetName() for prim in stage.GetPrimAtPath("/World/flat").GetChildren()]
    assert any(name.startswith("red_chair") for name in names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "0", "--instruction", "go to the moon"], "names no object"),
        (["--world", "nowhere"], "vila world --format usd --out nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(runner, arguments, words, monkeypatch, capsys) -> None:
    pytest.importorskip("pxr")
    Isaac(monkeypatch)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert runner.main(arguments) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_another_version_is_refused_unless_it_is_asked_for(runner, world, monkeypatch, capsys) -> None:
    isaac = Isaac(monkeypatch, version="4.5.0")
    assert runner.main(["--world", str(world)]) == 2
    assert "4.5.0 is not supported; known: 5.0, 5.1, 6.0" in capsys.readouterr().err
    assert isaac.told[-1] == "close" and "play" not in isaac.told
    assert runner.main(["--world", str(world), "--any-version"]) == 0


def test_a_stage_that_does_not_open_is_told(runner, world, monkeypatch, capsys) -> None:
    Isaac(monkeypatch, opens=False)
    assert runner.main(["--world", str(world)]) == 2
    assert "cannot open" in capsys.readouterr().err


def test_another_python_is_told_which_one_to_use(runner, world, capsys) -> None:
    assert runner.main(["--world", str(world)]) == 2
    assert "python.sh" in capsys.readouterr().err


def test_both_say_the_same_of_versions(runner) -> None:
    known = graph_json(ros_graph(CameraConfig(), RobotConfig()))["isaac_versions"]
    runner.check_version("6.0.1", known)
    with pytest.raises(runner.RunError):
        runner.check_version("6.1.0", known)
