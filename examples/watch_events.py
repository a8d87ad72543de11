#!/usr/bin/env python3
"""Look out for things and print each event, until Ctrl-C: watch_events.py "the door opens" "the red ball is in view".

An event may be reported several times, as it goes on and ends; all its reports bear one event_id, the last one counts.
"""

import sys

import rclpy
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args
from vila_nav.msg import TemporalEvent
from vila_nav.srv import UnwatchEvent, WatchEvent


def call(node, kind, name, request):
    """Call a service and return its answer; in small steps, so that Ctrl-C is heard."""
    client = node.create_client(kind, name)
    while not client.wait_for_service(timeout_sec=1.0):
        print("no navigator yet", flush=True)
    future = client.call_async(request)
    while not future.done():
        rclpy.spin_once(node, timeout_sec=0.1)
    return future.result()


def tell(event):
    """Print one report of an event, with its times in seconds."""
    start, end = (time.sec + time.nanosec / 1e9 for time in (event.start, event.end))
    state = "goes on" if event.open else "is over"
    print(f"{event.event_id} {event.label}: {state}, {start:.1f} to {end:.1f} s, {event.probability:.2f}", flush=True)


def main(texts):
    """Watch for each text until Ctrl-C, then no longer."""
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("watch_events")
    subscription = node.create_subscription(TemporalEvent, "navigator/events", tell, 100)
    ids = []
    try:
        for text in texts:
            answer = call(node, WatchEvent, "navigator/watch", WatchEvent.Request(text=text))
            print(f"watching for {text!r}" if answer.success else f"{answer.error_code} {answer.error_msg}", flush=True)
            ids += [answer.query_id] if answer.success else []
        while ids:
            rclpy.spin_once(node, timeout_sec=0.1)
    except KeyboardInterrupt:
        for query_id in ids:
            call(node, UnwatchEvent, "navigator/unwatch", UnwatchEvent.Request(query_id=query_id))
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown()
    return 0 if ids else 1


if __name__ == "__main__":
    sys.exit(main(remove_ros_args(sys.argv)[1:]))
