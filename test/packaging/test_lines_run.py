"""Pytest's option --lines-run counts what ran in its workers too."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("slipcover", reason="could not import slipcover: pip install '.[test]'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_lines_that_ran_are_told(tmp_path):
    out = tmp_path / "new" / "lines.xml"
    command = [sys.executable, "-m", "pytest", f"--lines-run={out}", "--numprocesses", "1"]
    ended = subprocess.run([*command, "test/vila_core/test_progress.py"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "lines run" in ended.stdout and "vila_core" in ended.stdout
    rates = {entry.get("filename"): float(entry.get("line-rate")) for entry in ElementTree.parse(out).iter("class")}
    assert rates["vila_core/control/progress.py"] > 0.9
    assert rates["vila_core/control/governor/sweep.py"] == 0.0  # imported by none
