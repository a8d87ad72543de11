"""`vila bench drive`: missions in the physics, and how long the robot stands for decisions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("mujoco")

from vila_core.config import TIMINGS
from vila_ros.navigator.mission.mission import MissionState
from vila_sim.episodes.splits import flat_of, generate_episodes
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.mujoco.simulator import Simulator
from vila_tools.evaluation import driving
from vila_tools.evaluation.oracle_navigator import OracleNavigator

S = 1_000_000_000


@pytest.fixture(scope="module")
def episode():
    return generate_episodes("val_unseen_layout", 1, 0)[0]


def test_decisions_on_the_way_save_the_time_to_stand(episode) -> None:
    drives = {
        timing: driving.drive(
            episode, None, replace(driving.make_setup(0.5, guarded=True), timing=timing, latency_s=1.0), S
        )
        for timing in TIMINGS
    }
    assert all(one.is_success and one.contacts == 0 for one in drives.values())
    standing = {timing: one.waited_s / one.seconds for timing, one in drives.items()}
    assert standing["continuous"] < standing["stop_and_think"] / 3


def test_a_decision_that_is_late_finds_the_robot_standing(episode) -> None:
    flat = flat_of(episode)
    target = next(item for item in flat.objects if item.name == episode.target)
    simulator = Simulator(flat)
    simulator.reset(episode.start)
    try:
        setup = replace(driving.make_setup(0.5, guarded=True), timing="continuous", latency_s=0.5)
        oracle = OracleNavigator(simulator, target, OccupancyGrid(flat).field_to(target))
        chain = driving._Chain(simulator, oracle, setup, episode.instruction, S)
        while not (chain.mission.state is MissionState.MOVING and chain._decision):  # one is asked for on the way
            chain.tick()
        chain._decision = (S + simulator.time_ns + 10 * S, chain._decision[1])
        while chain.mission.state is MissionState.MOVING:
            chain.tick()
        for _ in range(25):
            chain.tick()
        stood = simulator.odometry().pose
        for _ in range(100):
            chain.tick()
            assert chain._passed.is_zero
        assert simulator.odometry().pose.distance_m(stood) < 0.005
    finally:
        simulator.close()


def test_it_prints_a_row_for_each_timing(capsys) -> None:
    assert driving.main(["--oracle", "--episodes", "1", "--latencies", "0.1"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {f"{timing} 0.1 s" for timing in TIMINGS} <= report.keys()
    assert 0 <= report["continuous 0.1 s"]["waiting_ratio"] < report["stop_and_think 0.1 s"]["waiting_ratio"]


def test_an_answer_takes_its_round_trip_and_what_it_takes_here(episode, monkeypatch) -> None:
    clock = iter(range(0, 10**18, 3 * S // 10))  # each look at it is 0.3 s later
    monkeypatch.setattr(driving.time, "perf_counter_ns", lambda: next(clock))
    simulator = Simulator(flat_of(episode))
    simulator.reset(episode.start)
    try:
        target = next(item for item in flat_of(episode).objects if item.name == episode.target)
        oracle = OracleNavigator(simulator, target, OccupancyGrid(flat_of(episode)).field_to(target))
        setup = replace(driving.make_setup(0.5, guarded=True), latency_s=0.2, is_measured=True)
        chain = driving._Chain(simulator, oracle, setup, episode.instruction, S)
        while chain._decision is None:
            asked_ns = S + simulator.time_ns
            chain.tick()
        assert chain._decision[0] - asked_ns == S // 2
    finally:
        simulator.close()
