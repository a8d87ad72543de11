"""The last word on velocity: what may pass to the base, and why nothing may. Pure logic, no ROS.

Nothing moves but on a mission that was seen to begin, for an action of that mission, by a command that is fresh,
within limits that trust neither model nor odometry, past what the sensors see. A reason that is final revokes the
mission: another one must begin. What is heard is dated on a steady clock; path and time of an action are counted on the
robot's own, which may be simulated, run slower, stand still, and jump: a jump counts as a command's life at most.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from vila_core.control.governor.action_cap import ActionCap, PassedTurns, action_cap
from vila_core.control.governor.config import GovernorConfig
from vila_core.control.governor.obstacles import ObstacleVerdict
from vila_core.control.governor.speed_limiter import SpeedLimiter
from vila_core.control.reasons import StopReason
from vila_core.types import Action, VelocityCommand

_BACKWARD_MPS = 1e-3  # rounding


class GovernorState(enum.IntEnum):
    """What passes; the numbers of the message GovernorState."""

    IDLE = 0
    READY = 1
    LIMITED = 2
    STOPPED = 3
    REVOKED = 4


Guard = Callable[[VelocityCommand, int], ObstacleVerdict]


@dataclass(frozen=True, slots=True)
class GovernorOutput:
    """What to publish now: a command, or None for silence; and why."""

    command: VelocityCommand | None
    state: GovernorState
    reason: StopReason
    detail: str
    scale: float

    @property
    def is_locked(self) -> bool:
        """True if no velocity may reach the base but the governor's own, whoever else drives it by itself.

        Not locked while no mission runs, but for the emergency stop and the operator: then others may drive.
        """
        if self.state is GovernorState.REVOKED or self.reason in (StopReason.EMERGENCY_STOP, StopReason.OPERATOR):
            return True
        return self.state is GovernorState.STOPPED and self.reason is not StopReason.NO_COMMAND


@dataclass(slots=True)
class _Mission:
    """The mission that was told last. revoked: why it is over for us."""

    id: int
    running: bool
    heard_ns: int
    was_seen_to_begin: bool
    revoked: _Refusal | None = None


@dataclass(frozen=True, slots=True)
class _Command:
    wanted: VelocityCommand
    received_ns: int


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: StopReason
    detail: str
    is_final: bool = True  # the mission is over


class Governor:
    """Takes what it hears, and at each `tick` says what passes. Not thread-safe.

    guard: limits a command by obstacles, given it and the steady time.
    """

    def __init__(
        self,
        config: GovernorConfig,
        guard: Callable[[VelocityCommand, int], ObstacleVerdict],
        *,
        needs_watchdog: bool = True,
    ) -> None:
        self._config, self._guard, self._needs_watchdog = config, guard, needs_watchdog
        self._limiter = SpeedLimiter(config)
        self._mission: _Mission | None = None
        self._action_mission = 0
        self._cap: ActionCap | None = None
        self._turns = PassedTurns()
        self._command: _Command | None = None
        self._operator: _Command | None = None
        self._watchdog_ns: int | None = None
        self._emergency: dict[str, str] = {}  # who holds the emergency stop, and in what words
        self._machine_scale, self._machine_detail = 1.0, ""
        self._out = VelocityCommand()
        self._ticked_ns: int | None = None
        self._now_ns = 0  # the robot's time at the last tick
        self._moved_ns: int | None = None  # when the base may have obeyed a command other than zero last
        self.refused = 0  # commands and actions that did not pass

    def reconfigure(self, config: GovernorConfig) -> None:
        """Take other limits: the next tick holds to them. How much the present action may add up to stays."""
        self._config = config
        self._limiter.reconfigure(config)

    # --- what is heard ---------------------------------------------------------------------------

    def on_mission(self, mission_id: int, *, running: bool, steady_ns: int) -> None:
        """Take what the navigator tells again and again; a mission is seen to begin if it is not the first told."""
        before = self._mission
        if before is not None and before.id == mission_id and before.running == running:
            before.heard_ns = steady_ns
            return
        if running and before is not None and before.id == mission_id:  # it had ended: nothing begins twice
            return
        self._mission = _Mission(mission_id, running, steady_ns, was_seen_to_begin=before is not None)
        self._cap = self._command = None

    def on_action(self, mission_id: int, action: Action | None, image_ns: int | None = None) -> None:
        """Take the navigator's action, None for a hold; it replaces the one before, a running one without a stop.

        image_ns: the robot's time at the image that the action answers, now if it is not told.
        """
        is_running = self._cap is not None and self._action_mission == mission_id and self._command is not None
        self._action_mission, self._cap = mission_id, action_cap(action, self._config)
        if self._cap is None or not is_running:
            self._command = None
            return
        turned_rad = 0.0 if image_ns is None else self._turns.since(image_ns)
        self._cap.replace_running(self._out, turned_rad, self._config)

    def on_command(self, wanted: VelocityCommand, received_ns: int, *, is_planar: bool = True) -> None:
        """Take the controller's command; is_planar: it has no part but forward and turning."""
        values = (wanted.linear_mps, wanted.angular_rps)
        if not (is_planar and all(map(math.isfinite, values)) and wanted.linear_mps >= -_BACKWARD_MPS):
            self.refused += 1
            self._command = None
            self._revoke(
                _Refusal(StopReason.BAD_COMMAND, f"the controller commands {wanted}, neither forward nor a turn")
            )
            return
        self._command = _Command(wanted, received_ns)

    def on_watchdog(self, steady_ns: int) -> None:
        """Note that the watchdog lives."""
        self._watchdog_ns = steady_ns

    def on_operator(self, wanted: VelocityCommand | None, received_ns: int, detail: str) -> None:
        """The mission is over: the operator drives, or for None only takes over."""
        if wanted is not None:
            is_good = math.isfinite(wanted.linear_mps) and math.isfinite(wanted.angular_rps)
            self._operator = _Command(wanted if is_good else VelocityCommand(), received_ns)
        self._revoke(_Refusal(StopReason.OPERATOR, detail))

    def on_stranger(self, detail: str) -> None:
        """Somebody commands who may not: the mission is over."""
        self.refused += 1
        self._revoke(_Refusal(StopReason.STRANGER, detail))

    def on_machine(self, scale: float, detail: str) -> None:
        """Take how fast heat and memory of the machine let the robot be, 0 to 1: 0 stops it."""
        self._machine_scale, self._machine_detail = min(1.0, max(0.0, scale)), detail

    def press_emergency_stop(self, who: str, detail: str) -> None:
        """Stop, and stay so until each one who pressed has released."""
        self._emergency[who] = detail
        self._revoke(_Refusal(StopReason.EMERGENCY_STOP, detail))

    def release_emergency_stop(self, who: str) -> None:
        """Release what that one pressed; nothing moves on."""
        self._emergency.pop(who, None)

    @property
    def emergency(self) -> dict[str, str]:
        """Who holds the emergency stop, and in what words."""
        return self._emergency

    # --- what passes -----------------------------------------------------------------------------

    @property
    def mission_id(self) -> int:
        """The mission that was told last, 0 if none was: so the navigator knows that it is heard."""
        return self._mission.id if self._mission is not None else 0

    @property
    def commanded(self) -> tuple[float, float]:
        """Metres and radians that passed for the present action."""
        return (self._cap.commanded_m, self._cap.commanded_rad) if self._cap is not None else (0.0, 0.0)

    def tick(self, steady_ns: int, now_ns: int) -> GovernorOutput:
        """Say what passes now; called 50 times a second. now_ns: the robot's time, which may be simulated."""
        paused_s = 0.0 if self._ticked_ns is None else (steady_ns - self._ticked_ns) / 1e9
        dt_s = min(max(0.0, (now_ns - self._now_ns) / 1e9), self._config.command_life_s)
        self._now_ns = now_ns
        if self._ticked_ns is None:
            self._moved_ns = steady_ns  # for one that died before us
        self._ticked_ns = steady_ns
        self._turns.add(self._out, dt_s, now_ns)
        if self._cap is not None:
            self._cap.add(self._out, dt_s)  # the base obeyed it until now
        if paused_s > self._config.command_life_s:
            self._command = self._operator = None  # they waited as long as we were not run
        if paused_s > self._config.held_up_s:
            self._revoke(_Refusal(StopReason.HELD_UP, f"the governor was not run for {paused_s:.2f} s"))
        operator = self._operator_command(steady_ns)
        if operator is not None:
            return self._passed(
                ObstacleVerdict(operator, 1.0, StopReason.OPERATOR, "the operator drives"), dt_s, steady_ns
            )
        refusal = self._refusal(steady_ns)
        if refusal is not None:
            if refusal.is_final:
                self._revoke(refusal)
            return self._stopped(refusal.reason, refusal.detail, steady_ns)
        assert self._command is not None  # or there was a refusal
        limited = self._guard(self._command.wanted, steady_ns)
        if limited.reason is not StopReason.NONE:
            return self._stopped(limited.reason, limited.detail, steady_ns)
        return self._passed(limited, dt_s, steady_ns)

    def _operator_command(self, steady_ns: int) -> VelocityCommand | None:
        """Return what the operator wants, None if nobody drives or may."""
        life_ns = self._config.operator_s * 1e9
        if self._emergency or self._operator is None or steady_ns - self._operator.received_ns > life_ns:
            return None
        return self._operator.wanted

    def _refusal(self, steady_ns: int) -> _Refusal | None:
        """Return why nothing may pass, the gravest first; None if something may.

        What would stop any mission comes before that there is none: so it is told before one begins.
        """
        for held in self._emergency.values():
            return _Refusal(StopReason.EMERGENCY_STOP, held)
        mission = self._mission
        if mission is not None and mission.revoked is not None:
            return mission.revoked
        return (
            self._watchdog_refusal(steady_ns)
            or self._machine_refusal()
            or self._blind_refusal(steady_ns)
            or self._mission_refusal(steady_ns)
            or self._command_refusal(steady_ns)
        )

    def _blind_refusal(self, steady_ns: int) -> _Refusal | None:
        """Refuse while the sensors that must see are silent: to stand is refused for no other reason."""
        verdict = self._guard(VelocityCommand(), steady_ns)
        return None if verdict.reason is StopReason.NONE else _Refusal(verdict.reason, verdict.detail, is_final=False)

    def _mission_refusal(self, steady_ns: int) -> _Refusal | None:
        mission = self._mission
        if mission is None or not mission.running:
            return _Refusal(StopReason.NO_MISSION, "no mission runs")
        if not mission.was_seen_to_begin:
            return _Refusal(StopReason.NO_MISSION, "the mission had begun before the governor looked")
        silent_s = _silent_s(steady_ns, mission.heard_ns)
        if silent_s > self._config.lost_s:
            return _Refusal(StopReason.NAVIGATOR_LOST, f"the navigator has been silent for {silent_s:.2f} s")
        return None

    def _watchdog_refusal(self, steady_ns: int) -> _Refusal | None:
        if not self._needs_watchdog:
            return None
        if self._watchdog_ns is None:
            return _Refusal(StopReason.WATCHDOG_LOST, "there is no watchdog; start it, as the launch files do")
        silent_s = _silent_s(steady_ns, self._watchdog_ns)
        if silent_s <= self._config.watchdog_life_s:
            return None
        detail = f"the watchdog has been silent for {silent_s:.2f} s"
        return _Refusal(StopReason.WATCHDOG_LOST, detail, is_final=silent_s > self._config.lost_s)

    def _machine_refusal(self) -> _Refusal | None:
        if self._machine_scale > 0:
            return None
        return _Refusal(StopReason.MACHINE, self._machine_detail, is_final=False)

    def _command_refusal(self, steady_ns: int) -> _Refusal | None:
        cap, command = self._cap, self._command
        if cap is None or self._action_mission != self.mission_id or command is None:
            return _Refusal(StopReason.NO_COMMAND, "there is nothing to drive", is_final=False)
        exceeded, detail = cap.exceeded()
        if exceeded is not StopReason.NONE and not command.wanted.is_zero:
            return _Refusal(exceeded, detail)
        silent_s = _silent_s(steady_ns, command.received_ns)
        if silent_s > self._config.lost_s and not command.wanted.is_zero:
            detail = f"the controller fell silent amid a motion, for {silent_s:.2f} s"
            return _Refusal(StopReason.CONTROLLER_LOST, detail)
        if silent_s > self._config.command_life_s:
            return _Refusal(StopReason.NO_COMMAND, f"the last command is {silent_s:.2f} s old", is_final=False)
        return None

    def _revoke(self, refusal: _Refusal) -> None:
        mission = self._mission
        if mission is not None and mission.running and mission.revoked is None:
            mission.revoked = refusal

    def _passed(self, limited: ObstacleVerdict, dt_s: float, steady_ns: int) -> GovernorOutput:
        command = self._limiter.follow(limited.command, dt_s, self._machine_scale)
        if not command.is_zero:
            self._moved_ns = steady_ns
        self._out = command
        scale = limited.scale * self._machine_scale
        state = GovernorState.LIMITED if scale < 1 else GovernorState.READY
        if limited.reason is StopReason.OPERATOR:
            state = self._standing_state()
        return GovernorOutput(command, state, limited.reason, limited.detail or self._machine_detail, scale)

    def _stopped(self, reason: StopReason, detail: str, steady_ns: int) -> GovernorOutput:
        """Stand: zeros for a while, then silence; zeros for ever under the emergency stop."""
        self._out = self._limiter.stop()
        assert self._moved_ns is not None  # set by the first tick
        is_told = self._emergency or _silent_s(steady_ns, self._moved_ns) <= self._config.stop_publish_s
        command = self._out if is_told else None
        return GovernorOutput(command, self._standing_state(), reason, detail, 0.0)

    def _standing_state(self) -> GovernorState:
        mission = self._mission
        if mission is None or not mission.running:
            return GovernorState.IDLE
        if mission.revoked is not None or not mission.was_seen_to_begin or self._emergency:
            return GovernorState.REVOKED
        return GovernorState.STOPPED


def _silent_s(steady_ns: int, heard_ns: int) -> float:
    return (steady_ns - heard_ns) / 1e9
