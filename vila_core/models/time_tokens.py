"""Times in text: `<12.5>` in seconds <-> `<t41>` in parts of a video's duration, and the loss that knows their order.

As LITA and VILA do (llava/data/dataset_impl/lita.py, llava/eval/rtl.py, llava/model/loss.py at HEAD).
"""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vila_core.models.config import TimeTokens

IGNORE = -100  # the label of a position that is not trained
_SECONDS = re.compile(r"<(\d*\.\d+|\d+\.?)>")


def encode_times(text: str, duration_s: float, tokens: TimeTokens) -> str:
    """Replace each `<seconds>` by its time token and strip the text.

    Rounds half to even. Times beyond the duration give numbers >= count, as the official code does. Raises ValueError
    for a duration that is not positive or fewer than two tokens.
    """
    _check(duration_s, tokens)

    def token(match: re.Match[str]) -> str:
        part = float(match[1]) / duration_s * (tokens.count - 1)
        return tokens.format.format(t=int(np.round(part)))

    return _SECONDS.sub(token, text).strip()


def decode_times(text: str, duration_s: float, tokens: TimeTokens) -> str:
    """Replace each time token by `<seconds>`, rounded to hundredths; a `<tK>` with K >= count by the duration.

    Raises ValueError as encode_times does.
    """
    _check(duration_s, tokens)
    for number in range(tokens.count):
        seconds = round(number * duration_s / (tokens.count - 1), 2)
        text = text.replace(tokens.format.format(t=number), f"<{seconds}>")

    def beyond(match: re.Match[str]) -> str:
        excess = match[1] == str(int(match[1])) and int(match[1]) >= tokens.count  # <t007> is no token
        return f"<{round(duration_s, 2)}>" if excess else match[0]

    return re.sub(r"<t(\d+)>", beyond, text, flags=re.ASCII)


def stated_times(text: str) -> list[float]:
    """The first two `<seconds>` of a reply, or as many as there are."""
    return [float(match[1]) for match in _SECONDS.finditer(text)][:2]


def parse_interval(text: str, duration_s: float) -> tuple[float, float]:
    """The first two `<seconds>` of a reply, clamped to the video and in order; fewer than two: the whole video."""
    found = stated_times(text)
    if len(found) < 2:
        return (0.0, duration_s)
    first, second = (min(max(seconds, 0.0), duration_s) for seconds in found)
    return (min(first, second), max(first, second))


def soft_cross_entropy(logits: Tensor, labels: Tensor, time_token_ids: Tensor, std: float) -> Tensor:
    """Mean next-token loss, with a soft target where the label is a time token.

    logits: [B, L, V]. labels: [B, L] int64, IGNORE where nothing is trained; position i is scored by i - 1's logits.
    time_token_ids: [N] int64. The soft target is a Gaussian over the time tokens, std wide in ids. Returns a scalar.
    """
    logits, labels = logits[..., :-1, :].flatten(0, -2), labels[..., 1:].flatten()
    logits, labels = logits[labels != IGNORE], labels[labels != IGNORE]
    is_time = torch.isin(labels, time_token_ids)
    hard = F.cross_entropy(logits[~is_time], labels[~is_time], reduction="sum")
    distance = labels[is_time, None] - time_token_ids  # [M, N]
    weights = torch.exp(-(distance.to(logits.dtype) ** 2) / (2 * std**2))
    targets = torch.zeros_like(logits[is_time])
    targets[:, time_token_ids] = weights / weights.sum(dim=-1, keepdim=True)
    return (hard + F.cross_entropy(logits[is_time], targets, reduction="sum")) / labels.numel()


def _check(duration_s: float, tokens: TimeTokens) -> None:
    if duration_s <= 0 or tokens.count < 2:
        raise ValueError(f"need a duration > 0 and at least 2 time tokens, got {duration_s} s and {tokens.count}")
