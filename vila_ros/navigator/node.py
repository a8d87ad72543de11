"""The navigator: images and an instruction in, one action after the other out; and events, if there are queries.

Threads: the camera's (takes images, `Navigator.observe`), the worker's (`Navigator.decide`, in between the
questions of the event server and `idle`, so no callback ever waits for the model) and the executor's, in
which all mission state lives; the other two hand over by a guard condition. Without odometry, controller and
instruction it is a fixed camera's event server.
"""

from __future__ import annotations

import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.timer import Timer
from std_msgs.msg import String
from vila_nav.msg import NavAction, NavigatorStatus

from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig, StrainConfig
from vila_core.control.forward_jump import MissionClocks
from vila_core.control.goal_watch import GoalConfig
from vila_core.control.watchdog import Receipt
from vila_core.engine.backend import CacheCounts, ModelInfo, load_backend
from vila_core.errors import FrameError, InstructionError, VilaError
from vila_core.history.camera_watch import CameraFault
from vila_core.machine.memory import trim_heap
from vila_core.navigator import Navigator
from vila_core.prompts.instruction import sanitize
from vila_core.types import Decision, Frame, HoldReason, Instruction, Odometry
from vila_ros.common.conversions import OdometryError, ns_from_stamp, odometry_from_message
from vila_ros.common.diagnostics import Health, precision_text
from vila_ros.common.lifecycle import ManagedNode
from vila_ros.common.node_main import run_node
from vila_ros.common.odometry_sources import OdometrySources
from vila_ros.common.only_one import PATIENCE_S, OnlyOne
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos, sensor_qos, subscription_events
from vila_ros.common.strain_reader import StrainReader
from vila_ros.navigator.camera import CameraReader
from vila_ros.navigator.camera_config import declare_cameras, read_cameras
from vila_ros.navigator.client_watch import ClientWatch
from vila_ros.navigator.config import STAGES, LoadBackend, NavigatorNodeConfig, load_configured
from vila_ros.navigator.decisions import Decisions, Job
from vila_ros.navigator.events import EventServer
from vila_ros.navigator.extra_cameras import ExtraCameras
from vila_ros.navigator.goals import feedback, finish_goal
from vila_ros.navigator.governor_link import GovernorLink
from vila_ros.navigator.instruction_inputs import InstructionInputs
from vila_ros.navigator.mission import Mission, MissionError, Outcome
from vila_ros.navigator.mission_config import MissionConfig
from vila_ros.navigator.motion_output import tell_mission
from vila_ros.navigator.motion_outputs import output_maker
from vila_ros.navigator.outputs import DecisionContext, NavigatorOutputs
from vila_ros.navigator.readiness import Readiness
from vila_ros.navigator.status import StatusPublisher
from vila_ros.navigator.worker import InferenceWorker

_WARN_EVERY_S = 5.0


@dataclass(slots=True)
class ActiveMission:
    """The mission that runs, its number, and the goal that it answers, if it came as one."""

    number: int
    mission: Mission
    instruction: Instruction
    goal: ServerGoalHandle | None = None
    client: ClientWatch | None = None


class NavigatorNode(ManagedNode):
    """The lifecycle node that navigates and reports events.

    Configure: parameters, publishers, services, actions. Activate: the model, the camera, odometry.
    load: how the backend is loaded; tests give their own.
    """

    def __init__(self, parameter_overrides: Sequence[Parameter] = (), load: LoadBackend = load_backend) -> None:
        super().__init__("navigator", parameter_overrides)
        self._load = load
        names = declare(self, NavigatorNodeConfig)
        for prefix, kind in STAGES.items():
            names += declare(self, kind, prefix)
        self._more_cameras, of_cameras = declare_cameras(self)
        refuse_unknown(self, names + of_cameras)
        self._running = RunningParameters(self)
        for prefix, kind in STAGES.items():
            self._running.follow(kind, _note_nothing, prefix)  # checked already before the node is configured
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._is_active = False
        self._active: ActiveMission | None = None
        self._missions = 0
        self._image: Receipt | None = None
        self._image_fault = ""
        self._camera_fault: CameraFault | None = None
        self._held = False
        self._odometry: Odometry | None = None
        self.refused_actions = 0  # by who drives, since activation

    # --- lifecycle -------------------------------------------------------------------------------

    def _configure(self) -> None:
        self._config = read(self, NavigatorNodeConfig)
        self._navigation = read(self, NavigatorConfig, "navigator")
        self._history = read(self, HistoryConfig, "history")
        self._make_motion = output_maker(self._config, read(self, GoalConfig, "goal"))
        self._extra_cameras = read_cameras(self, self._more_cameras)
        self._only_one = OnlyOne(self)
        self._undo_later(self._only_one.close)
        self._refuse_beside_another()
        self._status = StatusPublisher(self, self._only_one.run)
        self._undo_later(self._status.close)
        self._outputs = NavigatorOutputs(self, self._config.odometry_frame)
        self._undo_later(self._outputs.destroy)
        self._inputs = InstructionInputs(self, read(self, MissionConfig, "mission"), self._begin, self._cancel)
        self._undo_later(self._inputs.destroy)
        cameras = (self._config.camera, *self._more_cameras)
        events = read(self, EventsConfig, "events")
        self._events = EventServer(self, events, self._navigation.decision_deadline_s, cameras)
        self._undo_later(self._events.destroy)
        self._undo_later(self._running.follow(NavigatorNodeConfig, self._use_config))
        self._undo_later(self._running.follow(NavigatorConfig, self._use_navigation, "navigator"))
        self._undo_later(self._running.follow(MissionConfig, self._use_mission, "mission"))
        self._undo_later(self._running.follow(EventsConfig, self._events.reconfigure, "events"))

    def _use_config(self, config: NavigatorNodeConfig) -> None:
        self._config = config
        if self._is_active:
            self._ticks.timer_period_ns = round(1e9 / config.heartbeat_rate_hz)

    def _use_navigation(self, config: NavigatorConfig) -> None:
        self._navigation = config
        self._events.set_deadline(config.decision_deadline_s)
        if self._is_active:
            self._navigator.reconfigure(config)
            self._readiness.hold_to(config.max_image_age_s)

    def _use_mission(self, config: MissionConfig) -> None:
        self._inputs.config = config

    def _activate(self) -> None:
        self.refused_actions = 0
        self._undo_later(_free_memory)
        self._undo_later(partial(self._status.tell, NavigatorStatus.STATE_INACTIVE))
        self._tell_loading()
        self._backend = load_configured(self._config, self._load)
        self._undo_later(self._backend.close)
        self._refuse_beside_another()  # if discovery had not shown it before
        self._navigator = Navigator(self._backend, self._navigation, self._history, self._now_ns)
        self._guard = self.create_guard_condition(self._on_wake)
        self._undo_later(partial(self.destroy_guard_condition, self._guard))
        self._decisions = Decisions(self._navigator, self._navigation.timing, self._now_ns, self._max_future_s)
        self._worker = InferenceWorker(self._decisions.decide, self._deliver, self._log_error, self._navigator.idle)
        self._events.activate(self._backend, self._worker, self._guard.trigger)
        self._undo_later(self._events.deactivate)
        self._undo_later(self._worker.stop)
        self._worker.start()
        self._readiness = Readiness(self, "image_raw", "odom", self._navigation.max_image_age_s)
        self._undo_later(self._readiness.close)
        self._motion = self._make_motion(self, self._on_report, self._guard.trigger, self._max_future_s)
        self._undo_later(self._motion.close)
        self._strain = StrainReader(read(self, StrainConfig, "machine"))
        self._undo_later(self._strain.close)
        self._governor = GovernorLink(self, required=self._config.require_governor, is_passed=self._motion.is_governed)
        self._undo_later(self._governor.close)
        self._subscribe()
        self._camera = CameraReader(
            self,
            self._config.main_camera,
            f"{self.get_name()}_camera",
            on_frame=self._observe,
            on_error=self._on_bad_frame,
            on_stamp=self._readiness.note_image,
        )
        self._undo_later(self._camera.stop)
        self._camera.start()
        self._extras = ExtraCameras(self, self._extra_cameras, self._readiness, self._events)
        self._undo_later(self._extras.stop)
        self._extras.start()
        self._ticks = self._timer(1.0 / self._config.heartbeat_rate_hz, self._on_tick)
        self._timer(1.0, self._on_diagnostics)
        self._undo_later(self._on_deactivation)
        self._is_active = True
        self._tell_model(self._backend.info)

    def _tell_model(self, info: ModelInfo) -> None:
        self.get_logger().info(f"active: {info.name}, {self._config.backend}, precision {info.precision}")
        self._status.tell(NavigatorStatus.STATE_READY, info.name)
        if info.precision_reason:
            tell = self.get_logger().info if self._config.precision == "auto" else self.get_logger().warning
            tell(precision_text(info))

    def _refuse_beside_another(self) -> None:
        if earlier := self._only_one.earlier(PATIENCE_S):
            raise VilaError(earlier)

    def _tell_loading(self) -> None:
        """Say why nothing is answered for a while."""
        words = f"loading {self._config.checkpoint or 'vila-nano'}"
        self._status.tell(NavigatorStatus.STATE_LOADING, words)
        self._outputs.publish_waiting(words)

    def _on_deactivation(self) -> None:
        self._is_active = False
        self._stop_mission(MissionError.NOT_ACTIVE, "the navigator was deactivated")

    def _subscribe(self) -> None:
        odometry_qos = sensor_qos(self._config.odometry_reliability)
        events = subscription_events(self, "odom", "odometry_reliability")
        self._sources = OdometrySources(self, "odom")
        subscriptions = [
            self.create_subscription(OdometryMsg, "odom", self._on_odometry, odometry_qos, event_callbacks=events)
        ]
        if self._config.instruction_topic:
            topic = self.create_subscription(String, "~/instruction", self._inputs.on_topic, reliable_qos(1))
            subscriptions.append(topic)
        for subscription in subscriptions:
            self._undo_later(partial(self.destroy_subscription, subscription))

    def _timer(self, period_s: float, callback: Callable[[], None]) -> Timer:
        """Make a timer on the steady clock: it runs on when simulated time stands still."""
        timer = self.create_timer(period_s, callback, clock=self._steady)
        self._undo_later(partial(self.destroy_timer, timer))
        return timer

    # --- camera thread ---------------------------------------------------------------------------

    def _observe(self, frame: Frame) -> None:
        self._navigator.observe(frame, self._odometry_at(frame.stamp_ns))
        self._camera_fault = self._navigator.camera_fault
        self._image_fault = ""
        self._image = Receipt(frame.stamp_ns, time.monotonic_ns())
        self._guard.trigger()
        self._worker.nudge()
        self._events.observe(frame)

    def _on_bad_frame(self, err: FrameError) -> None:
        self._image_fault = str(err)
        self.get_logger().error(f"image refused: {err}", throttle_duration_sec=_WARN_EVERY_S)

    def _odometry_at(self, stamp_ns: int) -> Odometry | None:
        """Return the newest odometry, None if it is too far from the stamp to say where the camera was."""
        odometry = self._odometry
        if odometry is None or abs(odometry.stamp_ns - stamp_ns) > self._navigation.max_image_age_s * 1e9:
            return None
        return odometry

    # --- worker thread ---------------------------------------------------------------------------

    def _deliver(self, job: Job, decision: Decision) -> None:
        self._events.note_decision((time.monotonic_ns() - job.asked_ns) / 1e9)
        self._decisions.deliver(job, decision)
        self._guard.trigger()

    def _log_error(self, message: str) -> None:
        self.get_logger().error(message)

    # --- instructions ----------------------------------------------------------------------------

    def _begin(
        self, text: str, source: str, config: MissionConfig, goal: ServerGoalHandle | None = None
    ) -> tuple[MissionError, str]:
        """Start a mission; a running one is preempted only if the new instruction is good."""
        if not self._is_active:
            return MissionError.NOT_ACTIVE, "the navigator is not active"
        now_ns = self._now_ns()
        try:
            instruction = Instruction(sanitize(text, self._navigation.max_instruction_chars), now_ns, source)
        except InstructionError as err:
            self.get_logger().error(f"instruction of {source} refused: {err}")
            return MissionError.BAD_INSTRUCTION, str(err)
        if earlier := self._only_one.earlier():
            return MissionError.NOT_ACTIVE, earlier
        if (fault := self._readiness.fault()) is not None:
            self.get_logger().error(f"instruction of {source} refused, not ready: {fault.text}")
            return fault.error, f"not ready: {fault.text}"
        if emergency := self._governor.emergency:
            self.get_logger().error(f"instruction refused: {emergency}")
            return MissionError.EMERGENCY_STOP, emergency
        if (rival := self._motion.rival) is not None:
            self.get_logger().error(f"instruction of {source} refused: {rival[1]}")
            return rival
        self._stop_mission(MissionError.PREEMPTED, "a newer instruction came")
        self._navigator.start(instruction)
        self._events.begin_mission()
        self._camera_fault = None
        self._missions += 1
        continuous, driver = self._decisions.is_continuous, self._motion.driver
        mission = Mission(config, time.monotonic_ns(), decides_moving=continuous, driver=driver)
        client = ClientWatch(self, "~/navigate", config.client_timeout_s) if goal and config.client_timeout_s else None
        self._active = ActiveMission(self._missions, mission, instruction, goal, client)
        self._governor.begin(instruction.text, source)
        self._outputs.mission_id = self._governor.mission_id
        self._tell_mission(NavigatorStatus.STATE_NAVIGATING, source)
        self._clocks, self._held = MissionClocks(now_ns), False
        self.get_logger().info(f"instruction of {source}: {instruction.text}")
        self._beat()
        return MissionError.NONE, ""

    def _stop_mission(self, error: MissionError, message: str) -> None:
        if self._active is not None:
            self._active.mission.stop(error, message, time.monotonic_ns())
            self._settle()

    def _cancel(self, words: str, goal: ServerGoalHandle | None) -> bool:
        """End the present mission, if it is that goal's, or any for None; return whether there was one."""
        active = self._active
        if active is None or (goal is not None and active.goal != goal):
            return False
        self._stop_mission(MissionError.CANCELED, words)
        return True

    def _settle(self) -> None:
        """If the mission has ended: stand still, forget it and answer its goal."""
        active = self._active
        if active is None or active.mission.end is None:
            return
        end = self._governor.explained(active.mission.end)
        if end.error is MissionError.ODOMETRY_LOST:
            end = dataclasses.replace(end, message=f"{end.message}, {self._topic_text('odom')}")
        self._active = None
        self._decisions.drop()
        self._navigator.stop()
        self._governor.end(end)
        self._events.end_mission()
        if end.outcome is not Outcome.REACHED:
            self._stand(HoldReason.NO_INSTRUCTION, end.message)
        self.get_logger().info(f"{end.outcome.name}, {end.error.name}: {end.message}")
        self._tell_mission(NavigatorStatus.STATE_READY, f"{end.outcome.name}, {end.error.name}: {end.message}")
        if active.goal is not None:
            finish_goal(active.goal, end)

    def _tell_mission(self, state: int, detail: str) -> None:
        instruction = "" if self._active is None else self._active.instruction.text
        self._status.tell(state, detail, mission_id=self._governor.mission_id, instruction=instruction)

    # --- decisions -------------------------------------------------------------------------------

    def _on_wake(self) -> None:
        """Take over what the other threads left: answers of the worker, then the newest image."""
        self._watch_camera()
        for decision in self._decisions.answers():
            self._apply(decision)
        self._events.on_wake()
        self._motion.on_wake()
        if self._active is None or not self._is_image_fresh() or self._readiness.fault() is not None:
            return
        self._held = False
        ahead_s = (self._image_stamp() - self._now_ns()) / 1e9
        if ahead_s > self._readiness.max_future_s:  # or our clock is late: simulated time comes as messages
            self._active.mission.on_bad_image(f"the image is {ahead_s:.2f} s in the future")
            return
        self._active.mission.on_image(time.monotonic_ns())
        if self._motion.is_ready and self._governor.is_ready and not self._readiness.is_doubtful:
            self._ask()

    def _ask(self) -> None:
        """Ask for a decision if the mission wants one and a new enough image is there."""
        active = self._active
        if active is None:
            return
        if job := self._decisions.ask(active.number, active.mission, self._strain.verdict.decision_delay_s):
            self._worker.submit(job)

    def _apply(self, decision: Decision) -> None:
        active = self._active
        if active is None or not active.mission.accepts_decision:
            return
        self._beat()  # before the action, which the controller refuses from a navigator that was silent
        message = self._outputs.publish_action(decision)
        self._decisions.follow(decision)
        active.mission.on_decision(decision, message.id, time.monotonic_ns())
        self._outputs.publish_stats(decision, self._decision_context())
        self._tell_client(active, message, decision.latency_ms)
        if active.mission.end is None:
            self._motion.carry_out(decision, message)  # behind what waits for its report
        self._settle()

    def _decision_context(self) -> DecisionContext:
        cache = CacheCounts() if self._backend is None else self._backend.cache_counts()
        return DecisionContext(
            info=self._backend.info,
            backend=self._config.backend,
            history_frames=self._navigator.history_frames,
            cache_hits=cache.hits,
            cache_misses=cache.misses,
            dropped_frames=self._worker.dropped,
            late_answers=self._decisions.late,
            refused_actions=self.refused_actions,
        )

    def _on_report(self, report: NavAction) -> None:
        self.refused_actions += report.state == NavAction.STATE_REFUSED
        if self._active is not None:
            self._tell_progress(report)
            tell_mission(self._active.mission, report, self._now_ns())
            self._settle()

    def _tell_progress(self, report: NavAction) -> None:
        """Tell the goal's client how far the motion got; who drives says so several times a second."""
        active = self._active
        if active is None or report.state != NavAction.STATE_RUNNING or report.mission_id != self._outputs.mission_id:
            return
        self._tell_client(active, report, self._outputs.latency_ms)

    def _tell_client(self, active: ActiveMission, message: NavAction, latency_ms: float) -> None:
        if active.goal is not None and active.goal.is_active:
            mission = active.mission
            active.goal.publish_feedback(feedback(message, latency_ms, mission.decisions, mission.distance_m))

    def _on_odometry(self, message: OdometryMsg, info: Any) -> None:
        self._readiness.note_odometry(message.header.stamp)
        try:
            self._odometry = odometry_from_message(message, self._config.odometry_twist)
        except OdometryError as err:
            self._motion.note_bad_odometry(str(err), ns_from_stamp(message.header.stamp))
            self.get_logger().error(f"odometry ignored: {err}", throttle_duration_sec=_WARN_EVERY_S)
            return
        self._decisions.note_odometry(self._odometry)
        self._motion.note_odometry(message, self._odometry, self._sources.of(message, info))
        if self._active is not None:
            self._active.mission.on_odometry(self._odometry, time.monotonic_ns())
            self._settle()

    # --- timers ----------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        self._governor.beat()
        self._motion.tick()
        active = self._active
        if active is None:
            return
        self._watch_clock()  # first: a clock that jumps makes others complain
        if (over := self._governor.verdict() or self._motion.rival) is not None:
            self._stop_mission(*over)
            return
        if (ban := self._governor.ban) is not None:
            self._motion.interrupt(ban)
        elif self._motion.is_ready:
            active.mission.on_controller(time.monotonic_ns())
        self._watch_readiness()
        self._watch_camera()
        self._watch_image()
        self._watch_deadline()
        active.mission.tick(time.monotonic_ns())
        self._settle()
        self._beat()

    def _beat(self) -> None:
        image = self._image
        is_ready = self._readiness.fault() is None
        if self._active is not None and image is not None and self._is_image_fresh() and is_ready:
            self._outputs.publish_heartbeat(image.stamp_ns)

    def _watch_clock(self) -> None:
        odometry_ns = 0 if self._odometry is None else self._odometry.stamp_ns
        stamps, steady_ns = (self._now_ns(), self._image_stamp(), odometry_ns), time.monotonic_ns()
        if fault := self._clocks.fault(*stamps, steady_ns=steady_ns, speed=self._readiness.max_speed):
            self._stop_mission(MissionError.CLOCK_JUMP, fault)

    def _watch_readiness(self) -> None:
        """Hold the robot as soon as clock or stamps are at fault; end the mission if they stay so."""
        fault = self._readiness.fault()
        if self._active is None:
            return
        ban = self._governor.ban
        said = self._motion.fault if ban is None else ban.detail
        self._active.mission.on_controller_fault(said if fault is None else fault.text)
        if fault is None:
            return
        if self._readiness.is_lasting():
            self._stop_mission(fault.error, f"not ready: {fault.text}")
        elif not self._held:
            self._hold(fault.hold, fault.text)

    def _watch_camera(self) -> None:
        """Hold the robot as soon as its camera is found to lie."""
        if self._active is not None and not self._held and (fault := self._camera_fault) is not None:
            self._hold(fault.reason, fault.detail)

    def _watch_image(self) -> None:
        """Hold the robot as soon as the newest image is too old; ask anew when images come again."""
        if self._active is None or self._held or self._is_image_fresh():
            return
        if self._image_fault:
            reason, detail = HoldReason.BAD_IMAGE, self._image_fault
        elif self._image is None:
            reason, detail = HoldReason.NO_IMAGE, self._no_image()
        else:
            reason, detail = HoldReason.STALE_IMAGE, self._no_image()
        self._hold(reason, detail)

    def _hold(self, reason: HoldReason, detail: str) -> None:
        """Have the robot stand until the inputs are good again."""
        assert self._active is not None
        self._held = True
        self._active.mission.on_bad_image(detail)
        self._active.mission.pause()
        self._decisions.drop()
        self._stand(reason, detail)
        self.get_logger().warning(f"the robot holds: {detail}")

    def _stand(self, reason: HoldReason, detail: str) -> None:
        decision = Decision.holding(reason, self._image_stamp(), detail)
        self._motion.carry_out(decision, self._outputs.publish_action(decision))

    def _watch_deadline(self) -> None:
        if not self._decisions.is_overdue(self._navigation.decision_deadline_s):
            return
        self._decisions.drop()
        self._events.note_decision(self._navigation.decision_deadline_s)
        detail = f"no decision within {self._navigation.decision_deadline_s:g} s"
        self._apply(Decision.holding(HoldReason.LATE_DECISION, self._image_stamp(), detail))

    def _on_diagnostics(self) -> None:
        if earlier := self._only_one.earlier():
            self._stop_mission(MissionError.NOT_ACTIVE, earlier)
        self._watch_client()
        age_s = self._image_age_s()
        if age_s > _WARN_EVERY_S:
            self.get_logger().warning(self._no_image(), throttle_duration_sec=_WARN_EVERY_S)
        last, fault = self._outputs.last, self._readiness.fault()
        if fault is not None:
            self.get_logger().error(f"not ready: {fault.text}", throttle_duration_sec=_WARN_EVERY_S)
        health = Health(
            instruction="" if self._active is None else self._active.instruction.text,
            checkpoint=self._backend.info.name,
            backend=self._config.backend,
            precision=precision_text(self._backend.info),
            kernels=self._backend.info.kernels,
            latency_ms=self._outputs.latency_ms,
            images=self._topic_text(self._camera.topic),
            image_age_s=age_s,
            odometry=self._topic_text("odom"),
            odometry_age_s=self._odometry_age_s(),
            no_image=(self._image_fault or self._no_image()) if age_s > self._navigation.max_image_age_s else "",
            last_hold=last.hold.name,
            last_hold_detail=last.detail,
            decisions=self._outputs.decisions,
            holds=self._outputs.holds,
            dropped_frames=self._worker.dropped,
            late_answers=self._decisions.late,
            refused_actions=self.refused_actions,
            driver=self._motion.describe(),
            clock=self._readiness.clock_text,
            not_ready="" if fault is None else fault.text,
            events=self._events.health,
        )
        self._outputs.publish_diagnostics(health, self._extras.statuses())

    def _watch_client(self) -> None:
        active = self._active
        if active is not None and active.client is not None and active.client.is_gone():
            words = f"the client of the goal has left the graph for {active.mission.config.client_timeout_s:g} s"
            self._stop_mission(MissionError.CLIENT_GONE, words)

    # --- what is known ---------------------------------------------------------------------------

    def _is_image_fresh(self) -> bool:
        return self._camera_fault is None and self._image_age_s() <= self._navigation.max_image_age_s

    def _image_age_s(self) -> float:
        """Return the time since the newest accepted image came, inf if none did."""
        image = self._image
        return float("inf") if image is None else (time.monotonic_ns() - image.received_ns) / 1e9

    def _odometry_age_s(self) -> float:
        """Return how old the newest odometry is by its stamp, inf if none came."""
        return float("inf") if self._odometry is None else (self._now_ns() - self._odometry.stamp_ns) / 1e9

    def _topic_text(self, topic: str) -> str:
        return f"{self.resolve_topic_name(topic)} has {self.count_publishers(topic)} publishers"

    def _image_stamp(self) -> int:
        return 0 if self._image is None else self._image.stamp_ns

    def _no_image(self) -> str:
        return self._camera.silence(self._image_age_s(), self._readiness.slow_text)

    def _max_future_s(self) -> float:
        return self._readiness.max_future_s

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _free_memory() -> None:
    """Give back what a model leaves: its parts refer to each other, and the C library keeps what is freed in pieces."""
    gc.collect()
    trim_heap()


def _note_nothing(_: object) -> None:
    """Leave new parameters for when the node is configured."""


def make_node() -> Node:
    """Make the node as its parameters say; with autostart it is brought up at once."""
    node = NavigatorNode()
    if node.get_parameter("autostart").value:
        try:
            node.bring_up()
        except VilaError:
            node.destroy_node()
            raise
    return node


def main() -> int:
    """Run the navigator until it is told to end."""
    return run_node(make_node, "navigator")


if __name__ == "__main__":
    sys.exit(main())
