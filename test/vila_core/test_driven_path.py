"""The driven path: bounded, dense where it is new, of one piece with the odometry of now."""

from __future__ import annotations

import dataclasses
import math

import pytest
from driven import Walker
from hypothesis import given
from hypothesis import strategies as st

from vila_core.control.driven_path import DrivenPath, distance_to_line_m
from vila_core.errors import WayError
from vila_core.types import Action, MoveForward, Odometry, Pose, Turn, wrap_angle

S = 1_000_000_000
motions = st.lists(
    st.one_of(
        st.floats(0.05, 0.75).map(MoveForward),
        st.floats(0.1, math.radians(45)).flatmap(lambda rad: st.sampled_from([Turn(rad), Turn(-rad)])),
    ),
    max_size=25,
)


def path_of(odometry, capacity: int = 4096) -> DrivenPath:
    path = DrivenPath(capacity)
    for one in odometry:
        path.add(one)
    return path


def driven(*actions: Action) -> Walker:
    walker = Walker()
    walker.does(actions)
    return walker


@given(motions)
def test_a_time_gives_the_place_where_the_robot_was(actions) -> None:
    walker = driven(*actions)
    path = path_of(walker.odometry)
    for one in walker.odometry:
        place = path.at(one.stamp_ns).pose
        assert place.distance_m(one.pose) < 0.2 + 1e-9
        assert abs(wrap_angle(place.yaw_rad - one.pose.yaw_rad)) < math.radians(15) + 1e-9
    for action_end in (one for one in walker.odometry if one.linear_mps == one.angular_rps == 0.0):
        # it has stood since then: the last of these messages came when that was known
        assert path.at(action_end.stamp_ns).pose.distance_m(action_end.pose) < 0.2 + 1e-9
    assert path.at(walker.now_ns).pose.distance_m(walker.pose) < 0.05 + 1e-9


def test_a_robot_that_stands_takes_no_memory_and_is_remembered_all_the_while() -> None:
    walker = driven(MoveForward(0.75))
    before = len(path_of(walker.odometry))
    walker.rest(3600.0)
    path = path_of(walker.odometry)
    assert len(path) == before
    assert path.at(walker.now_ns - 1800 * S).pose == walker.pose


@pytest.mark.parametrize("off_s", [-3600.0, -0.6, 0.6, 3600.0])
def test_a_time_outside_of_what_is_remembered_is_told_in_words(off_s: float) -> None:
    walker = driven(MoveForward(0.75))
    path = path_of(walker.odometry)
    end_ns = walker.odometry[0].stamp_ns if off_s < 0 else walker.now_ns
    with pytest.raises(LookupError, match=r"not remembered, only from 1000\.1 to 1004\.\d s"):
        path.at(end_ns + round(off_s * S))
    path.at(end_ns + round(math.copysign(0.4, off_s) * S))


def test_without_odometry_nothing_is_remembered() -> None:
    with pytest.raises(WayError, match="no odometry"):
        DrivenPath().at(5)


def moved(odometry: Odometry, *, later_s: float, to: Pose | None = None) -> Odometry:
    return Odometry(odometry.stamp_ns + round(later_s * S), to or odometry.pose)


FAR = Pose(5.0, 5.0)


@pytest.mark.parametrize(
    ("later_s", "to", "frame", "is_forgotten"),
    [
        pytest.param(0.1, None, "odom", False, id="the next message"),
        pytest.param(-0.04, FAR, "odom", False, id="one that came late is ignored"),
        pytest.param(0.0, FAR, "odom", False, id="so is one of the same stamp"),
        pytest.param(-0.2, None, "odom", True, id="the clock went back"),
        pytest.param(0.1, FAR, "odom", True, id="a step that no robot makes"),
        pytest.param(0.1, Pose(0.75, 0.0, math.pi), "odom", True, id="a turn that none makes"),
        pytest.param(0.1, None, "map", True, id="another frame"),
        pytest.param(60.0, FAR, "odom", False, id="odometry was silent while it drove"),
    ],
)
def test_what_is_not_of_one_piece_makes_it_forget_all_before(later_s, to, frame, is_forgotten) -> None:
    walker = driven(MoveForward(0.75))
    path = path_of(walker.odometry)
    before = len(path)
    path.add(moved(walker.odometry[-1], later_s=later_s, to=to), frame)
    assert (len(path) == 1) == is_forgotten and (len(path) >= before) == (not is_forgotten)
    assert is_forgotten or all(place.pose != FAR for place in path.places[:before])


def test_what_was_driven_while_odometry_was_silent_is_another_stretch() -> None:
    walker = driven(MoveForward(0.75))
    path = path_of(walker.odometry)
    path.add(moved(walker.odometry[-1], later_s=5.0, to=walker.pose.advanced(0.25)))
    assert {place.stretch for place in path.places} == {0}
    path.add(moved(walker.odometry[-1], later_s=10.0, to=walker.pose.advanced(1.25)))
    assert [place.stretch for place in path.places][-2:] == [0, 1]


def meander(walker: Walker, legs: int) -> None:
    """Drive straight legs of 3 m, with half turns that lead 0.75 m aside."""
    for leg in range(legs):
        side = 1 if leg % 2 else -1
        quarter = [Turn(side * math.radians(45))] * 2
        walker.does([MoveForward(0.75)] * 4 + quarter + [MoveForward(0.75)] + quarter)


def test_memory_is_bounded_however_long_it_drives_and_the_newest_stay_dense() -> None:
    walker, path = Walker(), DrivenPath(capacity=256)
    longest = 0
    for _ in range(40):
        begun = len(walker.odometry)
        meander(walker, 2)
        for one in walker.odometry[begun:]:
            path.add(one)
            longest = max(longest, len(path))
    assert longest <= 256 and len(path) >= 128
    places = path.places
    for one in walker.odometry[-300:]:
        assert path.at(one.stamp_ns).pose.distance_m(one.pose) < 0.2 + 1e-9
    oldest_ns = places[0].since_ns
    remembered = [one for one in walker.odometry if one.stamp_ns >= oldest_ns]
    plain = path_of(remembered)
    assert len(plain) > 1.5 * len(places)  # thinned out, not only cut off
    lines = [(a.pose, b.pose) for a, b in zip(places, places[1:], strict=False)]
    for one in remembered[::7]:
        assert min(distance_to_line_m(one.pose, *line) for line in lines) < 0.15


@given(motions, st.integers(8, 24))
def test_thinning_keeps_order_and_the_newest(actions, capacity) -> None:
    walker = driven(*actions, *actions)
    path = path_of(walker.odometry, capacity)
    stamps = [place.since_ns for place in path.places]
    assert stamps == sorted(set(stamps)) and len(stamps) <= capacity
    assert path.at(walker.now_ns).pose.distance_m(walker.pose) < 0.05 + 1e-9


def test_velocities_that_are_never_filled_in_make_no_more_places() -> None:
    walker = driven(*[MoveForward(0.75)] * 4)
    bare = [dataclasses.replace(one, linear_mps=0.0, angular_rps=0.0) for one in walker.odometry]
    assert len(path_of(bare)) == len(path_of(walker.odometry))
