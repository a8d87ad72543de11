"""The goal of a motion, anchored at the pose of its image, and how far the robot is from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vila_core.types import Action, MoveForward, Pose, Turn, wrap_angle


@dataclass(frozen=True, slots=True)
class GoalError:
    """The goal of a motion, seen from the robot."""

    along_m: float  # still to drive along the line; below 0 past its end
    lateral_m: float  # the line lies so far to the left of the robot
    yaw_rad: float  # still to turn, left > 0

    @property
    def distance_m(self) -> float:
        """How far away the goal is."""
        return math.hypot(self.along_m, self.lateral_m)


@dataclass(frozen=True, slots=True)
class MotionGoal:
    """Where an action leads from its anchor: along a line, or to a yaw. It never moves with the robot."""

    action: Action
    anchor: Pose

    @property
    def is_line(self) -> bool:
        """True for a forward action, False for a turn."""
        return isinstance(self.action, MoveForward)

    @property
    def distance_m(self) -> float:
        """The length of the line, 0 for a turn."""
        return self.action.distance_m if isinstance(self.action, MoveForward) else 0.0

    @property
    def angle_rad(self) -> float:
        """The angle of the turn, left > 0; 0 for a forward action."""
        return self.action.angle_rad if isinstance(self.action, Turn) else 0.0

    def error(self, pose: Pose) -> GoalError:
        """Return what is left to do from a pose."""
        goal = self.anchor.advanced(self.distance_m).turned(self.angle_rad)
        yaw_rad = wrap_angle(goal.yaw_rad - pose.yaw_rad)
        if not self.is_line:
            return GoalError(0.0, 0.0, yaw_rad)
        dx, dy = goal.x_m - pose.x_m, goal.y_m - pose.y_m
        cos, sin = math.cos(goal.yaw_rad), math.sin(goal.yaw_rad)
        return GoalError(dx * cos + dy * sin, dy * cos - dx * sin, yaw_rad)

    def share_done(self, error: GoalError) -> float:
        """Return which part of the action is done: 0 at its anchor, 1 at its goal; it may be below and above."""
        if self.is_line:
            return 1.0 - error.along_m / self.distance_m
        return wrap_angle(self.angle_rad - error.yaw_rad) / self.angle_rad

    def turned_rad(self, pose: Pose) -> float:
        """Return how far a pose is turned away from the anchor, either way."""
        return abs(wrap_angle(pose.yaw_rad - self.anchor.yaw_rad))
