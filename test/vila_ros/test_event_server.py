"""The navigator as a fixed camera: queries that stand, questions about the past, every error, beside navigation."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from conftest import HANG_S

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMsg
from parameter_client import ParameterClient
from rclpy.action import ActionClient
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from vila_nav.action import Describe, LocalizeEvent
from vila_nav.msg import NavAction, TemporalEvent
from vila_nav.srv import SetInstruction, UnwatchEvent, WatchEvent

from vila_core.actions.grammar import SENTENCES
from vila_core.testing import SCRIPTED_INFO, ScriptedBackend
from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry, ns_from_stamp, stamp_from_ns
from vila_ros.common.qos import latched_qos, reliable_qos, sensor_qos
from vila_ros.navigator.node import NavigatorNode
from vila_ros.navigator.queries.event_messages import EventError

PERIOD_S = 0.05
SEEING = dataclasses.replace(SCRIPTED_INFO, relevance_period_s=PERIOD_S)
SPEAKING = dataclasses.replace(SEEING, prompt_style="vila", chat_template="qwen2")
QUICK = {
    "events.period_s": PERIOD_S,
    "events.window_s": 2.0,
    "events.rate_hz": 20.0,
    "events.min_duration_s": 0.1,
    "events.merge_gap_s": 0.2,
}
GAP_IMAGES = 6  # more than events.merge_gap_s: what goes on behind it is another event
LAMP, DARK = "the lamp is on", "it is dark"


class Lamp(ScriptedBackend):
    """Sees by the image's brightness whether the lamp is on; "broken" fails."""

    def __init__(self, *script, info=SEEING) -> None:
        super().__init__(*(script or (SENTENCES[0],)), info=info)
        self.calls: list[str] = []
        self.relevances = {
            LAMP: lambda frame: float(frame.image.mean() > 128),
            DARK: lambda frame: float(frame.image.mean() < 128),
            "broken": lambda frame: 1 / 0,
        }

    def relevance(self, question, frames):
        self.calls.append(question)
        return super().relevance(question, frames)


class GatedLamp(Lamp):
    """Takes each evaluation only when it is allowed to; open at first."""

    def __init__(self, *script, info=SEEING) -> None:
        super().__init__(*script, info=info)
        self.gate = threading.Semaphore(0)
        self.inside = threading.Event()
        self.is_gated = False

    def relevance(self, question, frames):
        if self.is_gated:
            self.inside.set()
            assert self.gate.acquire(timeout=HANG_S)
        return super().relevance(question, frames)


class Camera(Node):
    """A camera that shows one brightness; if asked, a robot's odometry and controller too."""

    def __init__(self) -> None:
        super().__init__("controller")  # whose reports count
        self.level, self.offset_ns, self.is_on = 0, 0, True
        self.stamps: list[int] = []
        self.events: list[TemporalEvent] = []
        self.actions: list[NavAction] = []
        self.diagnostics: list[DiagnosticStatus] = []
        self._image = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self._execution = None
        self.pose = Pose()
        self.create_subscription(TemporalEvent, "navigator/events", self.events.append, reliable_qos(100))
        self.create_subscription(NavAction, "navigator/action", self.actions.append, reliable_qos())
        self.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: self.diagnostics.extend(m.status), reliable_qos()
        )
        self.watching = self.create_client(WatchEvent, "navigator/watch")
        self.unwatching = self.create_client(UnwatchEvent, "navigator/unwatch")
        self.instructing = self.create_client(SetInstruction, "navigator/set_instruction")
        self.localizing = ActionClient(self, LocalizeEvent, "navigator/localize")
        self.describing = ActionClient(self, Describe, "navigator/describe")
        self.create_timer(PERIOD_S / 2, self._on_timer)

    def become_robot(self, drives: bool = False) -> None:
        self._odometry = self.create_publisher(OdometryMsg, "odom", reliable_qos())
        self._execution = self.create_publisher(NavAction, "controller/execution", reliable_qos())
        if drives:
            self.create_subscription(NavAction, "navigator/action", self._drive, reliable_qos())

    def _drive(self, message: NavAction) -> None:
        self.pose = self.pose.advanced(message.distance_m)
        message.state = NavAction.STATE_DONE
        self._execution.publish(message)

    def ready(self) -> bool:
        clients = (self.watching, self.unwatching, self.instructing)
        return (
            self._image.get_subscription_count() > 0
            and all(client.service_is_ready() for client in clients)
            and self.localizing.server_is_ready()
            and self.describing.server_is_ready()
            and self.count_publishers("navigator/events") > 0
        )

    def _on_timer(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        if self._odometry is not None:
            self._odometry.publish(message_from_odometry(Odometry(now_ns, self.pose)))
        if self.is_on:
            stamp_ns = now_ns + self.offset_ns
            self.stamps.append(stamp_ns)
            self._image.publish(image_from_frame(Frame(np.full((24, 32, 3), self.level, np.uint8), stamp_ns)))


class Scene:
    """A camera and the navigator that watches through it, and short ways to ask it."""

    def __init__(self, camera: Camera, navigator: NavigatorNode, wait_until: Callable[..., float]) -> None:
        self.camera, self.navigator, self.wait_until = camera, navigator, wait_until

    def call(self, client, request):
        future = client.call_async(request)
        self.wait_until(future.done, what="the service's answer")
        return future.result()

    def watch(self, text: str, **options: str) -> WatchEvent.Response:
        return self.call(self.camera.watching, WatchEvent.Request(text=text, **options))

    def unwatch(self, query_id: str = "") -> UnwatchEvent.Response:
        return self.call(self.camera.unwatching, UnwatchEvent.Request(query_id=query_id))

    def send(self, client: ActionClient, text: str, start_ns: int = 0, end_ns: int = 0):
        kind = LocalizeEvent if client is self.camera.localizing else Describe
        goal = kind.Goal(text=text, start=stamp_from_ns(start_ns), end=stamp_from_ns(end_ns))
        future = self._spun(client.send_goal_async, goal)
        self.wait_until(future.done, what="the goal to be accepted")
        return future.result()

    def result(self, handle):
        future = self._spun(handle.get_result_async)
        self.wait_until(future.done, what="the goal's result")
        return future.result().status, future.result().result

    def _spun(self, call, *arguments):
        """Call in the thread that spins: from another, an answer may come before rclpy noted that it is waited for."""
        task = self.camera.executor.create_task(call, *arguments)
        self.wait_until(task.done)
        return task.result()

    def localize(self, text: str, start_ns: int = 0, end_ns: int = 0):
        return self.result(self.send(self.camera.localizing, text, start_ns, end_ns))

    def describe(self, text: str, start_ns: int = 0, end_ns: int = 0):
        return self.result(self.send(self.camera.describing, text, start_ns, end_ns))

    def show(self, level: int, images: int = 12) -> None:
        """Show a brightness until so many images of it were remembered."""
        self.camera.level = level
        shown = len(self.camera.stamps) + 2 * images
        self.wait_until(lambda: len(self.camera.stamps) >= shown)

    def await_events(self, count: int) -> list[TemporalEvent]:
        self.wait_until(lambda: len(self.camera.events) >= count, what=f"{count} events")
        return self.camera.events


@pytest.fixture
def scene(spinner, wait_until, tmp_path):
    """scene(backend, **parameters): an active navigator with nothing but a camera."""

    def begin(backend, /, **parameters) -> Scene:
        values = {"checkpoint": str(tmp_path), "require_governor": False} | QUICK
        values |= {name.replace("__", "."): value for name, value in parameters.items()}
        node = NavigatorNode(
            [Parameter(name, value=value) for name, value in values.items()], load=lambda *_, **__: backend
        )
        node.bring_up()
        camera = Camera()
        spinner.add(node)
        spinner.add(camera)
        wait_until(camera.ready, what="the graph to be complete")
        wait_until(lambda: node.count_subscribers("navigator/events"), what="the listener to be known")
        wait_until(lambda: node.active.latest.image, what="the first image")
        return Scene(camera, node, wait_until)

    return begin


def test_a_standing_query_is_judged_by_what_is_set(scene, spinner, wait_until) -> None:
    lamp = scene(Lamp(), events__min_duration_s=60.0)
    parameters = spinner.add(ParameterClient("navigator", wait_until))
    lamp.watch(LAMP)
    lamp.show(0)
    lamp.show(255)
    assert lamp.camera.events == []
    assert parameters.set({"events.min_duration_s": 0.1, "events.rate_hz": 10.0, "events.max_queries": 1}).successful
    lamp.await_events(1)
    refused = lamp.call(lamp.camera.watching, WatchEvent.Request(text="the door opens"))
    assert not refused.success and "at most 1 may" in refused.error_msg


def test_an_event_is_published_when_it_is_sure_and_when_it_ends(scene) -> None:
    lamp = scene(Lamp())
    assert lamp.watch(LAMP, label="lamp", query_id="l1").query_id == "l1"
    lamp.show(0)
    assert lamp.camera.events == []
    lamp.show(255)
    opened = lamp.await_events(1)[0]
    lamp.show(0)
    closed = lamp.await_events(2)[1]
    lamp.show(0)
    assert len(lamp.camera.events) == 2  # neither is told twice
    assert (opened.query_id, opened.label, opened.camera, opened.method) == (
        "l1",
        "lamp",
        "camera",
        TemporalEvent.METHOD_RELEVANCE,
    )
    assert opened.open and not closed.open and opened.event_id == closed.event_id
    assert opened.probability == 1.0 and opened.quantization.nanosec == round(PERIOD_S * 1e9)
    stamps = [ns_from_stamp(stamp) for stamp in (closed.start, closed.end, closed.header.stamp)]
    assert stamps == sorted(stamps) and set(stamps) <= set(lamp.camera.stamps)
    assert closed.start == opened.start


def test_a_latecomer_is_given_the_last_events(scene, spinner, wait_until) -> None:
    lamp = scene(Lamp())
    lamp.watch(LAMP)
    lamp.show(255)
    told = lamp.await_events(1)
    late, heard = Node("latecomer"), []
    late.create_subscription(TemporalEvent, "navigator/events", heard.append, latched_qos(100))
    spinner.add(late)
    wait_until(lambda: heard)
    assert heard == told[: len(heard)]


def test_unwatch_closes_what_is_open_and_others_live_on(scene) -> None:
    lamp = scene(Lamp())
    assert [lamp.watch(LAMP).query_id, lamp.watch("not " + LAMP, query_id="odd").query_id] == ["q1", "odd"]
    lamp.camera.level = 255
    lamp.await_events(1)
    assert lamp.unwatch("q1").success
    opened, closed = lamp.await_events(2)
    assert (opened.open, closed.open, closed.event_id) == (True, False, opened.event_id)
    answer = lamp.unwatch("q1")
    assert (answer.success, answer.error_code) == (
        False,
        UnwatchEvent.Response.ERROR_UNKNOWN_QUERY,
    ) and "odd" in answer.error_msg
    assert lamp.watch(LAMP).success
    lamp.await_events(3)
    assert lamp.unwatch().success
    lamp.await_events(4)
    assert lamp.navigator.configured.events.health.queries == 0


@pytest.mark.parametrize("text", ["", "  ", "x" * 300, "a <image> of it", "end<|eot_id|>"])
def test_a_bad_query_is_refused_by_every_door(scene, text: str) -> None:
    lamp = scene(Lamp(info=SPEAKING))
    answer = lamp.watch(text)
    assert (answer.success, answer.error_code) == (False, WatchEvent.Response.ERROR_BAD_QUERY) and answer.error_msg
    for status, result in (lamp.localize(text), lamp.describe(text)):
        assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, EventError.BAD_QUERY) and result.error_msg


def jump(lamp: Scene) -> int:
    """Set the camera's clock back by an hour; returns a stamp from before, once images have come since."""
    before_ns = lamp.camera.stamps[-1]
    lamp.camera.offset_ns -= 3_600_000_000_000
    lamp.show(lamp.camera.level)
    return before_ns


def between_images(lamp: Scene) -> tuple[int, int]:
    """A time at which there was no image."""
    lamp.show(lamp.camera.level)
    stamp_ns = lamp.camera.stamps[-5]
    return stamp_ns + 1, stamp_ns + 2


def lives_on(lamp: Scene) -> None:
    """The one standing query still tells when the lamp goes off and on, and no evaluation failed."""
    lamp.wait_until(lambda: lamp.camera.events and lamp.camera.events[-1].open, what="the lamp to be seen on")
    number = lamp.camera.events[-1].event_id
    lamp.camera.level = 0
    lamp.wait_until(lambda: not lamp.camera.events[-1].open, what="the lamp to be seen off")
    assert lamp.camera.events[-1].event_id == number
    images = len(lamp.camera.stamps)
    lamp.wait_until(lambda: len(lamp.camera.stamps) > images + GAP_IMAGES, what="it to be more than a gap in the event")
    lamp.camera.level = 255
    lamp.wait_until(lambda: lamp.camera.events[-1].event_id > number, what="the lamp to be seen on again")
    health = lamp.navigator.configured.events.health
    assert (health.queries, health.evaluation_error) == (1, "")


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda lamp: lamp.watch(""), EventError.BAD_QUERY),
        (lambda lamp: lamp.localize("")[1], EventError.BAD_QUERY),
        (lambda lamp: lamp.describe("")[1], EventError.BAD_QUERY),
        (lambda lamp: lamp.watch(DARK), EventError.TOO_MANY_QUERIES),
        (lambda lamp: lamp.unwatch("nobody"), EventError.UNKNOWN_QUERY),
        (lambda lamp: lamp.localize(LAMP, 1, 2)[1], EventError.BAD_RANGE),
        (lambda lamp: lamp.describe("what is it?", 1, 2)[1], EventError.BAD_RANGE),
        (lambda lamp: lamp.localize(LAMP, *between_images(lamp))[1], EventError.BAD_RANGE),
        (lambda lamp: lamp.localize(LAMP, jump(lamp))[1], EventError.BAD_RANGE),  # what was before is forgotten
    ],
    ids=[
        "watch-empty",
        "localize-empty",
        "describe-empty",
        "one-too-many",
        "unknown",
        "localize-outside",
        "describe-outside",
        "no-image",
        "before-the-jump",
    ],
)
def test_bad_input_is_told_by_its_number_and_the_standing_query_lives_on(scene, ask, code) -> None:
    lamp = scene(Lamp(info=SPEAKING), events__max_queries=1)
    assert lamp.watch(LAMP).success
    lamp.camera.level = 255
    lamp.await_events(1)
    answer = ask(lamp)
    assert answer.error_code == code and answer.error_msg
    lives_on(lamp)


def test_one_query_too_many_and_an_id_that_is_taken(scene) -> None:
    lamp = scene(Lamp(), events__max_queries=2)
    assert lamp.watch(LAMP, query_id="a").success
    assert lamp.watch(LAMP, query_id="a").error_code == WatchEvent.Response.ERROR_BAD_QUERY
    assert lamp.watch(DARK).success
    answer = lamp.watch(LAMP)
    assert answer.error_code == WatchEvent.Response.ERROR_TOO_MANY_QUERIES and "at most 2" in answer.error_msg
    lamp.camera.level = 255
    lamp.await_events(1)  # the others live on


def test_when_was_it(scene) -> None:
    lamp = scene(Lamp())
    for level in (0, 255, 0, 255, 0):
        lamp.show(level)
    status, result = lamp.localize(LAMP)
    assert status == GoalStatus.STATUS_SUCCEEDED and result.found and result.error_code == 0
    starts, ends = ([ns_from_stamp(stamp) for stamp in stamps] for stamps in (result.starts, result.ends))
    assert len(starts) == len(ends) == len(result.probabilities) == 2
    assert starts[0] < ends[0] < starts[1] < ends[1] and set(starts + ends) <= set(lamp.camera.stamps)
    assert result.method == TemporalEvent.METHOD_RELEVANCE and result.quantization.nanosec == round(PERIOD_S * 1e9)
    searched = (ns_from_stamp(result.searched_start), ns_from_stamp(result.searched_end))
    assert searched[0] < starts[0] and ends[1] < searched[1]
    middle_ns = (ends[0] + starts[1]) // 2
    _, first = lamp.localize(LAMP, 0, middle_ns)
    _, second = lamp.localize(LAMP, middle_ns)
    assert [ns_from_stamp(part.starts[0]) for part in (first, second)] == starts
    assert ns_from_stamp(first.searched_end) == ns_from_stamp(second.searched_start) == middle_ns
    _, gap = lamp.localize(LAMP, ends[0] + 1, starts[1] - 1)
    assert (gap.found, gap.error_code, list(gap.starts)) == (False, 0, [])


def test_ranges_that_make_no_sense(scene) -> None:
    lamp = scene(Lamp(info=SPEAKING))
    lamp.show(0)
    newest_ns = lamp.camera.stamps[-1]
    second = 1_000_000_000
    for start_ns, end_ns in (
        (newest_ns, newest_ns - second),
        (newest_ns - 9000 * second, newest_ns - 8000 * second),
        (newest_ns + 1000 * second, newest_ns + 2000 * second),
    ):
        for _, result in (lamp.localize(LAMP, start_ns, end_ns), lamp.describe("what is it?", start_ns, end_ns)):
            assert result.error_code == EventError.BAD_RANGE and result.error_msg
    assert lamp.localize(LAMP)[1].error_code == 0


def test_describe_answers_in_words_or_says_that_it_cannot(scene) -> None:
    lamp = scene(Lamp("a lamp was lit", info=SPEAKING))
    lamp.show(0)
    status, result = lamp.describe("what happened?")
    assert (status, result.answer, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, "a lamp was lit", 0)
    assert 0 < ns_from_stamp(result.searched_start) < ns_from_stamp(result.searched_end)


def test_a_model_that_cannot_speak_says_so(scene) -> None:
    lamp = scene(Lamp(info=dataclasses.replace(SEEING, describes=False)))
    lamp.show(0)
    status, result = lamp.describe("what happened?")
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, EventError.NOT_SUPPORTED) and result.error_msg


def test_a_failing_model_is_told_to_who_asked(scene) -> None:
    lamp = scene(Lamp())
    lamp.show(0)
    for text in ("broken", "never heard of"):
        status, result = lamp.localize(text)
        assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, EventError.BACKEND_ERROR)
    assert "ZeroDivisionError" in lamp.localize("broken")[1].error_msg


def test_a_query_that_fails_touches_no_other(scene) -> None:
    lamp = scene(Lamp())
    lamp.watch("broken", query_id="bad")
    lamp.watch(LAMP, query_id="good")
    lamp.show(255)
    lamp.show(0)
    assert [event.query_id for event in lamp.await_events(2)] == ["good", "good"]
    lamp.wait_until(lambda: any(d.level == DiagnosticStatus.WARN for d in lamp.camera.diagnostics))
    values = {v.key: v.value for v in lamp.camera.diagnostics[-1].values}
    assert "'bad'" in values["evaluation_error"]
    assert values["queries"] == "2" and values["localization"] == "RELEVANCE" and float(values["evaluation_ms"]) > 0


def test_before_the_first_image_there_is_nothing_to_ask_about(spinner, wait_until, tmp_path) -> None:
    values = {"checkpoint": str(tmp_path)} | QUICK
    node = NavigatorNode([Parameter(name, value=value) for name, value in values.items()], load=lambda *_, **__: Lamp())
    node.bring_up()
    camera = Camera()
    camera.is_on = False
    for one in (node, camera):
        spinner.add(one)
    wait_until(camera.ready)
    lamp = Scene(camera, node, wait_until)
    assert lamp.watch(LAMP).success
    assert lamp.localize(LAMP)[1].error_code == EventError.NO_IMAGES


def test_a_clock_jump_closes_events_and_queries_live_on(scene) -> None:
    lamp = scene(Lamp())
    lamp.watch(LAMP)
    lamp.camera.level = 255
    opened = lamp.await_events(1)[0]
    lamp.camera.offset_ns = -3_600_000_000_000
    closed, anew = lamp.await_events(3)[1:]
    assert (closed.open, closed.event_id) == (False, opened.event_id)
    assert anew.open and anew.event_id > opened.event_id
    assert ns_from_stamp(anew.start) < ns_from_stamp(opened.start)


def test_a_clock_jump_is_told_to_those_who_wait(scene) -> None:
    backend = GatedLamp()
    lamp = scene(backend)
    lamp.show(255)
    backend.is_gated = True
    handles = [lamp.send(lamp.camera.localizing, LAMP) for _ in range(2)]
    lamp.wait_until(backend.inside.is_set)
    lamp.camera.offset_ns = -3_600_000_000_000
    for handle in handles:
        status, result = lamp.result(handle)
        assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, EventError.CLOCK_JUMP)
        assert "went back" in result.error_msg
    backend.is_gated = False
    backend.gate.release(10)
    lamp.show(255)
    assert lamp.localize(LAMP)[1].found
    assert backend.calls.count(LAMP) == 2  # the second that was told of the jump was not asked any more


def test_a_question_can_be_canceled_and_only_so_many_wait(scene) -> None:
    backend = GatedLamp(info=SPEAKING)
    lamp = scene(backend, events__max_queries=2)
    lamp.watch(LAMP)
    lamp.show(255)
    lamp.await_events(1)
    backend.is_gated = True
    handles = [lamp.send(lamp.camera.localizing, LAMP) for _ in range(2)]
    for status, result in (lamp.localize(LAMP), lamp.describe(LAMP)):
        assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, EventError.TOO_MANY_QUERIES)
        assert "2 questions wait" in result.error_msg
    for handle in handles:
        canceling = handle.cancel_goal_async()
        lamp.wait_until(canceling.done)
        status, result = lamp.result(handle)
        assert (status, result.error_code) == (GoalStatus.STATUS_CANCELED, EventError.CANCELED)
    backend.is_gated = False
    backend.gate.release(10)
    assert lamp.localize(LAMP)[1].found
    lives_on(lamp)


def test_an_unwatch_in_the_middle_of_an_evaluation_touches_no_other(scene) -> None:
    backend = GatedLamp()
    lamp = scene(backend)
    lamp.show(255)
    backend.is_gated = True
    lamp.watch(DARK, query_id="gone")
    lamp.watch(LAMP, query_id="stays")
    lamp.wait_until(backend.inside.is_set)
    assert lamp.unwatch("gone").success  # at once, though the model is at it
    backend.is_gated = False
    backend.gate.release(10)
    assert lamp.await_events(1)[0].query_id == "stays"
    assert lamp.navigator.configured.events.health.evaluation_error == ""


def test_deactivation_closes_and_publishes_and_refuses_until_it_is_active_again(scene) -> None:
    backend = Lamp(info=SPEAKING)
    lamp = scene(backend)
    lamp.watch(LAMP)
    lamp.camera.level = 255
    lamp.await_events(1)
    assert lamp.navigator.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    opened, closed = lamp.await_events(2)
    assert not closed.open and closed.event_id == opened.event_id
    codes = [lamp.watch(LAMP).error_code, lamp.unwatch().error_code]
    codes += [lamp.localize(LAMP)[1].error_code, lamp.describe(LAMP)[1].error_code]
    assert codes == [EventError.NOT_ACTIVE] * 4
    backend.closed = False
    assert lamp.navigator.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert lamp.navigator.configured.events.health.queries == 0
    assert lamp.watch(LAMP).success
    assert lamp.await_events(3)[2].event_id > opened.event_id  # numbers are not used again


def test_deactivation_answers_those_who_wait(scene) -> None:
    backend = GatedLamp()
    lamp = scene(backend)
    lamp.show(255)
    backend.is_gated = True
    handle = lamp.send(lamp.camera.localizing, LAMP)
    lamp.wait_until(backend.inside.is_set)
    backend.gate.release(10)
    assert lamp.navigator.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert lamp.result(handle)[1].error_code in (EventError.NOT_ACTIVE, EventError.NONE)


def test_a_decision_waits_for_one_look_at_most_while_ten_queries_stand(scene) -> None:
    backend = GatedLamp(SENTENCES[4])
    lamp = scene(backend)
    lamp.camera.become_robot()
    lamp.show(0)
    backend.is_gated = True
    for number in range(10):
        assert lamp.watch(LAMP, query_id=f"q{number}").success
    lamp.wait_until(backend.inside.is_set)
    instructing = lamp.camera.instructing.call_async(SetInstruction.Request(instruction="go to the lamp"))
    lamp.wait_until(
        lambda: instructing.done() and lamp.navigator.active.decisions.job, what="a decision to be asked for"
    )
    evaluations = len(backend.calls)
    backend.gate.release()
    lamp.wait_until(lambda: any(action.kind == NavAction.KIND_TURN for action in lamp.camera.actions))
    assert len(backend.calls) == evaluations + 1
    backend.is_gated = False
    backend.gate.release(100)


class SlowLamp(Lamp):
    """Takes long for a decision, as on a loaded machine, if it is told to."""

    def __init__(self, *script) -> None:
        super().__init__(*script)
        self.decision_s = 0.0

    def choose(self, prompt, replies):
        time.sleep(self.decision_s)
        return super().choose(prompt, replies)


def test_slow_decisions_make_evaluations_rare_and_the_mission_arrives(scene) -> None:
    forward, stop = SENTENCES[1], SENTENCES[0]
    backend = SlowLamp(*[forward] * 6, stop)
    lamp = scene(backend, navigator__decision_deadline_s=4.0, navigator__watch_camera=False)  # it shows one grey
    lamp.camera.become_robot(drives=True)
    lamp.show(0)
    for number in range(4):
        assert lamp.watch(LAMP, query_id=f"q{number}").success
    lamp.wait_until(lambda: len(backend.calls) >= 8, what="evaluations without a mission")
    backend.decision_s = 2.3  # more than half of the deadline
    assert lamp.call(lamp.camera.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: len(lamp.camera.actions) >= 2, what="two decisions")
    health = lamp.navigator.configured.events.health
    assert health.evaluation_share == 0.02 and health.evaluation_error == ""
    backend.decision_s = 0.0
    lamp.wait_until(lambda: lamp.camera.actions[-1].kind == NavAction.KIND_STOP)
    calls = len(backend.calls)
    lamp.wait_until(
        lambda: lamp.navigator.active.missions.current is None and len(backend.calls) > calls, "evaluations after it"
    )
    assert lamp.navigator.configured.events.health.evaluation_share == 1.0


def test_navigation_goes_on_beside_a_query_that_fails(scene) -> None:
    lamp = scene(Lamp(SENTENCES[4]), mission__max_rotation_rad=1000.0)
    lamp.camera.become_robot()
    lamp.watch("broken")
    lamp.show(0)
    assert lamp.call(lamp.camera.instructing, SetInstruction.Request(instruction="go to the lamp")).success
    lamp.wait_until(lambda: lamp.camera.actions)
    assert lamp.camera.actions[0].kind == NavAction.KIND_TURN
