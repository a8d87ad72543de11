"""JSON that the tools wrote and somebody changed: each bad value is taken, or named with its file and key."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from bad_values import BAD, places, replaced
from hypothesis import given, settings
from hypothesis import strategies as st

from vila_core.errors import CheckpointError, ConfigError, VilaError, WorldError
from vila_core.export.manifest import (
    Engines,
    GraphSpec,
    Limits,
    Manifest,
    TensorSpec,
    read_engines,
    read_manifest,
    write_engines,
    write_manifest,
)
from vila_core.quantized_checkpoints.state import QuantizeState
from vila_sim.episodes.episode_files import read_episodes, write_episodes
from vila_sim.episodes.splits import generate_episodes
from vila_tools.training.clips import read_clips
from vila_tools.training.shards import load_array, read_rollouts

CLIP = {
    "things": [["red", "chair"]],
    "queries": [{"intervals_s": [[0.0, 0.5]], "verb": "move", "colour": "red", "kind": "chair", "text": "it moves"}],
    "scripted_events": [{"verb": "move", "subject": "red_chair_0"}],
}


def write_clips(folder) -> None:
    shard = folder / "shard_0"
    shard.mkdir(parents=True)
    meta = {"period_s": 0.25, "frames": 4, "train_templates": {"move": ["the {} moves"]}}
    (folder / "meta.json").write_text(json.dumps(meta))
    (shard / "clips.json").write_text(json.dumps([CLIP]))
    np.save(shard / "images.npy", np.zeros((1, 4, 8, 8, 3), np.uint8))
    np.save(shard / "seg.npy", np.zeros((1, 4, 48, 48), np.uint8))


def write_export(folder) -> None:
    spec = (TensorSpec("a", "float16", ("batch", 3)),)
    graphs = {"vision": GraphSpec("vision.onnx", spec, spec)}
    write_manifest(folder, Manifest("a", "nvila", "float16", 21, Limits(1, 2, 3), graphs, {"torch": "2"}))
    files, profiles = {"vision": "a.plan", "decoder": "b.plan"}, {"prefill": 0, "decode": 1}
    write_engines(folder, Engines("tensorrt", "10", "fp16", "cuda", files, profiles, {"vision": 1.5}))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each kind of data, and what reads it."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("episodes", "clips", "export")}
    write_episodes(folders["episodes"] / "val.json", generate_episodes("val_unseen_combo", 1))
    write_clips(folders["clips"])
    write_export(folders["export"])

    def read_export(folder):
        return read_manifest(folder), read_engines(folder)

    reads = {"episodes": lambda folder: read_episodes(folder / "val.json"), "clips": read_clips, "export": read_export}
    return {name: (folder, reads[name]) for name, folder in folders.items()}


@pytest.mark.parametrize("kind", ["episodes", "clips", "export"])
@settings(max_examples=80)
@given(data=st.data())
def test_a_value_of_any_kind_is_read_or_named(written, kind, data) -> None:
    folder, read = written[kind]
    file, keys = data.draw(st.sampled_from(list(places(folder))))
    text, value = file.read_text(), data.draw(st.sampled_from(BAD))
    file.write_text(json.dumps(replaced(json.loads(text), keys, value)))
    try:
        read(folder)
    except VilaError as err:
        key = next((key for key in reversed(keys) if isinstance(key, str)), "")
        assert str(file) in str(err) and key in str(err)
    finally:
        file.write_text(text)
    read(folder)


ARCHIVES = {
    "empty": b"",
    "cut": b"\x1f\x8b\x08\0 cut",
    "deep": gzip.compress(b"[" * 99_999, mtime=0),
    "a list": gzip.compress(b"[]", mtime=0),
}


@pytest.mark.parametrize("content", ARCHIVES.values(), ids=ARCHIVES)
def test_episodes_of_a_bad_archive_are_named(tmp_path, content) -> None:
    (tmp_path / "val.json.gz").write_bytes(content)
    with pytest.raises(WorldError, match=r"val\.json\.gz"):
        read_episodes(tmp_path / "val.json.gz")
    with pytest.raises(WorldError, match=r"none\.json does not exist"):
        read_episodes(tmp_path / "none.json")


def test_a_folder_or_pointer_in_the_place_of_data_is_named(tmp_path) -> None:
    write_clips(tmp_path)
    (tmp_path / "meta.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
    for read in (read_clips, read_rollouts):
        with pytest.raises(ConfigError, match=r"meta\.json is a git-lfs pointer"):
            read(tmp_path)
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0\x10\0{garbage")
    with pytest.raises(ConfigError, match=r"a\.npy cannot be read"):
        load_array(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["../b.plan", "/etc/passwd", "", "a\0b"])
def test_engines_lie_beside_their_manifest(tmp_path, name) -> None:
    write_export(tmp_path)
    raw = json.loads((tmp_path / "engines.json").read_text())
    (tmp_path / "engines.json").write_text(json.dumps(raw | {"files": raw["files"] | {"vision": name}}))
    with pytest.raises(CheckpointError, match=r"files\.vision .* is not the name of a file beside it"):
        read_engines(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"fingerprint": 3}'])
def test_the_note_of_an_unfinished_run_is_named(tmp_path, text) -> None:
    (tmp_path / ".quantize").mkdir()
    (tmp_path / ".quantize" / "run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json"):
        QuantizeState(tmp_path, "abc")
