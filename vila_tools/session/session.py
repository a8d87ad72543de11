"""A run of our nodes as processes, and what the program that started them hears of it."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from vila_core.errors import VilaError
from vila_ros.common.interrupt import Interrupt
from vila_ros.common.machine import prepare_machine
from vila_tools.session.domain import leased_domain
from vila_tools.session.processes import NodeSpec, ProcessGroup, node_environment

READY_TIMEOUT_S = 120.0  # for nodes to load what they need
_SPIN_S = 0.05

AnyNode = TypeVar("AnyNode", bound=Node)


class Session:
    """Nodes of this program on the graph, and the processes of a run; made by `running` or `on_graph`.

    log_dir: where the processes' words are kept; None if they are not.
    """

    def __init__(
        self, interrupt: Interrupt, processes: ProcessGroup | None = None, log_dir: Path | None = None
    ) -> None:
        self._interrupt, self._processes, self._log_dir = interrupt, processes, log_dir
        self._executor = SingleThreadedExecutor()
        self._nodes: list[Node] = []

    def add(self, node: AnyNode) -> AnyNode:
        """Spin this node too, and destroy it at the end; returns it."""
        self._executor.add_node(node)
        self._nodes.append(node)
        return node

    def spin_until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Hear messages until the condition holds; False if it does not within the time.

        Raises ProcessError if a process ends by itself, KeyboardInterrupt after Ctrl-C, Terminated after SIGTERM.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline_s:
            self._interrupt.check()
            if self._processes is not None:
                self._processes.check()
            self._executor.spin_once(timeout_sec=_SPIN_S)
        return bool(condition())

    def require(self, condition: Callable[[], object], timeout_s: float, complaint: str) -> None:
        """Hear messages until the condition holds; VilaError with the complaint if it does not within the time."""
        if not self.spin_until(condition, timeout_s):
            where = "" if self._log_dir is None else f"; see the logs in {self._log_dir}"
            raise VilaError(f"{complaint} within {timeout_s:.0f} s{where}")

    def remove(self, node: Node) -> None:
        """Destroy a node that was added."""
        self._nodes.remove(node)
        self._executor.remove_node(node)
        node.destroy_node()

    def process_id(self, name: str) -> int:
        """Return the process id of one of the run's nodes."""
        return self._group(name).process_id(name)

    def start(self, spec: NodeSpec) -> None:
        """Start one more node, or one again that was killed."""
        self._group(spec.name).start(spec)

    def kill(self, name: str) -> None:
        """End one of the run's nodes without a word to it."""
        self._group(name).kill(name)

    def _group(self, name: str) -> ProcessGroup:
        if self._processes is None:
            raise ValueError(f"no process {name!r}: none was started")
        return self._processes

    def close(self) -> None:
        """Hear nothing any more."""
        self._executor.shutdown()
        while self._nodes:
            self._nodes.pop().destroy_node()


@contextmanager
def running(specs: Sequence[NodeSpec], out: Path | None = None) -> Iterator[Session]:
    """Start the nodes in a ROS domain of their own; nothing runs any more afterwards.

    Logs are in out/log; without a folder they are gone with the run. Raises as `on_graph`.
    """
    with ExitStack() as stack:
        _prepare()
        environment = node_environment(stack.enter_context(leased_domain()))
        os.environ.update(environment)
        interrupt = stack.enter_context(_ros(int(environment["ROS_DOMAIN_ID"])))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) if out is None else out
        processes = stack.enter_context(ProcessGroup(environment, folder / "log"))
        for spec in specs:
            processes.start(spec)
        session = Session(interrupt, processes, None if out is None else folder / "log")
        stack.callback(session.close)
        yield session


@contextmanager
def on_graph(specs: Sequence[NodeSpec] = ()) -> Iterator[Session]:
    """Be on the graph of this environment, with no other processes of our own than these.

    Raises KeyboardInterrupt at the end, at the latest, if Ctrl-C came at any time, and Terminated if SIGTERM did.
    """
    _prepare()
    with _ros() as interrupt, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        processes = stack.enter_context(ProcessGroup(os.environ, folder))
        for spec in specs:
            processes.start(spec)
        session = Session(interrupt, processes)
        stack.callback(session.close)
        yield session


def _prepare() -> None:
    for flaw in prepare_machine():
        print(flaw, file=sys.stderr)


@contextmanager
def _ros(domain_id: int | None = None) -> Iterator[Interrupt]:
    """Begin and end ROS in this process; its signals are ours, not rclpy's."""
    interrupt = Interrupt()
    try:
        rclpy.init(args=[], domain_id=domain_id, signal_handler_options=SignalHandlerOptions.NO)
        yield interrupt
        interrupt.check()
    finally:
        interrupt.close()
        rclpy.try_shutdown()
