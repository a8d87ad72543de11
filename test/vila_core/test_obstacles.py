"""The obstacle guard: zones, approach, turning away, silence, noise, and the exam of Nav2's collision monitor."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila_core.config import from_mapping
from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard
from vila_core.control.governor.polygons import HERE, Circle, Poses, parse_shape
from vila_core.control.reasons import StopReason
from vila_core.errors import ConfigError
from vila_core.types import VelocityCommand

SECOND = 1_000_000_000
RADIUS_M = 0.2
BOX = "[[0.3, 0.2], [0.3, -0.2], [-0.3, -0.2], [-0.3, 0.2]]"
FORWARD = VelocityCommand(0.3, 0.0)


def wall(distance_m, *, bearing_rad=0.0, length_m=4.0):
    """Points each centimetre of a wall whose nearest point lies so far from the robot's middle."""
    along = np.arange(-length_m / 2, length_m / 2, 0.01)
    cos, sin = math.cos(bearing_rad), math.sin(bearing_rad)
    return np.stack([distance_m * cos - along * sin, distance_m * sin + along * cos], axis=1).astype(np.float32)


def spot(x_m, y_m, count=2):
    return np.full((count, 2), (x_m, y_m), np.float32)


def verdict(points, wanted, *, age_s=0.0, **settings):
    guard = ObstacleGuard(ObstacleConfig(**settings))
    guard.note("scan", points, 0)
    return guard.limit(wanted, int(age_s * SECOND))


FREE = np.empty((0, 2), np.float32)
LEFT = math.pi / 2

PASSES = {
    "nothing seen": (FREE, FORWARD),
    "far ahead": (wall(2.0), FORWARD),
    "behind": (wall(0.22, bearing_rad=math.pi), FORWARD),
    "beside the path": (spot(0.5, 0.4), FORWARD),
    "along a wall at 16 cm": (wall(RADIUS_M + 0.2, bearing_rad=LEFT), FORWARD),
    "turn 5 cm off a wall": (wall(RADIUS_M + 0.05), VelocityCommand(0.0, 0.5)),
    "turn 5 mm off a wall": (wall(RADIUS_M + 0.005), VelocityCommand(0.0, -1.5)),
    "turn in a corner": (np.vstack([wall(0.21), wall(0.21, bearing_rad=LEFT)]), VelocityCommand(0.0, 0.5)),
    "back off from a wall": (wall(RADIUS_M + 0.05), VelocityCommand(-0.2, 0.0)),
    "away from a wall 5 mm behind": (wall(RADIUS_M + 0.005, bearing_rad=math.radians(160)), FORWARD),
    "too little to be believed": (spot(0.4, 0.0, count=1), FORWARD),
}


@pytest.mark.parametrize("case", PASSES)
def test_what_is_not_in_the_way_limits_nothing(case):
    points, wanted = PASSES[case]
    found = verdict(points, wanted)
    assert (found.command, found.scale, found.reason, found.detail) == (wanted, 1.0, StopReason.NONE, "")


STOPS = {
    "a wall 5 cm ahead": (wall(RADIUS_M + 0.05), FORWARD, {}, "approach"),
    "a chair's leg": (spot(0.27, 0.15), FORWARD, {}, "approach"),
    "a wall 5 cm behind": (wall(RADIUS_M + 0.05, bearing_rad=math.pi), VelocityCommand(-0.2, 0.0), {}, "approach"),
    "into a wall 5 cm beside": (wall(0.25, bearing_rad=LEFT), VelocityCommand(0.3, 1.5), {}, "approach"),
    "toward a wall 5 mm beside": (wall(0.205, bearing_rad=1.4), FORWARD, {}, "approach"),
    "in the stop zone": (spot(0.6, 0.5), FORWARD, {"stop_zone": "1.0"}, "stop zone"),
    "in a stop polygon": (spot(0.6, 0.5), FORWARD, {"stop_zone": "[[0,1],[0,-1],[0.7,-1],[0.7,1]]"}, "stop zone"),
    "the robot itself": (spot(0.05, 0.0), FORWARD, {}, "outline"),
    "a box that turns": (wall(0.32), VelocityCommand(0.0, 0.5), {"footprint": BOX}, "approach"),
}


@pytest.mark.parametrize("case", STOPS)
def test_what_is_in_the_way_stops(case):
    points, wanted, settings, word = STOPS[case]
    found = verdict(points, wanted, **settings)
    assert (found.command, found.scale, found.reason) == (VelocityCommand(), 0.0, StopReason.OBSTACLE)
    assert word in found.detail
    assert "scan" in found.detail


SLOWS = {
    "0.4 m before contact": (wall(0.2 + 0.03 + 0.4), VelocityCommand(0.5, 0.2), {}, 0.6, "approach"),
    "passing 10 cm beside": (spot(0.3, 0.3), FORWARD, {}, 0.5, "slow distance"),
    "in the slow zone": (spot(0.6, 0.6), FORWARD, {"slow_zone": "1.0", "slow_ratio": 0.3}, 0.3, "slow zone"),
    "in the limit zone": (spot(0.6, 0.6), VelocityCommand(0.4, 0.0), {"limit_zone": "1.0"}, 0.5, "limit zone"),
    "limit of turning": (spot(0.6, 0.6), VelocityCommand(0.1, 1.0), {"limit_zone": "1.0"}, 0.5, "limit zone"),
    "the most severe wins": (
        spot(0.6, 0.6),
        FORWARD,
        {"slow_zone": "1.0", "slow_ratio": 0.4, "limit_zone": "1.0"},
        0.4,
        "slow zone",
    ),
}


@pytest.mark.parametrize("case", SLOWS)
def test_what_is_near_scales_both_velocities(case):
    points, wanted, settings, scale, word = SLOWS[case]
    found = verdict(points, wanted, **settings)
    assert found.scale == pytest.approx(scale, abs=0.05)
    assert found.command.linear_mps == pytest.approx(wanted.linear_mps * found.scale)
    assert found.command.angular_rps == pytest.approx(wanted.angular_rps * found.scale)
    assert found.reason is StopReason.NONE
    assert word in found.detail


@pytest.mark.parametrize("age_s", [0.0, 0.2, 0.4])
def test_an_older_measurement_leaves_less_time(age_s):
    config = ObstacleConfig()
    contact_s = (0.45 - config.side_margin_m) / 0.3
    left_s = contact_s - age_s - config.stop_margin_m / 0.3
    assert verdict(wall(RADIUS_M + 0.45), FORWARD, age_s=age_s).scale == pytest.approx(min(left_s, 1.0), abs=0.01)


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(
    ("noted", "age_s", "is_silent"), [((), 0.0, True), (("scan",), 0.6, True), (("scan",), 0.4, False)]
)
def test_silence_stops_where_data_is_required(noted, age_s, is_silent, required):
    guard = ObstacleGuard(ObstacleConfig(required=required))
    for name in noted:
        guard.note(name, FREE, 0)
    found = guard.limit(FORWARD, int(age_s * SECOND))
    stops = is_silent and required
    assert found.reason is (StopReason.NO_OBSTACLE_DATA if stops else StopReason.NONE)
    assert found.command == (VelocityCommand() if stops else FORWARD)


def test_one_of_two_sensors_is_not_enough_and_either_stops():
    guard = ObstacleGuard(ObstacleConfig(sources="scan, depth"))
    guard.note("scan", FREE, 0)
    assert "depth" in guard.limit(FORWARD, 0).detail
    guard.note("depth", wall(0.25), 0)
    assert guard.limit(FORWARD, 0).reason is StopReason.OBSTACLE


@pytest.mark.parametrize("wanted", [VelocityCommand(math.nan, 0.0), VelocityCommand(0.1, math.inf)])
def test_a_command_that_is_not_finite_does_not_pass(wanted):
    found = verdict(FREE, wanted)
    assert (found.command, found.reason) == (VelocityCommand(), StopReason.BAD_COMMAND)


def test_points_that_are_not_finite_or_the_robots_own_are_dropped():
    junk = np.array([[np.nan, 0.0], [np.inf, 0.0], [0.05, 0.0], [0.06, 0.0]], np.float32)
    assert verdict(junk, FORWARD, ignore_radius_m=0.1).scale == 1.0


def test_one_point_is_believed_once_it_is_seen_twice():
    guard = ObstacleGuard(ObstacleConfig())
    guard.note("scan", spot(0.3, 0.0, count=1), 0)
    assert guard.limit(FORWARD, 0).scale == 1.0
    guard.note("scan", spot(0.29, 0.01, count=1), SECOND // 10)
    assert guard.limit(FORWARD, SECOND // 10).reason is StopReason.OBSTACLE


def test_a_reading_from_before_the_newest_is_ignored():
    guard = ObstacleGuard(ObstacleConfig())
    guard.note("scan", FREE, SECOND)
    guard.note("scan", wall(0.25), SECOND - 1)
    assert guard.limit(FORWARD, SECOND).scale == 1.0


def test_noise_at_the_edge_of_a_stop_does_not_make_the_robot_stutter():
    """At 13 cm before contact, where it just stops or creeps, a laser's noise of 1 cm changes nothing."""
    rng, guard = np.random.default_rng(0), ObstacleGuard(ObstacleConfig())
    stops = []
    for step in range(200):
        points = wall(RADIUS_M + 0.03 + 0.12)
        guard.note("scan", points + rng.normal(0.0, 0.01, points.shape).astype(np.float32), step * SECOND // 10)
        stops.append(guard.limit(FORWARD, step * SECOND // 10).reason is StopReason.OBSTACLE)
    assert np.count_nonzero(np.diff(stops)) <= 1


def test_the_guard_computes_nothing_while_nothing_changes(monkeypatch):
    guard, sweeps = ObstacleGuard(ObstacleConfig()), []
    sweep = guard._sweeper.sweep
    monkeypatch.setattr(guard._sweeper, "sweep", lambda *args: sweeps.append(args) or sweep(*args))
    guard.note("scan", wall(0.5), 0)
    for tick in range(10):
        guard.limit(FORWARD, tick * SECOND // 50)
    assert len(sweeps) == 1
    guard.limit(VelocityCommand(0.3, 0.1), 0)
    guard.note("scan", wall(0.5), SECOND // 10)
    guard.limit(FORWARD, SECOND // 10)
    assert len(sweeps) == 3


def test_what_the_node_gives_wrongly_is_refused():
    guard = ObstacleGuard(ObstacleConfig())
    with pytest.raises(ConfigError, match="sonar"):
        guard.note("sonar", FREE, 0)
    with pytest.raises(ValueError, match=r"\[N, 2\], got \[5, 3\]"):
        guard.note("scan", np.zeros((5, 3), np.float32), 0)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"sources": "sonar"}, "sonar"),
        ({"sources": ""}, "required"),
        ({"footprint": "[[0,0],[1,0]]"}, "footprint"),
        ({"footprint": "[[1,1],[2,1],[2,2]]"}, "origin"),
        ({"footprint": "[[0,0],[1,0],[2,0]]"}, "no area"),
        ({"footprint": "[[0,0],[1,0],[0,NaN]]"}, "footprint"),
        ({"stop_zone": "[" * 4000}, "stop_zone"),
        ({"slow_zone": "-1"}, "slow_zone"),
        ({"limit_zone": "here"}, "limit_zone"),
        ({"min_points": 0}, "min_points"),
        ({"min_points": 2.0}, "min_points"),
        ({"slow_ratio": 0.0}, "slow_ratio"),
        ({"source_timeout_s": math.nan}, "source_timeout_s"),
        ({"resume_mps": 0.01}, "resume_mps"),
        ({"min_height_m": 2.0}, "min_height_m"),
        ({"simulation_time_step_s": 0.02, "stop_margin_m": 10.0}, r"simulation_time_step_s = 0\.02: .*at least 0\.2 "),
        ({"scan_mount": "0 0 0"}, "scan_mount"),
        ({"depth_mount": "0 0 nan 0 0"}, "depth_mount"),
        ({"reliability": "maybe"}, "reliability"),
    ],
)
def test_impossible_settings_are_refused_with_their_name(values, word):
    with pytest.raises(ConfigError, match=word):
        from_mapping(ObstacleConfig, values)


def test_a_robot_without_a_sensor_says_so():
    config = ObstacleConfig(sources="", required=False)
    assert ObstacleGuard(config).limit(FORWARD, 0).command == FORWARD


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("0.5", [(0.49, 0.0), (-0.3, 0.3)], [(0.51, 0.0), (0.4, 0.4)]),
        (BOX, [(0.29, 0.19), (0.0, 0.0)], [(0.31, 0.0), (0.0, -0.21)]),
        ("[[0.3, 0.2], [0.3, -0.2], [0.0, 0.0], [-0.3, -0.2], [-0.3, 0.2]]", [(0.0, -0.1)], [(0.0, -0.21)]),
    ],
)
def test_shapes(text, inside, outside):
    distances = parse_shape(text, "zone").distances(np.array(inside + outside, np.float32), HERE)[0]
    assert (distances < 0).tolist() == [True] * len(inside) + [False] * len(outside)


def test_a_shape_that_is_moved_and_turned():
    poses = Poses(*(np.array([value], np.float32) for value in (1.0, 2.0, math.pi / 2)))
    points = np.array([(1.0, 2.4), (1.25, 2.0)], np.float32)
    assert parse_shape(BOX, "box").distances(points, poses)[0].tolist() == pytest.approx([0.1, 0.05], abs=1e-5)
    assert Circle(0.2).distances(points, poses)[0].tolist() == pytest.approx([0.2, 0.05], abs=1e-5)


near = st.floats(-0.8, 0.8)


@given(
    points=st.lists(st.tuples(near, near), min_size=2, max_size=30),
    linear=st.floats(-0.5, 0.5),
    angular=st.floats(-1.5, 1.5),
    footprint=st.sampled_from(["", BOX]),
)
def test_what_passes_never_brings_the_outline_onto_a_point(points, linear, angular, footprint):
    """Law: 0.3 s of what passes leave each point that was outside where it is, or farther, unless it was nearer."""
    config = ObstacleConfig(footprint=footprint, min_points=1)
    seen = np.array(points, np.float32)
    guard = ObstacleGuard(config)
    guard.note("scan", seen, 0)
    passed = guard.limit(VelocityCommand(linear, angular), 0)
    assert 0.0 <= passed.scale <= 1.0
    before = config.outline.distances(seen, HERE)[0]
    pose = _pose_after(passed.command, 0.3)
    after = config.outline.distances(seen, pose)[0]
    assert np.all((after >= 0.0) | (after >= before - 0.005))


@given(distance=st.floats(0.201, 0.6), bearing=st.floats(-math.pi, math.pi), turn=st.floats(-1.5, 1.5))
def test_no_wall_locks_a_round_robot(distance, bearing, turn):
    """Law: it may always turn on the spot, and drive away from a wall behind it."""
    assert verdict(wall(distance, bearing_rad=bearing), VelocityCommand(0.0, turn)).scale == 1.0
    away = verdict(wall(distance, bearing_rad=math.pi), FORWARD)
    assert away.command == FORWARD


def _pose_after(command, time_s):
    yaw = command.angular_rps * time_s
    turn = command.angular_rps
    straight = abs(turn) < 1e-6
    x = command.linear_mps * time_s if straight else command.linear_mps / turn * math.sin(yaw)
    y = 0.0 if straight else command.linear_mps / turn * (1 - math.cos(yaw))
    return Poses(*(np.array([value], np.float32) for value in (x, y, yaw)))


# --- the exam of Nav2's collision monitor ----------------------------------------------------------

APPEARS_S, LEAVES_S, END_S = 3.0, 8.0, 14.0
TICK_S, SCAN_S, SENSOR_LATENCY_S, BASE_LATENCY_S = 0.05, 0.1, 0.1, 0.05
STILL_MPS, MOVING_MPS = 0.02, 0.1


@dataclasses.dataclass
class Course:
    """A base in one dimension with latencies, and a thing before it that comes and goes."""

    speed_mps: float
    ahead_m: float  # from the robot's middle, when it appears; it stays where it is
    config: ObstacleConfig
    seed: int = 0

    def drive(self):
        """Return times and what passed, and the least distance to the outline while the thing is there."""
        guard, rng = ObstacleGuard(self.config), np.random.default_rng(self.seed)
        guard.note("scan", FREE, 0)
        x, speed, next_scan_s, thing_x = 0.0, 0.0, 0.0, None
        under_way, commands, rows, least_m = [], [], [], math.inf
        for now_s in np.arange(0.0, END_S, TICK_S):
            is_there = APPEARS_S <= now_s < LEAVES_S
            if is_there and thing_x is None:
                thing_x = x + self.ahead_m
            if now_s >= next_scan_s - 1e-9:
                next_scan_s += SCAN_S
                under_way.append((now_s, self._scan(rng, thing_x - x if is_there else None)))
            while under_way and under_way[0][0] + SENSOR_LATENCY_S <= now_s + 1e-9:
                seen_s, points = under_way.pop(0)
                guard.note("scan", points, round(seen_s * SECOND))
            passed = guard.limit(VelocityCommand(self.speed_mps), round(now_s * SECOND)).command.linear_mps
            commands.append((now_s, passed))
            while commands[0][0] + BASE_LATENCY_S < now_s - 1e-9:
                commands.pop(0)
            speed += float(np.clip(commands[0][1] - speed, -1.0 * TICK_S, 1.0 * TICK_S))  # 1 m/s2
            x += speed * TICK_S
            rows.append((now_s, passed))
            if is_there:
                least_m = min(least_m, thing_x - x - RADIUS_M)
        return np.array(rows), least_m

    def _scan(self, rng, thing_m):
        """360 rays in a clear field of 8 m, 1 % of them anywhere; the thing is 20 cm wide."""
        angles = np.arange(360) * 2 * math.pi / 360
        ranges = np.full(360, 6.0) + rng.normal(0.0, 0.01, 360)
        if thing_m is not None:
            lateral = np.abs(thing_m * np.tan(angles))
            hit = (np.cos(angles) > 0) & (lateral < 0.1)
            ranges[hit] = thing_m / np.cos(angles[hit]) + rng.normal(0.0, 0.01, int(hit.sum()))
        noise = rng.random(360) < 0.01
        ranges[noise] = rng.uniform(0.05, 8.0, int(noise.sum()))
        return np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], axis=1).astype(np.float32)


@dataclasses.dataclass
class Marks:
    stop_s: float
    held: float
    resume_s: float
    false_stops: float


def examine(rows):
    """As Nav2's exam: of what passes, three samples in a row count as stopped, or as moving again.

    False stops are those where nothing is, once the 0.6 s to resume are over.
    """
    times, speeds = rows[:, 0], np.abs(rows[:, 1])
    there = (times >= APPEARS_S) & (times <= LEAVES_S)
    after, before = times >= LEAVES_S + 0.2, (times >= 1.0) & (times <= APPEARS_S - 0.2)
    clear = before | (times >= LEAVES_S + 0.6)
    return Marks(
        _third_in_row(times[there], speeds[there] <= STILL_MPS) - APPEARS_S,
        float(np.mean(speeds[there] <= STILL_MPS)),
        _third_in_row(times[after], speeds[after] >= MOVING_MPS) - LEAVES_S,
        float(np.mean(speeds[clear] <= STILL_MPS)),
    )


def _third_in_row(times, good):
    runs = good[2:] & good[1:-1] & good[:-2]
    return float(times[2:][runs][0]) if runs.any() else math.inf


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("speed_mps", [0.2, 0.3, 0.5])
@pytest.mark.parametrize(("zone", "ahead_m"), [("1.0", 0.8), ("0.5", 0.45), ("", 0.33)])
def test_the_exam_of_nav2(speed_mps, zone, ahead_m, seed):
    """Stop <= 0.6 s, hold >= 90 %, resume <= 0.6 s, false stops <= 5 %; with and without a stop zone.

    Without one the thing appears a stop margin before the robot, as a foot does that steps into its way.
    """
    ahead_m = ahead_m + 0.1 * (speed_mps == 0.5) * (zone == "")
    rows, least_m = Course(speed_mps, ahead_m, ObstacleConfig(stop_zone=zone), seed).drive()
    marks = examine(rows)
    assert marks.stop_s <= 0.6 + 1e-6, marks
    assert marks.held >= 0.9 - 1e-6, marks
    assert marks.resume_s <= 0.6 + 1e-6, marks
    assert marks.false_stops <= 0.05, marks
    assert least_m > 0.0


def test_a_clear_field_with_outliers_hardly_slows():
    mean = []
    for seed in range(5):
        course = Course(0.3, 100.0, ObstacleConfig(), seed)
        mean.append(float(np.mean(course.drive()[0][20:, 1])))
    assert min(mean) > 0.95 * 0.3
