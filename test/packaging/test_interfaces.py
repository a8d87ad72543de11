"""Who reads an interface's file knows what each of its error codes means; one number means one thing everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INTERFACES = sorted([*ROOT.glob("action/*.action"), *ROOT.glob("srv/*.srv")])
CONSTANT = re.compile(r"^uint16 (\w+)=(\d+)", re.MULTILINE)
EXPLAINED = re.compile(r"^#   (\d+): (.+)\.$", re.MULTILINE)


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_each_error_code_is_explained_in_its_file(path: Path) -> None:
    text = path.read_text()
    codes = {int(number) for _, number in CONSTANT.findall(text)} - {0}
    explained = [int(number) for number, _ in EXPLAINED.findall(text)]
    assert explained == sorted(codes)
    assert codes or "success is false" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_number_has_one_name() -> None:
    names: dict[str, set[str]] = {}
    for path in INTERFACES:
        for name, number in CONSTANT.findall(path.read_text()):
            names.setdefault(number, set()).add(name)
    assert all(len(found) == 1 for found in names.values()), names


def test_codes_that_a_service_names_are_those_of_the_action() -> None:
    named = set(re.findall(r"\b7\d\d\b", (ROOT / "srv" / "SetInstruction.srv").read_text()))
    known = {number for _, number in CONSTANT.findall((ROOT / "action" / "NavigateInstruction.action").read_text())}
    assert named and named <= known
