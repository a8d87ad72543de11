#!/usr/bin/env python3
"""Wait until something happens in front of the camera: wait_for_event.py SECONDS "the door opens".

Ends with status 0 once it is seen, 1 if it is not within the time, 2 if it cannot be looked out for.
"""

import sys
import time

import rclpy
from rclpy.utilities import remove_ros_args
from vila_nav.msg import TemporalEvent
from vila_nav.srv import UnwatchEvent, WatchEvent


def call(node, kind, name, request):
    """Call a service and return its answer."""
    client = node.create_client(kind, name)
    while not client.wait_for_service(timeout_sec=5.0):
        print("no navigator yet", flush=True)
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future)
    return future.result()


def main(timeout_s, text):
    """Watch, wait for the first event of this query, watch no longer."""
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("wait_for_event")
    seen = []
    subscription = node.create_subscription(TemporalEvent, "navigator/events", seen.append, 100)
    query = call(node, WatchEvent, "navigator/watch", WatchEvent.Request(text=text))
    if not query.success:
        print(f"{query.error_code} {query.error_msg}", flush=True)
        return 2
    print(f"watching for {text!r}", flush=True)
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s and not any(event.query_id == query.query_id for event in seen):
        rclpy.spin_once(node, timeout_sec=0.1)
    found = next((event for event in seen if event.query_id == query.query_id), None)
    call(node, UnwatchEvent, "navigator/unwatch", UnwatchEvent.Request(query_id=query.query_id))
    if found is None:
        print(f"not within {timeout_s:g} s", flush=True)
    else:
        print(f"seen at {found.start.sec}.{found.start.nanosec:09d}, probability {found.probability:.2f}", flush=True)
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown()
    return 1 if found is None else 0


if __name__ == "__main__":
    given = remove_ros_args(sys.argv)
    sys.exit(main(float(given[1]), " ".join(given[2:])))
