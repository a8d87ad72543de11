"""Where the kernels come from, and what is told where there are none."""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import platform
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.errors import ConfigError
from vila_core.kernels import build
from vila_core.kernels.build import WARNINGS, KernelsStatus, Library, compile_library, find_library, sources_digest
from vila_core.kernels.library import kernels, kernels_status, load_kernels
from vila_tools.report import tell

AN_ERROR = "tile.h:7:3: error: 'vpdpbusd' was not declared in this scope"

needs_kernels = pytest.mark.skipif(kernels() is None, reason="no compiler, or a processor without kernels")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with nothing on it: no packaged library, an empty cache, no compiler."""
    for name in ("VILA_NAV_KERNELS", "VILA_NAV_KERNELS_FLAGS", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "PACKAGED", tmp_path / "lib")
    monkeypatch.setattr(build, "_COMPILERS", ())
    return tmp_path


@pytest.fixture
def compiler(machine, monkeypatch):
    """Put a compiler on the machine that does what a shell script says; $out is the file to make."""

    def put(script: str, name: str = "c++") -> Path:
        file = machine / name
        find_out = 'while [ "$1" != -o ]; do shift; done; out=$2'
        file.write_text(f"#!/bin/sh\necho once >>{machine}/{name}.calls\n{find_out}\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(build, "_COMPILERS", (*build._COMPILERS, str(file)))
        return file

    return put


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Path:
    """A library of these sources, so that a compiler of the tests has something to copy."""
    copy = tmp_path_factory.mktemp("compiled") / "kernels.so"
    shutil.copy(find_library().file, copy)
    return copy


def failing(*lines: str) -> str:
    return "\n".join([*(f'echo "{line}" >&2' for line in lines), "exit 1"])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            failing("In file included from avx2.cpp:9:", "tile.h:3:1: warning: unused", AN_ERROR, "a.h:9: error: 2"),
            AN_ERROR,
        ),
        (failing("c++: fatal error: Killed signal terminated program cc1plus"), "Killed signal terminated program"),
        (failing("collect2: ld returned 1 exit status"), "collect2: ld returned 1 exit status"),
        ("exit 3", "exit status 3, no message"),
        ("echo not a library >$out", "the library does not load"),
        ("true", "no such file"),
    ],
)
def test_a_compiler_that_fails_is_quoted_once(script, reason, compiler, caplog):
    compiler(script)
    loaded = load_kernels()
    assert loaded.kernels is None
    assert loaded.status.instruction_set == loaded.status.origin == ""
    assert reason in loaded.status.reason
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert reason in caplog.text and "slower" in caplog.text


def unplug(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setattr(platform, name, lambda value=value: value)


@pytest.mark.parametrize(
    ("system", "processor", "reason"),
    [
        ("Linux", "x86_64", "no compiler: none of "),
        ("Linux", "riscv64", "there are none for Linux on riscv64"),
        ("Darwin", "arm64", "there are none for Darwin on arm64"),
        ("Windows", "AMD64", "there are none for Windows on AMD64"),
    ],
)
def test_a_machine_that_cannot_compile_is_told(system, processor, reason, machine, monkeypatch, caplog):
    unplug(monkeypatch, system=system, machine=processor)
    loaded = load_kernels()
    assert loaded.kernels is None and reason in loaded.status.reason
    assert reason in caplog.text


@pytest.mark.parametrize("value", ["off", "OFF", " off ", "0"])
def test_they_can_be_switched_off(value, compiler, monkeypatch, machine):
    compiler("true")
    monkeypatch.setenv("VILA_NAV_KERNELS", value)
    loaded = load_kernels()
    assert loaded.kernels is None
    assert loaded.status.text() == "none: switched off by VILA_NAV_KERNELS"
    assert not (machine / "c++.calls").exists()


@pytest.mark.parametrize("value", ["avx9", "avx512,avx2", "on"])
def test_an_unknown_instruction_set_is_an_error_that_names_those_there_are(value, machine, monkeypatch):
    monkeypatch.setenv("VILA_NAV_KERNELS", value)
    with pytest.raises(ConfigError, match=f"{value}.*auto, off or one of .*avx2.*neon"):
        load_kernels()


@needs_kernels
def test_a_set_that_this_processor_lacks_is_an_error_that_names_those_it_has(machine, compiler, compiled, monkeypatch):
    compiler(f"cp {compiled} $out")
    foreign, best = "neon" if platform.machine() == "x86_64" else "avx2", load_kernels().status.instruction_set
    monkeypatch.setenv("VILA_NAV_KERNELS", foreign)
    with pytest.raises(ConfigError, match=f"'{foreign}': this processor runs {best}"):
        load_kernels()


@needs_kernels
def test_each_set_of_this_processor_can_be_asked_for(machine, compiler, compiled, monkeypatch):
    compiler(f"cp {compiled} $out")
    runnable = [name for name in build.SETS if _runs(name, monkeypatch)]
    assert kernels().name in runnable
    monkeypatch.setenv("VILA_NAV_KERNELS", "auto")
    assert load_kernels().status.instruction_set == runnable[0]


def _runs(name, monkeypatch) -> bool:
    monkeypatch.setenv("VILA_NAV_KERNELS", name)
    try:
        return load_kernels().status.instruction_set == name
    except ConfigError:
        return False


@needs_kernels
def test_they_are_compiled_once(machine, compiler, compiled, caplog):
    compiler(f"cp {compiled} $out")
    assert [load_kernels().status.origin for _ in range(2)] == ["compiled", "cached"]
    assert (machine / "c++.calls").read_text().count("once") == 1
    assert len(list((machine / "cache" / "vila_nav").iterdir())) == 2  # it and its record
    assert not caplog.records


@needs_kernels
def test_a_compiler_that_fails_gives_way_to_the_next(compiler, compiled):
    compiler(failing(AN_ERROR), "first++")
    compiler(f"cp {compiled} $out", "second++")
    assert load_kernels().status.origin == "compiled"


@needs_kernels
@pytest.mark.parametrize("flaw", ["read-only", "full"])
def test_a_cache_that_cannot_be_written_costs_the_next_start_not_the_kernels(
    flaw, machine, compiler, compiled, monkeypatch, caplog
):
    compiler(f"cp {compiled} $out")
    if flaw == "full":
        monkeypatch.setattr(shutil, "copy", no_space)
    else:
        (machine / "cache").write_text("a folder cannot be made here, even by root")
    for _ in range(2):
        loaded = load_kernels()
        assert loaded.kernels is not None and loaded.status.origin == "compiled"
        assert "not kept for the next time" in loaded.status.text() and loaded.status.reason in caplog.text
    assert (machine / "c++.calls").read_text().count("once") == 2


def no_space(source, target):
    raise OSError(errno.ENOSPC, "No space left on device", str(target))


def cut(file: Path) -> None:
    keep(file, file.read_bytes()[: file.stat().st_size // 3])


def zeros(file: Path) -> None:
    """What a file system leaves of a file whose length came to the disk and whose content did not."""
    content = file.read_bytes()
    keep(file, content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def keep(file: Path, content: bytes) -> None:
    file.unlink()  # not written over: the library is loaded
    file.write_bytes(content)


FLAWS = {
    "cut": (cut, "it is damaged: .* of .* bytes"),
    "zeros": (zeros, "its content has changed"),
    "empty": (lambda file: keep(file, b""), "it is damaged: 0 of"),
    "text": (lambda file: keep(file, b"no library"), "it is damaged"),
    "no record": (lambda file: file.with_name(file.name + ".json").unlink(), "its record cannot be read"),
    "half a record": (lambda file: file.with_name(file.name + ".json").write_text('{"si'), "its record cannot be read"),
    "a list": (lambda file: file.with_name(file.name + ".json").write_text("[1]"), "it is damaged"),
    "another's": (lambda file: os.chown(file, 12345, -1), "belongs to user 12345"),
    "anybody's": (lambda file: file.chmod(0o666), "can be written by anybody"),
}


@needs_kernels
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_library_in_the_cache_that_is_not_as_it_was_kept_is_told_and_replaced(
    flaw, machine, compiler, compiled, caplog
):
    if flaw == "another's" and os.geteuid():
        pytest.skip("only root gives files away")
    compiler(f"cp {compiled} $out")
    spoil, reason = FLAWS[flaw]
    kept = find_library().file
    spoil(kept)
    loaded = load_kernels()
    assert loaded.kernels is not None and loaded.status.origin == "compiled"
    assert re.search(f"is not used: .*{reason}.*; it was compiled anew", loaded.status.reason)
    assert len(caplog.records) == 1 and str(kept) in caplog.text
    assert load_kernels().status.text().endswith("cached")


@needs_kernels
def test_a_cut_library_does_not_end_the_process_where_no_compiler_is(machine, compiler, compiled, monkeypatch):
    compiler(f"cp {compiled} $out")
    cut(find_library().file)
    monkeypatch.setattr(build, "_COMPILERS", ())
    status = load_kernels().status
    assert status.instruction_set == "" and "it is damaged" in status.reason and "no compiler" in status.reason


@needs_kernels
@pytest.mark.parametrize("part", range(1, 10))
def test_a_cut_library_that_has_no_record_is_known_by_its_header(part, machine, compiled):
    packaged = machine / "lib" / f"kernels-{sources_digest()}.so"
    packaged.parent.mkdir()
    packaged.write_bytes(compiled.read_bytes()[: compiled.stat().st_size * part // 10])
    status = load_kernels().status
    assert status.instruction_set == "" and f"{packaged} is not used: it is cut" in status.reason


@needs_kernels
@pytest.mark.parametrize("flaw", ["anybody's", "another's"])
def test_nothing_is_loaded_from_a_folder_that_others_can_write(flaw, machine, compiler, compiled):
    if flaw == "another's" and os.geteuid():
        pytest.skip("only root gives files away")
    compiler(f"cp {compiled} $out")
    folder = find_library().file.parent
    if flaw == "another's":
        os.chown(folder, 12345, -1)
    else:
        folder.chmod(0o777)
    found = find_library()
    assert found.origin == "compiled" and found.file.parent != folder
    assert str(folder) in found.reason and "not kept for the next time" in found.reason


@needs_kernels
def test_a_library_that_lacks_a_function_is_replaced(machine, compiler, compiled):
    compiler(f"cp {compiled} $out")
    find_library()
    assert "the library lacks vila_new" in find_library(["vila_set", "vila_new"]).reason


@needs_kernels
def test_without_a_home_they_are_compiled_and_that_is_told(machine, compiler, compiled, monkeypatch, caplog):
    compiler(f"cp {compiled} $out")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    loaded = load_kernels()
    assert loaded.kernels is not None and "not kept for the next time: no home" in caplog.text


def no_home():
    raise RuntimeError("Could not determine home directory.")


@needs_kernels
def test_a_cache_that_machines_share_tells_those_apart_that_native_flags_do(machine, monkeypatch):
    names = set()
    monkeypatch.setattr(build, "_compiled", lambda flags, cached, *_: names.add(cached.name) or Library())
    for flags in ("-mtune=generic", "-march=native"):
        monkeypatch.setenv("VILA_NAV_KERNELS_FLAGS", flags)
        for model in ("one", "other"):
            monkeypatch.setattr(build, "processor", lambda model=model: {"model name": model})
            find_library()
    assert len(names) == 3


@needs_kernels
def test_two_processes_that_keep_one_at_once_leave_a_whole_one(machine, compiler, compiled):
    compiler(f"cp {compiled} $out")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: find_library(), range(8)))
    assert all(library.file for library in found)
    assert find_library().origin == "cached"
    assert len(list((machine / "cache" / "vila_nav").iterdir())) == 2


@needs_kernels
def test_the_packaged_library_comes_first_if_it_is_of_these_sources(machine, compiled):
    packaged = machine / "lib" / f"kernels-{sources_digest()}.so"
    packaged.parent.mkdir()
    shutil.copy(compiled, packaged)
    status = load_kernels().status
    assert status == KernelsStatus(status.instruction_set, "packaged") and status.instruction_set
    packaged.rename(packaged.with_name("kernels-0123456789abcdef.so"))
    assert load_kernels().status.reason.startswith("no compiler")


@needs_kernels
def test_other_flags_make_another_library(machine, compiler, compiled, monkeypatch):
    compiler(f'echo "$@" >{machine}/arguments; cp {compiled} $out')
    files = {find_library().file}
    packaged = machine / "lib" / f"kernels-{sources_digest()}.so"
    packaged.parent.mkdir()
    shutil.copy(compiled, packaged)
    monkeypatch.setenv("VILA_NAV_KERNELS_FLAGS", "-g -DSLOW='a b'")
    found = find_library()
    assert found.origin == "compiled" and found.file not in files


@pytest.mark.long
@needs_kernels
def test_the_sources_compile_without_a_warning(tmp_path):
    """By the package's own choice of warnings; without optimisation, which takes ten times as long."""
    command = next(build._compilers())
    flags = ("-std=c++17", "-fopenmp", "-shared", "-fPIC", *WARNINGS, "-Werror")
    failure = compile_library(command, flags, tmp_path / "kernels.so")
    assert failure is None
    ctypes.CDLL(str(tmp_path / "kernels.so"))


def test_a_backend_and_the_json_of_a_benchmark_tell_of_them(tmp_path, capsys):
    backend = load_backend("torch", EMBEDDED_CHECKPOINT)
    assert backend.info.kernels == kernels_status().text()
    backend.close()
    tell({"ms": 1.0}, ("1 ms",), tmp_path / "r.json")
    wanted = {"ms": 1.0, "kernels": asdict(kernels_status())}
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == wanted
    assert json.loads((tmp_path / "r.json").read_text()) == wanted
