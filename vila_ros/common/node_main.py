"""How every node of this package runs: until SIGINT or SIGTERM, then it is closed in order."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from vila_core.bug import BUG, bug_report
from vila_core.errors import VilaError
from vila_core.machine.threads import leave_cores_to_torch
from vila_ros.common.machine import prepare_machine, raise_priority
from vila_ros.common.transports import leave_shared_memory

BAD_CONFIGURATION = 2
_POLL_S = 0.1  # how long a signal may wait


def run_node(make: Callable[[], Node], name: str, *, takes_images: bool = True) -> int:
    """Make the node, spin it until a signal comes, close it on every way out.

    takes_images: or any other large message; a node without them hangs on nobody, see leave_shared_memory. Our
    nodes stop what moves and join their threads in `destroy_node`.

    Returns the exit status: 0 after a signal, 2 if the configuration, ROS's arguments or the node's keys were refused,
    70 after a bug, which is told with its traceback. Signal handlers are ours, not rclpy's: rclpy's would end the
    context before the last zero velocity is out.
    """
    try:
        leave_cores_to_torch()
        shared = "" if takes_images else leave_shared_memory()
        flaws = [*prepare_machine(), *([shared] if shared else [])]
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    except (VilaError, RuntimeError) as err:  # there is no logger yet
        sys.stderr.write(f"{name}: ROS cannot start: {str(err).splitlines()[0]}\n")
        return BAD_CONFIGURATION
    for flaw in flaws:
        get_logger(name).warning(flaw)
    stopping, made = threading.Event(), threading.Event()
    _on_signals(stopping, made)
    node: Node | None = None
    try:
        node = make()
        made.set()
        spin(node, stopping)
    except _EndedEarly:
        return 0
    except VilaError as err:
        get_logger(name).fatal(str(err))
        return BAD_CONFIGURATION
    except Exception as err:  # noqa: BLE001  # the end of the program: whatever it is, it is a bug
        refusal = _refusal(err)
        if refusal:
            get_logger(name).fatal(refusal)
            return BAD_CONFIGURATION
        sys.stderr.write(bug_report(err) + "\n")
        return BUG
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        gc.freeze()  # else Python looks three times through all objects of torch before it ends
    return 0


def run_early(node: Node) -> Node:
    """Have this process run before others, as the node's parameter `priority` says: a late stop is none; returns it."""
    if flaw := raise_priority(node.get_parameter("priority").value):
        node.get_logger().info(flaw)
    gc.collect()
    gc.freeze()  # what is there now stays: nothing of it is looked through again
    return node


def spin(node: Node, stopping: threading.Event) -> None:
    """Run the node's callbacks in this thread until the event is set."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopping.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=_POLL_S)
    finally:
        executor.shutdown()


def _refusal(error: Exception) -> str:
    """What to say if ROS security may not have let the node do what its policy does not grant; else empty."""
    if os.environ.get("ROS_SECURITY_ENABLE") != "true" or not isinstance(error, rclpy_implementation.RCLError):
        return ""
    keystore = os.environ.get("ROS_SECURITY_KEYSTORE", "")
    return f"{str(error).splitlines()[0]}: with ROS_SECURITY_KEYSTORE={keystore}; see docs/security.md"


class _EndedEarly(BaseException):
    """The signal to end came while the node was made, which may take minutes: nothing moves yet."""


def _on_signals(stopping: threading.Event, made: threading.Event) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        if not made.is_set():
            raise _EndedEarly

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
