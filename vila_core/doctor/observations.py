"""What the doctor goes by: what was heard of a robot for a while, live or from a bag, and of its computer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vila_core.machine.strain import Strain
from vila_core.types import Odometry, VelocityCommand


@dataclass(frozen=True, slots=True, eq=False)
class SeenFrame:
    """An image: [H, W, 3] uint8 RGB, as it was decoded. arrival_ns: by the host's clock, as the node reads it."""

    image: NDArray[np.uint8]
    stamp_ns: int
    arrival_ns: int
    encoding: str = "rgb8"


@dataclass(frozen=True, slots=True)
class HeardOdometry:
    """An odometry message, the frames that it names, and when it came."""

    odometry: Odometry
    arrival_ns: int
    frame: str = "odom"
    child_frame: str = "base_link"


@dataclass(frozen=True, slots=True)
class HeardCommand:
    """A velocity that passed to the base."""

    command: VelocityCommand
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Optics:
    """What camera_info says: the size of the images that it is of, and the focal length in its pixels, 0 if unset."""

    width_px: int
    height_px: int
    focal_px: float


@dataclass(frozen=True, slots=True)
class Mounting:
    """Where a camera is: above the floor, how far it looks down, and how far to the left of ahead."""

    height_m: float
    pitch_rad: float
    yaw_rad: float = 0.0


@dataclass(frozen=True, slots=True)
class HeardDecision:
    """A decision's numbers as ~/stats tells them. frames_ns: stamps of the images shown, oldest first; 0: a black one.

    probabilities: of the ten replies, or empty. arrival_ns: when it was told.
    """

    stamp_ns: int
    arrival_ns: int
    latency_ms: float
    probabilities: tuple[float, ...] = ()
    history_frames: int = 0
    frames_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A publisher or subscriber on a topic, and what it offers or asks for."""

    topic: str
    node: str
    is_publisher: bool
    is_reliable: bool
    is_latched: bool = False


@dataclass(frozen=True, slots=True)
class ProbedFrame:
    """What the model answered to one picture: the ten probabilities for it, mirrored, and after small changes.

    mirrored: empty if there was no instruction to ask by that means the same to a mirror image.
    """

    plain: tuple[float, ...]
    mirrored: tuple[float, ...]
    changed: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the computer tells of itself.

    free_bytes: of the disk that runs are recorded on, None if nobody tells. cpu_governor, cpu_driver: "" if the kernel
    has none. kernels: the instruction set of the CPU's kernels, "" if there are none, and then why. has_nvidia: whether
    the driver of such a GPU is loaded. torch, torch_cuda, tensorrt: versions, "" without. engine_tensorrt: the version
    that the checkpoint's engines were built by, "" if it has none.
    dds_profile: the file that Fast DDS is told to read, "" if none. uses_fast_dds: whether that is what runs.
    shared_memory_flaws: a line each.
    """

    free_bytes: int | None = None
    strain: Strain = field(default_factory=Strain)
    cpu_governor: str = ""
    cpu_driver: str = ""
    kernels: str = ""
    kernels_reason: str = ""
    has_nvidia: bool = False
    torch: str = ""
    torch_cuda: str = ""
    sees_gpu: bool = False
    tensorrt: str = ""
    engine_tensorrt: str = ""
    uses_fast_dds: bool = True
    dds_profile: str = ""
    is_profile_there: bool = True
    profile_has_shared_memory: bool = True
    shared_memory_flaws: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RobotFacts:
    """What the recipe says of the base. command_timeout_s: after which it stops by itself; 0: never; NaN: not known."""

    name: str
    command_timeout_s: float


@dataclass(frozen=True, slots=True)
class HostClocks:
    """How far the host's other clocks are ahead of the one that arrivals are told by, which may be a simulated one.

    wall_ahead_ns: since 1970. steady_ahead_ns: since boot; None if that is not known, as in a bag.
    """

    is_simulated: bool = False
    wall_ahead_ns: int = 0
    steady_ahead_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the navigator holds its inputs and its answers to."""

    max_image_age_s: float = 0.5
    decision_deadline_s: float = 4.0


@dataclass(frozen=True, slots=True)
class Trained:
    """The camera that the model's training had; NaN: not known."""

    height_m: float = 0.9
    pitch_deg: float = 12.0
    hfov_deg: float = 90.0


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """All that was observed; what is empty or None was not there to be observed, and says nothing.

    image_faults: why images were refused. mounting: of the camera, by tf or by the recipe. source: where from, for
    people. is_live: whether ages are those of this moment, not of a bag's writer.
    """

    source: str
    is_live: bool
    frames: tuple[SeenFrame, ...] = ()
    image_faults: tuple[str, ...] = ()
    odometry: tuple[HeardOdometry, ...] = ()
    commands: tuple[HeardCommand, ...] = ()
    optics: Optics | None = None
    mounting: Mounting | None = None
    decisions: tuple[HeardDecision, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    probes: tuple[ProbedFrame, ...] = ()
    machine: MachineFacts | None = None
    robot: RobotFacts | None = None
    clocks: HostClocks = HostClocks()
    limits: Limits = Limits()
    trained: Trained = Trained()
