from __future__ import annotations

import pytest

from vila_core.actions.grammar import SENTENCES
from vila_core.errors import BackendError
from vila_core.testing import ScriptedBackend
from vila_tools.decision_speed import measure_decide


def test_each_decision_has_a_new_frame_and_the_whole_history() -> None:
    backend = ScriptedBackend(SENTENCES[1])
    figures = measure_decide(backend, decisions=12, width=64, height=48)
    newest = [prompt.visuals[-1].frame.stamp_ns for prompt in backend.prompts]
    assert newest == sorted(set(newest)) and len(newest) > 12
    timed = backend.prompts[-12:]
    assert all(len({v.frame.key for v in prompt.visuals}) == backend.info.num_frames for prompt in timed)
    assert figures.decisions_per_s > 0 and 0 < figures.decide_ms <= figures.decide_p90_ms


def test_a_decision_to_hold_is_not_timed() -> None:
    with pytest.raises(BackendError, match="BACKEND_ERROR"):
        measure_decide(ScriptedBackend(BackendError("no")), decisions=2, width=64, height=48)
