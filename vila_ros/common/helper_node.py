"""A second node in a node's process: with an executor of its own, nothing that the first one does delays it."""

from __future__ import annotations

from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.node import Node


def make_helper(owner: Node, name: str) -> tuple[Node, SingleThreadedExecutor]:
    """Return a node without parameter services and log topic, in the owner's namespace, and what is to spin it."""
    node = Node(
        name,
        namespace=owner.get_namespace(),
        context=owner.context,
        use_global_arguments=False,  # a remapped __node would give both nodes one name
        start_parameter_services=False,
        enable_rosout=False,
    )
    executor = SingleThreadedExecutor(context=owner.context)
    executor.add_node(node)
    return node, executor


def spin(executor: SingleThreadedExecutor) -> None:
    """Run the callbacks in this thread until the executor or its context is shut down."""
    try:
        executor.spin()
    except (ShutdownException, ExternalShutdownException):
        return
