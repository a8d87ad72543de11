"""What once was answered wrongly is answered rightly; and the damage itself does what it says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing.fuzz import CORPUS, Failure, fuzz, read_damaged
from fuzzing.mutations import mutated
from fuzzing.readers import READERS, Reader

KEPT = sorted(file for file in CORPUS.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def healthy(tmp_path_factory) -> Iterator[object]:
    """The inputs of a reader, made once."""
    made: dict[str, dict[str, Path]] = {}

    def of(name: str) -> dict[str, Path]:
        if name not in made:
            made[name] = dict(READERS[name].make(tmp_path_factory.mktemp("healthy")))
        return made[name]

    return of


@pytest.mark.parametrize("file", KEPT, ids=lambda file: str(file.relative_to(CORPUS)))
def test_what_once_failed_is_answered(file, healthy):
    name, kind, _, *inside = file.relative_to(CORPUS).parts
    source = healthy(name)[kind]
    target = source.joinpath(*inside) if source.is_dir() else source
    what, _ = read_damaged(READERS[name], source, target, file.read_bytes())
    assert not what


@pytest.mark.parametrize("data", [b"", b"x", b'{"a": [1, {"b": null}]}', bytes(range(256)) * 4])
def test_damage_depends_on_the_seed_alone(data):
    first, again = ([mutated(data, random.Random(f"7/{number}")) for number in range(50)] for _ in range(2))
    assert first == again and len(set(first)) > 3


def failing(error: Exception) -> Reader:
    def read(path: Path) -> None:
        if path.read_bytes() != b"healthy":
            raise error

    return Reader(lambda folder: {}, read)


def test_a_wrong_answer_is_told_and_the_file_is_its_own_again(tmp_path):
    file = tmp_path / "input"
    file.write_bytes(b"healthy")
    what, is_whole = read_damaged(failing(KeyError("a")), file, file, b"damaged")
    assert what.startswith("KeyError: 'a' (test_corpus.py, line ") and not is_whole
    assert file.read_bytes() == b"healthy"


def test_faults_of_one_place_are_one():
    first, second, other = (
        Failure("bags", case, "mcap", "a.mcap", what)
        for case, what in enumerate(
            ("KeyError: 1 (a.py, line 3)", "KeyError: 2 (a.py, line 3)", "KeyError: 1 (b.py, line 3)")
        )
    )
    assert first.signature == second.signature != other.signature


def test_a_second_of_it_runs(tmp_path):
    outcome = fuzz("texts", seed=1, seconds=1.0, keep=tmp_path)
    assert outcome.whole and not outcome.failures and not list(tmp_path.iterdir())
