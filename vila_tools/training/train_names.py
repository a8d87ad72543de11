"""`vila train-names`: show a relevance head's eyes many more things by their names.

What reads the eyes no longer fits then: behind it run `vila train-events --keep-eyes`, and `vila train-distances`, for
the head's reader of distances is gone.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

from vila_core.models.relevance import RelevanceHead
from vila_core.models.vlm import VisionLanguageModel
from vila_tools.training.frame_lessons import LessonRun, teach
from vila_tools.training.frame_names import FrameNames
from vila_tools.training.ranks import ALONE
from vila_tools.training.recipe import StageRecipe
from vila_tools.training.shards import Rollouts
from vila_tools.training.stage_run import held_out, run_stage

RECIPE = StageRecipe(4000, 64, 1e-3, 5e-4, warmup_steps=100)


def main(argv: Sequence[str] | None = None) -> int:
    """Teach the names; the last line on stdout is one JSON object."""
    return teach(train_names, RECIPE, argv, program="names", description=__doc__)


def train_names(
    model: VisionLanguageModel, rollouts: Rollouts, run: LessonRun
) -> tuple[RelevanceHead, dict[str, float]]:
    """Return the head with eyes that were taught; without its reader of distances, which read the others' features."""
    before = model.relevance_head
    assert before is not None
    head = RelevanceHead(dataclasses.replace(before.config, distance_width=0)).to(model.device)
    head.load_state_dict({name: weight for name, weight in before.state_dict().items() if name in head.state_dict()})
    before = copy.deepcopy(before).requires_grad_(False)
    trained, checked = (
        FrameNames(model, (head, before), rollouts, rows, run.steps, run.precision, ranks)
        for rows, ranks in zip(held_out(len(rollouts)), (run.ranks, ALONE), strict=True)
    )
    figures = run_stage("frame_names", trained, checked, run.steps, seed=run.seed, folder=run.folder, ranks=run.ranks)
    return head, figures
