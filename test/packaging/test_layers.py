"""Continuous integration notices a layer of tests that did not run."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "check_layers.py"
RAN = '<testcase classname="{0}.test_x" name="a"/>'
SKIPPED = '<testcase classname="{0}.test_x" name="b"><skipped message="{1}"/></testcase>'
ALL = "".join(RAN.format(name) for name in ("test.vila_core.test_models", "test.vila_ros", "test.vila_sim"))


@pytest.fixture(scope="module")
def check_layers():
    spec = importlib.util.spec_from_file_location("check_layers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("cases", "complaints"),
    [
        (ALL, []),
        (ALL + SKIPPED.format("test.vila_ros", "no GPU"), []),
        (ALL + SKIPPED.format("test.vila_ros", "could not import 'rclpy'"), ["ros: could not import 'rclpy'"]),
        (ALL.replace("test.vila_sim", "test.other"), ["sim: no test ran (0 skipped)"]),
        ("", ["torch: no test ran (0 skipped)", "ros: no test ran (0 skipped)", "sim: no test ran (0 skipped)"]),
    ],
)
def test_missing_layers(check_layers, cases, complaints):
    root = ElementTree.fromstring(f"<testsuite>{cases}</testsuite>")
    assert check_layers.missing_layers(root.iter("testcase")) == complaints
