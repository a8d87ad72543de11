"""What the navigator does while it is active: images in, one decision after the other out.

Threads: the camera's (takes images, `Navigator.observe`), the worker's (`Navigator.decide`, in between the
questions of the event server and `idle`, so no callback ever waits for the model) and the executor's, in
which all mission state lives; the other two hand over by a guard condition.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer
from vila_nav.msg import NavAction, NavigatorStatus

from vila_core.control.driven_path import DrivenPath
from vila_core.control.motion.failures import IN_THE_WAY
from vila_core.engine.backend import Backend, ModelInfo
from vila_core.errors import FrameError, WayError
from vila_core.navigator import Navigator
from vila_core.types import Decision, Frame, HoldReason
from vila_ros.common.conversions import OdometryError, ns_from_stamp, odometry_from_message
from vila_ros.common.diagnostics import Health, precision_text
from vila_ros.common.odometry_sources import OdometrySources
from vila_ros.common.qos import sensor_qos, subscription_events
from vila_ros.common.strain_reader import StrainReader
from vila_ros.common.topics import IMAGE
from vila_ros.navigator.cameras.camera import CameraReader
from vila_ros.navigator.cameras.extra_cameras import ExtraCameras
from vila_ros.navigator.config import load_configured
from vila_ros.navigator.configured import Configured
from vila_ros.navigator.decisions import Decisions, Job
from vila_ros.navigator.governor_link import GovernorLink
from vila_ros.navigator.latest import Latest
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.mission.missions import MissionParts, Missions, topic_text
from vila_ros.navigator.motion.motion_output import tell_mission
from vila_ros.navigator.outputs import DecisionContext
from vila_ros.navigator.readiness import Readiness
from vila_ros.navigator.worker import InferenceWorker, Urgency

_WARN_EVERY_S = 5.0

UndoLater = Callable[[Callable[[], object]], None]


class ActiveNavigator:
    """Loads the model, hears camera and odometry, and decides while there is a mission.

    undo_later: gets what releases the things acquired here, the last one to be called first; also what was acquired
    before making one failed. Raises VilaError if the model or another part can't be had.
    """

    def __init__(self, node: Node, configured: Configured, undo_later: UndoLater) -> None:
        self._node, self._configured, self._undo_later = node, configured, undo_later
        self._outputs, self._events, self._recall = configured.outputs, configured.events, configured.recall
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._refused_actions = 0  # by who drives
        self.latest = Latest(configured.navigation.max_image_age_s)
        self._wake = node.create_guard_condition(self._on_wake)
        undo_later(partial(node.destroy_guard_condition, self._wake))
        backend = self._start_model()
        self._make_parts()
        self._subscribe()
        self._ticks = self._timer(1.0 / configured.node.heartbeat_rate_hz, self._on_tick)
        self._timer(1.0, self._on_diagnostics)
        self._tell_model(backend.info)

    # --- what there is ---------------------------------------------------------------------------

    def _start_model(self) -> Backend:
        """Load the model, and start the thread in which it is asked."""
        configured = self._configured
        self._backend = load_configured(configured.node, configured.load)
        self._undo_later(self._backend.close)
        configured.only_one.require()  # if discovery had not shown it before
        settings = configured.navigation
        self._navigator = Navigator(self._backend, settings, configured.history, self._now_ns)
        self.decisions = Decisions(self._navigator, settings.timing, self._now_ns, self._max_future_s)
        self._worker = InferenceWorker(self.decisions.decide, self._deliver, self._log_error, self._navigator.idle)
        self._events.activate(self._backend, self._worker, self._wake.trigger)
        self._undo_later(self._events.deactivate)
        self._recall.activate(self._backend, self._worker, self._wake.trigger)
        self._undo_later(self._recall.deactivate)
        self._undo_later(self._worker.stop)
        self._worker.start()
        return self._backend

    def _make_parts(self) -> None:
        """Make who watches the inputs, who drives, who lets it pass, and with them the missions."""
        node, configured = self._node, self._configured
        self.readiness = Readiness(node, IMAGE, "odom", configured.navigation.max_image_age_s)
        self._undo_later(self.readiness.close)
        self.motion = configured.make_motion(node, self._on_report, self._wake.trigger, self._max_future_s)
        self._undo_later(self.motion.close)
        self._strain = StrainReader(configured.strain)
        self._undo_later(self._strain.close)
        self.governor = GovernorLink(
            node,
            required=configured.node.require_governor,
            is_passed=self.motion.is_governed,
            name=configured.node.governor,
        )
        self._undo_later(self.governor.close)
        self._driven = DrivenPath()
        inputs = (self.readiness, self.latest, self._driven)
        parts = MissionParts(self._navigator, self.decisions, self.motion, self.governor, *inputs)
        self.missions = Missions(node, configured, parts)

    def _subscribe(self) -> None:
        """Hear odometry and the cameras."""
        node, config = self._node, self._configured.node
        self._sources = OdometrySources(node, "odom")
        events = subscription_events(node, "odom", "odometry_reliability")
        qos = sensor_qos(config.odometry_reliability)
        odometry = node.create_subscription(OdometryMsg, "odom", self._on_odometry, qos, event_callbacks=events)
        self._undo_later(partial(node.destroy_subscription, odometry))
        self._camera = CameraReader(
            node,
            config.main_camera,
            f"{node.get_name()}_camera",
            model=self._backend.info,
            on_frame=self._observe,
            on_error=self._on_bad_frame,
            on_stamp=self.readiness.note_image,
        )
        self._undo_later(self._camera.stop)
        self._camera.start()
        self._extras = ExtraCameras(
            node, self._configured.extra_cameras, self._backend.info, self.readiness, self._events
        )
        self._undo_later(self._extras.stop)
        self._extras.start()

    def _timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """Make a timer on the steady clock: it runs on when simulated time stands still."""
        timer = self._node.create_timer(period_s, callback, clock=self._steady)
        self._undo_later(partial(self._node.destroy_timer, timer))
        return timer

    def _tell_model(self, info: ModelInfo) -> None:
        config, logger = self._configured.node, self._node.get_logger()
        logger.info(f"active: {info.name}, {config.backend}, precision {info.precision}")
        self._configured.status.tell(NavigatorStatus.STATE_READY, info.name)
        if info.precision_reason:
            tell = logger.info if config.precision == "auto" else logger.warning
            tell(precision_text(info))

    def reconfigure(self) -> None:
        """Take over the parameters as they are now."""
        settings = self._configured.navigation
        self._ticks.timer_period_ns = round(1e9 / self._configured.node.heartbeat_rate_hz)
        self._navigator.reconfigure(settings)
        self.readiness.hold_to(settings.max_image_age_s)
        self.latest.max_image_age_s = settings.max_image_age_s

    # --- the camera's thread ---------------------------------------------------------------------

    def _observe(self, frame: Frame) -> None:
        odometry = self.latest.odometry_at(frame.stamp_ns)
        self._navigator.observe(frame, odometry)
        self.latest.note_image(frame.stamp_ns, self._navigator.camera_fault)
        self._wake.trigger()
        self._worker.nudge()
        self._events.observe(frame)
        self._recall.observe(frame, odometry)

    def _on_bad_frame(self, err: FrameError) -> None:
        self.latest.image_fault = str(err)
        self._node.get_logger().error(f"image refused: {err}", throttle_duration_sec=_WARN_EVERY_S)

    # --- the worker's thread ---------------------------------------------------------------------

    def _deliver(self, job: Job, decision: Decision) -> None:
        self._events.note_decision((time.monotonic_ns() - job.asked_ns) / 1e9)
        self.decisions.deliver(job, decision)
        self._wake.trigger()

    def _log_error(self, message: str) -> None:
        self._node.get_logger().error(message)

    # --- decisions -------------------------------------------------------------------------------

    def _on_wake(self) -> None:
        """Take over what the other threads left: answers of the worker, then the newest image."""
        self._watch_camera()
        self._take_answers()
        self._events.on_wake()
        self._recall.on_wake()
        self.motion.on_wake()
        current = self.missions.current
        if current is None or not self.latest.is_image_fresh or self.readiness.fault() is not None:
            return
        current.is_held = False
        ahead_s = (self.latest.image_stamp_ns - self._now_ns()) / 1e9
        if ahead_s > self.readiness.max_future_s:  # or our clock is late: simulated time comes as messages
            current.mission.on_bad_image(f"the image is {ahead_s:.2f} s in the future")
            return
        current.mission.on_image(time.monotonic_ns())
        if self.motion.is_ready and self.governor.is_ready and not self.readiness.is_doubtful:
            self._ask()

    def _ask(self) -> None:
        """Ask for a decision if the mission wants one and a new enough image is there."""
        current = self.missions.current
        if current is None:
            return
        job = self.decisions.ask(current.number, current.mission, self._strain.verdict.decision_delay_s)
        if job is None:
            return
        if current.task.guide is None:
            self._worker.submit(job)
            return
        try:
            self.decisions.deliver(job, current.task.guide.decide(job.stamp_ns))
        except WayError as err:
            self.missions.stop(MissionError.STUCK, str(err))
        self._take_answers()

    def _take_answers(self) -> None:
        for decision in self.decisions.answers():
            self._apply(decision)

    def _apply(self, decision: Decision) -> None:
        current = self.missions.current
        if current is None or not current.mission.accepts_decision:
            return
        self.missions.beat()  # before the action, which the controller refuses from a navigator that was silent
        message = self._outputs.publish_action(decision)
        self.decisions.follow(decision)
        current.mission.on_decision(decision, message.id, time.monotonic_ns())
        self._outputs.publish_stats(decision, self._decision_context())
        current.tell_client(message, decision.latency_ms)
        if current.mission.end is None:
            self.motion.carry_out(decision, message)  # behind what waits for its report
        self._outputs.publish_frames(decision)
        self._show(decision)
        self.missions.settle()

    def _show(self, decision: Decision) -> None:
        """Show a decision to who listens; its picture is made in the worker's thread, when nobody waits for that."""
        debug, anchor = self._outputs.debug, self.decisions.odometry_at(decision.stamp_ns)
        debug.publish_markers(decision, None if anchor is None else anchor.pose)
        if debug.wants_pictures:
            self._worker.post(partial(debug.publish_picture, decision), _note_nothing, Urgency.STANDING)

    def _decision_context(self) -> DecisionContext:
        cache = self._backend.cache_counts()
        return DecisionContext(
            info=self._backend.info,
            backend=self._configured.node.backend,
            history_frames=self._navigator.history_frames,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            dropped_frames=self._worker.dropped,
            late_answers=self.decisions.late,
            refused_actions=self._refused_actions,
        )

    def _on_report(self, report: NavAction) -> None:
        self._refused_actions += report.state == NavAction.STATE_REFUSED
        current = self.missions.current
        if current is None:
            return
        if report.state == NavAction.STATE_RUNNING and report.mission_id == self._outputs.mission_id:
            current.tell_client(report, self._outputs.latency_ms)  # how far the motion got, several times a second
        is_over = report.state not in (NavAction.STATE_COMMANDED, NavAction.STATE_RUNNING)
        if is_over and not (report.state == NavAction.STATE_ABORTED and report.fault in IN_THE_WAY):
            self._navigator.interrupt()
        tell_mission(current.mission, report, self._now_ns())
        self.missions.settle()

    def _on_odometry(self, message: OdometryMsg, info: Any) -> None:
        self.readiness.note_odometry(message.header.stamp)
        try:
            odometry = odometry_from_message(message, self._configured.node.odometry_twist)
        except OdometryError as err:
            self.motion.note_bad_odometry(str(err), ns_from_stamp(message.header.stamp))
            self._node.get_logger().error(f"odometry ignored: {err}", throttle_duration_sec=_WARN_EVERY_S)
            return
        self.latest.odometry = odometry
        self.decisions.note_odometry(odometry)
        self._outputs.debug.note_odometry(odometry, self._outputs.mission_id)
        source = self._sources.of(message, info)
        self._driven.add(odometry, source.frame)
        self.motion.note_odometry(message, odometry, source)
        if self.missions.current is not None:
            self.missions.current.mission.on_odometry(odometry, time.monotonic_ns())
            self.missions.settle()

    # --- ten times a second or more: what the mission relies on ------------------------------------

    def _on_tick(self) -> None:
        self.governor.beat()
        self.motion.tick()
        current = self.missions.current
        if current is None:
            return
        self._watch_clock()  # first: a clock that jumps makes others complain
        if (over := self.governor.verdict() or self.motion.rival) is not None:
            self.missions.stop(*over)
            return
        if (ban := self.governor.ban) is not None:
            self.motion.interrupt(ban)
        elif self.motion.is_ready:
            current.mission.on_controller(time.monotonic_ns())
        self._watch_readiness()
        self._watch_camera()
        self._watch_image()
        self._watch_deadline()
        current.mission.tick(time.monotonic_ns())
        self.missions.settle()
        self.missions.beat()

    def _watch_clock(self) -> None:
        current, latest = self.missions.current, self.latest
        if current is None:
            return
        stamps = (self._now_ns(), latest.image_stamp_ns, latest.odometry_stamp_ns)
        speed = self.readiness.max_speed
        if fault := current.clocks.fault(*stamps, steady_ns=time.monotonic_ns(), speed=speed):
            self.missions.stop(MissionError.CLOCK_JUMP, fault)

    def _watch_readiness(self) -> None:
        """Hold the robot as soon as clock or stamps are at fault; end the mission if they stay so."""
        fault, current = self.readiness.fault(), self.missions.current
        if current is None:
            return
        ban = self.governor.ban
        said = self.motion.fault if ban is None else ban.detail
        current.mission.on_controller_fault(said if fault is None else fault.text)
        if fault is None:
            return
        if self.readiness.is_lasting():
            self.missions.stop(fault.error, f"not ready: {fault.text}")
        elif not current.is_held:
            self.missions.hold(fault.hold, fault.text)

    def _watch_camera(self) -> None:
        """Hold the robot as soon as its camera is found to lie."""
        current, fault = self.missions.current, self.latest.camera_fault
        if current is not None and not current.is_held and fault is not None:
            self.missions.hold(fault.reason, fault.detail)

    def _watch_image(self) -> None:
        """Hold the robot as soon as the newest image is too old; ask anew when images come again."""
        current, latest = self.missions.current, self.latest
        if current is None or current.is_held or latest.is_image_fresh:
            return
        if latest.image_fault:
            self.missions.hold(HoldReason.BAD_IMAGE, latest.image_fault)
        else:
            reason = HoldReason.NO_IMAGE if latest.image is None else HoldReason.STALE_IMAGE
            self.missions.hold(reason, self._no_image())

    def _watch_deadline(self) -> None:
        deadline_s = self._configured.navigation.decision_deadline_s
        if not self.decisions.is_overdue(deadline_s):
            return
        self.decisions.drop()
        self._events.note_decision(deadline_s)
        detail = f"no decision within {deadline_s:g} s"
        self._apply(Decision.holding(HoldReason.LATE_DECISION, self.latest.image_stamp_ns, detail))

    # --- once a second: who is there, and how it goes ----------------------------------------------

    def _on_diagnostics(self) -> None:
        if earlier := self._configured.only_one.earlier():
            self.missions.stop(MissionError.NOT_ACTIVE, earlier)
        if self.missions.current is not None and (gone := self.missions.current.client_fault()):
            self.missions.stop(MissionError.CLIENT_GONE, gone)
        if self.latest.image_age_s > _WARN_EVERY_S:
            self._node.get_logger().warning(self._no_image(), throttle_duration_sec=_WARN_EVERY_S)
        health = self._health()
        if health.not_ready:
            self._node.get_logger().error(f"not ready: {health.not_ready}", throttle_duration_sec=_WARN_EVERY_S)
        self._outputs.publish_diagnostics(health, self._extras.statuses())

    def _health(self) -> Health:
        info, latest, outputs, current = self._backend.info, self.latest, self._outputs, self.missions.current
        fault, config = self.readiness.fault(), self._configured.node
        age_s = latest.image_age_s
        return Health(
            instruction="" if current is None else current.instruction.text,
            checkpoint=info.name,
            backend=config.backend,
            precision=precision_text(info),
            kernels=info.kernels,
            history_policy=self._configured.history.policy,
            computed_on=info.computed_on,
            threads=info.threads,
            latency_ms=outputs.latency_ms,
            images=topic_text(self._node, self._camera.topic),
            image_age_s=age_s,
            odometry=topic_text(self._node, "odom"),
            odometry_age_s=latest.odometry_age_s(self._now_ns()),
            no_image=(latest.image_fault or self._no_image()) if age_s > latest.max_image_age_s else "",
            last_hold=outputs.last.hold.name,
            last_hold_detail=outputs.last.detail,
            decisions=outputs.decisions,
            holds=outputs.holds,
            dropped_frames=self._worker.dropped,
            late_answers=self.decisions.late,
            refused_actions=self._refused_actions,
            driver=self.motion.describe(),
            clock=self.readiness.clock_text,
            not_ready="" if fault is None else fault.text,
            events=self._events.health,
        )

    def _no_image(self) -> str:
        return self._camera.silence(self.latest.image_age_s, self.readiness.slow_text)

    def _max_future_s(self) -> float:
        return self.readiness.max_future_s

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds


def _note_nothing(_: object) -> None:
    """Take that a picture was made."""
