"""docs/architecture.md names files and names in them that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = re.findall(r"^\|(?: [^`|]+ \|)? `([\w/]+\.py)` \| ([^|]+) \|", TEXT, re.MULTILINE)


def test_the_way_is_told() -> None:
    files = [file for file, _ in ROWS]
    assert (
        files[0] == "vila_ros/navigator/cameras/camera.py"
        and "vila_ros/controller/node.py" in files
        and len(files) > 20
    )
    assert {"vila_core/watcher.py", "vila_core/config.py", "vila_core/media/bags.py"} <= set(files)


@pytest.mark.parametrize(("file", "names"), ROWS, ids=[f"{number}-{file}" for number, (file, _) in enumerate(ROWS)])
def test_each_file_defines_what_is_to_be_read_in_it(file: str, names: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    read = re.findall(r"`(\w+)`", names)
    assert read
    for name in read:
        assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", source, re.MULTILINE), f"{file} has no {name}"


def test_all_other_files_are_there() -> None:
    named = set(re.findall(r"`([\w./]+/[\w.]+\.\w+)`", TEXT)) | {
        f"docs/{link}" for link in re.findall(r"\]\(([^)]+)\)", TEXT)
    }
    assert "docs/architecture.svg" in named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
