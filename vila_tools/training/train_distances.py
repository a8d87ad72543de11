"""`vila train-distances`: teach a relevance head how far off what it sees is, and how far the floor is free.

Nothing else of it is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from vila_core.models.relevance import RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.distance_stage import DistanceStage
from vila_tools.training.frame_lessons import LessonRun, learn, teach
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts

RECIPE = StageRecipe(6000, 64, 2e-3, weight_decay=0.01, warmup_steps=200)
WIDTH = 128


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the distances; the last line on stdout is one JSON object."""
    return teach(train_distances, RECIPE, argv, program="distances", description=__doc__)


def train_distances(
    model: VisionLanguageModel, rollouts: Rollouts, run: LessonRun
) -> tuple[RelevanceHead, dict[str, float]]:
    """Return the model's head with readers of distances and of free space, anew."""
    head = model.relevance_head
    assert head is not None
    torch.manual_seed(run.seed)
    config = dataclasses.replace(head.config, distance_width=WIDTH, free_space_width=WIDTH)
    taught = RelevanceHead(config).to(model.device)
    others = {name: it for name, it in head.state_dict().items() if not name.startswith(("distance.", "free_space."))}
    taught.load_state_dict(taught.state_dict() | others)
    return taught, learn("distances", lambda frames: DistanceStage(taught, frames), rollouts, run)
