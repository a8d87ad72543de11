"""What the training loop sees of finetuning: batches drawn by rng, their loss, and the weights that change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vila_core.models.vlm import VisionLanguageModel
from vila_tools.finetune.replies import Changes, Examiner
from vila_tools.finetune.samples import Sample
from vila_tools.training.autocast import autocast
from vila_tools.training.ranks import ALONE, Ranks


class FinetuneStage:
    """Teaches a model to answer samples; a batch's loss is the mean over the answers' tokens."""

    def __init__(
        self,
        model: VisionLanguageModel,
        samples: Sequence[Sample],
        trained: dict[str, list[nn.Parameter]],
        rates: dict[str, float],
        *,
        batch: int,
        precision: str = "float32",
        balances: bool = True,
        augments: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        """balances: answers that come up rarely are drawn more often, by 1 / sqrt of how many there are."""
        self.model, self.samples, self.trained, self.rates = model, samples, trained, rates
        self.batch, self.precision, self.augments, self.ranks = batch, precision, augments, ranks
        self.examiner = Examiner(model)
        counts = Counter(sample.answer for sample in samples)
        weights = np.array([counts[sample.answer] ** -0.5 if balances else 1.0 for sample in samples])
        self._cumulative = np.cumsum(weights) / weights.sum()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their peak learning rates, part by part."""
        return [(weights, self.rates[part]) for part, weights in self.trained.items()]

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is asked."""
        picks = np.searchsorted(self._cumulative, rng.random(self.batch)).clip(max=len(self.samples) - 1)
        torch.manual_seed(int(rng.integers(2**31)) + self.ranks.rank)  # of the dropout, which differs by rank
        share = self.ranks.share(self.batch)
        if self.augments:  # by what of the light's changes is drawn for the whole batch
            whole = [self.examiner.ask(self.samples[pick]) for pick in picks]
            asked, changes = share.of(whole), Changes(rng, whole)
        else:
            asked, changes = [self.examiner.ask(self.samples[pick]) for pick in picks[share.rows]], None
        with autocast(self.model.device, self.precision):
            replies = self.examiner.replies(asked, changes)
        losses = replies.losses()
        tokens = self.ranks.total(losses.new_tensor(float(len(losses))))
        return losses.sum() / tokens, {"accuracy": float(replies.right().sum()) / self.batch}

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that change, by their names."""
        return {name: weight.detach() for name, weight in self.model.named_parameters() if weight.requires_grad}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them. Raises ValueError for weights of another model, or of other parts."""
        own = dict(self.state_dict())
        if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in state_dict.items()}:
            raise ValueError("its weights are not those that are trained now")
        with torch.no_grad():
            for name, value in state_dict.items():
                own[name].copy_(value)


@torch.no_grad()
def held_out_figures(stage: FinetuneStage, samples: Sequence[Sample]) -> dict[str, float]:
    """Mean loss and share of answers that are right, over samples that are not trained on."""
    if not samples:
        return {}
    losses, right = sample_scores(stage.examiner, samples, batch=stage.batch, precision=stage.precision)
    return {"loss": float(losses.mean()), "accuracy": float(right.mean())}


@torch.no_grad()
def sample_scores(
    examiner: Examiner, samples: Sequence[Sample], *, batch: int, precision: str, progress: Any = iter
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Loss of each sample, mean over its answer's tokens, and whether the answer was right: [n] float, [n] bool.

    progress: passes the batches' beginnings on, tqdm for one.
    """
    losses, right = [], []
    for first in progress(range(0, len(samples), batch)):
        asked = [examiner.ask(sample) for sample in samples[first : first + batch]]
        with autocast(examiner.model.device, precision):
            replies = examiner.replies(asked)
        losses.append(replies.sample_losses().cpu().numpy())
        right.append(replies.right().cpu().numpy())
    return np.concatenate(losses), np.concatenate(right)
