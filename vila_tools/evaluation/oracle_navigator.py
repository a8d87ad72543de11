"""The oracle in the navigator's place: it knows the map and the goal, and looks for the target like a model."""

from __future__ import annotations

from vila_core.types import Decision, Instruction, wrap_angle
from vila_sim.environment import VISIBLE_PIXELS, bearing_rad, visible_pixels
from vila_sim.episodes.oracle import TargetView, oracle_action
from vila_sim.flats.grid import DistanceField
from vila_sim.flats.scene import SceneObject
from vila_sim.mujoco.simulator import Simulator


class OracleNavigator:
    """Decides by the pose and the view of now; its images are never looked at."""

    def __init__(self, simulator: Simulator, target: SceneObject, field: DistanceField) -> None:
        self._simulator, self._target, self._field = simulator, target, field
        self._index = simulator.flat.objects.index(target)
        self._has_seen = False
        self._rotated_rad = 0.0
        self._yaw_rad = simulator.odometry().pose.yaw_rad

    def start(self, instruction: Instruction) -> None:
        """Need nothing: the episode says where the goal is."""

    def decide(self, now_ns: int) -> Decision:
        """Return the teacher's action for the pose of now, which is the image's."""
        pose, size = self._simulator.odometry().pose, len(self._simulator.flat.objects)
        self._rotated_rad += abs(wrap_angle(pose.yaw_rad - self._yaw_rad))
        self._yaw_rad = pose.yaw_rad
        is_visible = bool(visible_pixels(self._simulator.render_segmentation(), size)[self._index] >= VISIBLE_PIXELS)
        view = TargetView(is_visible, self._has_seen, self._rotated_rad, bearing_rad(pose, self._target))
        self._has_seen |= is_visible
        return Decision(oracle_action(pose, self._field, view), now_ns, probability=1.0)
