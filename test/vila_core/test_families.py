"""The table of model families: every released shape is recognised, by structure alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import golden_dir

from vila_core.engine.backend import EMBEDDED_CHECKPOINT
from vila_core.errors import CheckpointError
from vila_core.models.families import FAMILIES, Family
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.prompts.navigation import STYLES
from vila_core.random_checkpoints.make import write_description
from vila_core.random_checkpoints.shapes import SHAPES, tiny

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINTS = golden_dir("vila") / "checkpoints"
WANTED = {
    "vila1.5-3b": "vila1.5",
    "vila1.5-13b": "vila1.5",
    "vila1.5-8b": "navila",  # by structure it is one; see test_a_key_names_the_family
    "vila1.5-3b-s2": "vila1.5",
    "navila-8b": "navila",
    "nvila-8b-video": "nvila-video",
}
OFFICIAL = {
    "navila_tiny": "navila",
    "nvila_lite_tiny": "nvila-lite",
    "nvila_tiny": "nvila",
    "nvila_video_tiny": "nvila-video",
    "vila15_s2_tiny": "vila1.5",
    "vila15_tiny": "vila1.5",
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


def test_what_the_official_code_wrote_has_a_row() -> None:
    found = {file.parent.name: read_checkpoint_config(file.parent) for file in CHECKPOINTS.glob("*/config.json")}
    assert {name: config.family for name, config in found.items()} == OFFICIAL


@pytest.mark.parametrize("like", SHAPES)
def test_a_stored_path_decides_nothing(like, tmp_path) -> None:
    first, *others = (
        described(tmp_path / str(number) / like, like, _name_or_path=path)
        for number, path in enumerate(("./navila-llama3-8b-8f", "/data/Llama-3-VILA1.5-8B", "nvila-lite", "", None))
    )
    assert all(config == first for config in others)


def test_navila_is_known_without_a_stored_path(tmp_path) -> None:
    config = described(tmp_path, "navila-8b", _name_or_path=None)
    assert (config.family, config.navigation.prompt_style) == ("navila", "navila")


def test_a_key_names_the_family(tmp_path) -> None:
    config = described(tmp_path / "a", "navila-8b", vila_nav={"family": "vila1.5"})
    assert (config.family, config.navigation.prompt_style, config.projector.order) == ("vila1.5", "vila", "column")
    with pytest.raises(
        CheckpointError, match=r"vila_nav\.family 'llava' is not supported; supported: vila-nano, navila"
    ):
        described(tmp_path / "b", "navila-8b", vila_nav={"family": "llava"})


def test_only_vila_nano_cannot_describe() -> None:
    config = read_checkpoint_config(EMBEDDED_CHECKPOINT)
    assert config.family == "vila-nano" and not config.navigation.describes
    assert [row.name for row in FAMILIES if not row.describes] == ["vila-nano"]


def test_rows_ask_as_a_style_does() -> None:
    assert {row.prompt_style for row in FAMILIES} == set(STYLES)
    assert len({row.name for row in FAMILIES}) == len(FAMILIES)


def test_the_table_of_the_documents_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[\w.-]+` \| `(?:native|nvila)` \|.*) \|$", text, re.MULTILINE)
    table = [row.split(" | ") for row in rows]
    told = [(name, generation, prompt, order, replies) for name, generation, _, prompt, order, replies in table]
    assert told == [
        (f"`{row.name}`", f"`{row.generation}`", f"`{row.prompt_style}`", row.downsample_order, replies_of(row))
        for row in FAMILIES
    ]


def replies_of(row: Family) -> str:
    asked = "ten sentences, scored" if STYLES[row.prompt_style].closed else "its own words, parsed"
    return f"{asked}; {'describes' if row.describes else 'nothing else'}"
