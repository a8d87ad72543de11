"""`vila bench governor`: what the governor tells of its ticks, and a short run with all nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")
pytest.importorskip("vila_sim.mujoco.simulator")

from vila_core.errors import ConfigError
from vila_ros.governor.pace import Pace
from vila_tools.benchmark.governor import main

MS = 1_000_000


def test_ticks_are_counted_and_the_late_ones_and_then_anew() -> None:
    pace = Pace()
    for at_ms in (1000, 1020, 1041, 1080, 1100, 1130):
        pace.note(at_ms * MS, 20 * MS)
    assert pace.told() == {"ticks": "5", "late_ticks": "1", "longest_tick_ms": "39.0"}
    pace.note(1150 * MS, 20 * MS)
    assert pace.told() == {"ticks": "1", "late_ticks": "0", "longest_tick_ms": "20.0"}
    assert pace.told()["ticks"] == "0"


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--busy", "-1"], ["--seconds", "nan"]])
def test_what_is_out_of_range_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        main(arguments)


@pytest.mark.long
def test_a_short_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "governor.json"
    assert main(["--seconds", "2", "--busy", "1", "--json", str(file)]) == 0
    figures = json.loads(file.read_text())
    assert figures == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["ticks"] > 0 and figures["late_ticks"] <= figures["ticks"] and figures["busy"] == 1
    assert 0 < figures["start_s"] <= figures["start_s_worst"]
