"""What the robot remembers of what it saw, beside navigation: the actions ~/recall and ~/tag.

Threads: the camera's (`observe`), the worker's (all that asks the model or the file) and the executor's (the rest).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import Point
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from vila_nav.action import Recall, Tag

from vila_core.engine.backend import Backend
from vila_core.errors import FrameError, QueryError, UnsupportedQueryError
from vila_core.localizer import Progress
from vila_core.recall.config import MemoryConfig
from vila_core.scene_memory import Recalled, SceneMemory
from vila_core.types import Frame, Odometry
from vila_ros.common.conversions import frame_from_image, pose_message, stamp_from_ns
from vila_ros.navigator.cameras.camera_config import Camera
from vila_ros.navigator.queries.questions import QuestionServer
from vila_ros.navigator.worker import InferenceWorker, Urgency

_WARN_EVERY_S = 10.0


class RecallServer:
    """~/recall and ~/tag of a node, and the views that they answer from.

    Made when the node is configured; it remembers between `activate` and `deactivate`, and refuses before and after.
    camera: whose views they are; if its field of view is known, what memory.camera_hfov_deg says does not count. frame:
    what odometry's poses are given in. most: questions that may wait.
    """

    def __init__(self, node: Node, config: MemoryConfig, camera: Camera, frame: str, most: int) -> None:
        self._node, self.config, self._camera, self._frame = node, config, camera, frame
        self._hfov_deg = math.nan  # of the pictures that are remembered
        self._memory: SceneMemory | None = None
        self._is_busy = False
        self._questions = QuestionServer(node, most)
        self._questions.offer(Recall, "~/recall", self._recall)
        self._questions.offer(Tag, "~/tag", self._tag)

    def destroy(self) -> None:
        """Take the actions off the graph."""
        self._questions.destroy()

    def reconfigure(self, config: MemoryConfig) -> None:
        """Take another configuration of the same file and camera."""
        self.config = config
        if self._memory is not None:
            self._memory.config = self._of_pictures(config)

    def activate(self, backend: Backend, worker: InferenceWorker[Any], wake: Callable[[], None]) -> None:
        """Open the file and begin to remember; VilaError if it can't be had, or the model can't tell things apart."""
        now_ns = self._node.get_clock().now().nanoseconds
        self._hfov_deg = self._camera.shown_hfov_deg(backend.info)
        if self.config.file:
            self._memory = SceneMemory(backend, self._of_pictures(self.config), now_ns=now_ns, frame=self._frame)
            self._node.get_logger().info(f"{self.config.file}: {self._memory.views} views are remembered")
        self._worker, self._is_busy = worker, False
        self._questions.activate(worker, wake)

    def _of_pictures(self, config: MemoryConfig) -> MemoryConfig:
        """The configuration with the field of view of the pictures that are remembered."""
        return config if math.isnan(self._hfov_deg) else dataclasses.replace(config, camera_hfov_deg=self._hfov_deg)

    def deactivate(self) -> None:
        """Close the file and refuse from now on; the worker has been stopped."""
        self._questions.deactivate()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def seen_ns(self, text: str) -> int:
        """Return when the robot saw best, at its last place, what the text names, for driving back to there.

        Raises QueryError if it did not, or not since it was started.
        """
        recalled = self._require_memory().recall(text)
        if recalled.view is None:
            raise QueryError(f"{recalled.asked!r} was not seen (probability {recalled.probability:.2f})")
        if not recalled.is_this_run:
            raise QueryError(f"{recalled.asked!r} was seen before the robot was started; the way there is not known")
        return recalled.view.stamp_ns

    # --- camera thread ---------------------------------------------------------------------------

    def observe(self, frame: Frame, odometry: Odometry | None) -> None:
        """Remember a frame if it shows another view than the last; without odometry nobody knows where that was."""
        memory = self._memory
        if memory is None or odometry is None or self._is_busy or not memory.is_due(frame.stamp_ns, odometry.pose):
            return
        self._is_busy = True  # a machine that is late remembers less
        self._worker.post(partial(memory.remember, frame, odometry.pose), self._on_remembered, Urgency.STANDING)

    # --- worker thread ---------------------------------------------------------------------------

    def _on_remembered(self, outcome: Exception | None) -> None:
        self._is_busy = False
        if outcome is not None:
            self._node.get_logger().error(
                f"a view was not remembered: {type(outcome).__name__}: {outcome}", throttle_duration_sec=_WARN_EVERY_S
            )

    def _recall(self, request: Recall.Goal, _progress: Progress) -> Recall.Result:
        return recall_result(self._require_memory().recall(request.text), self._frame)

    def _tag(self, request: Tag.Goal, _progress: Progress) -> Tag.Result:
        memory, frame = self._require_memory(), None
        if request.picture.data:
            try:
                frame = frame_from_image(request.picture, "tag")
            except FrameError as err:
                raise QueryError(f"the picture of {request.name!r}: {err}") from err
        place = {} if request.across == request.down == 0 else {"across": request.across, "down": request.down}
        return Tag.Result(thing=memory.tag(request.name, frame, **place))

    # --- executor --------------------------------------------------------------------------------

    def on_wake(self) -> None:
        """Give the answers that have come to those who asked."""
        self._questions.on_wake()

    def _require_memory(self) -> SceneMemory:
        if self._memory is None:
            raise UnsupportedQueryError("nothing is remembered: the parameter memory.file is empty")
        return self._memory


def recall_result(recalled: Recalled, frame: str) -> Recall.Result:
    """Return the answer to "where was it last seen?" as the action's result."""
    result = Recall.Result(asked=recalled.asked, probability=float(recalled.probability))
    view = recalled.view
    if view is None:
        return result
    result.found, result.is_this_run = True, recalled.is_this_run
    result.pose = pose_message(view.pose, frame, view.stamp_ns)
    result.has_place = not math.isnan(recalled.x_m)
    if result.has_place:
        result.place = Point(x=recalled.x_m, y=recalled.y_m)
    result.views, result.across, result.down = recalled.views, recalled.across, recalled.down
    result.picture = CompressedImage(format="jpeg", data=view.picture)
    result.picture.header.stamp, result.picture.header.frame_id = stamp_from_ns(view.stamp_ns), view.camera
    return result
