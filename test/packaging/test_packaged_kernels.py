"""The kernels that CMake compiles are those that build.py looks for, and an install does not fail for want of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from vila_core.kernels.build import PACKAGED, SOURCE, WARNINGS, sources_digest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "vila_core" / "kernels"
PROJECT = f"""
cmake_minimum_required(VERSION 3.22)
project(only_the_kernels CXX)
set(PYTHON_INSTALL_DIR python)
add_subdirectory({KERNELS} kernels)
"""
CMAKE = shutil.which("cmake", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")


@pytest.fixture
def configure(tmp_path):
    """Configure the kernels' part of the build alone: it needs no ROS. Returns what CMake says and would install."""
    if CMAKE is None:
        pytest.skip("cmake is missing; `make setup` installs it")

    def run(*options: str) -> tuple[str, str]:
        (tmp_path / "CMakeLists.txt").write_text(PROJECT)
        command = [CMAKE, "-S", tmp_path, "-B", tmp_path / "build", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = " ".join((done.stdout + done.stderr).split())  # CMake breaks lines
        return said, (tmp_path / "build" / "kernels" / "cmake_install.cmake").read_text()

    return run


def test_cmake_names_the_library_as_it_is_looked_for(configure):
    said, installs = configure()
    if "No kernels for" in said or "not compiled" in said:
        pytest.skip("not a machine that compiles them")
    folder = PACKAGED.relative_to(ROOT).as_posix()
    assert f"/python/{folder}/kernels-{sources_digest()}.so" in installs


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON"], "not compiled: .* has no OpenMP"),
        (["-DKERNELS_HAVE_A_COMPILER=OFF"], "not compiled: .* does not know their instruction sets"),
        (["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=riscv64"], "No kernels for Linux on riscv64"),
    ],
)
def test_where_they_cannot_be_compiled_the_rest_is_installed_and_that_is_said(options, reason, configure):
    said, installs = configure(*options)
    assert re.search(reason, said)
    assert ".so" not in installs


def test_both_builds_warn_of_the_same():
    assert " ".join(WARNINGS) in (KERNELS / "CMakeLists.txt").read_text()


def test_wheels_and_sdists_hold_the_sources_and_no_library_of_a_source_tree():
    patterns = re.findall(r'"(kernels/[^"]*)"', (ROOT / "pyproject.toml").read_text())
    for file in SOURCE.iterdir():
        assert any(fnmatch(file.relative_to(ROOT / "vila_core").as_posix(), pattern) for pattern in patterns), file
    assert not any(fnmatch("kernels/lib/kernels-0.so", pattern) for pattern in patterns)
    assert "vila_core/kernels/CMakeLists.txt" in (ROOT / "MANIFEST.in").read_text()
    assert "vila_core/kernels/lib/" in (ROOT / ".gitignore").read_text().splitlines()
