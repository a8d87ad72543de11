"""What is written is there whole or not at all, and what could not be written is named."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from vila_core.errors import MediaError, OutputError
from vila_core.files.writing import write_text, written_whole

LIMIT = 4096  # bytes, of a file


@pytest.fixture
def small_files():
    """Limit the size of files, as `ulimit -f` does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def test_a_file_takes_its_place_at_the_end(tmp_path):
    file = tmp_path / "deep" / "a.json"
    with written_whole(file) as made:
        made.write_text("new")
        assert not file.exists() and made.name == "a.json"
    assert file.read_text() == "new" and names(tmp_path) == ["deep", "deep/a.json"]
    write_text(file, "newer")
    assert file.read_text() == "newer"


def test_a_folder_takes_its_place_and_what_is_there_besides_stays(tmp_path):
    out = tmp_path / "out"
    for text in ("one", "two"):
        with written_whole(out) as made:
            (made / "llm").mkdir(parents=True)
            (made / "llm" / "weights").write_text(text)
            (made / "config.json").write_text(text)
        (out / "mine").touch()
    assert names(tmp_path) == ["out", "out/config.json", "out/llm", "out/llm/weights", "out/mine"]
    assert (out / "llm" / "weights").read_text() == "two"


def test_the_file_that_tells_that_a_folder_is_whole_comes_last(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    moved = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: moved.append(self.name) or replace(self, target))
    with written_whole(tmp_path / "out") as made:
        (made / "llm").mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "a.json"):
            (made / name).touch()
    assert moved == ["llm", "a.json", "model.safetensors", "config.json"]


@pytest.mark.parametrize("error", [MediaError("no film"), KeyboardInterrupt(), FileNotFoundError(2, "No", "/other")])
def test_after_an_error_what_was_there_before_is_there(error, tmp_path):
    file = tmp_path / "a"
    file.write_text("old")
    with pytest.raises(type(error)), written_whole(file) as made:
        made.write_text("half")
        raise error
    assert file.read_text() == "old" and names(tmp_path) == ["a"]


def big_text(made: Path) -> None:
    made.write_text("x" * 2 * LIMIT)


def big_array(made: Path) -> None:
    with made.open("wb") as file:
        np.save(file, np.zeros(LIMIT))


WRITERS = {
    "text": big_text,
    "numpy": big_array,
    "numpy's tofile": lambda made: np.arange(LIMIT).tofile(made),
    "torch": lambda made: torch.save(torch.zeros(LIMIT), made),
    "safetensors": lambda made: save_file({"a": torch.zeros(LIMIT)}, made),
    "tokenizers": lambda made: Tokenizer(models.WordLevel({str(n): n for n in range(LIMIT)}, "0")).save(str(made)),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_limit_on_the_size_is_named_whoever_writes(library, tmp_path, small_files):
    file = tmp_path / "a"
    with (
        pytest.raises(OutputError, match=f"{file} cannot be written: .*(too large|limit)"),
        written_whole(file) as made,
    ):
        WRITERS[library](made)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_refuses_is_named(number, tmp_path):
    with pytest.raises(OutputError, match=f"a cannot be written: {os.strerror(number)}"), written_whole(tmp_path / "a"):
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["file/a", "file/b/c", "/proc/a", "folder"])
def test_a_place_where_no_file_can_be_is_named(path, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written: (Not a dir|Is a dir|No such|Permission)"):
        write_text(tmp_path / path, "text")


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    write_text(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left"):
        write_text(Path("/dev/full"), "text")
    said = subprocess.run([sys.executable, "-c", WRITES_TO_STDOUT], capture_output=True, text=True, check=True)
    assert said.stdout == "text"


WRITES_TO_STDOUT = """
from pathlib import Path
from vila_core.files.writing import write_text
write_text(Path("/dev/stdout"), "text")
"""


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "text"


def test_a_process_that_is_killed_leaves_nothing_under_the_name(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from vila_core.files.writing import written_whole
with written_whole(Path({str(tmp_path / "out")!r})) as made:
    made.mkdir()
    (made / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
