#!/usr/bin/env python3
"""Tell the robot where to go and follow what it decides: follow_instruction.py "go to the red chair".

Ctrl-C cancels the goal, and the robot stands. Ends with status 0 if the robot says that it has arrived.
"""

import sys

import rclpy
from rclpy.action import ActionClient
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from vila_nav.action import NavigateInstruction
from vila_nav.msg import NavAction

KINDS = ("stop", "forward", "turn", "hold")  # in the order of NavAction.KIND_...
OUTCOMES = ("arrived", "stopped", "failed")  # in that of OUTCOME_...


def wait(node, future):
    """Spin until the answer is here; in small steps, so that Ctrl-C is heard."""
    while not future.done():
        rclpy.spin_once(node, timeout_sec=0.1)
    return future.result()


def tell(message):
    """Print one decision and return its number; feedback also comes while the robot moves."""
    told, action = message.feedback, message.feedback.decision
    if action.state == NavAction.STATE_COMMANDED:
        amount = f"{action.distance_m:.2f} m, {action.angle_rad:+.2f} rad"
        print(f"{told.decisions:3d} {KINDS[action.kind]:8} {amount}  probability {told.probability:.2f}", flush=True)
    return told.decisions


def main(instruction):
    """Send the goal, wait for its result."""
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C is ours: first we cancel
    node = rclpy.create_node("follow_instruction")
    client = ActionClient(node, NavigateInstruction, "navigator/navigate")
    while not client.wait_for_server(timeout_sec=5.0):
        print("no navigator yet", flush=True)
    goal = NavigateInstruction.Goal(instruction=instruction, source=node.get_name(), max_duration_s=120.0)
    told = [0]
    handle = wait(node, client.send_goal_async(goal, lambda message: told.append(tell(message))))
    answer = handle.get_result_async()
    try:
        result = wait(node, answer).result
    except KeyboardInterrupt:
        wait(node, handle.cancel_goal_async())
        result = wait(node, answer).result
    if told[-1] < result.decisions:  # the result has overtaken the last one: they come by different topics
        rclpy.spin_once(node, timeout_sec=1.0)
    print(f"{OUTCOMES[result.outcome]} after {result.distance_m:.2f} m: {result.error_code} {result.error_msg}")
    node.destroy_node()
    rclpy.shutdown()
    return 0 if result.outcome == result.OUTCOME_REACHED else 1


if __name__ == "__main__":
    sys.exit(main(" ".join(remove_ros_args(sys.argv)[1:])))
