"""What the documents name is there: files that they link to, headings, commands of `vila`, `make` and ROS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vila_tools import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "vila_core").rglob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
VILA = re.compile(r"(?:^|`|&& )vila ([a-z][a-z-]*(?:\s[a-z][a-z-]*)?)", re.MULTILINE)
MAKE = re.compile(r"(?:^|`|&& )make ([a-z][a-z0-9-]*)", re.MULTILINE)
ROS = re.compile(r"\bros2 (?:launch|run) vila_nav ([\w.]+)")


def words(name: str) -> str:
    """How GitHub names the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    return {words(heading) for heading in re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
class TestDocument:
    def test_links_lead_somewhere(self, document):
        for link in LINK.findall(document.read_text()):
            if link.startswith(("http://", "https://")):
                continue
            name, _, anchor = link.partition("#")
            target = (document.parent / name).resolve() if name else document
            assert target.exists(), f"{document.name} links to {link!r}, which is not there"
            assert target.is_relative_to(ROOT), f"{document.name} links to {link!r}, outside the repository"
            assert not anchor or anchor in anchors(target), f"{document.name}: {link!r} has no such heading"

    def test_commands_of_vila_exist(self, document):
        for found in (" ".join(name.split()) for name in VILA.findall(document.read_text())):
            known = found in cli.COMMANDS or found.split()[0] in cli.COMMANDS
            assert known, f"{document.name} tells to run `vila {found}`; there is no such command"

    def test_targets_of_make_exist(self, document):
        targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for found in MAKE.findall(document.read_text()):
            assert found in targets, f"{document.name} tells to run `make {found}`; there is no such target"

    def test_launch_files_exist(self, document):
        for found in ROS.findall(document.read_text()):
            assert (ROOT / "launch" / found).is_file() or (ROOT / "vila_ros" / found.removesuffix("_node")).is_dir()


def test_the_rules_find_something():
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert min(len(rule.findall(text)) for rule in (LINK, VILA, MAKE, ROS)) >= 2
