"""How fast a device multiplies in each precision: measured once, in a fraction of a second, and kept in a file.

One file for each machine and way to compute on it; see cache.py for where.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from vila_core.errors import BackendError, OutputError
from vila_core.files.writing import write_text
from vila_core.machine.cache import cache_folder, make_cache_folder
from vila_core.machine.processor import processor
from vila_core.machine.speeds import clock_s

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SIDE = {"cpu": 1024, "cuda": 4096}  # of a weight of the size that decoders have
_FEW, _MANY = 32, 256  # rows of the other factor; the most is what a step reads anew
_EMULATED_S = 0.05  # of a product of a few rows: done one number after the other, it takes so long and longer
_ROUNDS, _BUDGET_S = 20, 0.15  # of each precision
# By these torch, oneDNN and our kernels are told to leave instructions unused.
_SWITCHES = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "VILA_NAV_KERNELS")

Rates = dict[str, float]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Products in 1e12 operations a second, on a CPU those of one thread, by the precision's name."""

    rates: Rates

    def gain(self, name: str) -> float:
        """How many times as fast as float32 the precision is computed."""
        return self.rates[name] / self.rates["float32"]


def arithmetic_of(device: torch.device) -> Arithmetic:
    """Return the device's arithmetic, from the file if it was measured before on a machine like this.

    Raises BackendError for a GPU that is not there.
    """
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"device {str(device)!r}: torch {torch.__version__} finds no CUDA device; use device 'cpu'")
    return _known(str(device))


@lru_cache(maxsize=8)
def _known(device: str) -> Arithmetic:
    where = torch.device(device)
    try:
        folder = cache_folder()
    except OSError as err:
        _logger.warning("the speeds of this machine are not kept for the next time: %s", err.strerror)
        return Arithmetic(measure_rates(where))
    return kept_arithmetic(identity(where), folder, partial(measure_rates, where))


def identity(device: torch.device) -> dict[str, str]:
    """Return all that the speed of arithmetic on the device depends on, but what else runs beside."""
    facts = {"device": str(device.type), "torch": torch.__version__}
    if device.type == "cuda":
        return facts | {"name": torch.cuda.get_device_name(device)}
    switches = {name: os.environ[name] for name in _SWITCHES if os.environ.get(name)}
    return facts | {"machine": platform.machine()} | switches | processor()


def kept_arithmetic(facts: dict[str, str], folder: Path, measure: Callable[[], Rates]) -> Arithmetic:
    """Return what the folder knows of a machine of these facts, else what is measured, which is written there.

    A file that cannot be read, or makes no sense, is measured anew; a folder that cannot be written is told of.
    """
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    file = folder / f"arithmetic-{name}.json"
    rates = _read(file)
    if rates is None:
        rates = measure()
        content = json.dumps({"machine": facts, "tflops": rates}, indent=1) + "\n"
        try:
            make_cache_folder(folder)
            write_text(file, content)
        except (OSError, OutputError) as err:
            _logger.warning("the speeds of this machine are not kept for the next time: %s", err)
    return Arithmetic(rates)


def measure_rates(device: torch.device) -> Rates:
    """Multiply in each precision in turn, again and again, on one thread of a CPU; the best of each counts.

    Several threads wait for each other where other work runs beside, which makes the quicker precision look slower.
    """
    with _one_thread():
        work = {name: _product(dtype, device) for name, dtype in DTYPES.items()}
        seen: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(_ROUNDS):
            for name, (product, _) in work.items():
                if sum(seen[name]) < _BUDGET_S:
                    seen[name].append(clock_s(product, device))
    return {name: operations / min(seen[name]) / 1e12 for name, (_, operations) in work.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], float]:
    """A product that has been run, and its operations; of few rows if those take long enough to tell."""
    side = _SIDE["cuda" if device.type == "cuda" else "cpu"]
    weight = torch.randn(side, side, device=device).to(dtype)
    few, many = (torch.randn(rows, side, device=device).to(dtype) for rows in (_FEW, _MANY))
    if clock_s(partial(torch.matmul, few, weight), device) > _EMULATED_S:
        return partial(torch.matmul, few, weight), 2.0 * few.numel() * side
    torch.matmul(many, weight)
    return partial(torch.matmul, many, weight), 2.0 * many.numel() * side


def _read(file: Path) -> Rates | None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))["tflops"]
        rates = {name: float(stored[name]) for name in DTYPES}
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return rates if all(math.isfinite(rate) and rate > 0 for rate in rates.values()) else None
