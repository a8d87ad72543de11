#!/usr/bin/env python3
"""Have the robot stop following its instruction, whoever told it: cancel_instruction.py.

Ends with status 0 if there was one. This is no emergency stop: the robot brakes as after any motion.
"""

import sys

import rclpy
from vila_nav.srv import CancelInstruction


def main():
    """Call the service once."""
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("cancel_instruction")
    client = node.create_client(CancelInstruction, "navigator/cancel_instruction")
    while not client.wait_for_service(timeout_sec=5.0):
        print("no navigator yet", flush=True)
    future = client.call_async(CancelInstruction.Request())
    rclpy.spin_until_future_complete(node, future)
    answer = future.result()
    print("the robot stands" if answer.success else answer.error_msg, flush=True)
    node.destroy_node()
    rclpy.shutdown()
    return 0 if answer.success else 1


if __name__ == "__main__":
    sys.exit(main())
