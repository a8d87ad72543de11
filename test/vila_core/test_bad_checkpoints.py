"""What people do to a checkpoint's files by mistake: each is a CheckpointError that names the file, and the key."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from bad_values import BAD, LAYOUTS, places, read_all, replaced, write_checkpoint
from conftest import golden_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from vila_core.errors import CheckpointError
from vila_core.files.json_object import JsonObject
from vila_core.models.families import CHAT_TEMPLATES
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.stored.weights import folder_tensors, stored_tensors
from vila_core.models.tokenizer import Tokenizer
from vila_core.prompts.conversation import TEMPLATES
from vila_core.quantization.search_file import load_pickle, read_search_result
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 12345\n"
WORDS = {"colours": {"red": []}, "kinds": {"sofa": ["couch"]}}
EXAMPLES = int(os.environ.get("VILA_EXAMPLES", "300"))  # of bad values; more of them take longer


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A checkpoint of each layout, without weights."""
    return {name: write_checkpoint(tmp_path_factory.mktemp("described") / name, name) for name in LAYOUTS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "lite"
    make_random(folder, tiny(SHAPES["nvila-lite-2b"]), name="lite")
    return folder


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copied"))


# --- values ---------------------------------------------------------------------------------------


def check_value(folder: Path, file: Path, keys, value) -> bool:
    """Put a value in its place and read all; tells whether it was refused, which must name the file and the key."""
    text = file.read_text()
    rewrite(file, json.dumps(replaced(json.loads(text), keys, value)))
    try:
        read_all(folder, relevance="relevance_head" in file.parts)
    except CheckpointError as err:
        message, key = str(err), next(key for key in reversed(keys) if isinstance(key, str))
        assert str(file) in message and key in message and "\n" not in message
        return True
    finally:
        rewrite(file, text)
    return False


def rewrite(file: Path, text: str) -> None:
    """A new file instead of other content of the old one, which file systems write to the disk at once."""
    file.unlink()
    file.write_text(text)


@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_a_value_of_any_kind_at_any_key_is_read_or_named(described, data) -> None:
    folder = described[data.draw(st.sampled_from(sorted(LAYOUTS)))]
    file, keys = data.draw(st.sampled_from(list(places(folder))))
    check_value(folder, file, keys, data.draw(st.sampled_from(BAD)))


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "vila-nano"])
def test_every_bad_value_at_every_key_is_read_or_named(described, name) -> None:
    """Of keys that an earlier layout has in a file of this name too, one value in three: one reader reads them all."""
    earlier = {
        (file.name, keys)
        for other in list(LAYOUTS)[: list(LAYOUTS).index(name)]
        if other != "vila-nano"
        for file, keys in places(described[other])
    }
    for number, (file, keys) in enumerate(places(described[name])):
        for value in BAD[number % 3 :: 3] if (file.name, keys) in earlier else BAD:
            check_value(described[name], file, keys, value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_key_that_is_read_is_among_those_drawn(described, name, monkeypatch) -> None:
    read: set[tuple[Path, str]] = set()
    plain = JsonObject._get

    def noted(self, key, default):
        read.add((self.file, self.path(key)))
        return plain(self, key, default)

    monkeypatch.setattr(JsonObject, "_get", noted)
    read_all(described[name], relevance=True)
    drawn = {(file, ".".join(map(str, keys))) for file, keys in places(described[name])}
    written = {(file, path) for file, path in read if _is_there(file, path)}
    assert len(read) > 25 and written <= drawn


def _is_there(file: Path, path: str) -> bool:
    value = json.loads(file.read_text()) if file.suffix == ".json" and file.is_file() else {}
    for key in path.split("."):
        value = {str(n): v for n, v in enumerate(value)} if isinstance(value, list) else value
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("llm/config.json", {"vocab_size": 10**13}, "vocab_size 10000000000000 is not a whole number from 1 to"),
        ("llm/config.json", {"num_hidden_layers": 0}, "num_hidden_layers 0 is not"),
        ("llm/config.json", {"num_hidden_layers": 10**6}, "num_hidden_layers 1000000 is not"),
        ("llm/config.json", {"hidden_size": 10**9}, "hidden_size 1000000000 is not"),
        ("llm/config.json", {"hidden_size": 64.0}, r"hidden_size 64\.0 is not a whole number"),
        ("llm/config.json", {"hidden_size": 65}, "hidden_size 65 is no multiple of num_attention_heads 4"),
        (
            "llm/config.json",
            {"num_key_value_heads": 3},
            "heads 4 is no multiple of num_key_value_heads 3",
        ),
        ("llm/config.json", {"head_dim": 15}, "head_dim 15 gives heads 15 wide"),
        ("llm/config.json", {"eos_token_id": 512}, "eos_token_id 512 is not a whole number from 0 to 511"),
        ("llm/config.json", {"rope_scaling": {"type": "linear", "factor": 0}}, r"rope_scaling\.factor 0 is not"),
        ("vision_tower/config.json", {"num_attention_heads": 5}, "hidden_size 32 is no multiple of num_attention"),
        ("vision_tower/config.json", {"patch_size": 57}, "patch_size 57 is larger than image_size 56"),
        ("vision_tower/preprocessor_config.json", {"image_std": [0.5, 0, 0.5]}, r"image_std\.1 0 is not"),
        ("config.json", {"mm_hidden_size": 33}, "mm_hidden_size 33 is not what the tower gives"),
        ("config.json", {"max_tiles": 10**6}, "max_tiles 1000000 is not"),
        ("config.json", {"num_time_tokens": 1}, "num_time_tokens 1 is not 0 or at least 2"),
        ("config.json", {"time_token_format": "{t:>999999999}"}, "time_token_format"),
        ("config.json", {"vila_nav": {"history_tokens": 5}}, r"vila_nav\.history_tokens 5 is not the square"),
        (
            "config.json",
            {"vila_nav": {"camera_hfov_deg": 250}},
            r"vila_nav\.camera_hfov_deg 250 is not a finite number .*170",
        ),
        (
            "config.json",
            {"vila_nav": {"vocabulary": {**WORDS, "form": "go to it"}}},
            r"vocabulary\.form 'go to it' is not a sent",
        ),
        (
            "config.json",
            {"vila_nav": {"vocabulary": {**WORDS, "form": "{thing} {0}"}}},
            r"vocabulary\.form '\{thing\} \{0\}' is",
        ),
        ("config.json", {"vila_nav": {"vocabulary": {"form": "{thing}", "colours": ["red"]}}}, r"colours .* an object"),
        (
            "config.json",
            {"vila_nav": {"vocabulary": {"form": "{thing}", "colours": {}, "kinds": {"sofa": [3]}}}},
            r"vocabulary\.kinds\.sofa\.0 3 is not",
        ),
        ("config.json", {"dynamic_s2": True, "s2_scales": "50,100"}, "s2_scales .* image_size 56"),
        ("config.json", {"video_encoder": {"_target_": "TSPVideoEncoder"}}, r"pool_sizes is missing"),
        ("config.json", {"chat_template": "\ud800"}, "halves of surrogate pairs"),
        ("config.json", {"quantization_config": "awq"}, "quantization_config 'awq' is not an object"),
    ],
)
def test_impossible_sizes_and_relations_are_named(copied, file, changes, words) -> None:
    raw = json.loads((copied / file).read_text())
    (copied / file).write_text(json.dumps(raw | changes))
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(copied)
    assert str(copied / file) in str(caught.value)


def test_names_of_chat_templates_are_those_that_are_known() -> None:
    assert set(CHAT_TEMPLATES) == set(TEMPLATES) - {"none"}  # of a model elsewhere, which has its own


# --- files ----------------------------------------------------------------------------------------

CONTENT = {
    "pointer": (POINTER, "git-lfs pointer.*git lfs pull"),
    "empty": (b"", "is empty"),
    "page": (b"\n<!DOCTYPE html><html></html>", "holds a web page"),
    "cut": (b'{"model_type": "llava', "is not JSON"),
    "list": (b"[]", "expected an object, got list"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "is UTF-16 text"),
    "latin-1": ('{"a": "é"}'.encode("latin-1"), "is not UTF-8 text"),
    "comment": (b'{\n  // sizes\n  "a": 1}', "JSON has no comments"),
    "deep": (b'{"a":' + b"[" * 200_000, "nested too deeply"),
    "twice": (b'{"hidden_size": 1, "hidden_size": 2}', "'hidden_size' is there twice"),
    "folder": (None, "is a directory"),
}
JSON_FILES = (
    "config.json",
    "llm/config.json",
    "llm/tokenizer_config.json",
    "vision_tower/config.json",
    "vision_tower/preprocessor_config.json",
    "mm_projector/config.json",
)


def put(file: Path, content: bytes | None) -> None:
    file.unlink(missing_ok=True)
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)


@pytest.mark.parametrize("kind", CONTENT)
def test_what_stands_in_the_place_of_a_json_file_is_named(described, tmp_path, kind) -> None:
    content, words = CONTENT[kind]
    for number, name in enumerate(JSON_FILES):
        folder = Path(shutil.copytree(described["hf-preview"], tmp_path / str(number)))
        put(folder / name, content)
        with pytest.raises(CheckpointError, match=words) as caught:
            read_all(folder)
        assert str(folder / name) in str(caught.value)


def test_a_number_too_long_for_python_is_named(copied) -> None:
    file = copied / "llm" / "config.json"
    file.write_text(file.read_text().replace('"hidden_size": 64', '"hidden_size": ' + "9" * 9999))
    with pytest.raises(CheckpointError, match="hidden_size inf is not a whole number"):
        load_checkpoint(copied)


def test_a_byte_order_mark_and_a_key_said_twice_alike_do_no_harm(described, tmp_path) -> None:
    folder = Path(shutil.copytree(described["hf"], tmp_path / "copied"))
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + text.replace("{", '{"min_tiles": 1,', 1).encode())
    assert read_checkpoint_config(folder) == read_checkpoint_config(folder)


@pytest.mark.parametrize("target", ["config.json", "nowhere.json"])
def test_links_that_lead_nowhere_are_named(described, tmp_path, target) -> None:
    folder = Path(shutil.copytree(described["hf-preview"], tmp_path / "copied"))
    for name in ("config.json", "generation_config.json", "llm/special_tokens_map.json"):
        file = folder / name
        kept = file.read_bytes()
        file.unlink()
        file.symlink_to(file.name if target == "config.json" else target)
        with pytest.raises(CheckpointError, match=r"symbolic links|is a link that leads nowhere") as caught:
            read_all(folder)
        assert str(file) in str(caught.value)
        file.unlink()
        file.write_bytes(kept)


def test_a_pipe_is_not_waited_for(copied) -> None:
    (copied / "config.json").unlink()
    os.mkfifo(copied / "config.json")
    with pytest.raises(CheckpointError, match="is a device, pipe or socket"):
        load_checkpoint(copied)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(copied) -> None:
    (copied / "config.json").chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        load_checkpoint(copied)


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pointer", "empty", "page", "folder"])
def test_what_stands_in_the_place_of_weights_is_named(tmp_path, kind) -> None:
    content, words = CONTENT[kind]
    for name, read in (
        ("model.safetensors", lambda file: folder_tensors(file.parent)),
        ("model.safetensors.index.json", lambda file: folder_tensors(file.parent)),
        ("awq.pt", load_pickle),
        ("search.pt", read_search_result),
    ):
        file = tmp_path / name / name
        file.parent.mkdir()
        put(file, content)
        with pytest.raises(CheckpointError, match=words) as caught:
            read(file)
        assert str(file) in str(caught.value)


def safetensors(header: object, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def row(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


GOOD = {"a": row(), "b": row(data_offsets=[8, 16])}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (safetensors(GOOD, length=2**63), "a header of 9223372036854775808 bytes"),
        (safetensors(GOOD, length=5), "is not JSON"),
        (safetensors(b"[1, 2]"), "expected an object, got list"),
        (safetensors(b"{" * 99_999), "is not JSON"),
        (safetensors(b'{"a":' + b"[" * 99_999), "nested too deeply"),
        (safetensors({"a": row(), "b": row(data_offsets=[4, 12])}), "'b' begins at byte"),
        (safetensors({"a": row(), "b": row()}), "'b' begins at byte"),
        (safetensors({"a": row()}), "its tensors end at byte"),
        (safetensors(GOOD, b"\0" * 12), "is cut short: 'b' ends"),
        (safetensors({"a": row(data_offsets=[0, 4])}), r"a\.data_offsets \[0, 4\] is not .* of shape \[2\]"),
        (safetensors({"a": row(data_offsets=[8, 0])}), r"a\.data_offsets"),
        (safetensors({"a": row(data_offsets=[-8, 0])}), r"a\.data_offsets\.0 -8"),
        (safetensors({"a": row(data_offsets="0,8")}), r"a\.data_offsets '0,8' is not a list"),
        (safetensors({"a": row(shape=[2.0])}), r"a\.shape\.0 2\.0 is not a whole number"),
        (safetensors({"a": row(shape=[-2])}), r"a\.shape\.0 -2"),
        (safetensors({"a": row(shape=[10**30, 0])}), r"a\.shape\.0"),
        (safetensors({"a": row(shape=None)}), r"lacks the key 'a\.shape'"),
        (safetensors({"a": row(dtype="F8_E4M3")}), "'a' is stored as F8_E4M3; supported: F64"),
        (safetensors({"a": row(dtype=["F32"])}), r"a\.dtype \['F32'\] is not a text"),
        (safetensors({"a": [1]}), r"a \[1\] is not an object"),
    ],
)
def test_a_header_that_lies_is_named(tmp_path, content, words) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as caught:
        stored_tensors(file)
    assert str(file) in str(caught.value)


def test_a_header_that_tells_the_truth_is_read(tmp_path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(safetensors(GOOD | {"__metadata__": {"format": "pt"}}))
    assert [tensor.name for tensor in stored_tensors(file)] == ["a", "b"]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({}, "lacks the key 'weight_map'"),
        ({"weight_map": []}, r"weight_map \[\] is not an object"),
        ({"weight_map": {}}, "weight_map names no files"),
        ({"weight_map": {"a": 3}}, r"weight_map\.a 3 is not a text"),
        ({"weight_map": {"a": "../model.safetensors"}}, r"weight_map\.a '\.\./model.safetensors' is not the name"),
        ({"weight_map": {"a": "/etc/model.safetensors"}}, "is not the name of a file beside it"),
        ({"weight_map": {"a": "x\0.safetensors"}}, "is not the name of a file beside it"),
        ({"weight_map": {"a": "model-1.safetensors"}}, "is missing, though"),
    ],
)
def test_an_index_that_leads_astray_is_named(tmp_path, index, words) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=words):
        folder_tensors(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("data", [b"PK\3\4 no archive", b"\x80\2}q\0.", b"garbage" * 9, b"\x80\4\x95\xff\xff\xff\xff"])
def test_a_pickle_of_anything_is_named(tmp_path, data) -> None:
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        read_search_result(tmp_path / "a.pt")


# --- tokenizers -----------------------------------------------------------------------------------

TOKENIZERS = {
    "nvila_lite_tiny": ("tokenizer.json",),
    "slow": ("vocab.json", "merges.txt"),
    "vila15_tiny": ("tokenizer.model",),
}


def tokenizer_folder(name: str, out: Path) -> Path:
    source = golden_dir("vila") / "checkpoints" / ("nvila_lite_tiny" if name == "slow" else name) / "llm"
    shutil.copytree(source, out, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("*.safetensors"))
    out.chmod(0o755)
    if name == "slow":
        (out / "tokenizer.json").unlink()
    return out


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in TOKENIZERS.items() for file in files])
def test_a_bad_tokenizer_file_is_named(name, file, tmp_path) -> None:
    folder = tokenizer_folder(name, tmp_path / "llm")
    Tokenizer(folder)
    whole = (folder / file).read_bytes()
    for content in (POINTER, b"", b"<html>", b"{}", b"[]", b"\xff\xfe\0", whole[: len(whole) // 2], None):
        put(folder / file, content)
        if file == "merges.txt" and content not in (POINTER, b"", b"<html>", None):
            continue  # rules that do not fit are left out by the library, or are the shorter list that they look like
        with pytest.raises(CheckpointError, match="llm") as caught:
            Tokenizer(folder)
        assert "\n" not in str(caught.value)
        if content is None:
            (folder / file).rmdir()


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("added_tokens.json", {"<x>": "7"}, "<x> '7' is not a whole number"),
        ("added_tokens.json", {"<x>": 99_999_999}, "<x> 99999999 is not"),
        ("added_tokens.json", {"<x>": 5_000}, "'<x>' should have id 5000"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {"content": "a"}}}, r"added_tokens_decoder\.x"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"470": "a"}}, r"added_tokens_decoder\.470 'a' is not"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"470": {}}}, r"lacks the key '.*470\.content'"),
        ("tokenizer_config.json", {"eos_token": 3}, "eos_token 3 is not a text"),
        ("tokenizer_config.json", {"eos_token": {"text": "a"}}, r"lacks the key 'eos_token\.content'"),
        ("tokenizer_config.json", {"eos_token": "\ud800"}, "eos_token .* surrogate"),
        ("special_tokens_map.json", [1], "expected an object"),
    ],
)
def test_bad_names_of_tokens_are_named(file, change, words, tmp_path) -> None:
    folder = tokenizer_folder("nvila_lite_tiny", tmp_path / "llm")
    raw = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(raw | change if isinstance(change, dict) else change))
    with pytest.raises(CheckpointError, match=words) as caught:
        Tokenizer(folder)
    assert str(folder / file) in str(caught.value)


def test_a_tokenizer_that_is_read_but_does_not_work_is_named(tmp_path) -> None:
    model = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "none"}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model}))
    with pytest.raises(CheckpointError, match=r"tokenizer\.json cannot be read"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize("source", ["{% if %}", "{{ nothing.at.all }}", "{{ 1 / 0 }}", "{% for i in 5 %}{% endfor %}"])
@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.json", "chat_template.jinja"])
def test_a_chat_template_that_fails_is_named(described, tmp_path, source, place) -> None:
    folder = Path(shutil.copytree(described["hf-preview"], tmp_path / "copied")) / "llm"
    raw = json.loads((folder / "tokenizer_config.json").read_text())
    raw.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(raw))
    file = folder / place
    file.write_text(source if place.endswith("jinja") else json.dumps({**raw, "chat_template": source}))
    top = json.loads((folder.parent / "config.json").read_text())
    top["chat_template"] = top["vila_nav"]["chat_template"] = None
    (folder.parent / "config.json").write_text(json.dumps(top))
    with pytest.raises(CheckpointError, match="the chat template fails") as caught:
        read_all(folder.parent)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
