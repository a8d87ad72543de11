"""What the camera's thread makes of images: frames that no other frame is taken for."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("vila_nav")

from rclpy.node import Node
from sensor_msgs.msg import Image

from vila_core.engine.backend import EMBEDDED_CHECKPOINT, load_backend
from vila_core.testing import SCRIPTED_INFO
from vila_core.types import Frame
from vila_ros.common.conversions import image_from_frame
from vila_ros.common.qos import reliable_qos
from vila_ros.navigator.cameras.camera import CameraReader
from vila_ros.navigator.cameras.camera_config import Camera, CameraConfig

S = 1_000_000_000


@pytest.fixture
def seen(spinner, wait_until):
    """seen((stamp_s, level), ...): publishes grey images and returns the frames that a CameraReader made of them."""
    node = spinner.add(Node("camera_owner"))
    images = node.create_publisher(Image, "image_raw", reliable_qos())
    frames: list[Frame] = []
    errors: list[Exception] = []
    camera = Camera("front", CameraConfig("image_raw", "reliable"), "image_")
    reader = CameraReader(node, camera, "helper", model=SCRIPTED_INFO, on_frame=frames.append, on_error=errors.append)
    reader.start()
    wait_until(lambda: images.get_subscription_count() > 0)

    def show(*shown: tuple[float, int]) -> list[Frame]:
        for number, (stamp_s, level) in enumerate(shown):
            pixels = np.full((48, 64, 3), level, np.uint8)
            images.publish(image_from_frame(Frame(pixels, round(stamp_s * S))))
            wait_until(lambda expected=number + 1: len(frames) == expected)
        return frames

    yield show
    reader.stop()
    assert errors == []


def test_an_image_after_a_clock_reset_is_not_taken_for_an_earlier_one_of_its_stamp(seen) -> None:
    shown = (1.0, 0), (2.0, 80), (1.0, 160), (2.0, 240), (1.0, 40)
    frames = seen(*shown)
    assert len({frame.key for frame in frames}) == len(shown)
    pytest.importorskip("torch")
    backend = load_backend("torch", EMBEDDED_CHECKPOINT)
    kept = [backend.relevance("the red ball is in view", [frame])[0] for frame in frames]
    anew = [load_backend("torch", EMBEDDED_CHECKPOINT).relevance("the red ball is in view", [f])[0] for f in frames]
    assert kept == pytest.approx(anew, rel=1e-4)


def test_images_out_of_order_are_no_clock_reset(seen) -> None:
    frames = seen((1.0, 0), (1.1, 80), (1.07, 160), (1.2, 240))
    assert {frame.clock_epoch for frame in frames} == {0}


# --- what the model is shown -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own_deg", "wanted_deg", "shape", "shown_deg"),
    [
        (53.13, 90.0, (55, 55, 3), 90.0),  # half as wide: filled up, and no larger
        (126.87, 90.0, (32, 32, 3), 90.0),  # twice as wide: cut
        (math.nan, 90.0, (48, 64, 3), math.nan),
        (53.13, None, (48, 64, 3), 53.13),
    ],
)
def test_pictures_are_fitted_to_what_the_model_was_trained_with(own_deg, wanted_deg, shape, shown_deg) -> None:
    camera = Camera("front", CameraConfig(hfov_deg=own_deg), "image_")
    model = dataclasses.replace(SCRIPTED_INFO, camera_hfov_deg=wanted_deg)
    frame = Frame(np.full((48, 64, 3), 9, np.uint8), S)
    shown = camera.as_shown(frame, model)
    assert shown.image.shape == shape and shown.key == frame.key and (shown.image == 9).all()
    assert camera.shown_hfov_deg(model) == pytest.approx(shown_deg, nan_ok=True)
    assert (shown is frame) is (shape == (48, 64, 3))


def test_the_reader_hands_on_what_is_shown(spinner, wait_until) -> None:
    node, frames = spinner.add(Node("camera_owner")), list[Frame]()
    images = node.create_publisher(Image, "image_raw", reliable_qos())
    camera = Camera("front", CameraConfig("image_raw", "reliable", hfov_deg=53.13), "image_")
    model = dataclasses.replace(SCRIPTED_INFO, camera_hfov_deg=90.0)
    reader = CameraReader(node, camera, "helper", model=model, on_frame=frames.append, on_error=pytest.fail)
    reader.start()
    try:
        wait_until(lambda: images.get_subscription_count() > 0)
        images.publish(image_from_frame(Frame(np.full((48, 64, 3), 9, np.uint8), S)))
        wait_until(lambda: frames)
    finally:
        reader.stop()
    assert frames[0].image.shape == (55, 55, 3)
