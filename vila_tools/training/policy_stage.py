"""Second and third stage: the decoder learns to follow words, first with frozen eyes, then with open ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from vila_core.models.preprocess import normalise_pixels
from vila_core.models.projector import pool_tokens
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.autocast import autocast
from vila_tools.training.ranks import ALONE, Ranks, Share
from vila_tools.training.recipe import Recipe, StageRecipe
from vila_tools.training.samples import VISUAL, Batch, Sampler
from vila_tools.training.shards import Rollouts
from vila_tools.training.vision_stage import augment


class PolicyStage(nn.Module):
    """Imitates the oracle's sentences; at its side two losses that say where the named object is.

    Grounding: does this visual token of the current frame show the named object? The words come
    first in the prompt, so the decoder's state at a visual token can know. Aim: the object's
    bearing and distance, at the prompt's last token.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        rollouts: Rollouts,
        recipe: Recipe,
        rows: range,
        *,
        stage: StageRecipe,
        features: Callable[[], Tensor] | None,
        ranks: Ranks = ALONE,
    ) -> None:
        """features: gives a frozen tower's, see `frozen_features`, asked for when needed; None trains the tower too."""
        super().__init__()
        self.model, self.rollouts, self.recipe, self.stage = model, rollouts, recipe, stage
        self.features, self.ranks = features, ranks
        self.sampler = Sampler(model, rollouts, recipe, rows)
        self.grounding_head = nn.Linear(recipe.sizes.width, 1)
        self.aim_head = nn.Linear(recipe.sizes.width, 3)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters and their learning rates."""
        trained = (self.model.projector, self.model.language_model, self.grounding_head, self.aim_head)
        groups = [([weight for module in trained for weight in module.parameters()], self.stage.learning_rate)]
        if self.features is None:
            groups.append((list(self.model.vision_tower.parameters()), self.stage.vision_learning_rate))
        return groups

    def loss(self, rng: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """Loss and figures of one random batch, of which this rank's share is seen."""
        ranks, share = self.ranks, self.ranks.share(self.stage.batch_size)
        batch = self.sampler.draw(self.stage.batch_size, rng).part(share).to(self.model.device)
        asked = batch.targets >= 0
        with autocast(self.model.device, self.recipe.precision):
            hidden, visual_hidden = self._run(batch, rng, share)
            logits = self.model.language_model.logits(hidden[asked]).float()
        hidden, visual_hidden = hidden.float(), visual_hidden.float()
        weights = batch.weights[asked]
        spoken = (F.cross_entropy(logits, batch.targets[asked], reduction="none") * weights).sum()
        spoken = spoken / ranks.total(weights.sum())
        grounding = F.binary_cross_entropy_with_logits(
            self.grounding_head(visual_hidden)[..., 0],
            batch.grounding,
            pos_weight=batch.grounding.new_tensor(4.0),
            reduction="sum",
        )
        grounding = grounding / (share.count * batch.grounding.shape[1])
        last = hidden[torch.arange(len(hidden), device=hidden.device), batch.ask]
        aim = F.smooth_l1_loss(
            self.aim_head(last)[batch.aim_known], batch.aim[batch.aim_known], beta=0.1, reduction="sum"
        )
        known = ranks.total(batch.aim_known.sum())
        aim = aim / (known * batch.aim.shape[1]) if bool(known) else spoken.new_zeros(())
        loss = spoken + self.recipe.grounding_weight * grounding + self.recipe.aim_weight * aim
        branch = weights >= 1.0
        right = (logits.argmax(-1) == batch.targets[asked])[branch].sum()
        correct = float(right / ranks.total(branch.sum()).clamp(min=1))
        return loss, {
            "branch_accuracy": correct,
            "spoken": spoken.item(),
            "grounding": grounding.item(),
            "aim": aim.item(),
        }

    def _run(self, batch: Batch, rng: np.random.Generator, share: Share) -> tuple[Tensor, Tensor]:
        """Hidden states [B, L, D] of all tokens, and [B, N, D] of the current frame's visual tokens."""
        ids = batch.ids
        visual = ids == VISUAL
        embeddings = self.model.language_model.embed_tokens(ids.clamp(min=0))
        tokens = self._visual_tokens(batch, rng, share)
        embeddings = embeddings.masked_scatter(visual[..., None], tokens.to(embeddings.dtype))
        hidden = self.model.language_model(embeddings, torch.arange(ids.shape[1], device=ids.device))
        count = batch.grounding.shape[1]
        shown = hidden[visual].view(len(ids), -1, hidden.shape[-1])
        return hidden, shown[:, -count:]

    def _visual_tokens(self, batch: Batch, rng: np.random.Generator, share: Share) -> Tensor:
        """[B, V, D]: the older frames' pooled tokens, then the current frame's."""
        count, frames = batch.frames.shape
        if self.features is not None:
            features = self.features()[batch.frames.flatten().cpu()].to(self.model.device).float()
        else:
            features = self._see(batch.frames.cpu().numpy(), rng, share).flatten(0, 1)
        tokens = self.model.projector(features).unflatten(0, (count, frames))  # [B, F, N, D]
        least = self.model.config.navigation.history_tokens
        older = tokens[:, :-1] if least is None else pool_tokens(tokens[:, :-1], least)
        return torch.cat((older.flatten(1, 2), tokens[:, -1]), dim=1)

    def _see(self, rows: np.ndarray, rng: np.random.Generator, share: Share) -> Tensor:
        """[B, F, P, C]: the tower learns from the current frames alone, which have most of the tokens."""
        older_rows = rows[:, :-1]
        with torch.no_grad():
            older = self._features(older_rows.flatten(), rng, share.times(older_rows.shape[1]))
        older = older.unflatten(0, (len(rows), -1))
        return torch.cat((older, self._features(rows[:, -1], rng, share)[:, None]), dim=1)

    def _features(self, rows: np.ndarray, rng: np.random.Generator, share: Share) -> Tensor:
        frames, is_mirrored = rows % (len(self.rollouts) + 1), rows > len(self.rollouts)
        is_black = frames == len(self.rollouts)  # that row, or BLANK, the last
        pictures = self.rollouts.images[np.where(is_black, 0, frames)]
        pictures[is_mirrored] = pictures[is_mirrored][:, :, ::-1]
        images = augment(torch.from_numpy(pictures), rng, share)
        images[torch.from_numpy(is_black)] = 0.0
        images = images.to(self.model.device)
        return self.model.vision_tower(normalise_pixels(images, self.model.config.vision, torch.float32))


@torch.inference_mode()
def frozen_features(model: VisionLanguageModel, rollouts: Rollouts, precision: str) -> Tensor:
    """The tower's features of every frame and of a black one, then the same mirrored: [2 (N + 1), P, C] float16."""
    config, size, half = model.config.vision, 256, len(rollouts) + 1
    out = torch.empty((2 * half, config.grid**2, config.hidden_size), dtype=torch.float16)

    def see(images: Tensor) -> Tensor:
        with autocast(model.device, precision):
            seen: Tensor = model.vision_tower(normalise_pixels(images.to(model.device), config, torch.float32))
        return seen

    for start in tqdm(range(0, len(rollouts), size), desc="features", unit="batch"):
        images = torch.from_numpy(rollouts.images[start : start + size])
        out[start : start + len(images)] = see(images)
        out[half + start : half + start + len(images)] = see(images.flip(2))
    out[[half - 1, -1]] = see(torch.zeros((1, config.image_size, config.image_size, 3), dtype=torch.uint8)).half()
    return out.clone()
