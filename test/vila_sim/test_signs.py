"""Signs: only where asked, readable from the room, and nothing else in the flat changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from vila_core.errors import WorldError
from vila_sim.environment import FlatEnv
from vila_sim.episodes.splits import generate_episodes
from vila_sim.flats.flat import generate_flat
from vila_sim.flats.grid import OccupancyGrid
from vila_sim.flats.lettering import lettering
from vila_sim.flats.signs import with_signs
from vila_sim.flats.solids import texture_assets
from vila_sim.flats.textures import SIGNS, texture_pixels
from vila_sim.mujoco.simulator import CameraConfig


@pytest.fixture
def env() -> Iterator[FlatEnv]:
    env = FlatEnv(CameraConfig(width_px=64, height_px=64))
    yield env
    env.close()


def test_no_flat_has_a_sign_unless_asked() -> None:
    flat = generate_flat(3)
    assert not any(thing.kind == "sign" for thing in flat.decor)
    assert not set(texture_assets(flat)) & {f"{name}.png" for name in SIGNS}


@pytest.mark.parametrize("seed", range(4))
def test_signs_hang_in_every_room_and_change_nothing_else(seed: int) -> None:
    flat = generate_flat(seed)
    signed = with_signs(flat, "sign_stop")
    boards = signed.decor[len(flat.decor) :]
    assert {board.room for board in boards} == {room.name for room in flat.rooms}
    assert signed.decor[: len(flat.decor)] == flat.decor and signed.objects == flat.objects
    assert (OccupancyGrid(signed).free_cells == OccupancyGrid(flat).free_cells).all()


def test_an_unknown_sign_is_refused_by_name() -> None:
    with pytest.raises(WorldError, match=r"'sign_nonsense'.*sign_stop"):
        with_signs(generate_flat(0), "sign_nonsense")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("T", ["#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."]),
        ("I I", ["###.....###", *[".#.......#."] * 5, "###.....###"]),
    ],
)
def test_letters_stand_beside_each_other(text: str, rows: list[str]) -> None:
    assert ["".join(".#"[dot] for dot in row) for row in lettering(text).astype(int)] == rows


def test_a_short_line_stands_in_the_middle() -> None:
    drawn = lettering("GO\nBACK")
    assert drawn.shape == (17, 23)
    assert not drawn[:7, :6].any() and not drawn[:7, 17:].any() and not drawn[7:10].any()


def test_a_letter_that_is_not_drawn_is_refused() -> None:
    with pytest.raises(KeyError):
        lettering("Z")


def test_every_sign_is_another_picture() -> None:
    assert len({texture_pixels(name).tobytes() for name in SIGNS}) == len(SIGNS)


def test_the_camera_sees_the_sign_where_it_was_asked_for(env: FlatEnv) -> None:
    episode = generate_episodes("val_unseen_layout", 1)[0]
    plain, signed, again = (env.reset(episode, sign=sign)[0].image for sign in ("", "sign_stop", ""))
    assert (plain == again).all()
    assert np.count_nonzero((plain != signed).any(axis=2)) > 100
