"""What the nodes tell /diagnostics: whether they are ready, the navigator also its model, its speed, its health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    evaluation_ms: float  # of the last one, without the decisions that it gave way to
    evaluation_share: float  # of the time that evaluations may take now; less beside a mission, and under load
    evaluations_given_up: int  # for the sake of decisions
    evaluation_error: str  # of each camera's last one, empty if they went well


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the navigator.

    image_age_s: since the newest accepted image came, inf if none did. no_image: why there is no fresh one, and what to
    do; empty if there is. not_ready: what is wrong with the clock or with the stamps of a topic, empty if nothing is.
    """

    instruction: str
    checkpoint: str
    backend: str
    precision: str
    kernels: str  # of the CPU, or why there are none; empty if the backend does not run there
    history_policy: str
    computed_on: str  # the processor or GPU, its instructions, and the library
    threads: int  # that compute
    latency_ms: float
    images: str  # their topic, and how many publish there
    image_age_s: float
    odometry: str  # likewise
    odometry_age_s: float  # by its stamp, inf if none came
    no_image: str
    last_hold: str
    last_hold_detail: str
    decisions: int
    holds: int
    dropped_frames: int
    late_answers: int  # decisions that came when nobody waited for them any more
    refused_actions: int  # by who drives
    driver: str  # who carries decisions out, and whether it is ready
    clock: str  # which it is, and how it goes
    not_ready: str
    events: EventHealth


def precision_text(info: ModelInfo) -> str:
    """Return the model's precision, and why it is that if there is something to say."""
    return f"{info.precision}: {info.precision_reason}" if info.precision_reason else info.precision


def diagnostic_array(
    name: str, stamp: Time, health: Health, others: Sequence[DiagnosticStatus] = ()
) -> DiagnosticArray:
    """Return the health as one status, and the others behind it.

    WARN while the robot holds or if a query fails, ERROR if it is not ready or without images that someone needs.
    """
    message = f"idle; {health.no_image}" if health.no_image else "idle"
    status = DiagnosticStatus(name=name, hardware_id="", level=DiagnosticStatus.OK, message=message)
    if health.events.queries:
        status.message = f"watching, {health.events.queries} queries"
        if health.events.evaluation_error:
            status.level, status.message = DiagnosticStatus.WARN, f"a query fails: {health.events.evaluation_error}"
    if health.instruction:
        status.message = "following an instruction"
        if health.last_hold != HoldReason.NONE.name:
            status.level, status.message = DiagnosticStatus.WARN, f"holding: {health.last_hold}"
    if (health.instruction or health.events.queries) and health.no_image:
        status.level, status.message = DiagnosticStatus.ERROR, f"no fresh image: {health.no_image}"
    if health.not_ready:
        status.level, status.message = DiagnosticStatus.ERROR, f"not ready: {health.not_ready}"
    values = asdict(health)
    values |= values.pop("events")
    status.values = _values(values)
    return _array([status, *others], stamp)


def readiness_array(name: str, stamp: Time, fault: str, message: str, values: Mapping[str, object]) -> DiagnosticArray:
    """Return a status that is OK with the message, or ERROR with the fault if there is one."""
    return _array([status_of(name, fault and f"not ready: {fault}", message, values)], stamp)


def waiting_array(name: str, stamp: Time, words: str) -> DiagnosticArray:
    """Return a status that is WARN: something takes its time."""
    return _array([DiagnosticStatus(name=name, hardware_id="", level=DiagnosticStatus.WARN, message=words)], stamp)


def status_of(name: str, fault: str, message: str, values: Mapping[str, object]) -> DiagnosticStatus:
    """Return what is OK with the message, or an ERROR with the fault if there is one."""
    level = DiagnosticStatus.ERROR if fault else DiagnosticStatus.OK
    return DiagnosticStatus(name=name, hardware_id="", level=level, message=fault or message, values=_values(values))


def _values(values: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_text(value)) for key, value in values.items()]


def _array(statuses: Sequence[DiagnosticStatus], stamp: Time) -> DiagnosticArray:
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
