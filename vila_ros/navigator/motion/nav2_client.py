"""A client of Nav2's action NavigateToPose, on a helper node and thread.

So a cancellation can be waited for whatever the node itself does, also while it shuts down. What comes of a goal is
left as events, which the node takes over in its own thread.
"""

from __future__ import annotations

import enum
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from action_msgs.msg import GoalStatus, GoalStatusArray
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import qos_profile_action_status_default
from unique_identifier_msgs.msg import UUID

from vila_core.errors import ConfigError
from vila_ros.common.helper_node import make_helper, spin

_ACTIVE = (GoalStatus.STATUS_ACCEPTED, GoalStatus.STATUS_EXECUTING, GoalStatus.STATUS_CANCELING)
_FEED_EVERY_NS = 100_000_000  # Nav2 tells a hundred times a second
_ASK_AGAIN_NS = 500_000_000
_FOREIGN_NS = 500_000_000  # that a new goal of others counts, also if it is over
_FORGOTTEN_S = 0.5  # a goal whose cancellation was asked for so long ago, and that the server does not list, is over
_REMEMBERED = 256  # of our goals' ids


def navigate_to_pose() -> Any:
    """Return the class of Nav2's action. Raises ConfigError if its messages are not installed."""
    try:
        return import_module("nav2_msgs.action").NavigateToPose
    except ImportError as err:
        remedy = "install ros-$ROS_DISTRO-nav2-msgs and source that ROS, or set output to velocity or goal_pose"
        raise ConfigError(f"output = 'nav2' needs nav2_msgs, which is not installed ({err}); {remedy}") from err


class Nav2Event(enum.Enum):
    """What came of a goal."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FEEDBACK = "feedback"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Nav2News:
    """An event of a goal: its number, the status of its end, and the message that came, the feedback or the result."""

    number: int
    event: Nav2Event
    status: int = GoalStatus.STATUS_UNKNOWN
    message: Any = None


@dataclass(slots=True)
class _Goal:
    number: int
    handle: Any = None  # once it is accepted
    canceled_ns: int | None = None  # steady time at which nobody wanted it any more
    asked_ns: int = 0  # when its cancellation was asked for last
    fed_ns: int = 0


class Nav2Client:
    """Sends goals, one after the other; one that is sent while another runs replaces it, as Nav2 has it.

    All that is public is for one other thread, the node's; after `start` comes `close`.
    kind: what `navigate_to_pose` returned. wake: called from the helper's thread when there are news.
    """

    def __init__(self, owner: Node, kind: Any, name: str, wake: Callable[[], object]) -> None:
        self._kind, self._wake = kind, wake
        self._news: deque[Nav2News] = deque()
        self._goals: dict[bytes, _Goal] = {}  # that are not over, by their ids
        self._own: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._foreign, self._foreign_ns = False, 0  # steady time at which a goal of others was new
        self._listed: set[bytes] | None = None  # goals of the last status; None: there was none yet
        self._settled = threading.Event()
        self.name = owner.resolve_service_name(name)
        self._node, self._executor = make_helper(owner, f"{owner.get_name()}_nav2")
        self._client: Any = ActionClient(self._node, kind, self.name)
        self._node.create_subscription(
            GoalStatusArray, f"{self.name}/_action/status", self._on_status, qos_profile_action_status_default
        )
        self._thread = threading.Thread(target=spin, args=(self._executor,), name="nav2", daemon=True)

    # --- the node's thread -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to hear Nav2."""
        self._thread.start()

    def send(self, number: int, pose: PoseStamped, behavior_tree: str) -> None:
        """Send a goal under a number of ours."""
        goal, goal_id = _Goal(number), uuid.uuid4().bytes
        self._own.append(goal_id)
        self._goals[goal_id] = goal
        request = self._kind.Goal(pose=pose, behavior_tree=behavior_tree)
        self._executor.create_task(self._send, goal_id, goal, request)

    def cancel(self) -> None:
        """Cancel every goal, also one that is not accepted yet; ask again for what was not confirmed."""
        for goal in tuple(self._goals.values()):
            goal.canceled_ns = goal.canceled_ns or time.monotonic_ns()
        if self._goals:
            self._executor.create_task(self._ask_to_cancel)

    def forget(self) -> None:
        """Take all goals for over, as the server is gone."""
        self._foreign = False
        if self._goals:
            self._executor.create_task(self._forget)

    def news(self) -> Iterator[Nav2News]:
        """Give what came since."""
        while self._news:
            yield self._news.popleft()

    @property
    def is_server_there(self) -> bool:
        """True if a server of the action is on the graph."""
        return bool(self._client.server_is_ready())

    @property
    def cancels_s(self) -> float:
        """How long a cancellation has been waited for, 0 if none is."""
        since = [goal.canceled_ns for goal in tuple(self._goals.values()) if goal.canceled_ns is not None]
        return (time.monotonic_ns() - min(since)) / 1e9 if since else 0.0

    @property
    def is_foreign(self) -> bool:
        """True while Nav2 is on a goal that is not ours, and a moment behind it: it may be over at once."""
        is_new = self._foreign_ns and time.monotonic_ns() - self._foreign_ns < _FOREIGN_NS
        return bool(self._foreign or is_new) and self.is_server_there

    def close(self, timeout_s: float) -> bool:
        """Cancel what runs and leave the graph; return whether the end of every goal was confirmed in time."""
        self._settled.clear()
        self.cancel()
        is_settled = not self._goals or self._settled.wait(timeout_s)
        self._executor.shutdown(timeout_sec=timeout_s)
        self._thread.join(timeout_s)
        self._client.destroy()
        self._node.destroy_node()
        return is_settled

    # --- the helper's thread ---------------------------------------------------------------------

    def _send(self, goal_id: bytes, goal: _Goal, request: Any) -> None:
        future = self._client.send_goal_async(request, partial(self._on_feedback, goal), UUID(uuid=list(goal_id)))
        future.add_done_callback(partial(self._on_response, goal_id))

    def _on_response(self, goal_id: bytes, future: Any) -> None:
        goal, handle = self._goals.get(goal_id), future.result()
        if goal is None:  # it was given up
            if handle.accepted:
                handle.cancel_goal_async()
            return
        goal.handle = handle
        if not handle.accepted:
            self._over(goal_id, Nav2Event.REJECTED)
            return
        self._tell(Nav2News(goal.number, Nav2Event.ACCEPTED))
        handle.get_result_async().add_done_callback(partial(self._on_result, goal_id))
        self._ask_to_cancel()  # if it was canceled while it was on its way

    def _on_feedback(self, goal: _Goal, message: Any) -> None:
        steady_ns = time.monotonic_ns()
        if steady_ns - goal.fed_ns >= _FEED_EVERY_NS:
            goal.fed_ns = steady_ns
            self._tell(Nav2News(goal.number, Nav2Event.FEEDBACK, message=message.feedback))

    def _on_result(self, goal_id: bytes, future: Any) -> None:
        response = future.result()
        self._over(goal_id, Nav2Event.ENDED, response.status, response.result)

    def _on_status(self, message: GoalStatusArray) -> None:
        listed = {bytes(one.goal_info.goal_id.uuid): one.status for one in message.status_list}
        others = {one for one in listed if one not in self._own}
        self._foreign = any(listed[one] in _ACTIVE for one in others)
        steady_ns = time.monotonic_ns()
        if self._listed is not None and others - self._listed:
            self._foreign_ns = steady_ns
        self._listed = set(listed)
        for goal_id, goal in tuple(self._goals.items()):
            waited_s = 0.0 if goal.canceled_ns is None else (steady_ns - goal.canceled_ns) / 1e9
            if goal_id not in listed and waited_s > _FORGOTTEN_S:  # the server was started again
                self._over(goal_id, Nav2Event.ENDED)
        if self._foreign or self._foreign_ns == steady_ns:
            self._wake()

    def _ask_to_cancel(self) -> None:
        steady_ns = time.monotonic_ns()
        for goal in tuple(self._goals.values()):
            is_due = goal.canceled_ns is not None and steady_ns - goal.asked_ns > _ASK_AGAIN_NS
            if is_due and goal.handle is not None:
                goal.asked_ns = steady_ns
                goal.handle.cancel_goal_async()

    def _forget(self) -> None:
        for goal_id, goal in tuple(self._goals.items()):
            if goal.handle is not None:  # in case it is there all the same
                goal.handle.cancel_goal_async()
            self._over(goal_id, Nav2Event.ENDED)

    def _over(
        self, goal_id: bytes, event: Nav2Event, status: int = GoalStatus.STATUS_UNKNOWN, result: Any = None
    ) -> None:
        goal = self._goals.pop(goal_id, None)
        if goal is not None:
            self._tell(Nav2News(goal.number, event, status, result))
        if not self._goals:
            self._settled.set()

    def _tell(self, news: Nav2News) -> None:
        self._news.append(news)
        self._wake()
