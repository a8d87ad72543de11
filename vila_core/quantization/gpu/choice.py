"""Which of several methods of multiplying is quickest, by measurement: once for each size, when a model is loaded."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Generic, TypeVar

import torch
from torch import Tensor

from vila_core.errors import BackendError

BUCKETS = (1, 4, 16, 32, 64, 128, 256, 512, 1024)  # rows of inputs that are measured; others go with the next larger
TOLERANCE = 0.03  # of a result's norm: 8-bit inputs come to about 0.01, a kernel that does something else to 1
_REPEATS = 5
_AMPERE = (8, 0)  # the first with matrix units for bfloat16
_HOPELESS, _GROWTH = 4.0, 1.5  # slower than the best, and than itself with fewer rows: not tried with more
_FLUSH_BYTES = 128 << 20  # more than any cache of a GPU: a decoder's layer is never there when its turn comes
# what a kernel raises that does not run here: torch's operators the first three, Triton's C compiler the others
FAILURES = (RuntimeError, NotImplementedError, ValueError, OSError, subprocess.SubprocessError)

Weight = TypeVar("Weight")
Clock = Callable[[Callable[[], object], torch.device], float]  # milliseconds of one run


@dataclass(frozen=True, slots=True)
class Problem:
    """What a choice holds for: a weight [outputs, inputs] in groups, on a device, with inputs of dtype."""

    device: torch.device
    dtype: torch.dtype
    outputs: int
    inputs: int
    group: int


@dataclass(frozen=True, slots=True)
class Candidate(Generic[Weight]):
    """A method of multiplying: (x [M, K], weight) -> [M, N] in x's dtype. supports: whether it takes the problem."""

    name: str
    run: Callable[[Tensor, Weight], Tensor]
    supports: Callable[[Problem], bool]


@dataclass(frozen=True, slots=True)
class Choice(Generic[Weight]):
    """The candidate for each bucket, what was measured, and why others are out.

    times_ms: for each bucket {candidate: milliseconds}. rejected: {candidate: reason}.
    """

    candidates: Mapping[str, Candidate[Weight]]
    times_ms: tuple[Mapping[str, float], ...]
    rejected: Mapping[str, str]

    def for_rows(self, rows: int) -> Candidate[Weight]:
        """The candidate for so many rows of inputs; measures nothing."""
        timed = self.times_ms[bucket_of(rows)]
        return self.candidates[min(timed, key=timed.__getitem__)]

    def names(self) -> dict[int, str]:
        """The candidates' names by the most rows of their buckets, for reports."""
        return {rows: self.for_rows(rows).name for rows in BUCKETS}


def bucket_of(rows: int) -> int:
    """Number of the bucket that so many rows belong to; the last one takes all that are more."""
    return next((number for number, most in enumerate(BUCKETS) if rows <= most), len(BUCKETS) - 1)


@dataclass
class Chooser(Generic[Weight]):
    """Measures candidates and keeps the choices.

    reference: the exact result in float32, which every candidate is held against before it is timed. clock: replaced
    in tests.
    """

    candidates: Sequence[Candidate[Weight]]
    reference: Callable[[Tensor, Weight], Tensor]
    clock: Clock | None = None
    _choices: dict[Problem, Choice[Weight]] = field(default_factory=dict)

    def choose(self, problem: Problem, weight: Weight) -> Choice[Weight]:
        """Return the choice for the problem, measured with this weight the first time.

        Raises BackendError if no candidate gives the right result, or while a CUDA graph is recorded.
        """
        if problem not in self._choices:
            if problem.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                raise BackendError("kernels cannot be measured while a CUDA graph is recorded; convert the model first")
            self._choices[problem] = self._measured(problem, weight)
        return self._choices[problem]

    @property
    def choices(self) -> Mapping[Problem, Choice[Weight]]:
        """All that was chosen, for reports."""
        return self._choices

    def _measured(self, problem: Problem, weight: Weight) -> Choice[Weight]:
        rejected: dict[str, str] = {}
        left = [candidate for candidate in self.candidates if candidate.supports(problem)]
        left = [candidate for candidate in left if self._is_right(candidate, problem, weight, rejected)]
        times: list[dict[str, float]] = []
        for rows in BUCKETS:
            timed = self._times(left, _example(problem, rows), weight, problem.device, rejected)
            if not timed:
                raise BackendError(f"no kernel multiplies {problem}: {rejected or 'none takes it'}")
            left = [candidate for candidate in left if _is_hopeful(candidate.name, timed, times[-1:])]
            times.append(timed)
        return Choice({candidate.name: candidate for candidate in self.candidates}, tuple(times), rejected)

    def _is_right(
        self, candidate: Candidate[Weight], problem: Problem, weight: Weight, rejected: dict[str, str]
    ) -> bool:
        """Hold a candidate against the reference with one row and with several."""
        for rows in (1, 33):
            x = _example(problem, rows)
            try:
                found = candidate.run(x, weight).float()
            except FAILURES as err:
                rejected[candidate.name] = _first_line(err)
                return False
            wanted = self.reference(x, weight)
            error = float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))
            if not error <= TOLERANCE:
                rejected[candidate.name] = f"off by {error:.3g} of the result's norm with {rows} rows"
                return False
        return True

    def _times(
        self,
        left: Sequence[Candidate[Weight]],
        x: Tensor,
        weight: Weight,
        device: torch.device,
        rejected: dict[str, str],
    ) -> dict[str, float]:
        times = {}
        for candidate in left:
            try:
                times[candidate.name] = (self.clock or clock_ms)(partial(candidate.run, x, weight), device)
            except FAILURES as err:
                rejected[candidate.name] = _first_line(err)
        return times


def _is_hopeful(name: str, timed: Mapping[str, float], before: Sequence[Mapping[str, float]]) -> bool:
    """Tell if a candidate may still win with more rows: it is near the best, or more rows cost it little."""
    if name not in timed:
        return False
    grown = timed[name] > _GROWTH * before[0][name] if before else False
    return not grown or timed[name] <= _HOPELESS * min(timed.values())


def clock_ms(work: Callable[[], object], device: torch.device) -> float:
    """Median milliseconds of a run; on a GPU the caches are emptied before each, by the device's own clock."""
    work()
    if device.type != "cuda":
        return median(_host_ms(work) for _ in range(_REPEATS))
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.uint8, device=device)
    events = [tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)) for _ in range(_REPEATS)]
    for begin, end in events:
        flush.zero_()
        begin.record()
        work()
        end.record()
    torch.cuda.synchronize(device)
    return median(begin.elapsed_time(end) for begin, end in events)


def _host_ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def _example(problem: Problem, rows: int) -> Tensor:
    """Inputs [rows, K]; some channels larger than others, as activations are."""
    rng = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, problem.inputs, generator=rng)
    x[:, ::97] *= 4.0
    return x.to(problem.device, problem.dtype)


def _first_line(err: BaseException) -> str:
    return f"{type(err).__name__}: {str(err).strip().splitlines()[0] if str(err).strip() else 'no message'}"


def is_ampere(device: torch.device) -> bool:
    """Tell if it is an NVIDIA GPU of the Ampere generation (Orin's too) or a later one."""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= _AMPERE


def has_triton(device: torch.device) -> bool:
    """Tell if Triton's kernels can run on the device."""
    return is_ampere(device) and importlib.util.find_spec("triton") is not None
