"""What each of several ranks would compute of a batch, one after the other in one process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vila_tools.training.loop import Stage
from vila_tools.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class RanksApart(Ranks):
    """A rank that is told the totals. totals: of the whole batch, in the order in which they are asked for."""

    totals_known: list[Tensor] = field(default_factory=list)
    parts: list[Tensor] = field(default_factory=list)

    def total(self, value: Tensor) -> Tensor:
        self.parts.append(value.detach().clone())
        return self.totals_known[len(self.parts) - 1] if self.totals_known else value.detach().clone()


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a batch teaches: loss, figures, and each weight's gradient, None for none."""

    loss: float
    figures: dict[str, float]
    gradients: list[Tensor | None]


def learned(stage_of: Callable[[Ranks], Stage], count: int, seed: int = 0) -> Learned:
    """Add up what so many ranks compute. stage_of: makes the same stage, with the same weights, for a rank."""
    alone = [RanksApart(rank, count) for rank in range(count)]
    for ranks in alone:  # what the totals are that a rank asks for does not depend on other totals
        stage_of(ranks).loss(np.random.default_rng(seed))
    totals = [torch.stack(parts).sum(0) for parts in zip(*(ranks.parts for ranks in alone), strict=True)]
    weights = [weight for params, _ in stage_of(Ranks()).groups() for weight in params]
    for weight in weights:
        weight.grad = None
    loss, figures = 0.0, dict[str, float]()
    for rank in range(count):
        part, told = stage_of(RanksApart(rank, count, totals)).loss(np.random.default_rng(seed))
        part.backward()
        loss += part.item()
        figures = {name: figures.get(name, 0.0) + value for name, value in told.items()}
    return Learned(loss, figures, [None if weight.grad is None else weight.grad.clone() for weight in weights])


def assert_the_same(stage_of: Callable[[Ranks], Stage], *, batch: int) -> None:
    """Assert that two ranks, and one for each row, learn of a batch what one process learns of it."""
    whole = learned(stage_of, 1)
    largest = max(float(gradient.abs().max()) for gradient in whole.gradients if gradient is not None)
    assert np.isfinite(whole.loss) and largest > 0
    for count in (2, batch):
        parts = learned(stage_of, count)
        np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-5)
        np.testing.assert_allclose([parts.figures[name] for name in whole.figures], list(whole.figures.values()), 1e-5)
        for got, expected in zip(parts.gradients, whole.gradients, strict=True):
            assert (got is None) == (expected is None)
            if got is not None:
                torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * largest)
