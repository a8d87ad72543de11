"""What is ruled out of the ten actions, and why: what leads nowhere, and what a second look speaks against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.actions.grammar import ACTIONS
from vila_core.guards.look_around import LookAround
from vila_core.guards.repetition_guard import RepetitionGuard
from vila_core.guards.second_look import Sight
from vila_core.guards.way_round import WayRound
from vila_core.types import Action, Frame, MoveForward, Pose, Stop

LEADS_NOWHERE = "which led nowhere here"


@dataclass(frozen=True, slots=True)
class Ruling:
    """For each of grammar.ACTIONS why it is ruled out, in words; "" for what may be done. One motion may, always."""

    reasons: tuple[str, ...] = ("",) * len(ACTIONS)

    @classmethod
    def of(cls, allowed: Sequence[bool]) -> Ruling:
        """As it was recorded, without the reasons."""
        return cls(tuple("" if one else "which was ruled out" for one in allowed))

    @property
    def allowed(self) -> tuple[bool, ...]:
        """For each of the ten: may it be done?"""
        return tuple(not reason for reason in self.reasons)

    def beside(self, sight: Sight) -> Ruling:
        """Return what is ruled out by the sight of the thing, too. It never rules out to drive."""
        against = tuple(sight.rules_out(action) for action in ACTIONS)
        both = tuple(one or other for one, other in zip(self.reasons, against, strict=True))
        if not _leaves_a_motion(both):  # the ways round something are few: what leads nowhere counts more
            both = tuple(
                one or (other if isinstance(action, Stop) else "")
                for one, other, action in zip(self.reasons, against, ACTIONS, strict=True)
            )
        return Ruling(both)


class Guards:
    """Rule out actions on the way to one thing; for the next thing there are new ones.

    avoid_repeats: rule out what led nowhere. chances, least: see LookAround. way_round: plans a way where the model's
    own lead nowhere; None: nothing does. Call `rule` before each decision and `note` after it.
    """

    def __init__(self, *, avoid_repeats: bool, chances: int, least: float, way_round: WayRound | None = None) -> None:
        self._avoid_repeats, self._way_round = avoid_repeats, way_round
        self._repetition, self._look_around = RepetitionGuard(), LookAround(chances, least)
        self._ruling = Ruling()  # the last one

    def rule(self, pose: Pose | None, frame: Frame | None = None) -> Ruling:
        """Say what leads nowhere at a pose, or not round what is in the way. frame: taken there."""
        if self._avoid_repeats:
            self._ruling = self._rule(pose, frame)
        return self._ruling

    def _rule(self, pose: Pose | None, frame: Frame | None) -> Ruling:
        onward, new = self._look_around.allowed(pose), self._repetition.allowed(pose)
        if self._way_round is not None and frame is not None:
            if self._look_around.has_seen_all:
                self._way_round.explore()
            planned = self._way_round.allowed(frame, pose)
            if not all(planned) and not _pushes_again(planned, new):
                return Ruling(tuple("" if one else self._way_round.reason for one in planned))
        allowed = new if all(onward) else onward
        return Ruling(tuple("" if one else LEADS_NOWHERE for one in allowed))

    def interrupt(self) -> None:
        """Note that what was to be done ends, or never begins, for another reason than something in the way."""
        if self._way_round is not None:
            self._way_round.interrupt()

    def note(self, action: Action, probabilities: Sequence[float]) -> None:
        """Note what is going to be done, and how probable each action was there; empty: it is not known."""
        self._repetition.note(action)
        self._look_around.note(action, probabilities)
        if self._way_round is None:
            return
        self._way_round.note(action)
        wanted = max(range(len(probabilities)), key=probabilities.__getitem__, default=None)
        if wanted is not None and self._ruling.reasons[wanted] == LEADS_NOWHERE:
            self._way_round.engage()


def _pushes_again(planned: Sequence[bool], new: Sequence[bool]) -> bool:
    """Return True if it is planned to drive where a drive has just led nowhere."""
    drives = [index for index, action in enumerate(ACTIONS) if planned[index] and isinstance(action, MoveForward)]
    return bool(drives) and not any(new[index] for index in drives)


def _leaves_a_motion(reasons: Sequence[str]) -> bool:
    return any(not reason and not isinstance(action, Stop) for reason, action in zip(reasons, ACTIONS, strict=True))
