"""Checks of what the model is given and what it answers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from vila_core.actions.grammar import ACTIONS
from vila_core.config import HistoryConfig
from vila_core.control.path_watch import body_step
from vila_core.doctor.findings import Finding, amber, graded, green, red, unknown
from vila_core.doctor.observations import Observations
from vila_core.types import Turn

_FEWEST_DECISIONS, _FEWEST_PROBES = 3, 6
_LEFT = tuple(index for index, action in enumerate(ACTIONS) if isinstance(action, Turn) and action.angle_rad > 0)
_RIGHT = tuple(index for index, action in enumerate(ACTIONS) if isinstance(action, Turn) and action.angle_rad < 0)
_SAME = 1e-4


def history(observed: Observations) -> Finding:
    """Say whether prompts show what the robot passed: the history grows, in order, to the newest image."""
    decisions = observed.decisions
    if len(decisions) < _FEWEST_DECISIONS:
        return unknown("no decisions (navigator/stats); give it an instruction meanwhile")
    for decision in decisions:
        shown = [stamp for stamp in decision.frames_ns if stamp]
        if any(after < before for before, after in itertools.pairwise(shown)):
            return red(
                "a prompt showed images out of their order", "the camera's stamps run backward: see camera clock"
            )
        if shown and decision.stamp_ns and shown[-1] != decision.stamp_ns:
            return red("the last image of a prompt is not the one that was answered", "please report this")
    first, last = decisions[0], decisions[-1]
    wanted = _frames_passed(observed, first.arrival_ns, last.arrival_ns)
    grown = last.history_frames - first.history_frames
    text = f"{last.history_frames} images are remembered, {len(last.frames_ns)} were shown with the last decision"
    if wanted >= 4 and grown < wanted / 3 and last.history_frames < HistoryConfig().capacity / 2:
        return amber(
            f"{text}; by odometry the robot passed {wanted} more than the {max(grown, 0)} that were added",
            "odometry and images must overlap in time (see the clocks); a mission begins with an empty history",
        )
    return green(text)


def latency(observed: Observations) -> Finding:
    """Compare the time that decisions take with the deadline."""
    times = [decision.latency_ms / 1000 for decision in observed.decisions if decision.latency_ms > 0]
    if len(times) < _FEWEST_DECISIONS:
        return unknown("no decisions (navigator/stats); give it an instruction meanwhile")
    usual_s, long_s, deadline_s = float(np.median(times)), max(times), observed.limits.decision_deadline_s
    return graded(
        f"a decision takes {usual_s:.2f} s, {long_s:.2f} s at most; the deadline is {deadline_s:g} s",
        "quantize the checkpoint, let it run on a GPU, or take a smaller one (`vila fit`); else raise"
        " navigator.decision_deadline_s",
        is_amber=long_s > 0.6 * deadline_s,
        is_red=usual_s > deadline_s or long_s > 2 * deadline_s,
    )


def probabilities(observed: Observations) -> Finding:
    """Say whether the ten probabilities are such, and change with what is seen."""
    told = [decision.probabilities for decision in observed.decisions if decision.probabilities]
    if len(told) < _FEWEST_DECISIONS:
        return unknown("no decisions with probabilities")
    table = np.array([row for row in told if len(row) == len(told[-1])])
    if not np.isfinite(table).all() or (np.abs(table.sum(axis=1) - 1) > 0.02).any():
        return red("probabilities are not finite, or don't add up to 1", "the checkpoint or its precision is broken")
    if len(table) >= 2 * _FEWEST_DECISIONS and (np.ptp(table, axis=0) < _SAME).all():
        return red(
            "every decision had the same probabilities: the model does not look", "see the checkpoint's warnings"
        )
    best = float(table.max(axis=1).mean())
    return graded(
        f"the chosen action has a probability of {best:.2f} in the mean",
        "the model does not know what to do here: another instruction, or see the camera's lines",
        is_amber=best < 0.3,
        is_red=False,
    )


def calibration(observed: Observations) -> Finding:
    """Say whether the model is as sure as it is steady: small changes of a picture should not change its mind."""
    probes = [probe for probe in observed.probes if probe.changed]
    if len(probes) < _FEWEST_PROBES:
        return unknown("no model was asked: --checkpoint names it")
    sure = float(np.mean([max(probe.plain) for probe in probes]))
    same = float(np.mean([np.argmax(row) == np.argmax(probe.plain) for probe in probes for row in probe.changed]))
    return graded(
        f"the model is {100 * sure:.0f} % sure, and keeps to its action in {100 * same:.0f} % of small changes",
        "don't trust its probabilities (min_probability, the page): it is surer than it is steady",
        is_amber=sure - same > 0.2,
        is_red=sure - same > 0.45,
    )


def left_right(observed: Observations) -> Finding:
    """Say whether the model turns one way whatever it sees: mirrored pictures should swap left and right.

    A model may look for what it does not see by turning one way always, as vila-nano does: hence wide limits.
    """
    probes = [probe for probe in observed.probes if probe.mirrored]
    if len(probes) < _FEWEST_PROBES:
        return unknown("no model was asked, or by no instruction of its own: --instruction")
    bias = float(np.mean([(_lean(probe.plain) + _lean(probe.mirrored)) / 2 for probe in probes]))
    way = "left" if bias > 0 else "right"
    return graded(
        f"mirroring the pictures leaves a lean of {abs(bias):.2f} to the {way}",
        f"the model prefers to turn {way}: is the picture mirrored, or the camera turned? else finetune with mirrored"
        " drives",
        is_amber=abs(bias) > 0.6,
        is_red=abs(bias) > 0.85,
    )


def _lean(row: Sequence[float]) -> float:
    """How much more probable it is to turn left than right, -1..1."""
    return sum(row[index] for index in _LEFT) - sum(row[index] for index in _RIGHT)


def _frames_passed(observed: Observations, begin_ns: int, end_ns: int) -> int:
    """How many images the motion between two times adds to a history, by odometry."""
    settings, heard = HistoryConfig(), observed.odometry
    count, driven_m, turned_rad = 0, 0.0, 0.0
    for before, after in itertools.pairwise(heard):
        if begin_ns <= after.arrival_ns <= end_ns:
            step = body_step(before.odometry.pose, after.odometry.pose)
            driven_m, turned_rad = driven_m + math.hypot(step.x_m, step.y_m), turned_rad + abs(step.yaw_rad)
            if driven_m >= settings.min_translation_m or turned_rad >= settings.min_rotation_rad:
                count, driven_m, turned_rad = count + 1, 0.0, 0.0
    return count
