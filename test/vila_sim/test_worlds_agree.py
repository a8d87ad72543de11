"""MJCF, SDF and USD hold the same flat: each object's pose, size, colour and collision shape, to a millimetre."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import world_readers
from world_readers import Row

from vila_core.types import Pose
from vila_sim.flats.doors import with_leaves
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.scene import Flat
from vila_sim.flats.signs import with_signs
from vila_sim.gazebo.world import write_gazebo_world
from vila_sim.mujoco.world import write_mujoco_world

MM = 1e-3 + 1e-9
START = Pose(3.0, 4.0, 0.5)


def mjcf(folder: Path, flat: Flat) -> dict[str, Row]:
    pytest.importorskip("mujoco")
    return world_readers.read_mjcf(write_mujoco_world(folder, flat, START))


def sdf(folder: Path, flat: Flat) -> dict[str, Row]:
    return world_readers.read_sdf(write_gazebo_world(folder, flat, START))


def usd(folder: Path, flat: Flat) -> dict[str, Row]:
    pytest.importorskip("pxr")
    from vila_sim.isaac.world import write_isaac_world

    return world_readers.read_usd(write_isaac_world(folder, flat, START))


FLATS = {
    "seed 0": lambda: generate_flat(0),
    "seed 3": lambda: generate_flat(3),
    "every kind of ellipsoid": lambda: generate_flat(11, include=[("red", "bear"), ("white", "bin"), ("blue", "vase")]),
    "doors": lambda: with_leaves(generate_flat(5), np.random.default_rng(1)),
    "rich": lambda: generate_flat(1, family="rich"),
    "rich, dim, with lamps": lambda: generate_flat(2, family="rich"),
    "held out": lambda: generate_flat(0, family="held_out"),
    "signs": lambda: with_signs(generate_flat(7), "sign_stop"),
}


@pytest.mark.parametrize("read", [mjcf, sdf, usd], ids=lambda read: read.__name__)
@pytest.mark.parametrize("name", FLATS)
def test_the_file_holds_the_flat(read, name: str, tmp_path: Path) -> None:
    flat = FLATS[name]()
    wanted, found = world_readers.expected(flat), read(tmp_path / "world", flat)
    assert set(found) == set(wanted)
    for solid, row in wanted.items():
        assert_same(found[solid], row, solid)
        assert (found[solid].collision is None) == (row.collision is None), solid
        if row.collision is not None:
            assert_same(found[solid].collision, row.collision, solid, look=False)


def assert_same(found: Row, wanted: Row, solid: str, *, look: bool = True) -> None:
    assert found.shape == wanted.shape, solid
    assert np.abs(np.subtract(found.half_size, wanted.half_size)).max() <= MM / 2, solid
    assert np.abs(found.position - wanted.position).max() <= MM, solid
    reach = max(wanted.half_size)  # a corner of it may be off by as much
    assert np.abs(found.rotation - wanted.rotation).max() * reach <= MM, solid
    if look and isinstance(wanted.look, str):
        assert found.look == wanted.look, solid
    elif look:
        assert np.abs(np.subtract(found.look, wanted.look)).max() <= 1e-3, solid


def test_a_moved_a_smaller_a_repainted_and_a_ghostly_solid_are_noticed(tmp_path: Path) -> None:
    """The comparison itself: each kind of difference fails it."""
    flat = generate_flat(0)
    path = write_gazebo_world(tmp_path / "world", flat, START)
    wanted, text = world_readers.expected(flat), path.read_text()
    name = next(key for key, row in wanted.items() if key.startswith("object") and row.shape == "box")
    at = text.index(f'<visual name="{name}">')
    for before, after in (("<pose>", "<pose>9"), ("<size>", "<size>9"), ("<diffuse>", "<diffuse>9")):
        wrong = text[:at] + text[at:].replace(before, after, 1).replace("<ambient>", f"<ambient>{after[9:]}", 1)
        path.write_text(wrong)
        with pytest.raises(AssertionError):
            assert_same(world_readers.read_sdf(path)[name], wanted[name], name)


def test_the_same_flat_gives_the_same_files(tmp_path: Path) -> None:
    flat = generate_flat(4)
    texts = [write_gazebo_world(tmp_path / str(number), flat, START).read_bytes() for number in range(2)]
    assert texts[0] == texts[1]
