"""Episodes played step by step: 25 cm and 15 degree moves, as in VLN-CE, seen through the camera."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vila_core.actions.grammar import unit_steps
from vila_core.errors import WorldError
from vila_core.types import Action, Frame, MoveForward, Odometry, Pose, Stop, Turn, VelocityCommand, wrap_angle
from vila_sim.corruptions import LOW_FRAME_RATE, corrupted_camera, corrupted_image
from vila_sim.episodes.goals import GoalProgress
from vila_sim.episodes.oracle import TargetView
from vila_sim.episodes.splits import SUCCESS_RADIUS_M, Episode, Pair, flat_of
from vila_sim.flats.grid import DistanceField, OccupancyGrid
from vila_sim.flats.scene import Flat, SceneObject
from vila_sim.flats.signs import with_signs
from vila_sim.mujoco.simulator import CameraConfig, MapView, Simulator

STEP_NS = 500_000_000  # simulated time of a unit step
ON_THE_SPOT_M = 0.3  # a robot that is so far from where it turned has got on
VISIBLE_PIXELS = 30  # of the object, in a 224 px image, for it to count as seen
_SUBSTEPS = 10


def move(grid: OccupancyGrid, pose: Pose, action: Action) -> tuple[Pose, bool]:
    """Execute a unit step without physics: the new pose, and whether the robot touched something.

    A blocked forward step advances as far as it can and slides along the obstacle.
    """
    moved, touching = _moved(grid, pose, action)
    return moved, touching > 0


def _moved(grid: OccupancyGrid, pose: Pose, action: Action) -> tuple[Pose, float]:
    """Return the new pose, and for which share of the step the robot touched something."""
    if isinstance(action, Turn):
        return pose.turned(action.angle_rad), 0.0
    if isinstance(action, MoveForward):
        return _slide(grid, pose, action.distance_m)
    return pose, 0.0


def bearing_rad(pose: Pose, target: SceneObject) -> float:
    """Direction from the robot to the object's centre relative to its heading, left > 0, in [-pi, pi)."""
    towards = math.atan2(target.y_m - pose.y_m, target.x_m - pose.x_m)
    return wrap_angle(towards - pose.yaw_rad)


def visible_pixels(segmentation: NDArray[np.int16], objects: int) -> NDArray[np.int64]:
    """Number of pixels of each object [objects], scaled to a 224 x 224 image.

    segmentation: [H, W] int16, index into flat.objects or -1.
    """
    counts = np.bincount(segmentation[segmentation >= 0], minlength=objects)
    return (counts * (224 * 224 / segmentation.size)).astype(np.int64)


class Turned:
    """How far a robot has turned: rotated_rad, to both sides; spot_turn_rad, net, left > 0, since it last got on."""

    def __init__(self, start: Pose) -> None:
        self.rotated_rad = self.spot_turn_rad = 0.0
        self._pose = self._spot = start

    def note(self, pose: Pose) -> None:
        """Take where the robot now is, at most half a turn from where it was."""
        angle = wrap_angle(pose.yaw_rad - self._pose.yaw_rad)
        self.rotated_rad += abs(angle)
        self.spot_turn_rad += angle
        self._pose = pose
        if pose.distance_m(self._spot) >= ON_THE_SPOT_M:
            self._spot, self.spot_turn_rad = pose, 0.0


class FlatEnv:
    """Runs episodes in a kinematic world and keeps what the metrics need.

    Belongs to one thread (rendering does). The flat, its grid and its simulator are kept until an
    episode needs another flat.
    Stamps grow from episode to episode too, so that no two frames of an environment share a key.
    """

    def __init__(self, camera: CameraConfig | None = None) -> None:
        self._camera = camera or CameraConfig()
        self._track_target, self._render = False, True
        self._world: tuple[str, int, tuple[Pair, ...], str, CameraConfig] | None = None
        self._simulator: Simulator | None = None
        self.flat: Flat
        self.grid: OccupancyGrid
        self.episode: Episode
        self._progress: GoalProgress
        self._target_indices: list[int] = []
        self.path: list[Pose] = []  # the start, then one pose for each unit step
        self.distances_m: list[float] = []  # geodesic way that is left at each pose of path
        self.collisions = 0  # unit steps in which something was touched
        self.contact_s = 0.0  # for how long
        self.stop_called = False
        self._stamp_ns = 0

    @property
    def pose(self) -> Pose:
        """Where the robot is."""
        return self.path[-1]

    @property
    def camera(self) -> CameraConfig:
        """The camera of the episode."""
        assert self._simulator is not None
        return self._simulator.camera

    @property
    def distance_m(self) -> float:
        """Geodesic way that is left, past the thing to be visited first; nan without a goal."""
        return self.distances_m[-1]

    @property
    def target(self) -> SceneObject:
        """The thing to be visited next. Raises WorldError if the episode names what is absent."""
        return self._progress.target

    @property
    def field(self) -> DistanceField:
        """The distances to it; raises as target does."""
        return self._progress.field

    @property
    def succeeded(self) -> bool:
        """True if stop was called nearer than 1.0 m to the goal cells."""
        return self.stop_called and self.distance_m < SUCCESS_RADIUS_M

    def reset(
        self, episode: Episode, *, track_target: bool = False, render: bool = True, sign: str = ""
    ) -> tuple[Frame, Odometry]:
        """Start an episode and return what the robot sees and measures first.

        track_target: also render the segmentation at every step, so that target_view works.
        render: False gives black frames, for drivers that don't look. sign: hangs on the walls, see flats/signs.py; by
        default the episode's own. Raises WorldError if the flat does not hold the target, or is not the episode's
        any more, and for an unknown sign.
        """
        self._load(episode, sign or episode.sign)
        self.episode, self._track_target, self._render = episode, track_target, render
        self._progress = GoalProgress(self.grid, episode)
        self._target_indices = [self.flat.objects.index(target) for target in self._progress.targets]
        self.path, self.distances_m = [], []
        self.collisions, self.contact_s, self.stop_called = 0, 0.0, False
        self._visible_now = self._seen = np.zeros(len(self._target_indices), bool)
        self._turned = Turned(episode.start)
        return self._arrive(episode.start)

    def act(self, action: Action) -> tuple[tuple[Frame, Odometry], ...]:
        """Execute an action; return what is seen and measured after each unit step of it.

        A camera of low frame rate shows the last one alone. Stop returns nothing and ends the episode; acting after it
        raises WorldError.
        """
        self._require_running()
        self.stop_called = isinstance(action, Stop)
        seen = []
        for step in unit_steps(action) if not self.stop_called else ():
            pose, touching = _moved(self.grid, self.pose, step)
            self.collisions += touching > 0
            self.contact_s += touching * STEP_NS / 1e9
            seen.append(self._arrive(pose))
        return tuple(seen[-1:] if self.episode.corruption == LOW_FRAME_RATE else seen)

    def drive(self, command: VelocityCommand) -> tuple[Frame, Odometry]:
        """Drive for the time of a unit step, with physics; return what is then seen and measured.

        The command is clipped to the robot's limits. WorldError once stop was called.
        """
        self._require_running()
        simulator = self._simulator
        assert simulator is not None
        simulator.step(command, STEP_NS / 1e9)
        self.collisions += simulator.collided
        self.contact_s += simulator.collided * STEP_NS / 1e9
        odometry = simulator.odometry()
        frame, _ = self._see(odometry.pose)
        return frame, replace(odometry, stamp_ns=frame.stamp_ns)

    def _require_running(self) -> None:
        if self.stop_called:
            raise WorldError(f"episode {self.episode.episode_id} is over: stop was called")

    def target_view(self) -> TargetView:
        """What the oracle may know of the target; WorldError without track_target."""
        if not self._track_target:
            raise WorldError("the episode was reset without track_target: what is in view is not followed")
        leg, bearing = self._progress.leg, bearing_rad(self.pose, self.target)
        visible, seen = bool(self._visible_now[leg]), bool(self._seen[leg])
        return TargetView(visible, seen, self._turned.rotated_rad, bearing, self._turned.spot_turn_rad)

    def look(self, pose: Pose) -> NDArray[np.uint8]:
        """Return what the episode's camera shows from a pose, [H, W, 3]; the robot of the episode stays where it is."""
        assert self._simulator is not None
        self._simulator.teleport(pose)
        image = self._image()
        self._simulator.teleport(self.pose)
        return image

    def render_map(self, width_px: int) -> MapView:
        """Return the flat from above, see Simulator.render_map."""
        assert self._simulator is not None
        return self._simulator.render_map(width_px)

    def close(self) -> None:
        """Free the renderer."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator, self._world = None, None

    def _load(self, episode: Episode, sign: str) -> None:
        camera = corrupted_camera(self._camera, episode.corruption)
        world = (episode.family, episode.flat_seed, episode.include, sign, camera)
        if self._world == world:
            return
        self.close()
        flat = flat_of(episode)
        self.flat = with_signs(flat, sign) if sign else flat
        self.grid = OccupancyGrid(self.flat)
        self._simulator = Simulator(self.flat, camera)
        self._world = world

    def _arrive(self, pose: Pose) -> tuple[Frame, Odometry]:
        assert self._simulator is not None
        self._simulator.teleport(pose)
        return self._see(pose)

    def _see(self, pose: Pose) -> tuple[Frame, Odometry]:
        """Note where the robot now is, and show what is seen there."""
        simulator = self._simulator
        assert simulator is not None
        self._stamp_ns += STEP_NS
        self._turned.note(pose)
        self.path.append(pose)
        leg = self._progress.leg
        self.distances_m.append(self._progress.note(pose.x_m, pose.y_m))
        if self._progress.leg != leg:
            self._turned.rotated_rad = 0.0  # what is next is searched anew
        if self._track_target:
            self._seen = self._seen | self._visible_now
            pixels = visible_pixels(simulator.render_segmentation(), len(self.flat.objects))
            self._visible_now = pixels[self._target_indices] >= VISIBLE_PIXELS
        image = self._image() if self._render else self._black_image()
        return Frame(image, self._stamp_ns), Odometry(self._stamp_ns, pose)

    def _image(self) -> NDArray[np.uint8]:
        assert self._simulator is not None
        return corrupted_image(self._simulator.render(), self.episode, len(self.path))

    def _black_image(self) -> NDArray[np.uint8]:
        return np.zeros((self._camera.height_px, self._camera.width_px, 3), np.uint8)


def _slide(grid: OccupancyGrid, pose: Pose, distance_m: float) -> tuple[Pose, float]:
    dx = distance_m * math.cos(pose.yaw_rad) / _SUBSTEPS
    dy = distance_m * math.sin(pose.yaw_rad) / _SUBSTEPS
    x, y, touched = pose.x_m, pose.y_m, 0
    for _ in range(_SUBSTEPS):
        if grid.free(x + dx, y + dy):
            x, y = x + dx, y + dy
            continue
        touched += 1
        along = [(x + dx, y), (x, y + dy)] if abs(dx) >= abs(dy) else [(x, y + dy), (x + dx, y)]
        x, y = next((point for point in along if grid.free(*point)), (x, y))
    return Pose(x, y, pose.yaw_rad), touched / _SUBSTEPS
