"""Bags of runs as the recorder writes them, made by the core alone: the navigator decides, a robot does as it says."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bag_files
import numpy as np
from rosbags.typesys import get_types_from_msg

from vila_core.config import HistoryConfig, NavigatorConfig
from vila_core.engine.backend import Backend
from vila_core.history.policy import is_blank
from vila_core.navigator import Navigator
from vila_core.testing import make_frame
from vila_core.types import Decision, Frame, Instruction, MoveForward, Odometry, Pose, Prompt, Stop, Turn, Visual
from vila_tools.replay.definitions import ACTION, DEFINITIONS, GOVERNOR, STATS
from vila_tools.replay.report import Machine

INSTRUCTION = "go to the red chair"
FRAMES, CAMERA = "/navigator/frames/compressed", "/camera/image_raw/compressed"
MISSION_ID = 7
_STEP_NS = 500_000_000
_BEGIN_NS = 5_000_000_000
_SIDE_PX = 64


def message(kind: str, /, **values: Any) -> Any:
    """A message of a type by its fields; what is not given is zero, "" or empty."""
    if kind in DEFINITIONS and kind not in bag_files.TYPES.types:
        for name, text in DEFINITIONS.items():
            bag_files.TYPES.register(get_types_from_msg(text, name))
    made = bag_files.TYPES.types[kind]
    fields = {field.name: field.type for field in dataclasses.fields(made) if field.name != "__msgtype__"}
    return made(**{name: values.get(name, _zero(str(told))) for name, told in fields.items()})


def _zero(told: str) -> Any:
    if told.startswith("np.ndarray"):
        return np.array([], told.split("np.dtype[np.")[1].rstrip("]") if "dtype" in told else np.float32)
    known = {"int": 0, "float": 0.0, "str": "", "bool": False, "list": []}
    return next((zero for name, zero in known.items() if told.startswith(name)), None)


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    made = bag_files.header(frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp_ns, 10**9)
    return made


def picture(frame: Frame) -> Any:
    made = bag_files.png_image(frame.image)
    return dataclasses.replace(made, header=header(frame.stamp_ns, frame.camera))


def odometry(stamp_ns: int, pose: Pose) -> Any:
    types = bag_files.TYPES.types
    vector, turn = types["geometry_msgs/msg/Vector3"], types["geometry_msgs/msg/Quaternion"]
    place = types["geometry_msgs/msg/Pose"](
        types["geometry_msgs/msg/Point"](pose.x_m, pose.y_m, 0.0),
        turn(0.0, 0.0, math.sin(pose.yaw_rad / 2), math.cos(pose.yaw_rad / 2)),
    )
    still = types["geometry_msgs/msg/Twist"](vector(0.0, 0.0, 0.0), vector(0.0, 0.0, 0.0))
    sure = np.zeros(36)
    return types["nav_msgs/msg/Odometry"](
        header(stamp_ns, "odom"),
        "base_link",
        types["geometry_msgs/msg/PoseWithCovariance"](place, sure),
        types["geometry_msgs/msg/TwistWithCovariance"](still, sure),
    )


@dataclasses.dataclass(slots=True)
class Run:
    """A run that was made: what a bag of it holds, and the decisions."""

    messages: list[bag_files.Timed] = dataclasses.field(default_factory=list)
    decisions: list[Decision] = dataclasses.field(default_factory=list)

    def write(self, path: Path, *, storage: str = "MCAP", drop: Callable[[str], bool] = lambda topic: False) -> Path:
        """Write it as a rosbag2 folder. drop: topics that are left out."""
        kept = [timed for timed in self.messages if not drop(timed[1])]
        return bag_files.write_folder(path, sorted(kept, key=lambda timed: timed[0]), storage=storage)


def make_run(
    backend: Backend, count: int = 6, *, policy: str = "navila", queries: int = 0, told: str = INSTRUCTION
) -> Run:
    """Drive so many decisions; the robot does each at once. queries: that are asked about the same images between.

    told: what the robot is told, word for word unless that is usual.
    """
    wording = "auto" if told == INSTRUCTION else "verbatim"
    run, published, pose = Run(), set(), Pose()
    config = NavigatorConfig(watch_camera=False, wording=wording)
    navigator = Navigator(backend, config, HistoryConfig(policy=policy))
    navigator.start(Instruction(told))
    mission = message("vila_nav/msg/Mission", header=header(0), id=MISSION_ID, running=True, instruction=told)
    run.messages.append((_BEGIN_NS - 1000, "/navigator/mission", mission))
    run.messages.append((_BEGIN_NS - 900, "/diagnostics", _facts(backend, policy)))
    for number in range(1, count + 1):
        stamp_ns = _BEGIN_NS + number * _STEP_NS
        frame = make_frame(stamp_ns, height=_SIDE_PX, width=_SIDE_PX)
        navigator.observe(frame, Odometry(stamp_ns, pose))
        run.messages.append((stamp_ns, "/odom", odometry(stamp_ns, pose)))
        run.messages.append((stamp_ns + 10, CAMERA, picture(frame)))
        decision = navigator.decide(stamp_ns)
        while navigator.idle():
            pass
        run.decisions.append(decision)
        if queries:
            asked = [_query(f"what {n}?", decision.prompt.visuals) for n in range(number, number + queries)]
            backend.choose_each(asked, [("yes", "no")] * queries)
        run.messages += _told(decision, number, stamp_ns, backend)
        for shown in (one for visual in decision.prompt.visuals for one in visual.frames):
            if not is_blank(shown) and shown.key not in published:
                published.add(shown.key)
                run.messages.append((stamp_ns + 300 + len(published), FRAMES, picture(shown)))
        pose = _after(decision, pose)
    return run


def _query(question: str, visuals: Sequence[Visual]) -> Prompt:
    return Prompt(f"<s>{'<image>' * len(visuals)}{question}", tuple(visuals), cache_slot="events")


def _after(decision: Decision, pose: Pose) -> Pose:
    if isinstance(decision.action, MoveForward):
        return pose.advanced(decision.action.distance_m)
    return pose.turned(decision.action.angle_rad) if isinstance(decision.action, Turn) else pose


def _told(decision: Decision, number: int, stamp_ns: int, backend: Backend) -> list[bag_files.Timed]:
    """The action, its numbers, the report that it is done, and the governor's word."""
    prompt, action = decision.prompt, decision.action
    shown = [(index, frame) for index, visual in enumerate(prompt.visuals) for frame in visual.frames]
    stamps = [header(0 if is_blank(frame) else frame.stamp_ns).stamp for _, frame in shown]
    stats = message(
        STATS,
        header=header(stamp_ns),
        id=number,
        probabilities=np.array(decision.probabilities, np.float32),
        backend="torch",
        precision=backend.info.precision,
        prompt_sha256=hashlib.sha256(prompt.text.encode()).hexdigest(),
        frames=stamps,
        frame_visuals=np.array([index for index, _ in shown], np.uint32),
        visual_tokens=np.array([-1 if one.tokens is None else one.tokens for one in prompt.visuals], np.int32),
        allowed=np.array(decision.allowed, bool),
    )
    values = {
        "header": header(stamp_ns, "odom"),
        "id": number,
        "mission_id": MISSION_ID,
        "kind": 0 if isinstance(action, Stop) else 1 if isinstance(action, MoveForward) else 2,
        "probability": decision.probability,
        "reply": decision.reply,
        "detail": decision.detail,
    }
    done = values | {"state": 2, "executed_m": getattr(action, "distance_m", 0.0), "detail": ""}
    passes = message(GOVERNOR, header=header(stamp_ns), state=1, mission_id=MISSION_ID, speed_scale=1.0)
    return [
        (stamp_ns + 100, "/navigator/action", message(ACTION, **values)),
        (stamp_ns + 200, "/navigator/stats", stats),
        (stamp_ns + 100_000_000, "/governor/state", passes),
        (stamp_ns + 200_000_000, "/controller/execution", message(ACTION, **done)),
    ]


def _facts(backend: Backend, policy: str) -> Any:
    info, machine = backend.info, Machine.of(backend.info)
    values = {
        "checkpoint": info.name,
        "backend": "torch",
        "precision": info.precision,
        "kernels": machine.kernels,
        "computed_on": info.computed_on,
        "threads": str(info.threads),
        "history_policy": policy,
    }
    pairs = [message("diagnostic_msgs/msg/KeyValue", key=key, value=value) for key, value in values.items()]
    status = message("diagnostic_msgs/msg/DiagnosticStatus", name="/navigator", values=pairs)
    return message("diagnostic_msgs/msg/DiagnosticArray", header=header(0), status=[status])


def altered(run: Run, number: int, **values: Any) -> Run:
    """The run with other values in what was published of a decision: its action, and its numbers."""
    messages = []
    for time_ns, topic, one in run.messages:
        if topic in ("/navigator/action", "/navigator/stats") and one.id == number:
            known = {field.name for field in dataclasses.fields(one)}
            one = dataclasses.replace(one, **{key: value for key, value in values.items() if key in known})
        messages.append((time_ns, topic, one))
    return Run(messages, run.decisions)
