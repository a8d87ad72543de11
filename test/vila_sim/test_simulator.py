"""The simulator: drives, bumps, sees, scans, and keeps OpenGL to one thread."""

import gc
import math
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import vila_sim.mujoco.simulator as simulator_module
from vila_core.errors import MissingDependencyError, WorldError
from vila_core.types import Pose, VelocityCommand
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.furniture import build_object
from vila_sim.flats.scene import Flat, Room, Wall
from vila_sim.mujoco.simulator import CameraConfig, Simulator

SMALL = CameraConfig(width_px=96, height_px=96)
FORWARD = VelocityCommand(0.3, 0.0)


def hall() -> Flat:
    """One room of 6 x 4 m with a red crate 3 m before the east wall's middle."""
    walls = (
        Wall(-0.1, -0.1, 6.1, 0.0, 2.5, "plain"),
        Wall(-0.1, 4.0, 6.1, 4.1, 2.5, "plain"),
        Wall(-0.1, 0.0, 0.0, 4.0, 2.5, "plain"),
        Wall(6.0, 0.0, 6.1, 4.0, 2.5, "plain"),
    )
    room = Room("hall", 0.0, 0.0, 6.0, 4.0, "oak_planks", "cream_plaster")
    rng = np.random.default_rng(0)
    crate = build_object("crate", "red", rng, room="hall", x_m=4.0, y_m=2.0)
    ball = build_object("ball", "blue", rng, room="hall", x_m=1.0, y_m=3.4)
    return Flat(0, 6.0, 4.0, (room,), walls, (), (ball, crate))


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    simulator = Simulator(hall(), SMALL)
    yield simulator
    simulator.close()


@pytest.fixture
def sim(shared: Simulator) -> Simulator:
    shared.reset(Pose(1.0, 1.0, 0.0))
    return shared


def test_driving_covers_speed_times_time(sim: Simulator) -> None:
    sim.step(FORWARD, 1.0)
    odometry = sim.odometry()
    assert odometry.stamp_ns == sim.time_ns == 1_000_000_000
    assert odometry.pose.x_m == pytest.approx(1.3, abs=0.03)
    assert odometry.pose.y_m == pytest.approx(1.0, abs=1e-3)
    assert odometry.linear_mps == pytest.approx(0.3, abs=0.01)
    assert not sim.collided


def test_it_drives_along_its_own_heading(sim: Simulator) -> None:
    sim.reset(Pose(1.0, 1.0, math.radians(120)))
    sim.step(FORWARD, 1.0)
    pose = sim.odometry().pose
    assert math.atan2(pose.y_m - 1.0, pose.x_m - 1.0) == pytest.approx(math.radians(120), abs=0.01)


def test_turning_turns_on_the_spot_and_left_is_positive(sim: Simulator) -> None:
    sim.step(VelocityCommand(0.0, 0.5), 1.0)
    pose = sim.odometry().pose
    assert pose.yaw_rad == pytest.approx(0.5, abs=0.04)
    assert pose.distance_m(Pose(1.0, 1.0)) < 1e-3


def test_small_durations_add_up(sim: Simulator) -> None:
    for _ in range(300):
        sim.step(FORWARD, 0.0033)
    assert sim.time_ns == pytest.approx(0.99e9, abs=5e6)


def test_a_wall_stops_it(sim: Simulator) -> None:
    sim.reset(Pose(5.5, 1.0, 0.0))
    sim.step(FORWARD, 3.0)
    assert sim.collided
    assert sim.odometry().pose.x_m == pytest.approx(5.8, abs=0.02)
    sim.step(VelocityCommand(-0.3, 0.0), 0.5)
    sim.step(VelocityCommand(), 0.1)
    assert not sim.collided


def test_an_object_stops_it(sim: Simulator) -> None:
    sim.reset(Pose(3.0, 2.0, 0.0))
    sim.step(FORWARD, 4.0)
    assert sim.collided
    crate = sim.flat.objects[1]
    assert sim.odometry().pose.x_m == pytest.approx(4.0 - crate.footprint_m[0] / 2 - 0.2, abs=0.03)


@pytest.mark.parametrize("command", [VelocityCommand(math.nan, 0.1), VelocityCommand(0.1, math.inf)])
def test_a_command_that_is_not_finite_counts_as_zero(sim: Simulator, command: VelocityCommand) -> None:
    sim.step(command, 0.5)
    assert sim.odometry().pose == Pose(1.0, 1.0, 0.0)


def test_commands_are_clipped_to_the_limits_of_the_robot(sim: Simulator) -> None:
    sim.step(VelocityCommand(100.0, 0.0), 1.0)
    assert sim.odometry().pose.x_m <= 1.0 + sim.robot.max_linear_mps


def test_teleport_keeps_the_time_and_refuses_nan(sim: Simulator) -> None:
    sim.step(FORWARD, 0.5)
    sim.teleport(Pose(2.0, 3.0, 1.0))
    assert sim.time_ns == 500_000_000
    assert sim.odometry().pose == Pose(2.0, 3.0, 1.0)
    assert sim.odometry().linear_mps == 0.0
    with pytest.raises(ValueError, match="finite"):
        sim.teleport(Pose(math.nan, 0.0, 0.0))


def test_the_same_pose_gives_the_same_bytes(sim: Simulator) -> None:
    sim.teleport(Pose(1.0, 2.0, 0.1))
    first = sim.render()
    sim.teleport(Pose(2.0, 1.0, 2.0))
    other = sim.render()
    sim.teleport(Pose(1.0, 2.0, 0.1))
    assert first.shape == (96, 96, 3) and first.dtype == np.uint8
    assert np.array_equal(first, sim.render())
    assert not np.array_equal(first, other)


def test_another_simulator_of_the_flat_gives_the_same_bytes(sim: Simulator) -> None:
    other = Simulator(hall(), SMALL)
    for simulator in (sim, other):
        simulator.teleport(Pose(1.0, 2.0, 0.1))
    assert np.array_equal(sim.render(), other.render())
    other.close()
    other.close()
    assert sim.render().std() > 5


def test_segmentation_shows_the_object_ahead_in_its_colour(sim: Simulator) -> None:
    sim.teleport(Pose(1.6, 2.0, 0.0))
    labels, image = sim.render_segmentation(), sim.render()
    assert labels.shape == (96, 96) and labels.dtype == np.int16
    assert set(np.unique(labels)) == {-1, 1}
    rows, columns = np.nonzero(labels == 1)
    assert columns.mean() == pytest.approx(47.5, abs=1.0)
    red, green, blue = image[rows, columns].astype(int).mean(axis=0)
    assert red > 3 * green and red > 3 * blue


def test_the_left_of_the_picture_is_the_left_of_the_robot(sim: Simulator) -> None:
    sim.teleport(Pose(1.6, 1.2, 0.0))
    _, columns = np.nonzero(sim.render_segmentation() == 1)
    assert columns.mean() < 40


def test_the_camera_looks_down_by_its_pitch(sim: Simulator) -> None:
    """The crate's foot is 0.9 m below the camera, some 2 m ahead."""
    sim.teleport(Pose(1.6, 2.0, 0.0))
    rows, _ = np.nonzero(sim.render_segmentation() == 1)
    ahead = 2.4 - sim.flat.objects[1].footprint_m[0] / 2
    angle = math.atan2(SMALL.height_m, ahead) - math.radians(SMALL.pitch_deg)
    assert rows.max() == pytest.approx(48 + SMALL.focal_px * math.tan(angle), abs=1.5)


def test_rendering_from_another_thread_is_refused(sim: Simulator) -> None:
    sim.render()
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            sim.render()
        except WorldError as err:
            caught.append(err)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "one thread" in str(caught[0])


def test_a_missing_opengl_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise ImportError("no libEGL")

    monkeypatch.setattr(simulator_module.mujoco, "Renderer", fail)
    with pytest.raises(MissingDependencyError, match="apt-get install libegl1 libgl1"):
        Simulator(hall(), SMALL).render()


def test_the_scan_measures_the_walls_counter_clockwise_from_behind(sim: Simulator) -> None:
    sim.teleport(Pose(2.0, 1.0, 0.0))
    ranges = sim.scan(4)
    assert ranges.dtype == np.float32
    assert ranges == pytest.approx([2.0, 1.0, 4.0, 3.0], abs=0.01)
    assert np.isinf(sim.scan(4, max_m=2.5)[2])


def test_the_scan_sees_objects_but_not_the_robot(sim: Simulator) -> None:
    sim.teleport(Pose(2.0, 2.0, 0.0))
    crate = sim.flat.objects[1]
    assert sim.scan(360)[180] == pytest.approx(2.0 - crate.footprint_m[0] / 2, abs=0.03)


def test_the_cloud_is_where_floor_and_walls_are_for_the_robot(sim: Simulator) -> None:
    sim.teleport(Pose(2.0, 1.0, math.pi / 2))  # the wall behind the robot is 1 m away, that on its left 2 m
    cloud = sim.cloud(max_m=10.0)
    assert cloud.dtype == np.float32 and cloud.shape[1] == 3 and len(cloud) > 1000
    assert cloud[:, 2].min() == pytest.approx(-sim.robot.scan_height_m, abs=0.01)
    walls = cloud[np.abs(cloud[:, 2]) < 0.2]
    assert walls[:, 0].min() == pytest.approx(-1.0, abs=0.02) and walls[:, 1].max() == pytest.approx(2.0, abs=0.02)
    assert np.linalg.norm(sim.cloud(max_m=1.5), axis=1).max() <= 1.5


def test_the_map_shows_objects_where_they_are(sim: Simulator) -> None:
    view = sim.render_map(400)
    u, v = view.pixel(4.0, 2.0)
    red, green, blue = view.image[round(v), round(u)].astype(int)
    assert view.image.shape[1] == 400
    assert red > 2 * green and red > 2 * blue
    u, v = view.pixel(1.0, 3.4)
    red, green, blue = view.image[round(v), round(u)].astype(int)
    assert blue > 2 * red
    assert sim.render().shape == (96, 96, 3)


def test_a_generated_flat_renders_its_objects() -> None:
    flat = generate_flat(5)
    simulator = Simulator(flat, SMALL)
    seen: set[int] = set()
    for room in flat.rooms[1:]:
        x, y = (room.x_min_m + room.x_max_m) / 2, (room.y_min_m + room.y_max_m) / 2
        for quarter in range(4):
            simulator.teleport(Pose(x, y, quarter * math.pi / 2))
            seen |= set(np.unique(simulator.render_segmentation()).tolist())
    simulator.close()
    assert len(seen - {-1}) > 0.8 * len(flat.objects)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_simulator_that_nobody_closed_does_not_break_another(sim: Simulator) -> None:
    def forget() -> None:
        forgotten = Simulator(sim.flat, SMALL)
        forgotten.render()
        cycle: list[object] = [forgotten]
        cycle.append(cycle)  # left to the garbage collector

    expected, before = sim.render_segmentation(), gc.get_threshold()
    for _ in range(4):
        thread = threading.Thread(target=forget)
        thread.start()
        thread.join()
        gc.set_threshold(1, 1, 1)  # collect amid rendering
        try:
            assert np.array_equal(sim.render_segmentation(), expected)
        finally:
            gc.set_threshold(*before)
