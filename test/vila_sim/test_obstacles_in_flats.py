"""The obstacle guard in furnished flats: drives straight at things touch nothing that a sensor can see."""

import dataclasses
import math
from collections import Counter, deque

import numpy as np
import pytest

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.obstacles import ObstacleGuard, ObstacleVerdict
from vila_core.control.reasons import StopReason
from vila_core.types import Pose, VelocityCommand
from vila_sim.flat import generate_flat
from vila_sim.grid import OccupancyGrid
from vila_sim.mujoco.simulator import Simulator

DRIVES = 6  # in each flat
TICK_S, SCAN_S, LATENCY_S, END_S, STILL_TICKS = 0.05, 0.1, 0.1, 10.0, 15
RAYS, NOISE_M = 180, 0.01
LASER_M = (0.25,)
ALL_M = (0.05, 0.25, 0.45, 0.63, 0.66, 0.7, 0.75, 0.8, 0.85, 0.95)  # as good as a camera that sees all heights


def points_at(simulator, height_m, rng):
    """What a laser at that height shows: [N, 2] float32."""
    low = dataclasses.replace(simulator.robot, scan_height_m=height_m)
    before, simulator.robot = simulator.robot, low
    ranges = simulator.scan(RAYS) + rng.normal(0.0, NOISE_M, RAYS)
    simulator.robot = before
    angles = -math.pi + np.arange(RAYS) * 2 * math.pi / RAYS
    hit = np.isfinite(ranges)
    rays = np.stack([np.cos(angles[hit]), np.sin(angles[hit])], axis=1)
    return (rays * ranges[hit, None]).astype(np.float32)


def drive(simulator, start, wanted, heights_m, rng):
    """Drive until it stands or the time is over: "stopped", "drove", "touched", or "touched unseen"."""
    simulator.reset(start)
    guard, under_way, still, next_scan_s = ObstacleGuard(ObstacleConfig()), deque(), 0, rng.uniform(0.0, SCAN_S)
    while simulator.time_ns < END_S * 1e9 and still < STILL_TICKS:
        now_s = simulator.time_ns / 1e9
        if now_s >= next_scan_s:
            next_scan_s += SCAN_S
            under_way.append((now_s, np.vstack([points_at(simulator, height_m, rng) for height_m in heights_m])))
        while under_way and under_way[0][0] + LATENCY_S <= now_s:
            seen_s, points = under_way.popleft()
            guard.note("scan", points, round(seen_s * 1e9))
        found = guard.limit(wanted, simulator.time_ns)
        still = still + 1 if found.reason is StopReason.OBSTACLE else 0
        simulator.step(found.command, TICK_S)
        if simulator.collided:
            return "touched" if _is_seen(simulator, heights_m) else "touched unseen"
    return "stopped" if still else "drove"


def _is_seen(simulator, heights_m):
    """Whether a sensor at one of those heights sees the robot touch something."""
    rng = np.random.default_rng(0)
    nearest_m = min(float(np.hypot(*points_at(simulator, height, rng).T).min()) for height in heights_m)
    return nearest_m < simulator.robot.radius_m + 5 * NOISE_M


def drives(seed, heights_m):
    """Count how drives of 0.1 to 0.5 m/s, half of them along an arc, end in one flat."""
    flat, rng = generate_flat(seed), np.random.default_rng(seed)
    grid, simulator, ends = OccupancyGrid(flat, 0.25), Simulator(flat), Counter()
    while ends.total() < DRIVES:
        x, y, yaw = rng.uniform(0, flat.width_m), rng.uniform(0, flat.depth_m), rng.uniform(-math.pi, math.pi)
        if grid.free(x, y):
            index = ends.total()
            wanted = VelocityCommand(0.1 + 0.1 * (index % 5), rng.uniform(-1, 1) * (index % 2))
            ends[drive(simulator, Pose(x, y, yaw), wanted, heights_m, rng)] += 1
    simulator.close()
    return ends


@pytest.mark.parametrize(("seed", "heights_m"), [(1000, LASER_M), (1001, LASER_M), (1002, LASER_M), (1000, ALL_M)])
def test_nothing_that_is_seen_is_touched(seed, heights_m):
    """What lies wholly below or above a laser's plane it can not see; with sensors of all heights that is nothing."""
    ends = drives(seed, heights_m)
    assert ends["touched"] == 0, ends
    assert ends["stopped"] >= DRIVES // 2, ends
    if heights_m is ALL_M:
        assert ends["touched unseen"] == 0, ends


def test_without_a_guard_the_same_drives_touch_things(monkeypatch):
    monkeypatch.setattr(ObstacleGuard, "limit", lambda self, wanted, steady_ns: ObstacleVerdict(wanted))
    ends = drives(1000, LASER_M)
    assert ends["touched"] + ends["touched unseen"] >= DRIVES // 2, ends
