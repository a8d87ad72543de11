"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny models: threads would only wait for each other
os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads these two when it is first imported: no display
os.environ.setdefault("LP_NUM_THREADS", "1")
if not any(Path("/dev").glob("nv[ig]*")):  # no GPU: Triton's kernels run in its interpreter, if that is installed
    os.environ.setdefault("TRITON_INTERPRET", "1")
# for `from conftest import golden_dir`, and for what several tests use
sys.path += [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent / "support")]
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what it runs in the background so, and programs
    signal.signal(signal.SIGINT, signal.default_int_handler)  # that are started here would not hear Ctrl-C

_THREADS = int(os.environ["OMP_NUM_THREADS"].split(",")[0])
HANG_S = 120.0  # a wait that lasts longer never ends; no test asks how quick a machine is

# the same examples in every run, and no time limit per example on a loaded machine
settings.register_profile("vila", deadline=None, derandomize=True)
settings.load_profile("vila")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --lines-run, see tools.lines_run."""
    words = "tell which lines of the package the tests ran, and write it as XML (out/coverage.xml)"
    parser.addoption("--lines-run", nargs="?", const="out/coverage.xml", metavar="FILE", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Count the lines that run before a test imports them; judge tests of nodes by how late the machine is."""
    if config.getoption("--lines-run"):
        from tools.lines_run import LinesRun

        config.pluginmanager.register(LinesRun(config))
    from tools import late_machine

    config.pluginmanager.register(late_machine)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that at the end no process is waited for alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_teardown() -> None:
    """Compute with one thread again after a program that took more: on a busy machine they mostly wait."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(_THREADS)


def pytest_collection_finish() -> None:
    """Leave what is there now, half a gigabyte of libraries and tests, out of every later search for garbage."""
    gc.collect()
    gc.freeze()


if os.environ.get("DNNL_MAX_CPU_ISA") == "AVX2":  # `make test-avx2`
    import torch

    def exact_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """The product of bytes that torch makes itself where the processor has no VNNI.

        It asks the processor, not what oneDNN is held to; and without VNNI oneDNN's sums saturate at 16 bits.
        """
        return (a.double() @ b.double()).to(torch.int32)

    torch._int_mm = exact_product


def golden_dir(name: str = "") -> Path:
    """The folder of reference data, test/reference, or one of its parts."""
    return Path(__file__).resolve().parent / "reference" / name


@pytest.fixture
def golden() -> Path:
    """The folder of reference data, see golden_dir."""
    return golden_dir()
