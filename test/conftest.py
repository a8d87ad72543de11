"""What all tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads would only wait for each other
if not any(Path("/dev").glob("nv[ig]*")):  # no GPU: Triton's kernels run in its interpreter, if that is installed
    os.environ.setdefault("TRITON_INTERPRET", "1")
sys.path.append(str(Path(__file__).resolve().parent))  # for `from conftest import golden_dir`
from hypothesis import settings

# the same examples in every run, and no time limit per example on a loaded machine
settings.register_profile("vila", deadline=None, derandomize=True)
settings.load_profile("vila")


def golden_dir(name: str = "") -> Path:
    """The folder of reference data, test/reference, or one of its parts."""
    return Path(__file__).resolve().parent / "reference" / name


@pytest.fixture
def golden() -> Path:
    """The folder of reference data, see golden_dir."""
    return golden_dir()
