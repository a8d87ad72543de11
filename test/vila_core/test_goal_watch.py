"""A motion that somebody else drives, followed by odometry."""

import dataclasses
import math

import pytest

from vila_core.config import ControlConfig
from vila_core.control.goal_watch import GoalConfig, GoalWatch
from vila_core.control.odometry_watch import Source
from vila_core.control.reasons import MotionFault
from vila_core.errors import ConfigError
from vila_core.types import MoveForward, Odometry, Pose, Turn

S = 1_000_000_000
TICK_NS = S // 20
ODOM = Source("odom", "base_link", b"driver")
FORWARD, LEFT = MoveForward(0.75), Turn(math.radians(45.0))


class Way:
    """A robot whose odometry is told twenty times a second; times of stamp and receipt are the same."""

    def __init__(self, config: GoalConfig | None = None) -> None:
        self.watch = GoalWatch(config or GoalConfig(), ControlConfig())
        self.now_ns, self.pose = 100 * S, Pose()
        self.stand(0.5)

    def tell(self, pose: Pose, mps: float = 0.0, rps: float = 0.0, source: Source = ODOM) -> None:
        self.now_ns, self.pose = self.now_ns + TICK_NS, pose
        self.watch.note(Odometry(self.now_ns, pose, mps, rps), source, self.now_ns)

    def stand(self, seconds: float) -> None:
        for _ in range(round(seconds * 20)):
            self.tell(self.pose)

    def drive(self, metres: float, rad: float = 0.0) -> None:
        steps = max(1, round(max(abs(metres), abs(rad)) / 0.02))
        for _ in range(steps):
            pose = self.pose.turned(rad / steps).advanced(metres / steps)
            self.tell(pose, metres / steps * 20, rad / steps * 20)

    def begin(self, action=FORWARD, stamp_ns: int | None = None):
        stamp_ns = self.now_ns if stamp_ns is None else stamp_ns
        return self.watch.begin(action, stamp_ns, now_ns=self.now_ns, steady_ns=self.now_ns, max_future_s=0.1)

    @property
    def step(self):
        return self.watch.step(self.now_ns)


def test_a_forward_motion_from_begin_to_end():
    way = Way()
    assert way.begin() is None
    assert way.watch.goal_pose == Pose(0.75, 0.0, 0.0)
    assert not way.step.is_near and way.step.stands and way.step.share_done == pytest.approx(0.0)
    way.drive(0.6)
    assert way.step.is_near and not way.step.stands and way.step.stood_s == 0.0
    way.stand(0.5)
    step = way.step
    assert step.stands and step.doubt is None and step.executed_m == pytest.approx(0.6) and step.executed_rad == 0.0
    assert step.share_done == pytest.approx(0.8) and step.error.distance_m == pytest.approx(0.15)
    assert 0.2 < step.stood_s <= 0.5


def test_a_turn_from_begin_to_end():
    way = Way()
    assert way.begin(LEFT) is None
    assert way.watch.goal_pose == Pose(0.0, 0.0, LEFT.angle_rad)
    way.drive(0.0, math.radians(40.0))
    way.stand(0.5)
    assert way.step.is_near and way.step.executed_rad == pytest.approx(math.radians(40.0))
    assert way.step.executed_m == pytest.approx(0.0)


def test_near_the_goal_is_not_there_before_half_of_the_way():
    way = Way(GoalConfig(position_tolerance_m=1.0))
    way.begin()
    way.stand(1.0)
    assert not way.step.is_near
    way.drive(0.3)
    assert not way.step.is_near
    way.drive(0.1)
    assert way.step.is_near


def test_the_goal_lies_before_where_the_image_was_taken():
    way = Way()
    way.drive(1.0)
    stamp_ns = way.now_ns
    way.drive(0.4)
    assert way.begin(stamp_ns=stamp_ns) is None
    assert way.watch.goal_pose == Pose(pytest.approx(1.75), 0.0, 0.0)
    assert way.step.executed_m == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("action", "age_s", "fault", "words"),
    [
        (MoveForward(2.0), 0.0, MotionFault.BAD_ACTION, "2.0 m"),
        (MoveForward(math.nan), 0.0, MotionFault.BAD_ACTION, "nan"),
        (Turn(math.radians(60.0)), 0.0, MotionFault.BAD_ACTION, "turn of"),
        (FORWARD, 5.0, MotionFault.LATE, "5.00 s old"),
        (FORWARD, 2.0, MotionFault.LATE, "no pose"),  # odometry began later
        (FORWARD, -0.5, MotionFault.CLOCK, "in the future"),
    ],
)
def test_what_may_not_begin(action, age_s, fault, words):
    way = Way()
    doubt = way.begin(action, way.now_ns - round(age_s * S))
    assert doubt.fault is fault and words in doubt.detail
    with pytest.raises(ValueError, match="no motion"):
        way.step  # noqa: B018
    with pytest.raises(ValueError, match="no motion"):
        way.watch.goal_pose  # noqa: B018


def test_nothing_begins_without_odometry():
    watch = GoalWatch(GoalConfig(), ControlConfig())
    doubt = watch.begin(FORWARD, S, now_ns=S, steady_ns=S, max_future_s=0.1)
    assert doubt.fault is MotionFault.ODOMETRY_SILENT and "no odometry yet" in doubt.detail
    way = Way()
    way.now_ns += S
    assert way.begin().fault is MotionFault.ODOMETRY_SILENT


def be_silent(way):
    way.now_ns += 6 * S // 10


def jump(way):
    way.tell(Pose(1.0, 0.0, 0.0))


def change_frame(way):
    way.tell(way.pose, source=dataclasses.replace(ODOM, frame="map"))


def let_two_speak(way):
    way.tell(way.pose, source=dataclasses.replace(ODOM, publisher=b"other"))


def be_no_number(way):
    way.watch.note_bad("x is nan", way.now_ns)


def go_astray(way):
    way.drive(0.0, math.pi / 2)
    way.drive(1.1)


def overshoot(way):
    way.drive(2.0)


def take_long(way):
    way.stand(31.0)


@pytest.mark.parametrize(
    ("happens", "fault"),
    [
        (be_silent, MotionFault.ODOMETRY_SILENT),
        (jump, MotionFault.ODOMETRY_JUMP),
        (change_frame, MotionFault.ODOMETRY_FRAME),
        (let_two_speak, MotionFault.ODOMETRY_PUBLISHERS),
        (be_no_number, MotionFault.ODOMETRY_NOT_FINITE),
        (go_astray, MotionFault.TOO_FAR),
        (overshoot, MotionFault.TOO_FAR),
        (take_long, MotionFault.TOO_LONG),
    ],
)
def test_what_ends_a_motion(happens, fault):
    way = Way()
    way.begin()
    assert way.step.doubt is None
    happens(way)
    assert way.step.doubt.fault is fault


def test_a_turn_that_drives_away_is_ended():
    way = Way()
    way.begin(LEFT)
    way.drive(1.1)
    assert way.step.doubt.fault is MotionFault.TOO_FAR


def test_while_two_speak_it_is_where_the_first_one_says():
    way = Way()
    way.drive(0.4)
    way.begin()
    assert way.watch.note(Odometry(way.now_ns + 1, way.pose), ODOM, way.now_ns + 1)
    for number in range(2, 9):
        other = Odometry(way.now_ns + number, Pose(-3.0, 2.0, 1.0))
        assert not way.watch.note(other, Source("map", "base_link", b"another"), way.now_ns + number)
    assert way.watch.newest.pose == way.pose and way.step.doubt.fault is MotionFault.ODOMETRY_PUBLISHERS


def test_one_that_takes_the_place_of_another_is_believed_once_that_is_silent():
    way = Way()
    way.now_ns += 2 * S
    way.tell(Pose(1.0, 1.0, 0.0), source=Source("odom", "base_link", b"another"))
    assert way.watch.newest.pose == Pose(1.0, 1.0, 0.0)


def test_after_a_jump_the_next_motion_begins_with_a_newer_image():
    way = Way()
    stamp_ns = way.now_ns
    way.begin()
    jump(way)
    doubt = way.begin(stamp_ns=stamp_ns)
    assert doubt.fault is MotionFault.ODOMETRY_JUMP and "since the image was taken" in doubt.detail
    way.stand(0.5)
    assert way.begin() is None and way.step.doubt is None
    be_no_number(way)
    assert way.begin().fault is MotionFault.ODOMETRY_NOT_FINITE


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(GoalConfig)])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, "far"])
def test_limits_that_make_no_sense_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        GoalConfig(**{name: value})
