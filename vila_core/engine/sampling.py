"""How the next token is picked from its logits, and how probable it and the others were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Pick = Callable[[Tensor], tuple[Tensor, Tensor]]  # logits [V] -> the token [1], and the largest logit [1]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are picked. temperature: 0 takes the most probable. top_p: share of probability that is drawn from.

    alternatives: how many of the most probable tokens are noted beside each; None to note no probabilities.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    alternatives: int | None = None


@dataclass(frozen=True, slots=True)
class PickedToken:
    """A token with the logarithm of its probability, and of those of the most probable tokens, best first."""

    id: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


def greedy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Take the most probable token; its logit is NaN if any is."""
    logit, token = logits.max(-1, keepdim=True)
    return token, logit


class Picker:
    """Picks token after token of one reply; the same seed picks the same. `noted` has what was asked for of each."""

    def __init__(self, sampling: Sampling) -> None:
        self.noted: list[PickedToken] = []
        self._sampling = sampling
        self._generator: torch.Generator | None = None

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Pick one; see Pick."""
        token, best = greedy(logits)
        if self._sampling.temperature > 0 and bool(torch.isfinite(best)):
            token = self._drawn(logits)
        if self._sampling.alternatives is not None:
            self._note(logits, int(token))
        return token, best

    def _drawn(self, logits: Tensor) -> Tensor:
        """Draw among the most probable tokens that together have top_p."""
        if self._generator is None:
            self._generator = torch.Generator().manual_seed(self._sampling.seed)
        scaled = torch.softmax(logits.float().cpu() / self._sampling.temperature, -1)
        shares, order = scaled.sort(descending=True)
        shares[shares.cumsum(-1) - shares >= self._sampling.top_p] = 0.0  # the first always stays
        return order[torch.multinomial(shares, 1, generator=self._generator)].to(logits.device)

    def _note(self, logits: Tensor, token: int) -> None:
        logprobs = torch.log_softmax(logits.float(), -1)
        values, ids = logprobs.topk(min(self._sampling.alternatives or 0, len(logprobs)))
        others = tuple(zip(ids.tolist(), values.tolist(), strict=True))
        self.noted.append(PickedToken(token, float(logprobs[token]), others))
