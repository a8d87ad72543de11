"""The table of model families: every released shape is recognised, by structure alone."""

from __future__ import annotations

import json

import pytest

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import CheckpointError
from vila_core.models.config_reader import read_checkpoint_config
from vila_core.models.families import FAMILIES
from vila_core.prompts.navigation import STYLES
from vila_core.random_checkpoints.make import write_description
from vila_core.random_checkpoints.shapes import SHAPES, tiny

WANTED = {
    "vila1.5-3b": "vila1.5",
    "vila1.5-13b": "vila1.5",
    "vila1.5-8b": "navila",  # by structure it is one; see test_a_key_names_the_family
    "vila1.5-3b-s2": "vila1.5",
    "navila-8b": "navila",
    "nvila-8b-video": "nvila-video",
}


def described(folder, like, **changes):
    write_description(folder, tiny(SHAPES[like]), name=like)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return read_checkpoint_config(folder)


@pytest.mark.parametrize("like", SHAPES)
def test_every_released_shape_has_a_row(like, tmp_path) -> None:
    family = described(tmp_path, like).family
    wanted = WANTED.get(like, "nvila-lite" if "lite" in like else "nvila")
    assert family == wanted


def test_a_stored_path_decides_nothing(tmp_path) -> None:
    for number, path in enumerate(("./navila-llama3-8b-8f", "/data/Llama-3-VILA1.5-8B", "", None)):
        config = described(tmp_path / str(number), "navila-8b", _name_or_path=path)
        assert (config.family, config.navigation.prompt_style) == ("navila", "navila")


def test_a_key_names_the_family(tmp_path) -> None:
    config = described(tmp_path / "a", "navila-8b", vila_nav={"family": "vila1.5"})
    assert (config.family, config.navigation.prompt_style, config.projector.order) == ("vila1.5", "vila", "column")
    with pytest.raises(CheckpointError, match=r"vila_nav\.family 'llava' is not known; known: vila-nano, navila"):
        described(tmp_path / "b", "navila-8b", vila_nav={"family": "llava"})


def test_only_vila_nano_cannot_describe() -> None:
    config = read_checkpoint_config(EMBEDDED_CHECKPOINT)
    assert config.family == "vila-nano" and not config.navigation.describes
    assert [row.name for row in FAMILIES if not row.describes] == ["vila-nano"]


def test_rows_ask_as_a_style_does() -> None:
    assert {row.prompt_style for row in FAMILIES} == set(STYLES)
    assert len({row.name for row in FAMILIES}) == len(FAMILIES)
