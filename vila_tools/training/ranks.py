"""Processes that train one model together, as torchrun starts them: each computes its share of every batch.

A loss is a sum over what is in a batch, divided by how much of that there is. Each process computes the sum over its
share and divides by the amount in the whole batch: losses, figures and gradients of all add up to those of one process.
"""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from vila_core.errors import ConfigError

Item = TypeVar("Item")
_WAIT = datetime.timedelta(hours=2)  # for the first process, which alone validates and writes


@dataclass(frozen=True, slots=True)
class Share:
    """Which of a batch's `count` rows are a process's own."""

    rows: slice | list[int]
    count: int

    @classmethod
    def whole(cls, count: int) -> Share:
        """All rows."""
        return cls(slice(0, count), count)

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Return the share of the batch's items."""
        own = range(self.count)[self.rows] if isinstance(self.rows, slice) else self.rows
        return [items[at] for at in own]

    def times(self, many: int) -> Share:
        """The same where each row of the batch has become so many, one behind the other."""
        assert isinstance(self.rows, slice)
        return Share(slice(self.rows.start * many, self.rows.stop * many), self.count * many)


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of the processes that train together this is; by itself, unless said otherwise."""

    rank: int = 0
    count: int = 1

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process do something alone, and the others behind it, who find it done."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    @property
    def is_first(self) -> bool:
        """True for the one that writes."""
        return self.rank == 0

    def share(self, rows: int) -> Share:
        """Return this process's share of a batch; shares differ by one row at most.

        Raises ConfigError for a batch of fewer rows than there are processes.
        """
        if rows < self.count:
            raise ConfigError(f"{self.count} processes for a batch of {rows}: take fewer, or a larger batch")
        return Share(slice(rows * self.rank // self.count, rows * (self.rank + 1) // self.count), rows)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of all processes' values, without a gradient."""
        total = value.detach().clone()
        if self.count > 1:
            dist.all_reduce(total)
        return total

    def totals(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the sums of all processes' figures, which have the same names."""
        if self.count == 1:
            return dict(figures)
        sums = torch.tensor([figures[name] for name in sorted(figures)], dtype=torch.float64).to(_device())
        dist.all_reduce(sums)
        return dict(zip(sorted(figures), sums.tolist(), strict=True))

    def add_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Make every weight's gradient the sum of all processes'; where none has one, none has one afterwards."""
        if self.count == 1:
            return
        has = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32, device=_device())
        dist.all_reduce(has)
        shared = [weight for weight, count in zip(weights, has.tolist(), strict=True) if count]
        for weight in shared:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for weight in shared:
            assert weight.grad is not None
            by_kind.setdefault((weight.grad.dtype, weight.grad.device), []).append(weight.grad)
        for gradients in by_kind.values():
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def share_weights(self, weights: Sequence[Tensor]) -> None:
        """Give all processes the first one's weights."""
        if self.count > 1:
            for weight in weights:
                packed = weight.detach().contiguous()
                dist.broadcast(packed, 0)
                weight.detach().copy_(packed)

    def agreed(self, choice: str) -> str:
        """Return the first process's choice."""
        choices = [choice]
        if self.count > 1:
            dist.broadcast_object_list(choices, 0)
        return choices[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            self.total(torch.zeros(1, device=_device()))

    def require_same(self, step: int, where: object) -> None:
        """Raise ConfigError unless all processes found the same state to go on from."""
        if self.count == 1:
            return
        found: list[tuple[str, int]] = [("", 0)] * self.count
        dist.all_gather_object(found, (socket.gethostname(), step))
        if len({each for _, each in found}) > 1:
            told = ", ".join(f"{host}: step {each}" for host, each in found)
            raise ConfigError(f"{where} is not the same for all processes ({told}): all must see one folder")


ALONE = Ranks()


@contextmanager
def torchrun_ranks(device: torch.device) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes if torchrun started this one; yields who this is, and its own device.

    They talk by NCCL on GPUs, of which each takes one, and by Gloo otherwise. Raises ConfigError for more processes on
    a machine than it has GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE, device
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ConfigError(f"{torch.cuda.device_count()} GPUs for {local + 1} processes: take fewer")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_WAIT)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
