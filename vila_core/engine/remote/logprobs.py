"""From the logarithmic probabilities of a reply's tokens to one probability for each reply that could have been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a reply. others: the most probable ones in its place, itself usually among them."""

    text: str
    logprob: float
    others: tuple[tuple[str, float], ...] = ()


def reply_probabilities(tokens: Sequence[Token], replies: Sequence[str], index: int) -> tuple[float, ...]:
    """Return a probability for each reply, given the tokens of replies[index].

    At each token that the replies part at, its probability among those that some reply goes on with; replies that are
    left there share what their group has, evenly, since nothing tells how they would part further on. ValueError if the
    tokens are not the reply's.
    """
    share, alive = 1.0, list(range(len(replies)))
    found = [0.0] * len(replies)
    written = ""
    for token in tokens:
        if not replies[index].startswith(written + token.text):
            raise ValueError(f"token {token.text!r} does not go on with {replies[index]!r} behind {written!r}")
        staying = [one for one in alive if replies[one].startswith(written + token.text)]
        leaving = [one for one in alive if one not in staying]
        if leaving:
            groups = _groups(token, written, leaving, replies)
            total = math.exp(token.logprob) + math.fsum(weight for weight, _ in groups)
            for weight, group in groups:
                for one in group:
                    found[one] += share * weight / total / len(group)
            share *= math.exp(token.logprob) / total
        alive, written = staying, written + token.text
    for one in alive:
        found[one] += share / len(alive)
    total = math.fsum(found)
    if not math.isfinite(total) or total <= 0:
        raise ValueError("the tokens' probabilities are not finite")
    return tuple(value / total for value in found)


def _groups(
    token: Token, written: str, leaving: Sequence[int], replies: Sequence[str]
) -> list[tuple[float, list[int]]]:
    """Return the weight of each other token that some of the leaving replies go on with, and which these are."""
    groups = []
    for text, logprob in token.others:
        group = [one for one in leaving if text and replies[one].startswith(written + text)]
        if text != token.text and group:
            groups.append((math.exp(logprob), group))
    return groups
