"""Every subcommand, given each kind of bad file for each of its files: status 2 and one line, and it comes back."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_tools.cli import COMMANDS, main
from vila_tools.ending import INPUT_ERROR

HANG_S = 60
NEEDS = {
    "play": "rclpy",
    "bag": "rclpy",
    "bench video": "rclpy",
    "bench ros": "rclpy",
    "bench soak": "rclpy",
    "bench governor": "rclpy",
    "bench voice": "pocketsphinx",
    "demo": "rclpy",
}
NEEDS |= {
    "demo-events": "rclpy",
    "inject": "rclpy",
    "reference": "rclpy",
    "robots": "rclpy",
    "record": "rclpy",
    "doctor": "rosbags",
    "engine build": "onnx",
}
NEEDS |= {"bench miniworld": "miniworld", "bench babyai": "minigrid"}
GOOD = str(EMBEDDED_CHECKPOINT)
# BAD stands for the file in question, OUT for a place to write to, PICTURES for a folder of pictures.
ROWS = [
    "chat BAD question",
    f"chat {GOOD} question --image BAD",
    f"chat {GOOD} question --video BAD",
    "decide BAD forward --images PICTURES",
    f"decide {GOOD} forward --images BAD",
    "decide BAD forward --images PICTURES --backend openai",
    "serve BAD --port 0",
    f"serve {GOOD} --port 0 --token-file BAD",
    f"serve {GOOD} --port 0 --chat-template BAD",
    f"serve {GOOD} --port 0 --tls-cert BAD --tls-key BAD",
    "fit BAD --device orin-nano-8gb",
    "info BAD",
    "make-random --like nvila-lite-2b --tiny --out BAD/out",
    "engine export BAD --out OUT",
    f"engine export {GOOD} --out OUT --calibration BAD",
    "engine build BAD",
    "quantize BAD --out OUT --plain",
    f"quantize {GOOD} --out OUT --calibration BAD",
    f"quantize {GOOD} --out OUT --episodes BAD",
    f"quantize {GOOD} --out OUT --bag BAD",
    f"quantize {GOOD} --out OUT --plain --search-result BAD",
    f"quantize {GOOD} --out BAD/out --plain",
    "parity BAD",
    "agree BAD BAD",
    f"agree {GOOD} {GOOD} --episode-file BAD",
    "reference --file BAD/reference.md",
    "data --out BAD/out --frames 1",
    "clips --out BAD/out --clips 1",
    "train --data BAD --out OUT",
    "train --recipe BAD --out OUT",
    "label BAD --instruction go --out OUT",
    "label --episodes BAD --out OUT",
    "finetune BAD --data PICTURES --out OUT",
    f"finetune {GOOD} --data BAD --out OUT",
    f"finetune {GOOD} --data BAD --images BAD --out OUT",
    f"finetune {GOOD} --data BAD --keep 0.5 --larger BAD --out OUT",
    "merge BAD --out OUT",
    "train-events --data BAD --out OUT",
    "train-events --checkpoint BAD --out OUT",
    "train-distances --data BAD --out OUT",
    "train-distances --checkpoint BAD --out OUT",
    "train-names --data BAD --out OUT",
    "train-names --checkpoint BAD --out OUT",
    "bench events --checkpoint BAD",
    "bench events-cost --checkpoint BAD",
    "replay BAD",
    "replay BAD --instruction go",
    "replay --checkpoint BAD",
    "replay --json BAD/out",
    "explain BAD --out OUT",
    "explain --checkpoint BAD --out OUT",
    "explain --patches 1 --out BAD/out",
    "bag --video BAD --out OUT.mcap",
    "play --bag BAD",
    "bench history BAD",
    "bench load BAD",
    "bench step --checkpoint BAD",
    "bench flat --checkpoint BAD",
    "bench nav --policies model --checkpoint BAD --episodes 1",
    "bench nav --policies oracle --episode-file BAD",
    "bench nav --ros --episode-file BAD",
    "bench nav --policies stop --episodes 1 --against BAD",
    f"bench nav --compare BAD {GOOD}/config.json",
    "bench nav --policies stop --episodes 1 --workers 1 --out BAD/out",
    "episodes --splits absent --episodes 1 --workers 1 --out BAD/out",
    "bench signs --checkpoint BAD --episodes 1",
    "bench signs --episode-file BAD",
    "bench recall --checkpoint BAD --flats 1 --steps 1 --entries 1",
    "bench voice --checkpoint BAD",
    "bench voice --text BAD --instructions 1 --speeds 150 --snr-db 20 --minutes 0.1",
    "bench drive --checkpoint BAD --episodes 1",
    "bench drive --episode-file BAD",
    "bench miniworld --checkpoint BAD --episodes 1",
    "bench babyai --levels GoToRedBallGrey --missions 1 --json BAD/out",
    "bench video --bag BAD",
    "bench ros --checkpoint BAD",
    "bench soak --checkpoint BAD",
    "bench governor --seconds 0 --json BAD",
    "bench serve BAD --seconds 1",
    "bench serve --remote BAD --seconds 1",
    "demo --checkpoint BAD --out OUT",
    "demo-events --checkpoint BAD --out OUT",
    "inject --only kill-governor --out BAD/out",
    "robots BAD",
    "record --robot BAD --folder OUT",
    "doctor --bag BAD",
    "doctor --robot BAD",
    "world --format sdf --out BAD/out",
    "world --format usd --out BAD/out",
    "world --format mjcf --out BAD/out",
]
WITHOUT_FILES = {"bench gpu"}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


def _loop(file: Path) -> None:
    file.symlink_to(file)


KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("bad.bin", lambda file: None),
    "directory": ("bad.bin", Path.mkdir),
    "empty": ("bad.bin", Path.touch),
    "binary": ("bad.bin", lambda file: file.write_bytes(bytes(range(256)) * 40)),
    "text": ("bad.json", lambda file: file.write_text("once upon a time\n")),
    "a JSON list": ("bad.json", lambda file: file.write_text("[1, 2]")),
    "an empty bag": ("bad.mcap", Path.touch),
    "git-lfs pointer": ("bad.mp4", lambda file: file.write_text(POINTER)),
    "below a file": ("file/bad.png", lambda file: file.parent.touch()),
    "pipe": ("bad.bin", os.mkfifo),
    "a link to itself": ("bad.bin", _loop),
    "wrong suffix": ("bad.png", lambda file: file.write_bytes(Path(__file__).read_bytes())),
    "a long name": ("b" * 300, lambda file: None),
}


@pytest.fixture
def impatient():
    """End what hangs."""

    def hang(number: int, frame: object) -> None:
        raise AssertionError(f"it hangs for {HANG_S} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANG_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def name_of(row: str) -> str:
    words = row.split()
    return next(name for name in (" ".join(words[:2]), words[0]) if name in COMMANDS)


def test_every_subcommand_has_a_row():
    assert {name_of(row) for row in ROWS} | WITHOUT_FILES == set(COMMANDS)


def cells():
    """All of the table; one cell in five, so of every row and of every kind, runs always."""
    for number, row in enumerate(ROWS):
        for offset, kind in enumerate(KINDS):
            marks = [pytest.mark.long] if (number + offset) % 5 else []
            yield pytest.param(kind, row, marks=marks, id=f"{kind}-{name_of(row)}-{number}")


@pytest.mark.parametrize(("kind", "row"), list(cells()))
def test_a_bad_file_is_one_line_and_status_2(kind, row, tmp_path, capsys, monkeypatch, impatient):
    name = name_of(row)
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    relative, make = KINDS[kind]
    if "BAD/" in row and kind in ("missing", "directory"):
        pytest.skip("a place to write to")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "pictures" / "a.png")
    bad = tmp_path / relative
    make(bad)
    values = {"BAD": str(bad), "OUT": str(tmp_path / "out"), "PICTURES": str(tmp_path / "pictures")}
    arguments = row.split()
    for word, value in values.items():
        arguments = [argument.replace(word, value) for argument in arguments]
    monkeypatch.chdir(tmp_path)
    status = _status(arguments)
    told = capsys.readouterr().err
    lines = [line for line in told.splitlines() if line.startswith("vila: ")]
    assert status == INPUT_ERROR, told[-3000:]
    assert len(lines) == 1 and "Traceback" not in told and told.rstrip().splitlines()[-1] == lines[0], told
    assert name.startswith("demo") or not (tmp_path / "out").exists()


def _status(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("row", [row for row in ROWS if "BAD/" not in row])
def test_a_file_that_may_not_be_read_is_one_line(row, tmp_path, capsys, monkeypatch, impatient):
    KINDS["unreadable"] = ("bad.bin", lambda file: (file.write_text("a"), file.chmod(stat.S_IWUSR)))
    try:
        test_a_bad_file_is_one_line_and_status_2("unreadable", row, tmp_path, capsys, monkeypatch, impatient)
    finally:
        del KINDS["unreadable"]
