"""A run of our nodes as processes, and what the program that started them hears of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from vila_core.errors import VilaError
from vila_ros.interrupt import Interrupt
from vila_ros.processes import NodeSpec, ProcessGroup, node_environment, own_domain_id
from vila_ros.recording import Recorder

READY_TIMEOUT_S = 90.0  # for nodes to load what they need


class Session:
    """The nodes of a run with a recorder that hears them; made by `running`."""

    def __init__(self, nodes: ProcessGroup, interrupt: Interrupt, log_dir: Path) -> None:
        self.recorder = Recorder()
        self._nodes, self._interrupt, self._log_dir = nodes, interrupt, log_dir
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.recorder)

    def spin_until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Hear messages until the condition holds; False if it does not within the time.

        Raises ProcessError if a node ends by itself, and KeyboardInterrupt after Ctrl-C.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s:
            self._interrupt.check()
            self._nodes.check()
            self._executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    def require(self, condition: Callable[[], object], timeout_s: float, complaint: str) -> None:
        """Hear messages until the condition holds; VilaError with the complaint if it does not within the time."""
        if not self.spin_until(condition, timeout_s):
            raise VilaError(f"{complaint} within {timeout_s:.0f} s; see the logs in {self._log_dir}")

    def close(self) -> None:
        """Hear nothing any more."""
        self._executor.shutdown()


@contextmanager
def running(specs: Sequence[NodeSpec], out: Path) -> Iterator[Session]:
    """Start the nodes in a ROS domain of their own, logs in out/log; nothing runs any more afterwards."""
    environment = node_environment(own_domain_id())
    os.environ.update(environment)
    out.mkdir(parents=True, exist_ok=True)
    interrupt = Interrupt()
    rclpy.init(args=[], domain_id=int(environment["ROS_DOMAIN_ID"]), signal_handler_options=SignalHandlerOptions.NO)
    try:
        with ProcessGroup(environment, out / "log") as nodes:
            for spec in specs:
                nodes.start(spec)
            session = Session(nodes, interrupt, out / "log")
            yield session
            session.close()
        interrupt.check()
    finally:
        interrupt.close()
        rclpy.try_shutdown()
