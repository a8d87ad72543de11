"""Messages of what the simulated lasers measure: a scan in one plane, a cloud of many rings."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from vila_sim.robot import SCAN_MAX_M, SCAN_MIN_M


def scan_message(ranges: NDArray[np.float32], header: Header, rate_hz: float) -> LaserScan:
    """Return the scan of a full circle, which begins behind the robot and goes on counter-clockwise.

    ranges: [rays], infinite where nothing is.
    """
    step_rad = 2 * math.pi / len(ranges)
    return LaserScan(
        header=header,
        angle_min=-math.pi,
        angle_max=math.pi - step_rad,
        angle_increment=step_rad,
        scan_time=1.0 / rate_hz,
        range_min=SCAN_MIN_M,
        range_max=SCAN_MAX_M,
        ranges=np.asarray(ranges, np.float32).tolist(),
    )


def cloud_message(points: NDArray[np.float32], header: Header) -> PointCloud2:
    """Return points, [N, 3] float32 of x, y, z, as an unordered cloud."""
    names = enumerate(("x", "y", "z"))
    data = np.ascontiguousarray(points, "<f4")
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[PointField(name=name, offset=4 * n, datatype=PointField.FLOAT32, count=1) for n, name in names],
        is_bigendian=False,
        point_step=12,
        row_step=12 * len(points),
        data=data.tobytes(),
        is_dense=True,
    )
