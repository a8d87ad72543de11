"""What sensors publish becomes points around the robot, and what they do not know is not free."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField

from vila_core.control.governor.obstacle_config import ObstacleConfig
from vila_core.control.governor.point_sources import (
    SensorError,
    points_from_cloud,
    points_from_depth,
    points_from_scan,
)
from vila_core.control.governor.transforms import (
    BODY_FROM_OPTICAL,
    IDENTITY,
    StaticTransforms,
    from_mount,
    from_quaternion,
)
from vila_ros.common.conversions import stamp_from_ns
from vila_ros.common.qos import sensor_qos
from vila_ros.governor import mounts
from vila_ros.governor.obstacle_sources import ObstacleSources

CONFIG = ObstacleConfig()
nan, inf = math.nan, math.inf


def scan(ranges, **header):
    step = 2 * math.pi / max(len(ranges), 1)
    fields = {"angle_min": 0.0, "angle_increment": step, "range_min": 0.1, "range_max": 8.0}
    return LaserScan(ranges=list(ranges), **(fields | header))


def cloud(points, *, names=("x", "y", "z"), offset=4, kind="<f4", **header):
    """Points [H, W, 3] behind 4 bytes of something else, and rows with 8 bytes of padding."""
    points = np.asarray(points, float)
    height, width, _ = points.shape
    size = np.dtype(kind).itemsize
    data = np.zeros((height, width * (offset + 3 * size) + 8), np.uint8)
    layout = {"names": ["x", "y", "z"], "formats": [kind] * 3, "offsets": [offset + i * size for i in range(3)]}
    layout["itemsize"] = offset + 3 * size
    rows = np.ndarray((height, width), np.dtype(layout), data, strides=(data.shape[1], layout["itemsize"]))
    for i, name in enumerate("xyz"):
        rows[name] = points[:, :, i]
    datatype = PointField.FLOAT32 if size == 4 else PointField.FLOAT64
    fields = [PointField(name=n, offset=offset + i * size, datatype=datatype, count=1) for i, n in enumerate(names)]
    values = {"height": height, "width": width, "fields": fields, "point_step": layout["itemsize"]}
    values |= {"row_step": data.shape[1], "is_bigendian": kind[0] == ">", "data": data.tobytes()}
    return PointCloud2(**(values | header))


def depth(pixels, encoding="16UC1", **header):
    pixels = np.asarray(pixels)
    raw = pixels.astype("<u2" if encoding == "16UC1" else "<f4")
    values = {"height": raw.shape[0], "width": raw.shape[1], "encoding": encoding, "step": raw.strides[0]}
    return Image(**(values | {"data": raw.tobytes()} | header))


def camera_info(width, height, focal=10.0):
    k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=height, k=k)


# --- scans ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "points"),
    [
        ([1.0, 2.0, 3.0, 4.0], [(1, 0), (0, 2), (-3, 0), (0, -4)]),
        ([1.0, inf, 9.0, inf], [(1, 0)]),  # infinite, or beyond range_max: free
        ([-inf, inf, inf, inf], [(0.1, 0)]),  # too near to measure: something at range_min
        ([1.0, nan, 0.0, 0.05], [(1, 0)]),  # unknown, but not ahead
        ([inf, inf, inf, inf], []),
    ],
)
def test_a_scan(ranges, points):
    found = points_from_scan(scan(ranges), IDENTITY, CONFIG)
    assert found.dtype == np.float32
    assert found.shape == (len(points), 2)
    assert found == pytest.approx(np.array(points, np.float32).reshape(-1, 2), abs=1e-5)


@pytest.mark.parametrize(
    ("ranges", "header", "word"),
    [
        ([], {}, "0 rays"),
        ([nan] * 8, {}, "nothing is known"),
        ([0.0] * 8, {}, "nothing is known"),
        ([nan, 1.0, 1.0, 1.0], {}, "ahead of the robot"),
        ([1.0] * 4, {"angle_increment": nan}, "angle_increment"),
        ([1.0] * 4, {"angle_increment": 0.0}, "one turn"),
        ([1.0] * 4, {"angle_increment": 3.0}, "one turn"),
        ([1.0] * 4, {"range_min": 9.0}, "range_max"),
        ([1.0] * 4, {"range_max": inf}, "range_max"),
    ],
)
def test_a_scan_that_says_nothing(ranges, header, word):
    with pytest.raises(SensorError, match=word):
        points_from_scan(scan(ranges, **header), IDENTITY, CONFIG)


def test_a_scan_whose_free_is_not_a_number_can_be_declared_so():
    config = ObstacleConfig(max_unknown=1.0)
    assert len(points_from_scan(scan([nan, 1.0, 1.0, 1.0]), IDENTITY, config)) == 3


def test_a_laser_that_is_mounted_backward_and_ahead_of_the_middle():
    found = points_from_scan(scan([1.0, inf, inf, inf]), from_mount((0.2, 0.1, 0.3, math.pi, 0.0)), CONFIG)
    assert found[0] == pytest.approx((-0.8, 0.1), abs=1e-5)


# --- clouds and depth -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["<f4", ">f4", "<f8", ">f8"])
def test_a_cloud(kind):
    rows = [[(1.0, 0.5, 0.2), (nan, 0, 0), (1.0, 0.0, 0.01)], [(1.0, 0.0, 1.5), (9.0, 0.0, 0.2), (-1.0, 0.0, 0.2)]]
    found = points_from_cloud(cloud(rows, kind=kind), IDENTITY, CONFIG)
    assert sorted(map(tuple, found.tolist())) == [(-1.0, 0.0), (1.0, 0.5)]  # not the floor, the lamp, the far


def test_points_that_lie_close_are_one():
    rows = np.random.default_rng(0).uniform((1.0, 0.0, 0.1), (1.1, 0.1, 1.0), (100, 100, 3))
    assert 9 <= len(points_from_cloud(cloud(rows), IDENTITY, CONFIG)) <= 25


GOOD = [[(1.0, 0.0, 0.2)] * 4] * 2


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (cloud(GOOD, width=0), "0 x 2"),
        (cloud(GOOD, width=2**31, height=2**31), "must be 1"),
        (cloud(GOOD, width=5), "bytes"),
        (cloud(GOOD, height=3), "bytes"),
        (cloud(GOOD, row_step=1), "bytes"),
        (cloud(GOOD, point_step=8), "lies at"),
        (cloud(GOOD, data=b""), "0 bytes"),
        (cloud(GOOD, names=("x", "y", "q")), "'z'"),
        (cloud(GOOD, fields=[PointField(name=n, offset=0, datatype=2, count=1) for n in "xyz"]), "'x'"),
        (cloud([[(nan, nan, nan)] * 4] * 2), "nothing is known"),
        (cloud([[(nan, nan, nan)] * 3 + [(1.0, 0.0, 0.2)]]), "75% unknown"),
    ],
)
def test_a_cloud_that_does_not_fit_its_header(message, word):
    with pytest.raises(SensorError, match=word):
        points_from_cloud(message, IDENTITY, CONFIG)


@given(
    header=st.fixed_dictionaries({n: st.integers(0, 2**32 - 1) for n in ("width", "height", "row_step", "point_step")})
)
def test_no_header_of_a_cloud_reads_outside_its_data(header):
    with pytest.raises(SensorError):
        points_from_cloud(cloud(GOOD, **header), IDENTITY, CONFIG)


@pytest.mark.parametrize(
    ("encoding", "near", "unknown"),
    [("16UC1", 1000, 0), ("32FC1", 1.0, nan), ("32FC1", 1.0, 0.0), ("32FC1", 1.0, -1.0)],
)
def test_a_depth_image(encoding, near, unknown):
    pixels = np.full((9, 9), near, float)
    pixels[:4] = unknown
    mount = from_mount((0.1, 0.0, 0.5, 0.0, 0.0)).after(BODY_FROM_OPTICAL)
    found = points_from_depth(depth(pixels, encoding), camera_info(9, 9), mount, CONFIG)
    assert found[:, 0] == pytest.approx(1.1, abs=1e-5)
    assert sorted(found[:, 1].tolist()) == pytest.approx([i * 0.1 for i in range(-4, 5)], abs=0.03)


@pytest.mark.parametrize(("value", "count"), [(inf, 0), (5.9, 0), (-inf, 1)])
def test_depth_that_is_free_far_or_too_near(value, count):
    mount = from_mount((0.1, 0.0, 0.5, 0.0, 0.0)).after(BODY_FROM_OPTICAL)
    found = points_from_depth(depth(np.full((5, 5), value), "32FC1"), camera_info(5, 5, 1000.0), mount, CONFIG)
    assert min(len(found), 1) == count


def test_a_camera_that_looks_down_sees_the_floor_as_free():
    """0.9 m above the floor, 45 degrees down: each pixel's depth is that of the floor, but for a plinth of 8 cm."""
    rows = np.arange(81)
    slope = (rows - 40) / 40.0  # down from the optical axis
    floor = 0.9 / (math.sin(math.pi / 4) + slope * math.cos(math.pi / 4))
    pixels = np.repeat(np.where(floor > 0, floor, inf)[:, None], 81, axis=1)
    mount = from_mount((0.2, 0.0, 0.9, 0.0, math.pi / 4)).after(BODY_FROM_OPTICAL)
    info = camera_info(81, 81, 40.0)
    assert len(points_from_depth(depth(pixels, "32FC1"), info, mount, CONFIG)) == 0
    plinth = 0.82 / (math.sin(math.pi / 4) + slope[50] * math.cos(math.pi / 4))
    pixels[50] = plinth
    found = points_from_depth(depth(pixels, "32FC1"), info, mount, CONFIG)
    assert len(found) > 10
    assert found[:, 0] == pytest.approx(0.2 + 0.82 / math.tan(math.pi / 4 + math.atan(slope[50])), abs=0.01)


@pytest.mark.parametrize(
    ("image", "info", "word"),
    [
        (depth(np.ones((4, 4)), encoding="16UC1", data=b"1"), camera_info(4, 4), "bytes"),
        (depth(np.ones((4, 4)), step=1), camera_info(4, 4), "bytes"),
        (depth(np.ones((4, 4)), width=0), camera_info(0, 4), "0 x 4"),
        (Image(encoding="rgb8"), camera_info(4, 4), "rgb8"),
        (depth(np.ones((4, 4))), camera_info(5, 4), "5 x 4"),
        (depth(np.ones((4, 4))), camera_info(4, 4, 0.0), "fx"),
        (depth(np.ones((4, 4))), camera_info(4, 4, nan), "fx"),
        (depth(np.zeros((4, 4))), camera_info(4, 4), "nothing is known"),
    ],
)
def test_a_depth_image_that_says_nothing(image, info, word):
    with pytest.raises(SensorError, match=word):
        points_from_depth(image, info, IDENTITY, CONFIG)


# --- frames -----------------------------------------------------------------------------------------


def test_static_transforms_form_a_tree():
    frames = StaticTransforms()
    frames.note("base_footprint", "base_link", from_mount((0.0, 0.0, 0.1, 0.0, 0.0)))
    frames.note("base_link", "mast", from_mount((0.1, 0.0, 0.5, math.pi / 2, 0.0)))
    frames.note("mast", "laser", from_mount((0.2, 0.0, 0.0, 0.0, 0.0)))
    point = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert frames.find("base_link", "laser").apply(point)[0] == pytest.approx((0.1, 1.2, 0.5), abs=1e-6)
    assert frames.find("base_footprint", "laser").apply(point)[0] == pytest.approx((0.1, 1.2, 0.6), abs=1e-6)
    assert frames.find("mast", "base_link").apply(np.array([[0.1, 1.0, 0.5]], np.float32))[0] == pytest.approx(
        (1.0, 0.0, 0.0), abs=1e-6
    )
    assert frames.find("base_link", "gripper") is None
    frames.note("laser", "base_footprint", IDENTITY)  # round in a circle
    assert frames.find("base_link", "gripper") is None


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (nan, 0, 0, 1), (0, 0, inf, 1)])
def test_a_transform_that_is_none(quaternion):
    assert from_quaternion((0.0, 0.0, 0.0), quaternion) is None


def test_a_quaternion_turns():
    half = math.sqrt(0.5)
    turned = from_quaternion((1.0, 0.0, 0.0), (0.0, 0.0, 2 * half, 2 * half)).apply(np.eye(3, dtype=np.float32)[:1])
    assert turned[0] == pytest.approx((1.0, 1.0, 0.0), abs=1e-6)


def ros_transform(x, yaw=0.0):
    rotation = SimpleNamespace(x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2))
    return SimpleNamespace(translation=SimpleNamespace(x=x, y=0.0, z=0.0), rotation=rotation)


class FakeNode:
    def __init__(self):
        self.subscribed = []

    def create_subscription(self, kind, topic, callback, qos):
        self.subscribed.append((topic, callback))
        return topic

    def destroy_subscription(self, subscription):
        self.subscribed.clear()


class FakeTf2:
    """Of tf2_ros what is used of it."""

    class TransformException(Exception):  # noqa: N818 - its name in tf2_ros
        pass

    class Buffer:
        def lookup_transform(self, target, source, when):
            if (target, source) != ("base_link", "laser"):
                raise FakeTf2.TransformException
            return SimpleNamespace(transform=ros_transform(0.3))

    class TransformListener:
        def __init__(self, buffer, node):
            self.node = node

        def unregister(self):
            self.node.subscribed.append("closed")


@pytest.mark.parametrize("with_tf2", [True, False])
def test_mounts_come_from_tf(monkeypatch, with_tf2):
    installed = {"tf2_ros": FakeTf2} if with_tf2 else {"tf2_msgs.msg": SimpleNamespace(TFMessage=object)}
    monkeypatch.setattr(mounts, "_installed", installed.get)
    node = FakeNode()
    known = mounts.Mounts(node, ObstacleConfig(sources="scan, cloud", cloud_mount="1 0 0 0 0"))
    if not with_tf2:
        ((topic, callback),) = node.subscribed
        assert topic == "/tf_static"
        header = SimpleNamespace(frame_id="/base_link")
        stamped = SimpleNamespace(header=header, child_frame_id="laser", transform=ros_transform(0.3))
        callback(SimpleNamespace(transforms=[stamped]))
    assert known.find("scan", "laser").translation[0] == pytest.approx(0.3)
    assert known.find("scan", "/laser").translation[0] == pytest.approx(0.3)
    assert known.find("scan", "sonar") is None
    assert known.find("scan", "base_link") is IDENTITY
    assert known.find("cloud", "laser").translation[0] == 1.0  # what is given counts
    known.close()
    assert node.subscribed == (["closed"] if with_tf2 else [])


def test_without_tf_only_a_laser_may_be_taken_to_be_in_the_middle(monkeypatch):
    monkeypatch.setattr(mounts, "_installed", lambda name: None)
    known = mounts.Mounts(FakeNode(), CONFIG)
    assert known.find("scan", "laser") is IDENTITY
    assert known.find("cloud", "camera") is None
    assert known.find("depth", "camera_optical") is None
    assert not known.has_tf


# --- the subscriptions ------------------------------------------------------------------------------


@pytest.fixture
def bench(spinner, monkeypatch):
    """make(config): sources on a node of their own, what they noted, and publishers."""
    monkeypatch.setattr(mounts, "_installed", lambda name: None)
    opened = []

    def make(config):
        node = Node("sources")
        talker = Node("talker")
        noted = []
        sources = ObstacleSources(node, config, lambda *note: noted.append(note))
        opened.append(sources)
        spinner.add(node)
        qos = sensor_qos("reliable", 5)
        kinds = {"scan": LaserScan, "points": PointCloud2, "depth": Image, "depth/camera_info": CameraInfo}
        publishers = {topic: talker.create_publisher(kind, topic, qos) for topic, kind in kinds.items()}
        spinner.add(talker)
        return SimpleNamespace(sources=sources, noted=noted, publishers=publishers, node=node)

    yield make
    for sources in opened:
        sources.close()


def send(bench, topic, message, *, age_s=0.0, frame="sensor"):
    message.header.stamp = stamp_from_ns(time.time_ns() - int(age_s * 1e9))
    message.header.frame_id = frame
    bench.publishers[topic].publish(message)


def test_measurements_arrive_with_their_age(bench, wait_until):
    made = bench(ObstacleConfig(sources="scan, cloud", cloud_mount="0 0 0 0 0", source_timeout_s=5.0))
    assert "scan: no message on /scan" in made.sources.faults()
    begun_ns = time.monotonic_ns()

    def arrives(name):
        send(made, "scan", scan([1.0, 2.0, 3.0, 4.0]), age_s=1.0)
        send(made, "points", cloud(GOOD))
        time.sleep(0.05)
        return [note for note in made.noted if note[0] == name]

    wait_until(lambda: arrives("scan") and arrives("cloud"), made.sources.faults)
    _, points, measured_ns = next(note for note in made.noted if note[0] == "scan")
    assert points.shape == (4, 2)
    assert measured_ns >= begun_ns - 5_000_000_000
    assert measured_ns <= time.monotonic_ns() - 1_000_000_000
    assert made.sources.faults() == ""


@pytest.mark.parametrize(
    ("age_s", "ranges", "frame", "word"),
    [
        (9.0, [1.0] * 4, "laser", "ago"),
        (-9.0, [1.0] * 4, "laser", "future"),
        (0.0, [nan] * 4, "laser", "nothing is known"),
    ],
)
def test_what_can_not_be_used_is_told_and_not_noted(bench, wait_until, age_s, ranges, frame, word):
    made = bench(ObstacleConfig(source_timeout_s=5.0))

    def is_told():
        send(made, "scan", scan(ranges), age_s=age_s, frame=frame)
        time.sleep(0.02)
        return word in made.sources.faults()

    wait_until(is_told, made.sources.faults)
    assert made.noted == []


def test_depth_needs_its_camera_info_and_its_mount(bench, wait_until):
    made = bench(ObstacleConfig(sources="depth", depth_mount="0 0 0.5 0 0", source_timeout_s=5.0))
    image = depth(np.full((9, 9), 1000))

    def shows(condition, *, with_info):
        send(made, "depth", image)
        if with_info:
            send(made, "depth/camera_info", camera_info(9, 9))
        time.sleep(0.05)
        return condition()

    wait_until(lambda: shows(lambda: "camera_info" in made.sources.faults(), with_info=False), made.sources.faults)
    wait_until(lambda: shows(lambda: made.noted, with_info=True), made.sources.faults)


def test_an_unknown_frame_is_told_with_its_remedy(bench, wait_until):
    made = bench(ObstacleConfig(sources="cloud", source_timeout_s=5.0))

    def is_told():
        send(made, "points", cloud(GOOD), frame="lidar_top")
        time.sleep(0.05)
        return "lidar_top" in made.sources.faults()

    wait_until(is_told, made.sources.faults)
    assert "set cloud_mount" in made.sources.faults()
    assert made.noted == []


def test_closing_ends_the_subscriptions(bench):
    made = bench(ObstacleConfig(sources="scan, cloud, depth"))
    before = sum(1 for _ in made.node.subscriptions)
    made.sources.close()
    assert before - sum(1 for _ in made.node.subscriptions) == 4
