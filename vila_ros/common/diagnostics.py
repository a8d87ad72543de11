"""What the navigator tells /diagnostics: its model, its speed, its health."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from vila_core.engine.backend import ModelInfo
from vila_core.types import HoldReason


@dataclass(frozen=True, slots=True)
class EventHealth:
    """The state of the standing queries."""

    queries: int
    localization: str  # the method by which the model tells time
    evaluations: int  # since activation
    evaluation_ms: float  # of the last one, with the decisions that it gave way to
    evaluation_error: str  # of the last one, empty if it went well


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the navigator.

    image_age_s: since the newest accepted image came, inf if none did.
    """

    instruction: str
    checkpoint: str
    backend: str
    precision: str
    kernels: str  # of the CPU, or why there are none; empty if the backend does not run there
    latency_ms: float
    image_age_s: float
    last_hold: str
    last_hold_detail: str
    decisions: int
    holds: int
    dropped_frames: int
    events: EventHealth


def precision_text(info: ModelInfo) -> str:
    """Return the model's precision, and why it is that if there is something to say."""
    return f"{info.precision}: {info.precision_reason}" if info.precision_reason else info.precision


def diagnostic_array(name: str, stamp: Time, health: Health, max_image_age_s: float) -> DiagnosticArray:
    """Return the health as one status.

    WARN while the robot holds or if a query fails, ERROR without images that someone needs.
    """
    status = DiagnosticStatus(name=name, hardware_id="", level=DiagnosticStatus.OK, message="idle")
    if health.events.queries:
        status.message = f"watching, {health.events.queries} queries"
        if health.events.evaluation_error:
            status.level, status.message = DiagnosticStatus.WARN, f"a query fails: {health.events.evaluation_error}"
    if health.instruction:
        status.message = "following an instruction"
        if health.last_hold != HoldReason.NONE.name:
            status.level, status.message = DiagnosticStatus.WARN, f"holding: {health.last_hold}"
    if (health.instruction or health.events.queries) and health.image_age_s > max_image_age_s:
        status.level, status.message = DiagnosticStatus.ERROR, "no fresh image"
    values = asdict(health)
    values |= values.pop("events")
    status.values = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
