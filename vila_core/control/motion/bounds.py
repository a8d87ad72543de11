"""How much the commands of one motion may add up to, in path and time, whatever odometry says."""

from __future__ import annotations

from vila_core.config import ControlConfig
from vila_core.control.limits import clip, longest_path, longest_time_s, slowest
from vila_core.control.path_watch import Path, PathWatch
from vila_core.control.reasons import MotionFault
from vila_core.types import Action, Stop, Turn, VelocityCommand

_RESERVE_S = 0.3  # a command may last so long: the path that is left must be enough for it
_SLOW_SHARE = 0.5  # of the slowest speed: what is left for less than that is used up
_SHORT = 0.25  # of the commanded path: odometry that measured so much less contradicts it


class MotionBounds:
    """Adds up the commands of a motion since its begin; times are the robot's.

    commanded: metres and radians, each way counted.
    """

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        self._action: Action = Stop()
        self._longest = self.commanded = Path()
        self._begun_ns = 0

    def reconfigure(self, config: ControlConfig) -> None:
        """Take another configuration; what a motion may add up to was fixed as it began."""
        self._config = config

    def begin(self, action: Action, before: VelocityCommand, now_ns: int, turned_rad: float = 0.0) -> None:
        """Count for an action from now on; one that replaces a running motion may brake that first.

        before: what that was commanded last. turned_rad: since the action's image, which it may have to undo; it counts
        up to what the largest turn commands.
        """
        config, (most_m, most_rad) = self._config, longest_path(action, self._config)
        self._action, self._begun_ns, self.commanded = action, now_ns, Path()
        most_rad += min(abs(turned_rad), longest_path(Turn(config.max_turn_rad), config)[1])
        self._longest = Path(
            most_m + _braking(before.linear_mps, config.max_linear_accel_mps2),
            most_rad + _braking(before.angular_rps, config.max_angular_accel_rps2),
        )

    def reset(self) -> None:
        """Forget what was commanded."""
        self.commanded = Path()

    def add(self, command: VelocityCommand, dt_s: float) -> None:
        """Note that a command passed for so long."""
        self.commanded = Path(
            self.commanded.forward_m + abs(command.linear_mps) * dt_s,
            self.commanded.turned_rad + abs(command.angular_rps) * dt_s,
        )

    def limited(self, command: VelocityCommand) -> VelocityCommand:
        """Return the command, slower if the path that is left is not enough for it."""
        left = self._left()
        return VelocityCommand(
            clip(command.linear_mps, left.forward_m / _RESERVE_S),
            clip(command.angular_rps, left.turned_rad / _RESERVE_S),
        )

    def overtime(self, now_ns: int) -> tuple[MotionFault, str]:
        """Return that the time is used up; NONE and an empty text if it is not."""
        limit_s, took_s = longest_time_s(self._action, self._config), (now_ns - self._begun_ns) / 1e9
        if took_s <= limit_s:
            return MotionFault.NONE, ""
        return MotionFault.TOO_LONG, f"it takes {took_s:.2f} s, limit {limit_s:.2f} s"

    def used_up(self, path: PathWatch, is_driving: bool, now_ns: int) -> tuple[MotionFault, str]:
        """Return that the path is used up; NONE and an empty text if it is not.

        path: what odometry measured meanwhile; it only tells why. is_driving: along the line, not turning.
        """
        left, need, told = self._left(), slowest(self._config), self.commanded
        if is_driving and left.forward_m < need.linear_mps * _RESERVE_S * _SLOW_SHARE:
            return self._too_far(path, now_ns), f"commanded were {told.forward_m:.3f} m and the goal is not reached"
        if not is_driving and left.turned_rad < need.angular_rps * _RESERVE_S * _SLOW_SHARE:
            return self._too_far(path, now_ns), f"commanded were {told.turned_rad:.3f} rad and the goal is not reached"
        return MotionFault.NONE, ""

    def _too_far(self, path: PathWatch, now_ns: int) -> MotionFault:
        """Return CONTRADICTS if it is because odometry measured less than was commanded, as far as that is known."""
        missing = path.lead - path.to_come(now_ns)
        short_m, short_rad = abs(missing.forward_m), abs(missing.turned_rad)
        contradicts = short_m > _SHORT * self.commanded.forward_m or short_rad > _SHORT * self.commanded.turned_rad
        return MotionFault.ODOMETRY_CONTRADICTS if contradicts else MotionFault.TOO_FAR

    def _left(self) -> Path:
        left = self._longest - self.commanded
        return Path(max(0.0, left.forward_m), max(0.0, left.turned_rad))


def _braking(speed: float, most_change: float) -> float:
    """Return the way to a standstill, and to that of the longest command."""
    return speed * speed / (2 * most_change) + abs(speed) * _RESERVE_S
