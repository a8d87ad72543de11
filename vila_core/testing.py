"""Stand-ins for tests and demonstrations: a scripted backend, frames, a simulated robot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from vila_core.engine.backend import CacheCounts, ModelInfo
from vila_core.errors import BackendError
from vila_core.types import Choice, Frame, Odometry, Pose, Prompt, VelocityCommand, wrap_angle

_SQUARES = 16  # from left to right in a made-up picture
SCRIPTED_INFO = ModelInfo(
    name="scripted",
    precision="none",
    num_frames=8,
    history_tokens=None,
    prompt_style="navila",
    chat_template="llama_3",
    kernels="none: a script needs none",
)

ScriptedReply = str | Choice | BaseException


class ScriptedBackend:
    """A Backend that replies from a list, in order, and repeats the last entry for ever.

    A str is the reply: `generate` returns it, `choose` gives it `probability` and shares the
    rest among the others, and fails with BackendError if it is not among the replies. A Choice
    is what `choose` returns as it is. An exception is raised. `prompts`, `encoded` and `prefilled`
    record the calls.
    """

    def __init__(self, *script: ScriptedReply, info: ModelInfo = SCRIPTED_INFO, probability: float = 1.0) -> None:
        if not script:
            raise ValueError("the script is empty")
        self.info = info
        self.prompts: list[Prompt] = []
        self.encoded: list[Frame] = []
        self.prefilled: list[Prompt] = []
        self.relevances: dict[str, Callable[[Frame], float]] = {}
        self.closed = False
        self._script: Sequence[ScriptedReply] = script
        self._probability = probability

    def choose(self, prompt: Prompt, replies: Sequence[str]) -> Choice:
        """Return the scripted reply as a choice among the replies."""
        entry = self._next(prompt)
        if isinstance(entry, Choice):
            return entry
        if entry not in replies:
            raise BackendError(f"the scripted reply {entry!r} is not among those to choose from")
        index = list(replies).index(entry)
        rest = (1.0 - self._probability) / max(1, len(replies) - 1)
        return Choice(index, tuple(self._probability if i == index else rest for i in range(len(replies))))

    def choose_each(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]]) -> tuple[Choice, ...]:
        """Return the next scripted reply for each prompt."""
        return tuple(map(self.choose, prompts, replies))

    def generate(self, prompt: Prompt, max_new_tokens: int) -> str:
        """Return the scripted reply."""
        entry = self._next(prompt)
        if isinstance(entry, Choice):
            raise BackendError("the script holds a Choice where a text is asked for")
        return entry

    def encode(self, frame: Frame) -> bool:
        """Note the frame; True the first time."""
        self._require_open()
        is_new = all(frame.key != known.key for known in self.encoded)
        self.encoded.append(frame)
        return is_new

    def prefill(self, prompt: Prompt) -> None:
        """Note the prompt in `prefilled`."""
        self._require_open()
        self.prefilled.append(prompt)

    def relevance(self, question: str, frames: Sequence[Frame]) -> tuple[float, ...]:
        """Return the scripted relevance of each frame by its stamp; `relevances` says which, by question."""
        self._require_open()
        if question not in self.relevances:
            raise BackendError(f"{self.info.name} has no relevance head")
        return tuple(float(self.relevances[question](frame)) for frame in frames)

    def cache_counts(self) -> CacheCounts:
        """Return zeros: nothing is kept."""
        return CacheCounts()

    def close(self) -> None:
        """Refuse further calls."""
        self.closed = True

    def _next(self, prompt: Prompt) -> str | Choice:
        self._require_open()
        entry = self._script[min(len(self.prompts), len(self._script) - 1)]
        self.prompts.append(prompt)
        if isinstance(entry, BaseException):
            raise entry
        return entry

    def _require_open(self) -> None:
        if self.closed:
            raise BackendError("the backend is closed")


def make_frame(
    stamp_ns: int = 0, *, height: int = 48, width: int = 64, seed: int | None = None, camera: str = "camera"
) -> Frame:
    """Return a frame of coloured squares, [height, width, 3] uint8; the seed (default: the stamp) fixes them.

    It has structure as a scene has: the navigator holds before a picture of noise.
    """
    rng = np.random.default_rng(abs(stamp_ns if seed is None else seed))
    side = max(1, width // _SQUARES)
    squares = rng.integers(0, 256, (-(-height // side), -(-width // side), 3), dtype=np.uint8)
    image = squares.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    return Frame(np.ascontiguousarray(image), stamp_ns, camera)


class Unicycle:
    """A robot that does what it is told, exactly; stalled, it does not move.

    pose may be set. Time passes in `drive` only.
    """

    def __init__(self, pose: Pose | None = None, *, stalled: bool = False) -> None:
        self.pose = pose or Pose()
        self.stalled = stalled
        self.now_ns = 0
        self._command = VelocityCommand()

    def drive(self, command: VelocityCommand, duration_s: float) -> Odometry:
        """Follow the arc of the command for duration_s; return the odometry at its end."""
        self.now_ns += round(duration_s * 1e9)
        self._command = VelocityCommand() if self.stalled else command
        angle_rad = self._command.angular_rps * duration_s
        middle_rad = self.pose.yaw_rad + angle_rad / 2
        distance_m = self._command.linear_mps * duration_s
        self.pose = Pose(
            self.pose.x_m + distance_m * math.cos(middle_rad),
            self.pose.y_m + distance_m * math.sin(middle_rad),
            wrap_angle(self.pose.yaw_rad + angle_rad),
        )
        return self.odometry()

    def odometry(self) -> Odometry:
        """Return where the robot is now."""
        return Odometry(self.now_ns, self.pose, self._command.linear_mps, self._command.angular_rps)
