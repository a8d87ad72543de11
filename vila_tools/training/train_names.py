"""`vila train-names`: show a relevance head's eyes many more things by their names.

What reads the eyes no longer fits then: behind it run `vila train-events --keep-eyes`, and `vila train-distances`, for
the head's readers of distances and free space are gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from vila_core.models.relevance import RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.frame_lessons import LessonRun, learn, teach
from vila_tools.training.frame_name_stage import FrameNameStage
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts

RECIPE = StageRecipe(4000, 64, 1e-3, 5e-4, warmup_steps=100)


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the names; the last line on stdout is one JSON object."""
    return teach(train_names, RECIPE, argv, program="names", description=__doc__)


def train_names(
    model: VisionLanguageModel, rollouts: Rollouts, run: LessonRun
) -> tuple[RelevanceHead, dict[str, float]]:
    """Return the head with eyes that were taught; without readers of distances and free space, which fit no more."""
    before = model.relevance_head
    assert before is not None
    head = RelevanceHead(dataclasses.replace(before.config, distance_width=0, free_space_width=0)).to(model.device)
    head.load_state_dict({name: weight for name, weight in before.state_dict().items() if name in head.state_dict()})
    return head, learn("frame_names", lambda frames: FrameNameStage(model, head, frames), rollouts, run)
