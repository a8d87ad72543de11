"""What the navigator tells /diagnostics: its model, its speed, its health."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from vila_core.types import HoldReason


@dataclass(frozen=True, slots=True)
class Health:
    """One look at the navigator. image_age_s: since the newest accepted image came, inf if none did."""

    instruction: str
    checkpoint: str
    backend: str
    precision: str
    latency_ms: float
    image_age_s: float
    last_hold: str
    last_hold_detail: str
    decisions: int
    holds: int
    dropped_frames: int


def diagnostic_array(name: str, stamp: Time, health: Health, max_image_age_s: float) -> DiagnosticArray:
    """Return the health as one status: ERROR without images while there is an instruction, WARN on hold."""
    status = DiagnosticStatus(name=name, hardware_id="", level=DiagnosticStatus.OK, message="idle")
    if health.instruction:
        status.message = "following an instruction"
        if health.last_hold != HoldReason.NONE.name:
            status.level, status.message = DiagnosticStatus.WARN, f"holding: {health.last_hold}"
        if health.image_age_s > max_image_age_s:
            status.level, status.message = DiagnosticStatus.ERROR, "no fresh image"
    status.values = [KeyValue(key=key, value=_text(value)) for key, value in asdict(health).items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
