"""The version that files are marked with: that of the source tree, wherever the package runs."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from vila_core.version import package_version

ROOT = Path(__file__).resolve().parents[2]


def test_a_source_tree_states_its_version_once_for_pip_and_once_for_ros():
    stated = re.search(r"<version>(.+)</version>", (ROOT / "package.xml").read_text(encoding="utf-8"))
    assert stated is not None and package_version(ROOT / "pyproject.toml") == stated[1]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (
            '[build-system]\nversion = "9"\n[project]\nname = "vila-nav"\nversion = "1.2.3"\n[tool.x]\nversion = "8"',
            "1.2.3",
        ),
        ('[project]\nversion = "1.2.3"\nname = "vila-nav"', "1.2.3"),
        ('[project]\nname = "another"\nversion = "1.2.3"', "7.0"),
        ('[tool.x]\nname = "vila-nav"\nversion = "1.2.3"', "7.0"),
        ("", "7.0"),
    ],
)
def test_another_file_beside_the_package_says_nothing(tmp_path, monkeypatch, text, version):
    monkeypatch.setattr(importlib.metadata, "version", {"vila-nav": "7.0"}.__getitem__)
    file = tmp_path / "pyproject.toml"
    file.write_text(text, encoding="utf-8")
    assert package_version(file) == version


def test_without_a_file_and_without_an_installation_it_is_unknown(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert package_version(tmp_path / "pyproject.toml") == "unknown"
