"""Images are exactly those that cv_bridge makes of the same messages; it comes with a ROS of the system's alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("cv_bridge.boost.cv_bridge_boost")

from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import Image

from vila_core.media.encodings import ENCODINGS
from vila_core.media.messages import decode_image

HEIGHT, WIDTH = 48, 64
UNNAMED = [name for name in ENCODINGS if "UC" in name]  # cv_bridge makes no colours of a type without names


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name not in UNNAMED])
def test_the_picture_is_that_of_cv_bridge(encoding: str) -> None:
    kind = ENCODINGS[encoding]
    step = WIDTH * kind.pixel_bytes
    data = np.random.default_rng(5).integers(0, 256, kind.line_count(HEIGHT) * step, dtype=np.uint8)
    message = Image(height=HEIGHT, width=WIDTH, encoding=encoding, step=step, data=data.tobytes())
    try:
        wanted = CvBridge().imgmsg_to_cv2(message, "rgb8")
    except (CvBridgeError, TypeError, ValueError) as err:  # it reads no planes, and knows no newer names
        pytest.skip(f"this cv_bridge makes no rgb8 of {encoding}: {err}")
    np.testing.assert_array_equal(decode_image(message), wanted)
