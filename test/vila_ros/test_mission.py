import dataclasses
import math

import pytest

pytest.importorskip("vila_ros")

from vila_core.control.reasons import MotionFault
from vila_core.errors import ConfigError
from vila_core.types import Decision, HoldReason, MoveForward, Odometry, Pose, Stop, Turn
from vila_ros.navigator.mission.mission import Mission, MissionError, MissionState, MotionReport, Outcome
from vila_ros.navigator.mission.mission_config import MissionConfig, limited

S = 1_000_000_000
CONFIG = MissionConfig(max_decisions=5)
MOVE = Decision(MoveForward(0.25), stamp_ns=10)
STOP = Decision(Stop(), stamp_ns=10, probability=0.93, probabilities=(0.93, 0.07))
UNSURE_STOP = Decision(Stop(), stamp_ns=10, probability=0.42, probabilities=(0.42, 0.58))
WRITTEN_STOP = Decision(Stop(), stamp_ns=10)


class Story:
    """A mission with a clock; each step advances it by 0.1 s and keeps image and odometry coming."""

    def __init__(self, config: MissionConfig = CONFIG, *, is_search: bool = True) -> None:
        self.now = 100 * S
        self.id = 0
        self.pose = Pose()
        self.images = self.odometry = self.controller = True
        self.mission = Mission(config, self.now, is_search=is_search)

    def tick(self, seconds: float = 0.1, velocity: float = 0.0) -> None:
        for _ in range(round(seconds / 0.1)):
            self.now += S // 10
            if self.images:
                self.mission.on_image(self.now)
            if self.odometry:
                self.mission.on_odometry(Odometry(0, self.pose, velocity), self.now)
            if self.controller:
                self.mission.on_controller(self.now)
            self.mission.tick(self.now)

    def decide(self, decision: Decision) -> None:
        self.id += 1
        self.mission.on_decision(decision, self.id, self.now)
        self.tick(0.4 if isinstance(decision.action, Stop) else 0.1)  # a robot that stands must be seen to

    def report(self, report: MotionReport, action_id: int | None = None, fault: MotionFault = MotionFault.NONE) -> None:
        action_id = self.id if action_id is None else action_id
        self.mission.on_report(report, action_id, "detail", stamp_ns=20, now_ns=self.now, fault=fault)
        self.tick()

    def moves(self, count: int, report: MotionReport = MotionReport.DONE) -> None:
        for _ in range(count):
            self.decide(MOVE)
            self.report(report)

    def faults(self, *faults: MotionFault) -> None:
        for fault in faults:
            self.decide(MOVE)
            self.report(MotionReport.ABORTED, fault=fault)

    def turns(self, *degrees: float, step: int = 0) -> None:
        """Decide, turn by 15 degrees at a time, and report that as done."""
        for angle in degrees:
            self.decide(Decision(Turn(math.radians(angle)), stamp_ns=10, probabilities=(0.04, 0.96), step=step))
            turn(self, angle)
            self.report(MotionReport.DONE)

    def drives(self, *distances_m: float) -> None:
        for distance_m in distances_m:
            self.decide(MOVE)
            self.pose = self.pose.advanced(distance_m)
            self.report(MotionReport.DONE)

    def wanders(self, places: int) -> None:
        for _ in range(places):
            self.turns(*[45] * 6)
            self.drives(0.4)

    def holds(self, *reasons: HoldReason) -> None:
        for reason in reasons:
            self.decide(Decision.holding(reason, 10, "why"))

    @property
    def error(self) -> MissionError | None:
        return None if self.mission.end is None else self.mission.end.error


def end_of(script, config: MissionConfig = CONFIG, *, is_search: bool = True) -> MissionError | None:
    story = Story(config, is_search=is_search)
    script(story)
    return story.error


def lose(story: Story, what: str, seconds: float) -> None:
    setattr(story, what, False)
    story.tick(seconds)


def turn(story: Story, degrees: float) -> None:
    for _ in range(round(abs(degrees) / 15)):
        story.pose = story.pose.turned(math.copysign(math.radians(15), degrees))
        story.tick()


def patrol(story: Story) -> None:
    for _ in range(6):
        turn(story, 345)
        story.pose = story.pose.advanced(0.4)
        story.tick()


H, E, F = HoldReason, MissionError, MotionFault
UNPARSEABLE, FAILED = H.UNPARSEABLE_REPLY, H.BACKEND_ERROR


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(lambda s: s.tick(2.0), None, id="waiting is no failure"),
        pytest.param(lambda s: s.decide(STOP), E.NONE, id="stop, and still"),
        pytest.param(lambda s: s.holds(UNPARSEABLE, UNPARSEABLE), None, id="two bad replies"),
        pytest.param(lambda s: s.holds(UNPARSEABLE, UNPARSEABLE, UNPARSEABLE), E.BAD_REPLIES, id="three bad replies"),
        pytest.param(lambda s: s.holds(UNPARSEABLE, H.LOW_PROBABILITY, UNPARSEABLE), E.BAD_REPLIES, id="unsure counts"),
        pytest.param(
            lambda s: (s.holds(UNPARSEABLE, UNPARSEABLE), s.moves(1), s.holds(UNPARSEABLE, UNPARSEABLE)),
            None,
            id="a good reply between",
        ),
        pytest.param(lambda s: s.holds(FAILED, H.LATE_DECISION, FAILED), E.BACKEND_ERROR, id="the model fails"),
        pytest.param(lambda s: s.holds(*[H.NOT_FINITE] * 3), E.BACKEND_ERROR, id="its numbers are not finite"),
        pytest.param(lambda s: s.holds(H.CLOCK_JUMP), E.CLOCK_JUMP, id="clock jump"),
        pytest.param(lambda s: s.moves(2, MotionReport.ABORTED), None, id="two aborts"),
        pytest.param(lambda s: s.moves(3, MotionReport.ABORTED), E.STUCK, id="three aborts"),
        pytest.param(lambda s: s.moves(3, MotionReport.REFUSED), E.STUCK, id="three refusals"),
        pytest.param(
            lambda s: (s.moves(2, MotionReport.ABORTED), s.moves(1), s.moves(2, MotionReport.ABORTED)),
            E.TOO_MANY_DECISIONS,
            id="aborts with a success between",
        ),
        pytest.param(lambda s: s.moves(4), None, id="four decisions"),
        pytest.param(lambda s: s.moves(5), E.TOO_MANY_DECISIONS, id="five decisions"),
        pytest.param(lambda s: lose(s, "images", 2.9), None, id="image away for 2.9 s"),
        pytest.param(lambda s: lose(s, "images", 3.2), E.IMAGE_LOST, id="image lost"),
        pytest.param(lambda s: s.holds(*[H.FROZEN_IMAGE] * 35), E.IMAGE_LOST, id="frozen camera"),
        pytest.param(lambda s: lose(s, "odometry", 2.2), E.ODOMETRY_LOST, id="odometry lost"),
        pytest.param(lambda s: (s.decide(MOVE), s.tick(2.2)), E.CONTROLLER_LOST, id="no report"),
        pytest.param(lambda s: lose(s, "controller", 2.2), E.CONTROLLER_LOST, id="no controller"),
        pytest.param(
            lambda s: (s.decide(MOVE), *[(s.report(MotionReport.RUNNING), s.tick(1.0)) for _ in range(4)]),
            None,
            id="running reports keep it alive",
        ),
        pytest.param(lambda s: (s.decide(MOVE), s.report(MotionReport.DONE, 99), s.tick(2)), E.CONTROLLER_LOST,
                     id="a report on another action does not count"),
        pytest.param(lambda s: turn(s, 375), None, id="once round, and a turn that was not exact"),
        pytest.param(lambda s: turn(s, 405), E.STUCK_ROTATING, id="more than once round to the left"),
        pytest.param(lambda s: turn(s, -405), E.STUCK_ROTATING, id="more than once round to the right"),
        pytest.param(lambda s: [turn(s, d) for d in (330, -600, 600)], None, id="to and fro is no endless turning"),
        pytest.param(patrol, None, id="turns with progress between"),
    ],
)  # fmt: skip
def test_how_a_mission_ends(script, error: MissionError | None) -> None:
    assert end_of(script) is error


@pytest.mark.parametrize(
    ("script", "searching", "knowing"),
    [
        pytest.param(lambda s: turn(s, 405), E.STUCK_ROTATING, None, id="round and round"),
        pytest.param(lambda s: s.turns(*[45] * 9), E.NOT_FOUND, None, id="turns that were decided"),
        pytest.param(lambda s: s.wanders(6), E.NOT_FOUND, None, id="turns in many places"),
        pytest.param(lambda s: s.decide(UNSURE_STOP), E.NOT_MOVED, E.NONE, id="a stop where it began"),
        pytest.param(lambda s: s.moves(3, MotionReport.ABORTED), E.STUCK, E.STUCK, id="it does not move"),
        pytest.param(lambda s: s.moves(26), E.NO_PROGRESS, E.NO_PROGRESS, id="motions that lead nowhere"),
        pytest.param(lambda s: lose(s, "images", 3.2), E.IMAGE_LOST, E.IMAGE_LOST, id="image lost"),
    ],
)
def test_a_mission_that_knows_its_way_is_not_held_to_the_rules_of_a_search(script, searching, knowing) -> None:
    config = MissionConfig(max_decisions=1000)
    assert end_of(script, config) is searching
    assert end_of(script, config, is_search=False) is knowing


def test_limits_of_time_and_way() -> None:
    assert end_of(lambda s: s.tick(1.2), MissionConfig(max_duration_s=1.0)) is E.TIMEOUT

    def drive(story: Story) -> None:
        story.tick()
        story.pose = story.pose.advanced(2.5)
        story.tick()

    assert end_of(drive, MissionConfig(max_distance_m=2.0)) is E.TOO_FAR
    assert end_of(drive, MissionConfig(max_distance_m=3.0)) is None
    assert end_of(drive, MissionConfig()) is None


def far(story: Story) -> None:
    for _ in range(52):
        story.pose = story.pose.advanced(1.0)
        story.tick()


def test_a_mission_that_drives_on_ends_by_default_and_without_a_limit_only_where_that_is_said() -> None:
    assert end_of(far, MissionConfig()) is E.TOO_FAR
    assert end_of(far, MissionConfig(max_distance_m=0.0)) is None


LONG = MissionConfig(max_decisions=1000)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(lambda s: s.turns(*[45, -45] * 11), None, id="22 swings"),
        pytest.param(lambda s: s.turns(*[45, -45] * 13), E.NO_PROGRESS, id="26 swings"),
        pytest.param(lambda s: s.turns(*[15, -15] * 13), E.NO_PROGRESS, id="small swings"),
        pytest.param(lambda s: s.turns(*[15] * 24), None, id="a look around in the smallest turns"),
        pytest.param(lambda s: s.turns(*[45] * 9), E.NOT_FOUND, id="looked round and saw nothing"),
        pytest.param(lambda s: s.turns(*[-15] * 26), E.NOT_FOUND, id="the other way round, in small turns"),
        pytest.param(
            lambda s: s.turns(*[45] * 8) or s.turns(*[45] * 8, step=1), None, id="round again for the next thing"
        ),
        pytest.param(lambda s: s.turns(*[45] * 8) or s.turns(*[45] * 9, step=1), E.NOT_FOUND, id="and it is not there"),
        pytest.param(lambda s: (s.turns(45), turn(s, 360)), E.STUCK_ROTATING, id="somebody else turns it"),
        pytest.param(lambda s: s.wanders(5), None, id="looks here and there"),
        pytest.param(lambda s: s.wanders(9), E.NOT_FOUND, id="wanders"),
        pytest.param(lambda s: s.turns(*[45] * 8, *[-45] * 8), None, id="a look around and back"),
        pytest.param(
            lambda s: s.turns(*[45] * 8, *[-45] * 8) or s.turns(*[45, -45] * 10), E.NOT_FOUND, id="and idle after it"
        ),
        pytest.param(lambda s: s.turns(*[45, -45] * 11) or s.drives(0.4) or s.turns(*[45, -45] * 4), None, id="got on"),
        pytest.param(lambda s: s.drives(*[0.0] * 24), E.NO_PROGRESS, id="motions that move nothing"),
        pytest.param(lambda s: s.drives(*[0.02] * 14), None, id="crawling"),
        pytest.param(
            lambda s: [s.turns(60, -60) or s.drives(0.05, -0.05) for _ in range(8)],
            E.NO_PROGRESS,
            id="in a cell",
        ),
        pytest.param(lambda s: [s.drives(0.5, 0.5, 0.5, 0.5) for _ in range(12)], None, id="driving"),
    ],
)
def test_decisions_that_lead_nowhere(script, error: MissionError | None) -> None:
    assert end_of(script, LONG) is error


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        *[([fault] * 2, None) for fault in (F.NONE, F.LATE, F.STALLED, F.ODOMETRY_SILENT, F.CLOCK)],
        *[([fault] * 3, E.STUCK) for fault in (F.NONE, F.STALLED, F.MISSED, F.TOO_FAR, F.TOO_LONG)],
        ([F.LATE] * 3, E.BACKEND_ERROR),
        ([F.BAD_ACTION] * 3, E.BAD_REPLIES),
        ([F.CLOCK] * 3, E.CLOCK_JUMP),
        ([F.HEARTBEAT_LOST] * 3, E.CONTROLLER_LOST),
        ([F.ODOMETRY_SILENT] * 3, E.ODOMETRY_LOST),
        ([F.ODOMETRY_NOT_FINITE] * 3, E.ODOMETRY_LOST),
        ([F.STALLED, F.STALLED, F.ODOMETRY_SILENT], E.ODOMETRY_LOST),
        ([F.ODOMETRY_CONTRADICTS] * 2, None),
        ([F.ODOMETRY_CONTRADICTS] * 3, E.ODOMETRY_FAULT),
        *[([fault], E.ODOMETRY_FAULT) for fault in (F.ODOMETRY_JUMP, F.ODOMETRY_FRAME, F.ODOMETRY_PUBLISHERS)],
        ([F.HELD_UP], E.CONTROLLER_LOST),
        ([F.REPLACED, F.GOVERNOR] * 12, None),
        ([F.STALLED, F.REPLACED, F.STALLED, F.GOVERNOR, F.STALLED], E.STUCK),
    ],
)
def test_a_motion_that_fails_is_told_by_its_own_name(faults: list[MotionFault], error: MissionError | None) -> None:
    assert end_of(lambda s: s.faults(*faults), LONG) is error


def test_every_fault_of_a_motion_has_an_error() -> None:
    for fault in set(F) - {F.REPLACED, F.GOVERNOR}:
        error = end_of(lambda s, fault=fault: s.faults(*[fault] * 3), LONG)
        assert error is not None and error is not E.NONE
        assert fault.is_odometry == (error in (E.ODOMETRY_LOST, E.ODOMETRY_FAULT)), fault.name


def test_motions_that_fail_are_counted_over_the_whole_mission() -> None:
    story = Story(LONG)
    for _ in range(9):
        story.faults(F.STALLED)
        story.drives(0.4)
    assert story.error is None
    story.faults(F.STALLED)
    assert story.error is E.STUCK and "10 of 19 motions failed" in story.mission.end.message


def pushed(story: Story) -> None:
    story.pose = story.pose.advanced(0.05).turned(math.radians(5))
    story.tick()


@pytest.mark.parametrize(
    ("script", "stop", "error", "words"),
    [
        (lambda s: None, STOP, E.NONE, "stop at once, with probability 0.93, and the robot stands still"),
        (lambda s: None, UNSURE_STOP, E.NOT_MOVED, "with probability 0.42; an arrival without a motion needs 0.5"),
        (lambda s: None, WRITTEN_STOP, E.NOT_MOVED, "in words without one"),
        (pushed, UNSURE_STOP, E.NOT_MOVED, "at once"),
        (lambda s: s.holds(UNPARSEABLE), STOP, E.NONE, "stop at once, with probability 0.93"),
        (lambda s: s.moves(2, MotionReport.REFUSED), STOP, E.NOT_MOVED, "after 2 motions, and the robot has not moved"),
        (lambda s: (s.decide(MOVE), s.mission.pause()), STOP, E.NONE, "before the robot moved, with probability 0.93"),
        (lambda s: s.faults(F.GOVERNOR), UNSURE_STOP, E.NOT_MOVED, "before the robot moved, with probability 0.42"),
        (lambda s: s.moves(1), STOP, E.NOT_MOVED, "after 1 motions"),
        (lambda s: s.drives(0.25), UNSURE_STOP, E.NONE, "the model said stop and the robot stands still"),
        (lambda s: s.turns(15), WRITTEN_STOP, E.NONE, "the model said stop and the robot stands still"),
        (lambda s: s.drives(0.5, -0.5), UNSURE_STOP, E.NONE, "the model said stop and"),
    ],
)  # fmt: skip
def test_an_arrival_needs_a_robot_that_moved_or_a_model_that_was_sure_at_once(script, stop, error, words) -> None:
    story = Story()
    story.tick()
    script(story)
    story.decide(stop)
    end = story.mission.end
    assert end is not None and end.error is error and words in end.message
    assert (end.outcome is Outcome.REACHED) == (error is E.NONE)


@pytest.mark.parametrize(
    ("finished", "script", "error"),
    [
        ((0.93,), lambda s: None, None),
        ((0.42,), lambda s: None, E.NOT_MOVED),
        ((0.93, 0.42), lambda s: None, E.NOT_MOVED),
        ((0.0,), pushed, E.NOT_MOVED),
        ((0.42,), lambda s: s.drives(0.25), None),
    ],
)
def test_a_step_is_finished_by_a_robot_that_moved_or_a_model_that_was_sure(finished, script, error) -> None:
    story = Story()
    story.tick()
    script(story)
    story.decide(dataclasses.replace(MOVE, step=len(finished), finished=finished))
    end = story.mission.end
    assert (None if end is None else end.error) is error
    if end is not None:
        assert f"step {len(finished)} is finished before the robot moved, with probability" in end.message


def test_how_sure_a_stop_at_once_must_be_is_a_parameter() -> None:
    for least, error in ((0.95, E.NOT_MOVED), (0.0, E.NONE)):
        assert end_of(lambda s: s.decide(STOP), MissionConfig(stop_at_start_probability=least)) is error
    assert end_of(lambda s: s.decide(WRITTEN_STOP), MissionConfig(stop_at_start_probability=0.0)) is E.NONE
    with pytest.raises(ConfigError, match=r"stop_at_start_probability = 1\.5"):
        MissionConfig(stop_at_start_probability=1.5)


def test_success_needs_a_robot_that_stands() -> None:
    story = Story()
    story.mission.on_decision(STOP, 1, story.now)
    story.tick(1.0, velocity=0.2)
    assert story.mission.end is None
    story.tick(0.1)
    assert story.mission.end is not None and story.mission.end.outcome is Outcome.REACHED


def test_a_robot_that_rolls_on_after_stop_is_a_failure() -> None:
    story = Story()
    story.mission.on_decision(STOP, 1, story.now)
    story.tick(3.2, velocity=0.2)
    assert story.error is E.STUCK


def test_the_next_decision_needs_a_frame_from_after_the_motion() -> None:
    story = Story()
    assert story.mission.wants_decision and story.mission.decide_after_ns < 0
    story.decide(MOVE)
    assert not story.mission.wants_decision
    story.report(MotionReport.DONE)
    assert story.mission.wants_decision and story.mission.decide_after_ns == 20


def test_a_pause_takes_no_report_of_the_old_action_for_a_failure() -> None:
    story = Story()
    for _ in range(6):
        story.decide(MOVE)
        story.mission.pause()
        assert story.mission.state is MissionState.WAITING
        story.report(MotionReport.ABORTED)
    assert story.error is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(E.CANCELED, Outcome.STOPPED), (E.PREEMPTED, Outcome.STOPPED), (E.NOT_ACTIVE, Outcome.FAILED)],
)
def test_stopped_from_outside(error: MissionError, outcome: Outcome) -> None:
    story = Story()
    story.mission.stop(error, "why", story.now + 2 * S)
    end = story.mission.end
    assert end is not None and (end.outcome, end.error, end.message, end.duration_s) == (outcome, error, "why", 2.0)
    story.mission.stop(E.UNKNOWN, "too late", story.now)
    assert story.error is error


def test_nothing_changes_after_the_end() -> None:
    story = Story()
    story.decide(STOP)
    story.decide(MOVE)
    story.report(MotionReport.ABORTED)
    story.tick(10)
    assert story.error is E.NONE and story.mission.state is MissionState.ENDED


def test_distance_and_decisions_are_measured() -> None:
    story = Story()
    story.tick()
    for _ in range(3):
        story.decide(MOVE)
        story.pose = story.pose.advanced(0.25)
        story.report(MotionReport.DONE)
    story.decide(STOP)
    end = story.mission.end
    assert end is not None and end.decisions == 4 and end.distance_m == pytest.approx(0.75)


def test_a_goal_has_its_own_limits() -> None:
    own = limited(CONFIG, max_decisions=7, max_duration_s=0.0, max_distance_m=2.5)
    assert (own.max_decisions, own.max_duration_s, own.max_distance_m) == (7, CONFIG.max_duration_s, 2.5)
    with pytest.raises(ConfigError, match="max_duration_s = -1"):
        limited(CONFIG, max_decisions=0, max_duration_s=-1.0, max_distance_m=0.0)
    with pytest.raises(ConfigError, match="nan"):
        limited(CONFIG, max_decisions=0, max_duration_s=0.0, max_distance_m=math.nan)


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        (MOVE, MissionState.MOVING),
        (STOP, MissionState.STOPPING),
        (Decision.holding(HoldReason.UNPARSEABLE_REPLY), MissionState.WAITING),
    ],
)
@pytest.mark.parametrize("decides_moving", [True, False])
def test_a_decision_replaces_the_running_action_only_where_it_may(decision, state, decides_moving: bool) -> None:
    story = Story()
    story.mission = Mission(CONFIG, story.now, decides_moving=decides_moving)
    story.pose = Pose(x_m=0.5)
    story.decide(MOVE)
    story.tick()
    story.mission.on_odometry(Odometry(0, Pose(x_m=0.7), 0.3), story.now)
    story.id += 1
    story.mission.on_decision(decision, story.id, story.now)
    assert story.mission.state is (state if decides_moving else MissionState.MOVING)
    story.report(MotionReport.ABORTED, story.id - 1, MotionFault.REPLACED)  # of the one that was replaced
    assert story.mission.end is None or story.mission.end.error is MissionError.NONE


def test_decisions_on_the_way_are_counted_and_limited() -> None:
    story = Story(MissionConfig(max_decisions=3))
    story.mission = Mission(story.mission.config, story.now, decides_moving=True)
    for _ in range(3):
        story.decide(MOVE)
        assert story.mission.end is None
    story.decide(MOVE)
    assert story.mission.end.error is MissionError.TOO_MANY_DECISIONS


def test_what_is_not_found_is_told_with_how_sure_the_model_ever_was() -> None:
    story = Story(LONG)
    story.turns(*[45] * 9)
    assert "looked round once, in 8 turns" in story.mission.end.message
    assert "an arrival was at most 0.04 probable" in story.mission.end.message


def test_a_robot_whose_driver_tells_no_velocity_has_not_arrived_while_it_moves() -> None:
    story = Story()
    story.tick(0.5)
    story.decide(MOVE)
    story.pose = story.pose.advanced(0.25)
    story.report(MotionReport.DONE)
    story.mission.on_decision(STOP, 2, story.now)
    for _ in range(20):
        story.pose = story.pose.advanced(0.03)
        story.tick()
    assert story.mission.state is MissionState.STOPPING
    story.tick(0.4)
    assert story.mission.end is not None and story.mission.end.outcome is Outcome.REACHED
