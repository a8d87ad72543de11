"""Points of obstacles from what sensors publish: laser scans, point clouds, depth images.

What a sensor does not know is not free: a measurement that knows too little is refused, and so is one that does not
fit its own header.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.transforms import Transform
from vila_core.errors import VilaError

_MAX_RAYS = 100_000
_MAX_POINTS = 1 << 23
_MAX_READ = 20_000  # points of a cloud or a depth image; of more, evenly some
_CELL_M = 0.03  # points that lie closer are one
_AHEAD = 0.5  # cosine of 60 degrees
_TOO_NEAR_M = 0.1  # where a depth camera's "nearer than I can see" is taken to be
_FLOATS = {7: "f4", 8: "f8"}  # PointField.FLOAT32, FLOAT64
_DEPTHS = {"16UC1": ("u2", 0.001), "32FC1": ("f4", 1.0)}  # type, metres in one


class SensorError(VilaError):
    """A measurement that says nothing: not of its own header's size, of an unknown kind, or mostly unknown."""


def points_from_scan(scan: Any, mount: Transform, config: ObstacleConfig) -> NDArray[np.float32]:
    """Return where the rays of a sensor_msgs/LaserScan end, in the robot's frame: [N, 2] float32.

    Beyond range_max, or infinite: free. Minus infinity: something at range_min. Not a number, or below range_min:
    unknown. Raises SensorError if no ray, or too few ahead of the robot, are known, and for a header that can't be.
    """
    ranges = np.asarray(scan.ranges, np.float32)
    header = (scan.angle_min, scan.angle_increment, scan.range_min, scan.range_max)
    if not 0 < len(ranges) <= _MAX_RAYS:
        raise SensorError(f"a scan of {len(ranges)} rays: must be 1 to {_MAX_RAYS}")
    if not all(map(math.isfinite, header)) or not 0.0 <= scan.range_min < scan.range_max:
        raise SensorError(f"a scan whose angle_min, angle_increment, range_min, range_max are {header}")
    turn_rad = abs(scan.angle_increment) * (len(ranges) - 1)
    if not (0.0 < turn_rad < 2 * math.pi + 0.1 or len(ranges) == 1):
        raise SensorError(f"a scan of {len(ranges)} rays, {scan.angle_increment} rad apart, of one turn at most")
    angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
    rays = np.stack([np.cos(angles), np.sin(angles), np.zeros_like(angles)], axis=1).astype(np.float32)
    ranges = np.where(np.isneginf(ranges), np.float32(scan.range_min), ranges)
    unknown = np.isnan(ranges) | (ranges < np.float32(scan.range_min))
    _check_known(unknown, "scan", 1.0)
    ahead = np.flatnonzero(rays @ mount.rotation[0] >= _AHEAD)
    _check_share(unknown[ahead], "scan ahead of the robot", config.max_unknown)
    hit = ~unknown & (ranges <= np.float32(scan.range_max))
    return mount.apply(rays[hit] * ranges[hit, None])[:, :2]


def points_from_cloud(cloud: Any, mount: Transform, config: ObstacleConfig) -> NDArray[np.float32]:
    """Return the obstacles of a sensor_msgs/PointCloud2, in the robot's frame: [N, 2] float32, one each 3 cm.

    Raises SensorError for fields, sizes or offsets that don't fit, and if too few points are finite.
    """
    count, data = cloud.width * cloud.height, np.frombuffer(cloud.data, np.uint8)
    if not 0 < count <= _MAX_POINTS:
        raise SensorError(f"a cloud of {cloud.width} x {cloud.height} points: must be 1 to {_MAX_POINTS}")
    kind = _point_type(cloud)
    if cloud.row_step < cloud.width * cloud.point_step or len(data) < cloud.height * cloud.row_step:
        raise SensorError(
            f"a cloud of {len(data)} bytes, but {cloud.height} rows of {cloud.row_step},"
            f" each of {cloud.width} points of {cloud.point_step}"
        )
    cells = np.ndarray((cloud.height, cloud.width), kind, data, strides=(cloud.row_step, cloud.point_step))
    some = cells.reshape(-1)[:: math.ceil(count / _MAX_READ)]
    with np.errstate(over="ignore"):  # of doubles that are no distances
        points = np.stack([some["x"], some["y"], some["z"]], axis=1).astype(np.float32)
    unknown = ~np.logical_and.reduce(np.isfinite(points), axis=1, dtype=np.bool_)
    _check_known(unknown, "cloud", config.max_unknown)
    return obstacle_points(points[~unknown], mount, config)


def points_from_depth(image: Any, info: Any, mount: Transform, config: ObstacleConfig) -> NDArray[np.float32]:
    """Return the obstacles of a depth image with its camera_info, in the robot's frame: [N, 2] float32, one each 3 cm.

    mount: of the optical frame (z ahead, x right). 0 and not a number: unknown; infinite: free; minus infinity:
    something right before the camera. Raises SensorError for an encoding, sizes or intrinsics that don't fit, and if
    too few pixels are known.
    """
    depth_m = _depth(image)
    focal_x, focal_y, centre_x, centre_y = info.k[0], info.k[4], info.k[2], info.k[5]
    intrinsics = (focal_x, focal_y, centre_x, centre_y)
    if not all(map(math.isfinite, intrinsics)) or focal_x <= 0 or focal_y <= 0:
        raise SensorError(f"a camera_info whose fx, fy, cx, cy are {intrinsics}")
    if (info.width, info.height) != (image.width, image.height):
        raise SensorError(
            f"a camera_info of {info.width} x {info.height} with a depth of {image.width} x {image.height}"
        )
    step = math.ceil(math.sqrt(depth_m.size / _MAX_READ))
    depth_m = depth_m[::step, ::step]
    depth_m = np.where(np.isneginf(depth_m), np.float32(_TOO_NEAR_M), depth_m)
    unknown = ~(depth_m > 0)
    _check_known(unknown, "depth", config.max_unknown)
    row, column = np.nonzero(~unknown & (depth_m <= 2 * config.max_range_m))
    z = depth_m[row, column]
    x, y = (column * step - centre_x) / focal_x * z, (row * step - centre_y) / focal_y * z
    return obstacle_points(np.stack([x, y, z], axis=1).astype(np.float32), mount, config)


def _check_known(unknown: NDArray[np.bool_], name: str, limit: float) -> None:
    """Raise SensorError if nothing is known, or more than a share is not."""
    if unknown.all():
        raise SensorError(f"{name}: nothing is known of it (NaN, 0, below range_min)")
    _check_share(unknown, name, limit)


def _check_share(unknown: NDArray[np.bool_], name: str, limit: float) -> None:
    share = float(np.mean(unknown)) if unknown.size else 0.0
    if share > limit:
        remedy = "if this sensor says so of what is far, set max_unknown to 1, or give its driver inf"
        raise SensorError(f"{name}: {share:.0%} unknown (NaN, 0, below range_min), at most {limit:.0%}; {remedy}")


def _point_type(cloud: Any) -> np.dtype[Any]:
    """The layout of a point's x, y and z."""
    fields = {field.name: field for field in cloud.fields}
    order = ">" if cloud.is_bigendian else "<"
    formats, offsets = [], []
    for name in ("x", "y", "z"):
        field = fields.get(name)
        if field is None or field.datatype not in _FLOATS or field.count not in (0, 1):
            raise SensorError(f"a cloud without a float field {name!r}; it has {', '.join(fields)[:80]}")
        kind = np.dtype(order + _FLOATS[field.datatype])
        if field.offset + kind.itemsize > cloud.point_step:
            raise SensorError(f"a cloud whose {name} lies at {field.offset}, in points of {cloud.point_step} bytes")
        formats.append(kind)
        offsets.append(field.offset)
    layout = {"names": ["x", "y", "z"], "formats": formats, "offsets": offsets, "itemsize": cloud.point_step}
    return np.dtype(layout)  # type: ignore[call-overload, no-any-return]


def _depth(image: Any) -> NDArray[np.float32]:
    """The image in metres: [H, W] float32."""
    if image.encoding not in _DEPTHS:
        raise SensorError(f"a depth image of encoding {image.encoding[:40]!r}: must be {' or '.join(_DEPTHS)}")
    code, metres = _DEPTHS[image.encoding]
    kind = np.dtype((">" if image.is_bigendian else "<") + code)
    data = np.frombuffer(image.data, np.uint8)
    if not 0 < image.width * image.height <= _MAX_POINTS:
        raise SensorError(f"a depth image of {image.width} x {image.height} pixels")
    if image.step < image.width * kind.itemsize or len(data) < image.height * image.step:
        raise SensorError(
            f"a depth image of {len(data)} bytes, but {image.height} rows of {image.step},"
            f" each of {image.width} pixels of {kind.itemsize}"
        )
    pixels = np.ndarray((image.height, image.width), kind, data, strides=(image.step, kind.itemsize))
    return pixels.astype(np.float32) * np.float32(metres)


def obstacle_points(points: NDArray[np.float32], mount: Transform, config: ObstacleConfig) -> NDArray[np.float32]:
    """Return the points [N, 3] of a sensor that can be hit, in the robot's frame: [N, 2] float32, one each 3 cm."""
    moved = mount.apply(points)
    x, y, z = moved[:, 0], moved[:, 1], moved[:, 2]
    counts = (z >= config.min_height_m) & (z <= config.max_height_m) & (x * x + y * y <= config.max_range_m**2)
    flat = moved[counts, :2]
    side = int(config.max_range_m / _CELL_M) + 2
    cells = np.floor(flat / np.float32(_CELL_M)).astype(np.int64) + side
    _, first = np.unique(cells[:, 0] * (2 * side + 2) + cells[:, 1], return_index=True)
    return flat[first]
