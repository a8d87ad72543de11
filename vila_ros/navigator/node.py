"""The navigator's node: its parameters, its lifecycle, and the doors by which instructions come.

What it does while it is active stands in `active_navigator.py`. Without odometry, controller and instruction it is a
fixed camera's event server.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from functools import partial

from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from vila_nav.msg import NavigatorStatus

from vila_core.config import EventsConfig, HistoryConfig, NavigatorConfig, StrainConfig
from vila_core.control.goal_watch import GoalConfig
from vila_core.engine.backend import load_backend
from vila_core.errors import QueryError, VilaError
from vila_core.machine.memory import trim_heap
from vila_core.recall.config import MemoryConfig
from vila_ros.common.lifecycle import ManagedNode
from vila_ros.common.node_main import run_node
from vila_ros.common.only_one import OnlyOne
from vila_ros.common.parameters import RunningParameters, declare, read, refuse_unknown
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.active_navigator import ActiveNavigator
from vila_ros.navigator.cameras.camera_config import declare_cameras, read_cameras
from vila_ros.navigator.config import STAGES, LoadBackend, NavigatorNodeConfig
from vila_ros.navigator.configured import Configured
from vila_ros.navigator.mission.go_back import GoBackInput, Wanted
from vila_ros.navigator.mission.goal_clients import GoalClient, GoBackClient
from vila_ros.navigator.mission.instruction_inputs import InstructionInputs
from vila_ros.navigator.mission.mission import MissionError
from vila_ros.navigator.mission.mission_config import MissionConfig
from vila_ros.navigator.motion.motion_outputs import output_maker
from vila_ros.navigator.outputs import NavigatorOutputs
from vila_ros.navigator.queries.events import EventServer
from vila_ros.navigator.queries.recall import RecallServer
from vila_ros.navigator.status import StatusPublisher

_NOT_ACTIVE = MissionError.NOT_ACTIVE, "the navigator is not active"


class NavigatorNode(ManagedNode):
    """The lifecycle node that navigates and reports events.

    Configure: parameters, publishers, services, actions. Activate: the model, the camera, odometry.
    load: how the backend is loaded; tests give their own. configured, active: None while it is neither.
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
        self.configured: Configured | None = None
        self.active: ActiveNavigator | None = None

    # --- configure -------------------------------------------------------------------------------

    def _configure(self) -> None:
        config = read(self, NavigatorNodeConfig)
        navigation = read(self, NavigatorConfig, "navigator")
        history = read(self, HistoryConfig, "history")
        make_motion = output_maker(config, read(self, GoalConfig, "goal"))
        extra_cameras = read_cameras(self, self._more_cameras)
        only_one = OnlyOne(self)
        self._undo_later(only_one.close)
        only_one.require()
        status = StatusPublisher(self, only_one.run)
        self._undo_later(status.close)
        outputs = NavigatorOutputs(self, config.odometry_frame)
        self._undo_later(outputs.destroy)
        self._inputs = InstructionInputs(self, read(self, MissionConfig, "mission"), self._begin, self._cancel)
        self._undo_later(self._inputs.destroy)
        self._go_backs = GoBackInput(self, self._inputs.config, self._go_back, self._cancel)
        self._undo_later(self._go_backs.destroy)
        cameras = (config.camera, *self._more_cameras)
        events = EventServer(self, read(self, EventsConfig, "events"), navigation.decision_deadline_s, cameras)
        self._undo_later(events.destroy)
        most = read(self, EventsConfig, "events").max_queries
        recall = RecallServer(self, read(self, MemoryConfig, "memory"), config.main_camera, config.odometry_frame, most)
        self._undo_later(recall.destroy)
        self.configured = Configured(
            node=config,
            navigation=navigation,
            history=history,
            strain=read(self, StrainConfig, "machine"),
            extra_cameras=extra_cameras,
            load=self._load,
            make_motion=make_motion,
            only_one=only_one,
            status=status,
            outputs=outputs,
            events=events,
            recall=recall,
        )
        self._undo_later(partial(setattr, self, "configured", None))
        self._follow_parameters(self.configured)

    def _follow_parameters(self, configured: Configured) -> None:
        """Take over what is set at run time."""

        def use_node(config: NavigatorNodeConfig) -> None:
            configured.node = config
            if self.active is not None:
                self.active.reconfigure()

        def use_navigation(config: NavigatorConfig) -> None:
            configured.navigation = config
            configured.events.set_deadline(config.decision_deadline_s)
            if self.active is not None:
                self.active.reconfigure()

        def use_mission(config: MissionConfig) -> None:
            self._inputs.config = self._go_backs.config = config

        self._undo_later(self._running.follow(NavigatorNodeConfig, use_node))
        self._undo_later(self._running.follow(NavigatorConfig, use_navigation, "navigator"))
        self._undo_later(self._running.follow(MissionConfig, use_mission, "mission"))
        self._undo_later(self._running.follow(EventsConfig, configured.events.reconfigure, "events"))
        self._undo_later(self._running.follow(MemoryConfig, configured.recall.reconfigure, "memory"))

    # --- activate --------------------------------------------------------------------------------

    def _activate(self) -> None:
        configured = self.configured
        assert configured is not None
        self._undo_later(_free_memory)
        self._undo_later(partial(configured.status.tell, NavigatorStatus.STATE_INACTIVE))
        words = f"loading {configured.node.checkpoint or 'vila-nano'}"  # why nothing is answered for a while
        configured.status.tell(NavigatorStatus.STATE_LOADING, words)
        configured.outputs.publish_waiting(words)
        active = ActiveNavigator(self, configured, self._undo_later)
        if configured.node.instruction_topic:
            topic = self.create_subscription(String, "~/instruction", self._inputs.on_topic, reliable_qos(1))
            self._undo_later(partial(self.destroy_subscription, topic))
        self._undo_later(self._on_deactivation)
        self.active = active

    def _on_deactivation(self) -> None:
        active, self.active = self.active, None
        if active is not None:
            active.missions.stop(MissionError.NOT_ACTIVE, "the navigator was deactivated")

    # --- instructions ----------------------------------------------------------------------------

    def _begin(
        self, text: str, source: str, config: MissionConfig, client: GoalClient | None
    ) -> tuple[MissionError, str]:
        if self.active is None:
            return _NOT_ACTIVE
        return self.active.missions.begin(text, source, config, client)

    def _go_back(self, wanted: Wanted, config: MissionConfig, client: GoBackClient) -> tuple[MissionError, str]:
        if self.active is None or self.configured is None:
            return _NOT_ACTIVE
        try:
            stamp_ns = wanted.stamp_ns or self.configured.recall.seen_ns(wanted.text)
        except QueryError as err:
            return MissionError.NOT_REMEMBERED, str(err)
        return self.active.missions.go_back(stamp_ns, wanted.title, wanted.source, config, client)

    def _cancel(self, words: str, goal: ServerGoalHandle | None) -> bool:
        return self.active is not None and self.active.missions.cancel(words, goal)


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
