"""MJCF: compiles, names what segmentation needs, and carries its textures."""

import hashlib
import xml.etree.ElementTree as ElementTree

import mujoco
import pytest

from vila_core.errors import ConfigError
from vila_sim.families.table import FAMILIES
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.solids import texture_assets
from vila_sim.flats.textures import TEXTURES, texture_pixels
from vila_sim.mujoco.mjcf import GROUP_OBJECT, map_size, write_mjcf
from vila_sim.robot import CameraConfig, RobotConfig


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_compiles(seed: int, family: str) -> None:
    flat = generate_flat(seed, family=family)
    model = mujoco.MjModel.from_xml_string(write_mjcf(flat, CameraConfig(), RobotConfig()), texture_assets(flat))
    assert model.nq == model.nv == model.nu == 3
    assert model.nlight < 8  # OpenGL's, less the headlight
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    parts = sum(len(thing.primitives) for thing in flat.obstacles)
    assert int((model.geom_group == GROUP_OBJECT).sum()) == parts


def test_the_same_flat_gives_the_same_text() -> None:
    camera, robot = CameraConfig(), RobotConfig()
    assert write_mjcf(generate_flat(4), camera, robot) == write_mjcf(generate_flat(4), camera, robot)


def test_the_world_is_written_as_the_embedded_model_saw_it() -> None:
    """Another text may give other pictures: compare pictures of many flats, some taken within walls, byte by byte."""
    text = write_mjcf(generate_flat(3), CameraConfig(), RobotConfig())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "313be147acbd1ca3"


def test_every_texture_file_is_supplied() -> None:
    flat = generate_flat(0)
    root = ElementTree.fromstring(write_mjcf(flat, CameraConfig(), RobotConfig()))
    assert {node.attrib["file"] for node in root.iter("texture")} == set(texture_assets(flat))


@pytest.mark.parametrize("name", TEXTURES)
def test_textures_are_drawn_the_same_each_time(name: str) -> None:
    image = texture_pixels(name)
    texture_pixels.cache_clear()
    edge = 64 if TEXTURES[name].is_wrapped else 256
    assert image.shape == (edge, edge, 3)
    assert (image == texture_pixels(name)).all()
    assert image.std() > 0.5


def test_the_field_of_view_follows_the_aspect() -> None:
    assert CameraConfig().vfov_deg == pytest.approx(90.0)
    wide = CameraConfig(width_px=320, height_px=160)
    assert wide.vfov_deg == pytest.approx(53.13, abs=0.01)
    assert wide.focal_px == pytest.approx(160.0)


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="hfov_deg"):
        CameraConfig(hfov_deg=179.0)
    with pytest.raises(ConfigError, match="px"):
        CameraConfig(width_px=0)
    with pytest.raises(ConfigError, match="radius_m"):
        RobotConfig(radius_m=-1.0)


def test_the_map_keeps_the_aspect_of_the_flat() -> None:
    flat = generate_flat(0)
    width, height = map_size(flat, 600)
    assert width == 600
    assert height / width == pytest.approx((flat.depth_m + 0.5) / (flat.width_m + 0.5), abs=0.01)
