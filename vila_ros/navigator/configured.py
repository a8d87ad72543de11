"""What a navigator has as soon as it is configured, and keeps while it is activated and deactivated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila_core.config import HistoryConfig, NavigatorConfig, StrainConfig
from vila_ros.common.only_one import OnlyOne
from vila_ros.navigator.cameras.camera_config import Camera
from vila_ros.navigator.config import LoadBackend, NavigatorNodeConfig
from vila_ros.navigator.motion.motion_outputs import MakeOutput
from vila_ros.navigator.outputs import NavigatorOutputs
from vila_ros.navigator.queries.events import EventServer
from vila_ros.navigator.queries.recall import RecallServer
from vila_ros.navigator.status import StatusPublisher


@dataclass(slots=True)
class Configured:
    """The parameters as they are now, and what is on the graph whether the navigator is active or not.

    node and navigation may be replaced at run time; extra_cameras: those beside the one to drive by.
    """

    node: NavigatorNodeConfig
    navigation: NavigatorConfig
    history: HistoryConfig
    strain: StrainConfig
    extra_cameras: Sequence[Camera]
    load: LoadBackend
    make_motion: MakeOutput
    only_one: OnlyOne
    status: StatusPublisher
    outputs: NavigatorOutputs
    events: EventServer
    recall: RecallServer
