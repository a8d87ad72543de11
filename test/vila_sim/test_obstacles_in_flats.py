"""The obstacle guard in furnished flats: drives straight at things touch nothing that a sensor can see."""

import math
from collections import Counter, deque

import numpy as np
import pytest

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard, ObstacleVerdict
from vila_core.control.governor.point_sources import obstacle_points
from vila_core.control.governor.transforms import from_mount
from vila_core.control.reasons import StopReason
from vila_core.types import Pose, VelocityCommand
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.mujoco.simulator import RobotConfig, Simulator

DRIVES = 6  # in each flat
TICK_S, SCAN_S, LATENCY_S, END_S, STILL_TICKS = 0.05, 0.1, 0.1, 10.0, 15
RAYS, NOISE_M = 180, 0.01
CONFIG, MOUNT = ObstacleConfig(), from_mount((0.0, 0.0, RobotConfig().scan_height_m, 0.0, 0.0))


def cloud_points(simulator, rng):
    """What a laser with many rings shows: [N, 2] float32."""
    cloud = simulator.cloud()
    cloud += rng.normal(0.0, NOISE_M / 2, cloud.shape).astype(np.float32)
    return obstacle_points(cloud, MOUNT, CONFIG)


def scan_points(simulator, rng):
    """What a laser in one plane shows: [N, 2] float32."""
    ranges = simulator.scan(RAYS) + rng.normal(0.0, NOISE_M, RAYS)
    angles = -math.pi + np.arange(RAYS) * 2 * math.pi / RAYS
    hit = np.isfinite(ranges)
    rays = np.stack([np.cos(angles[hit]), np.sin(angles[hit])], axis=1)
    return (rays * ranges[hit, None]).astype(np.float32)


def drive(simulator, start, wanted, measure, rng):
    """Drive until it stands or the time is over: "stopped", "drove", "touched", or "touched unseen"."""
    simulator.reset(start)
    guard, under_way, still, next_scan_s = ObstacleGuard(CONFIG), deque(), 0, rng.uniform(0.0, SCAN_S)
    while simulator.time_ns < END_S * 1e9 and still < STILL_TICKS:
        now_s = simulator.time_ns / 1e9
        if now_s >= next_scan_s:
            next_scan_s += SCAN_S
            under_way.append((now_s, measure(simulator, rng)))
        while under_way and under_way[0][0] + LATENCY_S <= now_s:
            seen_s, points = under_way.popleft()
            guard.note("scan", points, round(seen_s * 1e9))
        found = guard.limit(wanted, simulator.time_ns)
        still = still + 1 if found.reason is StopReason.OBSTACLE else 0
        simulator.step(found.command, TICK_S)
        if simulator.collided:
            return "touched" if _is_seen(simulator, measure) else "touched unseen"
    return "stopped" if still else "drove"


def _is_seen(simulator, measure):
    """Whether the sensor sees the robot touch something."""
    nearest_m = float(np.hypot(*measure(simulator, np.random.default_rng(0)).T).min())
    return nearest_m < simulator.robot.radius_m + 5 * NOISE_M


def drives(seed, measure):
    """Count how drives of 0.1 to 0.5 m/s, half of them along an arc, end in one flat."""
    flat, rng = generate_flat(seed), np.random.default_rng(seed)
    grid, simulator, ends = OccupancyGrid(flat, 0.25), Simulator(flat), Counter()
    while ends.total() < DRIVES:
        x, y, yaw = rng.uniform(0, flat.width_m), rng.uniform(0, flat.depth_m), rng.uniform(-math.pi, math.pi)
        if grid.free(x, y):
            index = ends.total()
            wanted = VelocityCommand(0.1 + 0.1 * (index % 5), rng.uniform(-1, 1) * (index % 2))
            ends[drive(simulator, Pose(x, y, yaw), wanted, measure, rng)] += 1
    simulator.close()
    return ends


CASES = [(1000, scan_points), (1001, scan_points), (1002, scan_points), *((1000 + n, cloud_points) for n in range(6))]


@pytest.mark.parametrize(("seed", "measure"), CASES)
def test_nothing_that_is_seen_is_touched(seed, measure):
    """What lies wholly below or above a laser's plane it can not see; with many rings that is nothing."""
    ends = drives(seed, measure)
    assert ends["touched"] == 0, ends
    assert ends["stopped"] >= DRIVES // 3, ends
    if measure is cloud_points:
        assert ends["touched unseen"] == 0, ends


def test_without_a_guard_the_same_drives_touch_things(monkeypatch):
    monkeypatch.setattr(ObstacleGuard, "limit", lambda self, wanted, steady_ns: ObstacleVerdict(wanted))
    ends = drives(1000, scan_points)
    assert ends["touched"] + ends["touched unseen"] >= DRIVES // 2, ends
