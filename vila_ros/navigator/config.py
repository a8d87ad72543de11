"""The parameters of the navigator node, and the model that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig, StrainConfig
from vila_core.control.goal_watch import GoalConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend
from vila_core.errors import CheckpointError, ConfigError, MissingDependencyError
from vila_ros.navigator.mission_config import MissionConfig

VELOCITY, GOAL_POSE, NAV2 = "velocity", "goal_pose", "nav2"
OUTPUTS = (VELOCITY, GOAL_POSE, NAV2)

STAGES = {
    "navigator": NavigatorConfig,
    "history": HistoryConfig,
    "mission": MissionConfig,
    "events": EventsConfig,
    "machine": StrainConfig,
    "goal": GoalConfig,
}


@dataclass(frozen=True, slots=True)
class NavigatorNodeConfig:
    """The parameters of the node itself; the stages' are those of STAGES, by prefix."""

    checkpoint: str = ""  # a directory in VILA's layout; empty: the embedded vila-nano
    backend: str = "torch"  # what runs the model: torch, tensorrt, or torch-naive, which keeps nothing
    device: str = "cpu"  # as torch names it: cpu, cuda
    precision: str = "auto"  # what the device computes well; or float32, bfloat16, float16
    autostart: bool = True  # come up without a lifecycle manager
    camera: str = "camera"  # the camera's name in events
    instruction_topic: bool = False  # follow what anybody publishes on ~/instruction, a std_msgs/String, too
    odometry_frame: str = "odom"  # frame_id of actions and heartbeats
    image_reliability: str = "best_effort"  # of our end; or reliable, where the camera is
    odometry_reliability: str = "best_effort"  # of our end; or reliable, where the odometry is
    heartbeat_rate_hz: float = 20.0  # of ~/heartbeat and ~/mission; 10 to 100
    require_governor: bool = True  # with velocity; false: missions run without one, and something else limits cmd_vel
    output: str = VELOCITY  # who drives: velocity, our controller; goal_pose, who follows that topic; nav2, Nav2
    goal_frame: str = ""  # frame of goal poses, by tf, such as map; empty: odometry's own
    nav2_action: str = "navigate_to_pose"  # name of Nav2's action
    nav2_behavior_tree: str = ""  # that Nav2 is to use; empty: its default

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ConfigError(f"output = {self.output!r}: must be one of {', '.join(OUTPUTS)}")
        if self.goal_frame and self.output == VELOCITY:
            raise ConfigError(f"goal_frame = {self.goal_frame!r}: there are no goal poses with output = {VELOCITY!r}")
        if not 10.0 <= self.heartbeat_rate_hz <= 100.0:
            raise ConfigError(f"heartbeat_rate_hz = {self.heartbeat_rate_hz!r}: must be from 10 to 100")


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
