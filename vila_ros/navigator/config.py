"""The parameters of the navigator node, and the model that they name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig, StrainConfig, check_fields
from vila_core.control.goal_watch import GoalConfig
from vila_core.engine.backend import BACKENDS, EMBEDDED_CHECKPOINT, Backend
from vila_core.errors import CheckpointError, ConfigError, MissingDependencyError
from vila_core.fields import AT_ONCE, Bounds, OneOf
from vila_core.recall.config import MemoryConfig
from vila_ros.common.conversions import ODOMETRY_TWISTS
from vila_ros.common.qos import RELIABILITIES
from vila_ros.common.topics import IMAGE, TRANSPORTS
from vila_ros.navigator.cameras.camera_config import Camera, CameraConfig
from vila_ros.navigator.mission.mission_config import MissionConfig

VELOCITY, GOAL_POSE, NAV2 = "velocity", "goal_pose", "nav2"
OUTPUTS = (VELOCITY, GOAL_POSE, NAV2)

STAGES = {
    "navigator": NavigatorConfig,
    "history": HistoryConfig,
    "mission": MissionConfig,
    "events": EventsConfig,
    "memory": MemoryConfig,
    "machine": StrainConfig,
    "goal": GoalConfig,
}


@dataclass(frozen=True, slots=True)
class NavigatorNodeConfig:
    """The parameters of the node itself; the stages' are those of STAGES, by prefix."""

    # a directory in VILA's layout, with openai a YAML file, with transformers either; empty: the embedded vila-nano
    checkpoint: str = ""
    # what runs the model: torch, tensorrt, transformers, openai, a server elsewhere, or torch-naive, which keeps none
    backend: Annotated[str, OneOf(tuple(BACKENDS))] = "torch"
    device: str = "cpu"  # what the model runs on, as torch names it: cpu, cuda
    precision: str = "auto"  # what numbers are computed in: float32, bfloat16, float16; auto: what the device does well
    autostart: bool = True  # come up without a lifecycle manager
    camera: str = "camera"  # the name, in events, of the camera that the robot drives by
    instruction_topic: bool = False  # follow what anybody publishes on ~/instruction, a std_msgs/String, too
    odometry_frame: str = "odom"  # frame_id of actions and heartbeats
    # of the images: raw; compressed: from the topic with /compressed behind; auto: what is published
    image_transport: Annotated[str, OneOf(TRANSPORTS)] = "auto"
    # of our end of the images; reliable where the camera is
    image_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"
    # what the camera to drive by sees from left to right, lens distortion removed; pictures are cut, or filled up, to
    # what the model was trained with, if its checkpoint says that; NaN: not known, they are shown as they are
    image_hfov_deg: Annotated[float, Bounds(least=10, most=170)] = math.nan
    # of our end of odometry; reliable where the odometry is
    odometry_reliability: Annotated[str, OneOf(tuple(RELIABILITIES))] = "best_effort"
    # axes of odometry's velocity: body, as ROS has it; or world, those of its frame_id
    odometry_twist: Annotated[str, OneOf(ODOMETRY_TWISTS)] = "body"
    # how often ~/heartbeat and ~/mission are published
    heartbeat_rate_hz: Annotated[float, Bounds(least=10, most=100), AT_ONCE] = 20.0
    require_governor: bool = True  # with velocity; false: missions run without one, and something else limits cmd_vel
    controller: str = "controller"  # name of the node whose reports on controller/execution count, with velocity
    governor: str = "governor"  # name of the node whose state counts
    # who drives: velocity, our controller; goal_pose, who follows that topic; nav2, Nav2
    output: Annotated[str, OneOf(OUTPUTS)] = VELOCITY
    goal_frame: str = ""  # frame of goal poses, by tf, such as map; empty: odometry's own
    nav2_action: str = "navigate_to_pose"  # name of Nav2's action
    nav2_behavior_tree: str = ""  # that Nav2 is to use; empty: its default

    def __post_init__(self) -> None:
        check_fields(self)
        if self.goal_frame and self.output == VELOCITY:
            raise ConfigError(f"goal_frame = {self.goal_frame!r}: there are no goal poses with output = {VELOCITY!r}")

    @property
    def main_camera(self) -> Camera:
        """The camera that the robot drives by."""
        config = CameraConfig(IMAGE, self.image_reliability, self.image_transport, self.image_hfov_deg)
        return Camera(self.camera, config, "image_")


class LoadBackend(Protocol):
    """How a backend is loaded; see vila_core.engine.backend.load_backend."""

    def __call__(self, name: str, checkpoint: Path, *, device: str, precision: str) -> Backend:
        """Load the checkpoint with the named backend."""
        ...


def load_configured(config: NavigatorNodeConfig, load: LoadBackend) -> Backend:
    """Load the checkpoint that the parameters name.

    Raises CheckpointError if it is missing, MissingDependencyError without the backend's library, and what load raises.
    """
    checkpoint = Path(config.checkpoint) if config.checkpoint else EMBEDDED_CHECKPOINT
    if not checkpoint.exists():
        raise CheckpointError(f"checkpoint {checkpoint} does not exist; set the parameter `checkpoint`")
    try:
        return load(config.backend, checkpoint, device=config.device, precision=config.precision)
    except ImportError as err:
        raise MissingDependencyError(f"backend {config.backend!r} needs a library: {err}") from err
