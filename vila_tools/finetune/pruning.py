"""Which part of a data set is worth training on: DeltaLoss (NVILA, arXiv:2412.04468), perplexity, or chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vila_core.errors import ConfigError

DELTALOSS, PERPLEXITY, RANDOM = "deltaloss", "perplexity", "random"
WAYS = (DELTALOSS, PERPLEXITY, RANDOM)

Losses = NDArray[np.floating]


def delta_loss(larger: Losses, smaller: Losses) -> Losses:
    """How much better the larger model knows each sample: log(p_larger / p_smaller), a mean over the answer's tokens.

    larger, smaller: [n], the models' mean losses. Near 0: both know it (too easy), or neither does (too hard, or
    wrong). Below 0: the larger model is led astray. High: it can be learned, and is not yet.
    """
    return smaller - larger


def kept_samples(
    way: str,
    share: float,
    count: int,
    *,
    larger: Losses | None = None,
    smaller: Losses | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.intp]:
    """Choose a share of count samples, at least one; ascending indices.

    deltaloss keeps those with the highest delta_loss, perplexity those that the smaller model finds hardest, random any
    (rng). Equal ones stay in their order. Raises ConfigError for an unknown way or a share that is not in (0, 1], and
    ValueError for losses that are missing or not of count samples.
    """
    if way not in WAYS:
        raise ConfigError(f"--by {way!r} is not known; known: {', '.join(WAYS)}")
    if not 0 < share <= 1:
        raise ConfigError(f"--keep {share:g}: must be above 0 and at most 1")
    number = max(1, round(share * count))
    if way == RANDOM:
        if rng is None:
            raise ValueError("random needs rng")
        return np.sort(rng.permutation(count)[:number])
    if smaller is None or len(smaller) != count or (way == DELTALOSS and (larger is None or len(larger) != count)):
        raise ValueError(f"{way} needs the losses of {count} samples")
    scores = smaller if way == PERPLEXITY or larger is None else delta_loss(larger, smaller)
    return np.sort(np.argsort(-scores, kind="stable")[:number])
