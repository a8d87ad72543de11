"""One comparison with reference data: what is compared, by how much it differs, and how much it may."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vila_core.errors import ConfigError, VilaError
from vila_core.files.json_object import parse_json
from vila_core.files.reading import read_text

EMBEDDING_LIMIT = 1e-5  # pixels, features, visual tokens, input embeddings
LOGIT_LIMIT = 1e-4
_ULPS = {torch.float16: 2, torch.bfloat16: 2, torch.float32: 8}  # by which processors may differ in a few operations
_SHOWN_CHARS = 120

# what wrong weights, shapes or reference files can raise; anything else is a bug of the command itself
CASE_ERRORS = (VilaError, ValueError, KeyError, IndexError, TypeError, RuntimeError, OSError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest errors allowed: of embeddings and everything before them, and of logits."""

    embeddings: float = EMBEDDING_LIMIT
    logits: float = LOGIT_LIMIT


@dataclass(frozen=True, slots=True)
class Check:
    """One compared value.

    error: the largest difference, infinite if it is of another kind or shape; absolute, unless the name says otherwise.
    """

    name: str
    error: float
    limit: float = 0.0
    detail: str = ""

    @property
    def is_within(self) -> bool:
        """True if the error does not pass the limit; a NaN does."""
        return self.error <= self.limit


@dataclass(frozen=True, slots=True)
class Case:
    """A case found in a directory; run computes it. skip: why it cannot be computed at all, "" if it can."""

    group: str
    name: str
    run: Callable[[], Iterable[Check] | Check]
    skip: str = ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a case came out. failure: the error that ended it, "" if it ran to its end."""

    group: str
    name: str
    checks: tuple[Check, ...] = ()
    failure: str = ""
    skip: str = ""

    @property
    def is_within(self) -> bool:
        """True if it ran and all its checks are within their limits."""
        return not self.failure and all(check.is_within for check in self.checks)

    @property
    def largest(self) -> Check | None:
        """The check that comes nearest to its limit, or passes it furthest."""
        return max(self.checks, key=_strain, default=None)


def run_case(case: Case) -> CaseResult:
    """Compute a case; an error becomes its failure."""
    if case.skip:
        return CaseResult(case.group, case.name, skip=case.skip)
    try:
        found = case.run()
        checks = (found,) if isinstance(found, Check) else tuple(found)
    except CASE_ERRORS as err:
        return CaseResult(case.group, case.name, failure=f"{type(err).__name__}: {err}")
    if not checks:
        return CaseResult(case.group, case.name, failure="nothing was compared")
    return CaseResult(case.group, case.name, checks)


def near(name: str, got: Tensor, wanted: Tensor, limit: float) -> Check:
    """Compare numbers; another shape is an infinite error."""
    if got.shape != wanted.shape:
        return Check(name, math.inf, limit, f"got shape {list(got.shape)}, expected {list(wanted.shape)}")
    if got.numel() == 0:
        return Check(name, 0.0, limit)
    return Check(name, float((got.double().cpu() - wanted.double().cpu()).abs().max()), limit)


def few_ulps(name: str, got: Tensor, wanted: Tensor) -> Check:
    """Compare numbers of one dtype that a few operations gave: count the representable ones between them."""
    name, limit = f"{name} in ulp", _ULPS[wanted.dtype]
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        told = f"got {got.dtype} {list(got.shape)}, expected {wanted.dtype} {list(wanted.shape)}"
        return Check(name, math.inf, limit, told)
    if not torch.isfinite(got).all():
        return Check(name, math.inf, limit, "not all is finite")
    return Check(name, float((_ranks(got) - _ranks(wanted)).abs().max()), limit)


def same_share(name: str, got: Tensor | float, wanted: Tensor | float, limit: float) -> Check:
    """Compare positive numbers by the part by which they differ."""
    found, expected = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    return Check(f"{name}, relative", float(((found - expected).abs() / expected.clamp(min=1e-30)).max()), limit)


def equal(name: str, got: Any, wanted: Any) -> Check:
    """Compare texts, ids or anything else that must be the same."""
    if got == wanted:
        return Check(name, 0.0)
    return Check(name, math.inf, 0.0, f"got {_shown(got)}, expected {_shown(wanted)}")


def read_json(file: Path) -> Any:
    """Return a reference file's content; ConfigError if it cannot be read."""
    return parse_json(read_text(file, error=ConfigError), file, error=ConfigError)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return a reference file's tensors; ConfigError if it cannot be read."""
    try:
        return load_file(file)
    except (OSError, SafetensorError) as err:
        raise ConfigError(f"reference file {file} cannot be read: {err}") from err


def as_pixels(tile: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 tiles [..., 3, S, S] -> float32, (x / 255 - mean) / std."""
    means, stds = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (tile.float() / 255.0 - means) / stds


def _ranks(values: Tensor) -> Tensor:
    """Number the floats by size, int64: neighbours differ by one, both zeros are 0."""
    bits = values.contiguous().cpu().view(torch.int16 if values.element_size() == 2 else torch.int32)
    least = torch.iinfo(bits.dtype).min
    return torch.where(bits < 0, least - bits.long(), bits.long())


def _strain(check: Check) -> tuple[bool, float]:
    return not check.is_within, check.error / check.limit if check.limit else check.error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
