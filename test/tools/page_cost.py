"""What the page's node costs: `python test/tools/page_cost.py [seconds]`, percent of a core as one JSON line.

A camera of 640 x 480 at 30 Hz, odometry at 50 Hz and the governor's state at 20 Hz are published, and two browsers that
show each update at once are connected.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress

import numpy as np
import psutil
import rclpy
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from sensor_msgs.msg import Image
from vila_nav.msg import GovernorState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from vila_core.types import Frame, Odometry, Pose
from vila_ros.common.conversions import image_from_frame, message_from_odometry
from vila_ros.common.qos import reliable_qos, sensor_qos
from vila_tools.session.domain import leased_domain
from vila_tools.session.processes import node_environment

BROWSERS, WARM_UP_S = 2, 5.0


class Robot(Node):
    """Publishes what a robot does that drives in a circle and sees noisy pictures."""

    def __init__(self) -> None:
        super().__init__("robot")
        rng = np.random.default_rng(0)
        smooth = np.kron(rng.integers(0, 255, (12, 16, 3), np.uint8), np.ones((40, 40, 1), np.uint8))
        self._images = [
            np.roll(smooth, 3 * k, axis=1) // 2 + rng.integers(0, 20, smooth.shape, np.uint8) for k in range(30)
        ]
        self._count = 0
        self._image = self.create_publisher(Image, "image_raw", sensor_qos())
        self._odometry = self.create_publisher(OdometryMsg, "odom", sensor_qos())
        self._governor = self.create_publisher(GovernorState, "governor/state", reliable_qos(1))
        self.create_timer(1 / 30, self._on_image)
        self.create_timer(1 / 50, self._on_odometry)
        self.create_timer(1 / 20, lambda: self._governor.publish(GovernorState(state=1)))

    def _on_image(self) -> None:
        self._count += 1
        frame = Frame(self._images[self._count % len(self._images)], self.get_clock().now().nanoseconds)
        self._image.publish(image_from_frame(frame))

    def _on_odometry(self) -> None:
        now_ns = self.get_clock().now().nanoseconds
        pose = Pose(3 * np.cos(now_ns / 6e9), 3 * np.sin(now_ns / 6e9), now_ns / 6e9 % 6)
        self._odometry.publish(message_from_odometry(Odometry(now_ns, pose, 0.5, 0.1)))


def look(port: int, counts: list[int]) -> None:
    """Be a browser until the page ends: count pictures, and say that each update was seen."""
    with (
        suppress(ConnectionClosed),
        connect(f"ws://127.0.0.1:{port}/view", origin=f"http://127.0.0.1:{port}", compression=None) as client,
    ):
        client.send('{"do": "hello"}')
        while True:
            data = client.recv()
            update = json.loads(data[4 : 4 + struct.unpack(">I", data[:4])[0]])
            counts[0] += len(update["pictures"])
            client.send(json.dumps({"do": "seen", "number": update["number"]}))


def main(seconds: float = 30.0) -> None:
    with leased_domain() as domain:
        os.environ.update(node_environment(domain))
        rclpy.init(domain_id=domain)
        robot = Robot()
        threading.Thread(target=rclpy.spin, args=(robot,), daemon=True).start()
        command = [sys.executable, "-m", "vila_ros.page.node", "--ros-args", "-p", "port:=0"]
        page = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = next(line for line in iter(page.stdout.readline, "") if "the page is at" in line)
        port = int(line.partition("127.0.0.1:")[2].partition("/")[0])
        process, counts = psutil.Process(page.pid), [0]
        time.sleep(WARM_UP_S)
        alone = percent(process, seconds)
        for _ in range(BROWSERS):
            threading.Thread(target=look, args=(port, counts), daemon=True).start()
        time.sleep(WARM_UP_S)
        counts[0] = 0
        watched = percent(process, seconds)
        told = {
            "browsers_none": alone,
            "browsers_two": watched,
            "pictures_hz": round(counts[0] / seconds / BROWSERS, 1),
        }
        told |= {"memory_mb": round(process.memory_info().rss / 2**20)}
        page.terminate()
        page.wait()
        print(json.dumps(told))
        os._exit(0)  # browsers still listen


def percent(process: psutil.Process, seconds: float) -> float:
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return round(100 * (sum(process.cpu_times()[:2]) - before) / seconds, 1)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
