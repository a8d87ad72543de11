"""The parameters of the navigator node, and the model that they name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig, StrainConfig
from vila_core.engine.backend import EMBEDDED_CHECKPOINT, Backend
from vila_core.errors import CheckpointError, ConfigError, MissingDependencyError
from vila_ros.navigator.camera_config import Camera, CameraConfig
from vila_ros.navigator.mission_config import MissionConfig

STAGES = {
    "navigator": NavigatorConfig,
    "history": HistoryConfig,
    "mission": MissionConfig,
    "events": EventsConfig,
    "machine": StrainConfig,
}


@dataclass(frozen=True, slots=True)
class NavigatorNodeConfig:
    """The parameters of the node itself; the stages' are those of STAGES, by prefix."""

    checkpoint: str = ""  # a directory in VILA's layout; empty: the embedded vila-nano
    backend: str = "torch"  # what runs the model: torch, tensorrt, or torch-naive, which keeps nothing
    device: str = "cpu"  # as torch names it: cpu, cuda
    precision: str = "auto"  # what the device computes well; or float32, bfloat16, float16
    autostart: bool = True  # come up without a lifecycle manager
    camera: str = "camera"  # the name, in events, of the camera that the robot drives by
    instruction_topic: bool = False  # follow what anybody publishes on ~/instruction, a std_msgs/String, too
    odometry_frame: str = "odom"  # frame_id of actions and heartbeats
    image_transport: str = "auto"  # raw; compressed: from the topic with /compressed behind; auto: what is published
    image_reliability: str = "best_effort"  # of our end; or reliable, where the camera is
    odometry_reliability: str = "best_effort"  # of our end; or reliable, where the odometry is
    heartbeat_rate_hz: float = 20.0  # of ~/heartbeat and ~/mission; 10 to 100
    require_governor: bool = True  # false: missions run without one, and something else must limit cmd_vel

    def __post_init__(self) -> None:
        if not 10.0 <= self.heartbeat_rate_hz <= 100.0:
            raise ConfigError(f"heartbeat_rate_hz = {self.heartbeat_rate_hz!r}: must be from 10 to 100")
        try:
            CameraConfig("image_raw", self.image_reliability, self.image_transport)
        except ConfigError as err:
            raise ConfigError(f"image_{err}") from err

    @property
    def main_camera(self) -> Camera:
        """The camera that the robot drives by."""
        return Camera(self.camera, CameraConfig("image_raw", self.image_reliability, self.image_transport), "image_")


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
