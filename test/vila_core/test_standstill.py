from __future__ import annotations

import pytest

from vila_core.control.standstill import Standstill
from vila_core.types import Odometry, Pose

TENTH = 100_000_000


def fed(poses: list[Pose], speed: float = 0.0, turning: float = 0.0) -> bool:
    watch = Standstill(0.02, 0.05)
    for number, pose in enumerate(poses):
        watch.note(Odometry(0, pose, speed, turning), number * TENTH)
    return watch.is_still


@pytest.mark.parametrize(
    ("poses", "speed", "turning", "is_still"),
    [
        ([Pose()] * 4, 0.0, 0.0, True),
        ([Pose()] * 3, 0.0, 0.0, False),  # not seen for long enough
        ([Pose()] * 4, 0.03, 0.0, False),
        ([Pose()] * 4, 0.0, -0.06, False),
        ([Pose(0.01 * (number % 2)) for number in range(5)], 0.0, 0.0, True),  # it shakes
        ([Pose(0.02 * number) for number in range(9)], 0.0, 0.0, False),  # 0.2 m/s, of a driver that tells no velocity
        ([Pose(0.0, 0.0, 0.04 * number) for number in range(9)], 0.0, 0.0, False),
        ([*(Pose(0.02 * number) for number in range(9)), *[Pose(0.16)] * 4], 0.0, 0.0, True),  # and then it stands
        ([Pose(0.0, 0.0, 3.14), Pose(0.0, 0.0, -3.14)] * 2, 0.0, 0.0, True),
    ],
)
def test_still_is_what_velocity_and_poses_both_say(poses, speed, turning, is_still) -> None:
    assert fed(poses, speed, turning) == is_still
