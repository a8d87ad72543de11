"""Programs on a machine without a home, and with a limit on the size of files in the middle of their work."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.machine.arithmetic import kept_arithmetic
from vila_tools.cli import main
from vila_tools.ending import INPUT_ERROR

RATES = {"float32": 1.0, "bfloat16": 2.0, "float16": 1.0}
LIMITS_KB = (1, 60, 600)  # of a note, of a layer, of the whole checkpoint's weights


@pytest.fixture
def limit():
    """Limit the size of files until the end of the test, as `ulimit -f` does; 0 for no limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda kb: resource.setrlimit(resource.RLIMIT_FSIZE, (kb * 1024 or before[0], before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def weights(folder: Path) -> list[str]:
    return [str(file) for file in folder.rglob("*.safetensors") if ".quantize" not in file.parts]


@pytest.mark.parametrize("kb", LIMITS_KB)
def test_quantize_is_told_of_a_limit_leaves_nothing_half_and_goes_on_later(kb, tmp_path, limit, capfd):
    command = ["quantize", str(EMBEDDED_CHECKPOINT), "--plain", "--out", str(tmp_path / "q")]
    limit(kb)
    status = main(command)
    limit(0)
    told = capfd.readouterr().err
    assert status == INPUT_ERROR and "cannot be written: File too large" in told and "Traceback" not in told
    assert str(tmp_path / "q") in told.splitlines()[-1] and not weights(tmp_path)
    assert not (tmp_path / "q" / "config.json").exists()
    assert main(command) == 0
    assert main(["info", str(tmp_path / "q")]) == 0
    assert not (tmp_path / "q" / ".quantize").exists()


@pytest.mark.parametrize("out", ["new", "deep/new", "there"])
def test_make_random_is_there_whole_or_not_at_all(out, tmp_path, limit, capfd):
    (tmp_path / "there").mkdir()
    command = ["make-random", "--like", "nvila-lite-2b", "--tiny", "--out", str(tmp_path / out)]
    limit(20)
    status = main(command)
    limit(0)
    assert status == INPUT_ERROR and f"{out} cannot be written: File too large" in capfd.readouterr().err
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert main(command) == 0 and main(["info", str(tmp_path / out)]) == 0


def test_engine_export_is_there_whole_or_not_at_all(tmp_path, limit, capfd):
    pytest.importorskip("onnxscript")
    limit(300)
    status = main(["engine", "export", str(EMBEDDED_CHECKPOINT), "--out", str(tmp_path / "e")])
    limit(0)
    assert status == INPUT_ERROR and "e cannot be written: " in capfd.readouterr().err
    assert not (tmp_path / "e").exists()


def test_speeds_that_cannot_be_kept_are_told_in_a_line(tmp_path, caplog):
    (tmp_path / "file").touch()
    facts = {"machine": "this"}
    assert kept_arithmetic(facts, tmp_path / "file" / "cache", lambda: RATES).rates == RATES
    assert len(caplog.records) == 1 and "not kept for the next time" in caplog.text


@pytest.mark.parametrize("content", ["", '{"tfl', "[1]", '{"tflops": {"float32": 0}}', "\x00" * 50])
def test_kept_speeds_that_are_cut_are_measured_anew(content, tmp_path):
    facts = {"machine": "this"}
    kept_arithmetic(facts, tmp_path, lambda: RATES)
    (file,) = tmp_path.glob("arithmetic-*.json")
    file.write_text(content)
    assert kept_arithmetic(facts, tmp_path, lambda: RATES).rates == RATES
    assert kept_arithmetic(facts, tmp_path, lambda: 1 / 0).rates == RATES


def test_a_program_goes_on_without_a_home(monkeypatch, capfd):
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _unknown)
    assert main(["info", str(EMBEDDED_CHECKPOINT)]) == 0
    assert "Traceback" not in capfd.readouterr().err


def _unknown(uid: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {uid}")
