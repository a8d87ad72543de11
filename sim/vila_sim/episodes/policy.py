"""What drives a robot through an episode, as far as the worlds need to know."""

from __future__ import annotations

from typing import Protocol

from vila_core.types import Decision, Frame, Odometry


class Policy(Protocol):
    """A driver: told the task, shown every unit step's frame, asked for the next action."""

    def start(self, instruction: str) -> None:
        """Begin an episode."""
        ...

    def observe(self, frame: Frame, odometry: Odometry) -> None:
        """Take what the robot sees and measures after each unit step, and at the start."""
        ...

    def decide(self) -> Decision:
        """What to do next, or to hold."""
        ...
