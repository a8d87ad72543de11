"""Cameras that are drawn: deterministic, within their ranges, and what the simulator then sees."""

from __future__ import annotations

import numpy as np
import pytest

from vila_core.errors import ConfigError, WorldError
from vila_core.types import Pose
from vila_sim.cameras import CameraRandomization, Exposure
from vila_sim.flats.flat import generate_flat
from vila_sim.mujoco.simulator import CameraConfig, Simulator


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_the_same_rng_draws_the_same_camera_within_the_ranges() -> None:
    ranges = CameraRandomization()
    drawn = [ranges.draw(np.random.default_rng(seed)) for seed in range(200)]
    assert drawn == [ranges.draw(np.random.default_rng(seed)) for seed in range(200)]
    for camera in drawn:
        for name in ("height_m", "pitch_deg", "hfov_deg"):
            low, high = getattr(ranges, name)
            assert low <= getattr(camera.config, name) <= high
        assert ranges.noise[0] <= camera.exposure.noise <= ranges.noise[1]
        assert camera.exposure.jpeg_quality == 0 or 45 <= camera.exposure.jpeg_quality <= 95
        assert (camera.config.width_px, camera.config.height_px) == (224, 224)
    compressed = sum(camera.exposure.jpeg_quality > 0 for camera in drawn)
    assert 0.55 < compressed / len(drawn) < 0.85


def test_the_default_exposure_does_nothing(image: np.ndarray) -> None:
    assert (Exposure().apply(image, np.random.default_rng(0)) == image).all()


@pytest.mark.parametrize(
    ("exposure", "check"),
    [
        (Exposure(stops=1.0), lambda before, after: (after >= before).all() and after.mean() > before.mean() + 20),
        (Exposure(stops=-1.0), lambda before, after: np.abs(after - before / 2).max() <= 0.5),
        (Exposure(white_balance=(1.0, 1.0, 0.9)), lambda b, a: (a[..., :2] == b[..., :2]).all() and a.sum() < b.sum()),
        (Exposure(noise=6.0), lambda before, after: 3.0 < (after.astype(float) - before).std() < 7.0),
        (Exposure(jpeg_quality=80), lambda before, after: 0 < np.abs(after.astype(float) - before).mean() < 80),
    ],
)  # fmt: skip
def test_an_exposure_changes_what_it_says(image: np.ndarray, exposure: Exposure, check) -> None:
    after = exposure.apply(image, np.random.default_rng(1))
    assert after.shape == image.shape and after.dtype == np.uint8
    assert check(image, after)
    assert (after == exposure.apply(image, np.random.default_rng(1))).all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"height_m": (1.0, 0.5)}, "height_m"),
        ({"hfov_deg": (60.0, 170.0)}, "hfov_deg"),
        ({"jpeg_quality": (10.0, 101.0)}, "jpeg_quality"),
        ({"stops": (-9.0, 0.0)}, "stops"),
    ],
)
def test_impossible_ranges_are_refused(wrong: dict[str, tuple[float, float]], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        CameraRandomization(**wrong)


def test_a_camera_set_later_sees_what_one_from_the_start_does() -> None:
    pytest.importorskip("mujoco")
    flat, pose = generate_flat(3), Pose(4.0, 4.0, 0.7)
    other = CameraConfig(height_m=0.5, pitch_deg=3.0, hfov_deg=75.0)
    made, changed = Simulator(flat, other), Simulator(flat, CameraConfig())
    try:
        made.teleport(pose)
        changed.teleport(pose)
        before = changed.render()
        changed.set_camera(other)
        apart = np.abs(made.render().astype(float) - changed.render())
        assert apart.mean() < 0.5 and np.abs(before.astype(float) - made.render()).mean() > 5
        assert (made.render_segmentation() == changed.render_segmentation()).mean() > 0.995
        changed.set_camera(CameraConfig())
        assert np.abs(before.astype(float) - changed.render()).mean() < 0.5
        with pytest.raises(WorldError, match="96 x 96"):
            changed.set_camera(CameraConfig(width_px=96, height_px=96))
    finally:
        made.close()
        changed.close()
