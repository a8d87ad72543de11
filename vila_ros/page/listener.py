"""What the robot's nodes tell, put on the board in words and numbers that a browser shows as they are."""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from vila_nav.msg import DecisionStats, GovernorState, Mission, NavAction, NavigatorStatus, TemporalEvent

from vila_core.actions.grammar import ACTIONS, short_name
from vila_core.control.governor.governor import GovernorState as State
from vila_core.control.reasons import MotionFault, StopReason
from vila_core.types import Action, HoldReason, MoveForward, Odometry, Turn
from vila_ros.common.authority import Authority
from vila_ros.common.conversions import OdometryError, ns_from_stamp, odometry_from_message
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos, subscription_events
from vila_ros.common.topics import ACTIONS as ACTION_TOPIC
from vila_ros.common.topics import EXECUTION, GOVERNOR_STATE, MISSIONS
from vila_ros.page.board import Board
from vila_ros.page.config import PageConfig
from vila_ros.page.path import Path
from vila_ros.page.pictures import Pictures

_STATES = ("commanded", "running", "done", "refused", "aborted")  # in the order of NavAction.STATE_...
_OUTCOMES = ("reached", "stopped", "failed")  # in that of NavigateInstruction's OUTCOME_...
_STATUS = ("inactive", "loading", "ready", "navigating")  # in that of NavigatorStatus.STATE_...
_LEVELS = ("ok", "warning", "error", "stale")
_RECORDER = {"file", "lost_messages", "removed_files"}  # what a recorder tells of itself
_PLAIN_PATH = re.compile(r"/[\w./+@-]{1,500}", re.ASCII)
_REPORTED = 8  # decisions whose motions may still be reported on
_METHODS = ("", "relevance head", "time tokens", "timestamps")  # in the order of TemporalEvent.METHOD_...


class Listener:
    """Hears the nodes for the board. on_restart: called when the navigator has forgotten its standing queries."""

    def __init__(
        self, node: Node, board: Board, pictures: Pictures, config: PageConfig, on_restart: Callable[[], None]
    ) -> None:
        self._node, self._board, self._pictures, self._on_restart = node, board, pictures, on_restart
        self.heard_s: dict[str, float] = {}  # steady time of each node's last word
        self.governor: GovernorState | None = None
        self.odometry: Odometry | None = None
        self._run = 0
        self._decisions: OrderedDict[int, dict[str, Any]] = OrderedDict()  # the last ones, by their numbers
        self._path = Path(board)
        self._authority = Authority(node, {GOVERNOR_STATE: config.governor})  # a stop is not pressed by what it says
        only_its = self._authority.only(GOVERNOR_STATE, self._on_governor)
        board.put("actions", [words(action) for action in ACTIONS])
        for kind, topic, callback, qos in (
            (NavigatorStatus, "navigator/status", self._on_status, latched_qos()),
            (Mission, MISSIONS, self._on_mission, reliable_qos()),
            (NavAction, ACTION_TOPIC, self._on_action, reliable_qos()),
            (DecisionStats, "navigator/stats", self._on_stats, reliable_qos()),
            (NavAction, EXECUTION, self._on_execution, reliable_qos()),
            (NavAction, "navigator/execution", self._on_execution, reliable_qos()),  # where Nav2 drives
            (TemporalEvent, "navigator/events", self._on_event, latched_qos(100)),
            (GovernorState, GOVERNOR_STATE, only_its, reliable_qos(1)),
            (OdometryMsg, "odom", self._on_odometry, sensor_qos(config.odometry_reliability)),
            (DiagnosticArray, "/diagnostics", self._on_diagnostics, reliable_qos()),
        ):
            events = subscription_events(node, topic, "odometry_reliability" if topic == "odom" else "")
            node.create_subscription(kind, topic, callback, qos, event_callbacks=events)

    def silent_s(self) -> dict[str, float]:
        """Return for how long each of the nodes that were heard has said nothing."""
        now_s = time.monotonic()
        return {name: round(now_s - heard_s, 2) for name, heard_s in self.heard_s.copy().items()}

    def _on_status(self, message: NavigatorStatus) -> None:
        state = _word(_STATUS, message.state)
        if message.run != self._run or message.state == NavigatorStatus.STATE_INACTIVE:
            self._run = message.run
            self._on_restart()
        self._board.put("navigator", {"state": state, "instruction": message.instruction, "detail": message.detail})

    def _on_mission(self, message: Mission) -> None:
        self.heard_s["navigator"] = time.monotonic()
        if not message.id:
            return
        self._pictures.is_driving = message.running
        told = {"id": str(message.id), "running": message.running}
        told |= {"instruction": message.instruction, "source": message.source}
        if not message.running:
            told |= {"outcome": _word(_OUTCOMES, message.outcome), "error_code": message.error_code}
            told |= {"error_msg": message.error_msg}
        self._board.put(f"mission/{message.id}", told)

    def _on_action(self, message: NavAction) -> None:
        last = next(reversed(self._decisions.values())) if self._decisions else {}
        decision = self._new_decision(message)
        if decision["hold"] and all(decision[name] == last.get(name) for name in ("hold", "mission")):
            decision |= {"key": last["key"], "times": last["times"] + 1}  # it still stands for the same reason
        self._decisions[message.id] = decision
        if len(self._decisions) > _REPORTED:
            self._decisions.popitem(last=False)
        self._pictures.decide(decision["key"], ns_from_stamp(message.header.stamp))
        self._put_decision(decision)

    def _new_decision(self, message: NavAction) -> dict[str, Any]:
        pose = self.odometry.pose if self.odometry is not None else None
        return {
            "key": f"{self._run}-{message.id}",
            "id": str(message.id),
            "mission": str(message.mission_id),
            "words": _action_words(message),
            "hold": _name(HoldReason, message.hold_reason) if message.kind == NavAction.KIND_HOLD else "",
            "probability": round(message.probability, 4),
            "reply": message.reply,
            "detail": message.detail,
            "times": 1,
            "state": _STATES[NavAction.STATE_COMMANDED],
            "wanted": _amount(message.distance_m, message.angle_rad),
            "done": "",
            "part": 0.0,
            "fault": "",
            "at": [round(pose.x_m, 3), round(pose.y_m, 3)] if pose is not None else None,
        }

    def _on_stats(self, message: DecisionStats) -> None:
        times = {"latency_ms": round(message.latency_ms, 1), "image_age_ms": round(message.image_age_ms, 1)}
        counts = {
            "dropped_frames": message.dropped_frames,
            "holds": message.holds,
            "late_answers": message.late_answers,
            "refused_actions": message.refused_actions,
            "history_frames": message.history_frames,
            "cache": [message.visual_cache_hits, message.visual_cache_misses],
            "model": f"{message.backend}, {message.precision}",
        }
        self._board.put("stats", times | counts)
        if (decision := self._decisions.get(message.id)) is not None:
            decision |= times | {"probabilities": [round(p, 4) for p in message.probabilities]}
            self._put_decision(decision)

    def _on_execution(self, message: NavAction) -> None:
        self.heard_s["controller"] = time.monotonic()
        if (decision := self._decisions.get(message.id)) is None:
            return
        decision |= {
            "state": _word(_STATES, message.state),
            "done": _amount(message.executed_m, message.executed_rad),
            "part": _part(message),
            "fault": _name(MotionFault, message.fault),
            "detail": message.detail or decision["detail"],
        }
        self._put_decision(decision)

    def _put_decision(self, decision: dict[str, Any]) -> None:
        self._board.put(f"decision/{decision['key']}", dict(decision))

    def _on_event(self, message: TemporalEvent) -> None:
        start_s, end_s = (ns_from_stamp(stamp) / 1e9 for stamp in (message.start, message.end))
        told = {
            "id": message.event_id,
            "query_id": message.query_id,
            "label": message.label,
            "start_s": round(start_s, 3),
            "end_s": round(end_s, 3),
            "open": message.open,
            "probability": round(message.probability, 3),
            "error_s": round(duration_s(message.quantization), 3),
            "method": _word(_METHODS, message.method),
            "camera": message.camera,
        }
        self._board.put(f"event/{self._run}-{message.event_id}", told)

    def _on_governor(self, message: GovernorState) -> None:
        self.heard_s["governor"] = time.monotonic()
        self.governor = message
        told = {
            "state": _name(State, message.state),
            "reason": _name(StopReason, message.reason),
            "detail": message.detail,
            "emergency_stop": message.emergency_stop,
            "speed": round(message.speed_scale, 2),
            "refused": message.refused,
        }
        self._board.put("governor", told)

    def _on_odometry(self, message: OdometryMsg) -> None:
        try:
            self.odometry = odometry_from_message(message)
        except OdometryError:
            return
        self.heard_s["odometry"] = time.monotonic()
        self._path.add(self.odometry)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status[:20]:
            level = _word(_LEVELS, status.level[0] if isinstance(status.level, bytes) else status.level)
            self._board.put(f"health/{status.name}", {"name": status.name, "level": level, "message": status.message})
            values = {pair.key: pair.value for pair in status.values[:20]}
            if values.keys() >= _RECORDER:
                self._board.put("recording", {"folder": _folder_of(values["file"])})


def _folder_of(file: str) -> str:
    """The folder of a recorder's file, "" for one that a command could not name as it is: it came from the network."""
    return file.rpartition("/")[0] if _PLAIN_PATH.fullmatch(file) else ""


def words(action: Action | None) -> str:
    """Return an action in a few words: `forward 25 cm`, `left 15°`, `stop`; `hold` for None."""
    return "hold" if action is None else short_name(action)


def duration_s(message: Any) -> float:
    """Return a builtin_interfaces Duration in seconds."""
    return float(message.sec + message.nanosec / 1e9)


def _action_words(message: NavAction) -> str:
    if message.kind == NavAction.KIND_MOVE_FORWARD and math.isfinite(message.distance_m):
        return words(MoveForward(message.distance_m)) if message.distance_m > 0 else "stop"
    if message.kind == NavAction.KIND_TURN and math.isfinite(message.angle_rad):
        return words(Turn(message.angle_rad))
    return {NavAction.KIND_STOP: "stop", NavAction.KIND_HOLD: "hold"}.get(message.kind, "unknown")


def _amount(distance_m: float, angle_rad: float) -> str:
    if distance_m and math.isfinite(distance_m):
        return f"{100 * distance_m:.0f} cm"
    return f"{math.degrees(angle_rad):.0f}°" if angle_rad and math.isfinite(angle_rad) else ""


def _part(message: NavAction) -> float:
    """How much of the action is done, 0 to 1."""
    for done, wanted in ((message.executed_m, message.distance_m), (message.executed_rad, message.angle_rad)):
        if wanted and math.isfinite(done / wanted):
            return round(min(1.0, max(0.0, done / wanted)), 3)
    return 0.0


def _word(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _name(kind: Any, number: int) -> str:
    """The name of a number of an enumeration; none for zero where that stands for nothing."""
    try:
        name = str(kind(number).name)
    except ValueError:
        return str(number)
    return "" if name == "NONE" else name
