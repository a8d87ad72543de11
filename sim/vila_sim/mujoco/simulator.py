"""A flat with a robot in MuJoCo: physics, camera, segmentation, laser scan, map."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# MuJoCo chooses its OpenGL when it is imported; llvmpipe is faster on one thread at our sizes.
_CHOSEN_WITHOUT_US = "mujoco" in sys.modules and "MUJOCO_GL" not in os.environ
if sys.platform == "linux":
    os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LP_NUM_THREADS", "1")

from vila_core.errors import MissingDependencyError, WorldError  # noqa: E402

_REMEDY = "set MUJOCO_GL to egl or osmesa; on Debian and Ubuntu: apt-get install libegl1 libgl1, or libosmesa6"
try:
    import mujoco
except ModuleNotFoundError as err:
    if (err.name or "").partition(".")[0] != "OpenGL":
        raise
    raise MissingDependencyError(f"no OpenGL for MuJoCo: {err}; run `pip install pyopengl`") from err
except (ImportError, AttributeError, OSError, RuntimeError) as err:  # it opens OpenGL's library when it is imported
    raise MissingDependencyError(
        f"no OpenGL for MuJoCo (MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}): {err}; {_REMEDY}"
    ) from err

from vila_core.types import Odometry, Pose, VelocityCommand, wrap_angle  # noqa: E402
from vila_sim.flats.plan import CORRIDOR  # noqa: E402
from vila_sim.flats.scene import Flat, Placement  # noqa: E402
from vila_sim.flats.solids import texture_assets  # noqa: E402
from vila_sim.mujoco.mjcf import (  # noqa: E402
    GROUP_DECOR,
    GROUP_OBJECT,
    GROUP_OVERHEAD,
    GROUP_SHELL,
    MAP_MARGIN_M,
    MAX_MAP_PX,
    TIMESTEP_S,
    map_size,
    write_mjcf,
)
from vila_sim.robot import (  # noqa: E402
    CLOUD_MAX_M,
    CLOUD_RAYS,
    CLOUD_RINGS,
    RINGS_RAD,
    SCAN_MAX_M,
    SCAN_RAYS,
    CameraConfig,
    RobotConfig,
)

__all__ = ["CameraConfig", "MapView", "RobotConfig", "Simulator"]

STEP_NS = round(TIMESTEP_S * 1e9)
CAMERA_GROUPS = (GROUP_SHELL, GROUP_OBJECT, GROUP_DECOR, GROUP_OVERHEAD)
MAP_GROUPS = (GROUP_SHELL, GROUP_OBJECT, GROUP_DECOR)
SCAN_GROUPS = (GROUP_SHELL, GROUP_OBJECT)
_NO_GROUP = 5  # of MuJoCo's six the one that nothing is in
_CULL_MARGIN_M = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class MapView:
    """The flat from above, north up, and where the world is in it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    pixels_per_m: float
    left_m: float  # world x of the left edge
    top_m: float  # world y of the upper edge

    def pixel(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Column and row (u, v) of a point of the world."""
        return (x_m - self.left_m) * self.pixels_per_m, (self.top_m - y_m) * self.pixels_per_m


class Simulator:
    """One flat, one robot.

    Physics may be stepped from any one thread at a time. The first render makes an OpenGL
    context that belongs to its thread: rendering or closing from another raises WorldError.
    """

    def __init__(
        self,
        flat: Flat,
        camera: CameraConfig | None = None,
        robot: RobotConfig | None = None,
        *,
        movable: bool = False,
    ) -> None:
        """Compile the flat; WorldError if MuJoCo refuses it. No OpenGL yet.

        movable: `place` may move the flat's objects, not only its door leaves; the robot drives through them.
        """
        self.flat = flat
        self.camera = camera or CameraConfig()
        self.robot = robot or RobotConfig()
        try:
            self._model = mujoco.MjModel.from_xml_string(
                write_mjcf(flat, self.camera, self.robot, movable=movable), texture_assets(flat)
            )
        except ValueError as err:
            raise WorldError(f"MuJoCo refuses the flat of seed {flat.seed}: {err}") from err
        self._data = mujoco.MjData(self._model)
        self._hull = self._model.geom("hull").id
        self._base = self._model.body("base").id
        self._eye = self._model.camera("eye").id
        self._group_of_geom: NDArray[np.int32] = self._model.geom_group.copy()
        self._object_of_geom = _object_of_geom(self._model, len(flat.objects))
        self._mocap = {body.name: int(body.mocapid[0]) for body in map(self._model.body, range(self._model.nbody))}
        self._renderer: Any = None
        self._small_renderer: Any = None
        self._render_thread: int | None = None
        self._option = _groups(CAMERA_GROUPS)
        self._steps = 0
        self._owed_s = 0.0
        self._collided = False
        self.reset(_free_pose(flat))

    def reset(self, pose: Pose) -> None:
        """Start over at a pose: time zero, standing still, everything where the flat has it."""
        self._steps = 0
        mujoco.mj_resetData(self._model, self._data)
        self.teleport(pose)

    def set_time(self, time_ns: int) -> None:
        """Have the simulated time go on from here, to the nearest 5 ms; nothing moves. ValueError below zero."""
        if time_ns < 0:
            raise ValueError(f"time_ns = {time_ns}: must be 0 or more")
        self._steps = round(time_ns / STEP_NS)

    def teleport(self, pose: Pose) -> None:
        """Put the robot at a pose, standing still; time goes on. ValueError if not finite."""
        values = (pose.x_m, pose.y_m, pose.yaw_rad)
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"pose {pose} is not finite")
        moved = self._data.mocap_pos.copy(), self._data.mocap_quat.copy()
        mujoco.mj_resetData(self._model, self._data)
        self._data.mocap_pos[:], self._data.mocap_quat[:] = moved
        self._data.qpos[:] = values
        mujoco.mj_forward(self._model, self._data)
        self._owed_s = 0.0
        self._collided = False

    def set_camera(self, camera: CameraConfig) -> None:
        """Look through another camera from now on, of as many pixels. Raises WorldError for another size."""
        size = camera.width_px, camera.height_px
        if size != (self.camera.width_px, self.camera.height_px):
            raise WorldError(
                f"a camera of {size[0]} x {size[1]} pixels in a simulator that renders"
                f" {self.camera.width_px} x {self.camera.height_px}: make another simulator"
            )
        if camera == self.camera:
            return
        self.camera = camera
        pitch = math.radians(camera.pitch_deg)
        axes = np.array(
            [[0.0, math.sin(pitch), -math.cos(pitch)], [-1.0, 0.0, 0.0], [0.0, math.cos(pitch), math.sin(pitch)]]
        )
        mujoco.mju_mat2Quat(self._model.cam_quat[self._eye], axes.reshape(-1))
        self._model.cam_pos[self._eye] = 0.0, 0.0, camera.height_m
        self._model.cam_fovy[self._eye] = camera.vfov_deg
        mujoco.mj_forward(self._model, self._data)

    def place(self, placements: Mapping[str, Placement]) -> None:
        """Put objects and door leaves, by name, where they are to be. WorldError for one that can't be moved."""
        for name, at in placements.items():
            index = self._mocap.get(name, -1)
            if index < 0:
                raise WorldError(f"{name!r} cannot be moved: it is no door leaf, and no object of a movable simulator")
            self._data.mocap_pos[index] = at.x_m, at.y_m, at.z_m
            self._data.mocap_quat[index] = math.cos(at.yaw_rad / 2), 0.0, 0.0, math.sin(at.yaw_rad / 2)
        mujoco.mj_kinematics(self._model, self._data)

    def step(self, command: VelocityCommand, duration_s: float) -> None:
        """Drive for a while; a duration that is no multiple of 5 ms is made up for later.

        The command is clipped to the robot's limits; one that is not finite counts as zero.
        """
        linear, angular = _clipped(command, self.robot)
        self._owed_s += duration_s
        count = int(self._owed_s / TIMESTEP_S + 1e-6)
        self._owed_s -= count * TIMESTEP_S
        self._collided = False
        for _ in range(count):
            yaw = self._data.qpos[2]
            self._data.ctrl[:] = linear * math.cos(yaw), linear * math.sin(yaw), angular
            mujoco.mj_step(self._model, self._data)
            self._collided = self._collided or self._data.ncon > 0
        self._steps += count

    @property
    def time_ns(self) -> int:
        """Simulated time since the last reset."""
        return self._steps * STEP_NS

    @property
    def collided(self) -> bool:
        """True if the robot touched something during the last step()."""
        return self._collided

    def odometry(self) -> Odometry:
        """True pose and body velocity, stamped with the simulated time."""
        x, y, yaw = (float(value) for value in self._data.qpos)
        vx, vy, turn = (float(value) for value in self._data.qvel)
        forward = vx * math.cos(yaw) + vy * math.sin(yaw)
        return Odometry(self.time_ns, Pose(x, y, wrap_angle(yaw)), forward, turn)

    def render(self) -> NDArray[np.uint8]:
        """Picture of the robot's camera: [H, W, 3] uint8 RGB, a new array.

        Raises WorldError from a thread other than that of the first render, and
        MissingDependencyError without EGL.
        """
        renderer = self._own_renderer()
        self._update_scene(renderer)
        image: NDArray[np.uint8] = renderer.render()
        return image

    def render_segmentation(self, shrink: int = 1) -> NDArray[np.int16]:
        """Which object each pixel of the camera shows: [H / shrink, W / shrink] int16, -1 for none.

        An index into flat.objects; door leaf i has the index len(flat.objects) + i. Two values of shrink other than 1
        must not be mixed. Raises as render does.
        """
        renderer = self._own_renderer() if shrink == 1 else self._own_small_renderer(shrink)
        self._update_scene(renderer)
        renderer.enable_segmentation_rendering()
        try:
            geoms = renderer.render()[..., 0]
        finally:
            renderer.disable_segmentation_rendering()
        objects: NDArray[np.int16] = self._object_of_geom[geoms]  # the last entry, at -1, is -1
        return objects

    def render_map(self, width_px: int = 512) -> MapView:
        """Picture of the flat from above, without ceiling and robot.

        Raises WorldError for a size above 2048 px, and as render does.
        """
        width, height = map_size(self.flat, width_px)
        if not (16 <= width <= MAX_MAP_PX and 16 <= height <= MAX_MAP_PX):
            raise WorldError(f"map of {width} x {height} px: must be 16 to {MAX_MAP_PX} px")
        self._own_renderer()
        renderer = _new_renderer(self._model, width, height)
        try:
            renderer.update_scene(self._data, "map", _groups(MAP_GROUPS))
            _make_orthographic(renderer.scene, self.flat.depth_m + 2 * MAP_MARGIN_M)
            image = renderer.render()
        finally:
            renderer.close()
        scale = height / (self.flat.depth_m + 2 * MAP_MARGIN_M)
        return MapView(image, scale, self.flat.width_m / 2 - width / 2 / scale, self.flat.depth_m + MAP_MARGIN_M)

    def scan(
        self, rays: int = SCAN_RAYS, fov_rad: float = 2 * math.pi, max_m: float = SCAN_MAX_M
    ) -> NDArray[np.float32]:
        """Laser distances from the robot's centre, counter-clockwise: [rays] float32, inf beyond max_m.

        Ray i looks at -fov/2 + i * fov/rays from the robot's heading.
        """
        x, y, yaw = (float(value) for value in self._data.qpos)
        angles = yaw - fov_rad / 2 + np.arange(rays) * fov_rad / rays
        directions = np.stack([np.cos(angles), np.sin(angles), np.zeros(rays)], axis=1)
        return self._cast(np.array([x, y, self.robot.scan_height_m]), directions, max_m).astype(np.float32)

    def cloud(
        self, rays: int = CLOUD_RAYS, rings: int = CLOUD_RINGS, max_m: float = CLOUD_MAX_M
    ) -> NDArray[np.float32]:
        """What a laser of many rings shows, at the height of the scan: [N, 3] float32, x ahead, z up, from its middle.

        The rings look 75 degrees up and down at most; rays that meet nothing within max_m are left out.
        """
        x, y, yaw = (float(value) for value in self._data.qpos)
        azimuth, elevation = np.meshgrid(
            np.arange(rays) * 2 * math.pi / rays, np.linspace(-RINGS_RAD, RINGS_RAD, rings)
        )
        level = np.cos(elevation)
        own = np.stack([np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(elevation)], axis=-1).reshape(-1, 3)
        turn = np.array([[math.cos(yaw), math.sin(yaw), 0.0], [-math.sin(yaw), math.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
        ranges = self._cast(np.array([x, y, self.robot.scan_height_m]), own @ turn, max_m)
        hit = np.isfinite(ranges)
        return (own[hit] * ranges[hit, None]).astype(np.float32)

    def _cast(self, origin: NDArray[np.float64], directions: NDArray[np.float64], max_m: float) -> NDArray[np.float64]:
        """Return how far rays come, inf beyond max_m; the robot itself is in nobody's way."""
        count = len(directions)
        ranges, geoms = np.empty(count), np.empty(count, np.int32)
        groups, flat = _group_mask(SCAN_GROUPS), np.ascontiguousarray(directions).reshape(-1)
        mujoco.mj_multiRay(
            self._model, self._data, origin, flat, groups, 1, self._base, geoms, ranges, None, count, max_m
        )
        ranges[(ranges < 0) | (ranges > max_m)] = np.inf
        return ranges

    def close(self) -> None:
        """Free the OpenGL context, if there is one; in the thread that renders. May be called twice."""
        if self._renderer is not None:
            self._own_renderer()
            for renderer in filter(None, (self._renderer, self._small_renderer)):
                renderer.close()
                _OPEN_RENDERERS.remove(renderer)
            self._renderer = self._small_renderer = None
            self._render_thread = None

    def _update_scene(self, renderer: Any) -> None:
        """Hand the renderer what may be in the picture: two thirds of a flat are not, and cost as much as the rest."""
        groups = self._model.geom_group
        groups[:] = np.where(self._may_be_in_picture(), self._group_of_geom, _NO_GROUP)
        try:
            renderer.update_scene(self._data, "eye", self._option)
        finally:
            groups[:] = self._group_of_geom

    def _may_be_in_picture(self) -> NDArray[np.bool_]:
        """For each geom, whether the sphere around it reaches into the camera's pyramid: [geoms]."""
        axes = self._data.cam_xmat[self._eye].reshape(3, 3)  # columns: right, up, backward
        right, up, backward = ((self._data.geom_xpos - self._data.cam_xpos[self._eye]) @ axes).T
        inside = np.ones(len(right), bool)
        for aside, pixels in ((right, self.camera.width_px), (up, self.camera.height_px)):
            slope = pixels / 2 / self.camera.focal_px
            reach = self._model.geom_rbound * math.hypot(1.0, slope) + _CULL_MARGIN_M
            inside &= np.abs(aside) + backward * slope <= reach
        return inside

    def _own_renderer(self) -> Any:
        thread = threading.get_ident()
        if self._renderer is None:
            self._renderer = _new_renderer(self._model, self.camera.width_px, self.camera.height_px)
            _OPEN_RENDERERS.append(self._renderer)
            self._render_thread = thread
        if thread != self._render_thread:
            raise WorldError(
                f"rendering belongs to thread {self._render_thread}, called from {thread}: an OpenGL context serves"
                " one thread; render and close in the thread of the first render"
            )
        return self._renderer

    def _own_small_renderer(self, shrink: int) -> Any:
        self._own_renderer()
        if self._small_renderer is None:
            size = self.camera.width_px // shrink, self.camera.height_px // shrink
            self._small_renderer = _new_renderer(self._model, *size)
            _OPEN_RENDERERS.append(self._small_renderer)
        return self._small_renderer


# A renderer that the garbage collector frees, in whatever thread and amid whatever rendering, breaks the picture
# that is being made there, or crashes. So one that nobody closed is kept: a leak is the smaller harm.
_OPEN_RENDERERS: list[Any] = []


def _new_renderer(model: Any, width: int, height: int) -> Any:
    """Make a MuJoCo renderer with its own OpenGL context, whose buffer is no larger than needed."""
    if _CHOSEN_WITHOUT_US and sys.platform == "linux" and not os.environ.get("DISPLAY"):
        raise MissingDependencyError(
            "mujoco was imported before vila_sim.mujoco.simulator and chose a windowed OpenGL, but there is no display:"
            " import vila_sim.mujoco.simulator first, or set MUJOCO_GL=egl"
        )
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    try:
        return mujoco.Renderer(model, height, width, max_geom=model.ngeom + 64)
    except (ImportError, AttributeError, OSError, RuntimeError) as err:
        raise MissingDependencyError(
            f"no OpenGL for MuJoCo (MUJOCO_GL={os.environ.get('MUJOCO_GL')!r}): {err}; {_REMEDY}"
        ) from err


def _make_orthographic(scene: Any, height_m: float) -> None:
    """Change the scene's cameras; done here because MJCF spells it differently in each version."""
    for camera in scene.camera:
        camera.orthographic = 1
        camera.frustum_top, camera.frustum_bottom = height_m / 2, -height_m / 2


def _object_of_geom(model: Any, objects: int) -> NDArray[np.int16]:
    """Index of the object, and behind those of the door leaf, of each geom, -1 for none; one more, -1: "no geom"."""
    owner = np.full(model.ngeom + 1, -1, np.int16)
    for geom in range(model.ngeom):
        kind, _, rest = model.geom(geom).name.partition(":")
        if kind in ("object", "leaf"):
            owner[geom] = int(rest.split(":")[0]) + (objects if kind == "leaf" else 0)
    return owner


def _group_mask(groups: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.array([group in groups for group in range(mujoco.mjNGROUP)], np.uint8)


def _groups(groups: tuple[int, ...]) -> Any:
    option = mujoco.MjvOption()
    option.geomgroup[:] = _group_mask(groups)
    return option


def _clipped(command: VelocityCommand, robot: RobotConfig) -> tuple[float, float]:
    if not (math.isfinite(command.linear_mps) and math.isfinite(command.angular_rps)):
        return 0.0, 0.0
    linear = min(max(command.linear_mps, -robot.max_linear_mps), robot.max_linear_mps)
    angular = min(max(command.angular_rps, -robot.max_angular_rps), robot.max_angular_rps)
    return linear, angular


def _free_pose(flat: Flat) -> Pose:
    """The middle of the corridor, which holds no furniture; in a flat without one a doorway."""
    room = flat.rooms[0]
    if room.name != CORRIDOR and flat.doors:
        door = flat.doors[0]
        return Pose(door.x_m, door.y_m, door.heading_rad)
    along_y = room.y_max_m - room.y_min_m > room.x_max_m - room.x_min_m
    return Pose((room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2, math.pi / 2 if along_y else 0.0)
